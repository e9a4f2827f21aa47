// evaluate_model MODEL FOLDER: runs a graph without inputs by the operators' references and writes its outputs to
// FOLDER/0.npy, 1.npy, ...
#include <cstdio>
#include <filesystem>
#include <string>

#include "ops/operator.h"
#include "zeropoint/data.h"
#include "zeropoint/graph.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: evaluate_model MODEL FOLDER\n");
    return 2;
  }
  try {
    zeropoint::Graph graph = zeropoint::load(argv[1]);
    zeropoint::ops::infer_shapes(graph);
    const auto results = zeropoint::ops::evaluate(graph, {});
    for (std::size_t i = 0; i < results.size(); ++i)
      zeropoint::write_npy(results[i], std::filesystem::path(argv[2]) / (std::to_string(i) + ".npy"));
  } catch (const zeropoint::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
