// Any bytes as the text of a graph: an Error with line and column, or a graph that prints and reads back.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "zeropoint/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  zeropoint::Graph graph;
  try {
    graph = zeropoint::parse_graph({reinterpret_cast<const char*>(data), size});
  } catch (const zeropoint::Error& error) {
    if (error.code != zeropoint::ErrorCode::kBadFile || !error.where.starts_with("line ")) std::abort();
    return 0;
  }
  if (!(zeropoint::parse_graph(zeropoint::to_text(graph, -1)) == graph)) std::abort();
  return 0;
}
