// convert_opset IN OUT OPSET: the model at a newer opset. OPSET 0 reads and writes only, with functions inlined.
#include <cstdio>
#include <cstdlib>

#include "ops/opset/convert.h"
#include "zeropoint/graph.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: convert_opset IN OUT OPSET\n");
    return 2;
  }
  try {
    zeropoint::Graph graph = zeropoint::load(argv[1]);
    zeropoint::ops::convert_opset(graph, std::atoi(argv[3]));
    zeropoint::verify(graph);
    zeropoint::save(graph, argv[2]);
  } catch (const zeropoint::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
