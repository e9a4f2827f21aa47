// Any bytes as a model: an Error, or a graph that can be written and read again, and whose types can be inferred or refused.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "ops/operator.h"
#include "zeropoint/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  zeropoint::Graph graph;
  try {
    graph = zeropoint::parse(std::as_bytes(std::span(data, size)));
  } catch (const zeropoint::Error& error) {
    if (error.code == zeropoint::ErrorCode::kInternal) std::abort();
    return 0;
  }
  const std::string written = zeropoint::serialize(graph);
  if (!(zeropoint::parse(std::as_bytes(std::span(written))) == graph)) std::abort();
  if (!(zeropoint::parse_graph(zeropoint::to_text(graph, -1)) == graph)) std::abort();
  try {
    zeropoint::ops::infer_shapes(graph);
  } catch (const zeropoint::Error& error) {
    if (error.code == zeropoint::ErrorCode::kInternal || !error.where.starts_with("model")) std::abort();
  }
  return 0;
}
