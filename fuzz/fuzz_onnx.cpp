// Any bytes as a model: an Error, or a graph that can be written and read again, whose types can be inferred or refused, that
// fuses, and whose operators run, or refuse to, where that is little work.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "ir/naming.h"
#include "ops/operator.h"
#include "zeropoint/graph.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

constexpr std::int64_t kMostElements = 1 << 14, kMostMacs = 1 << 22;

// Runs `work`. An Error must name the model, and be of its making.
template <class Work>
void try_on_model(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.code == ErrorCode::kInternal || !error.where.starts_with("model")) std::abort();
  }
}

// How much work there is, as far as types tell; too much where they do not.
bool little_work(const Graph& graph) {
  const ValueIndex values(graph);
  std::int64_t elements = 0, macs = 0;
  const auto add = [&](const std::string& value) {
    if (value.empty()) return;
    const TensorType type = values.type_of(value);
    const auto dims = type.shape ? fixed_dims(*type.shape) : std::nullopt;
    std::int64_t count = 1;
    if (dims)
      for (const std::int64_t dim : *dims) count = std::min(kMostElements, count * std::min(kMostElements, dim));
    elements += dims ? count : kMostElements / 64;
  };
  for (const ValueInfo& input : graph.inputs) add(input.name);
  for (const Node& node : graph.nodes) {
    if (has_subgraph(node)) return false;  // loops may go on for ever
    for (const std::string& output : node.outputs) add(output);
    macs = std::min(kMostMacs + 1, macs + std::min(kMostMacs + 1, ops::macs(values, node)));
  }
  return elements <= kMostElements && macs <= kMostMacs;
}

void run(const Graph& graph) {
  std::map<std::string, Tensor> feeds;
  for (const ValueInfo& input : graph.inputs) {
    const auto dims = input.type.shape ? fixed_dims(*input.type.shape) : std::nullopt;
    if (!dims || bits(input.type.dtype) == 0) return;
    feeds.emplace(input.name, Tensor(input.type.dtype, *dims));
  }
  ops::evaluate(graph, feeds);
}

void look_into(const Graph& graph) {
  std::map<std::string, Dims> shapes;
  for (const ValueInfo& input : graph.inputs)
    if (input.type.shape)
      for (Dims& dims = shapes[input.name]; const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
  Graph shaped = graph;
  ops::infer_shapes(shaped, shapes);
  if (!naming_source(shaped, [&] { return little_work(shaped); })) return;
  const Graph fused = fuse(shaped);
  verify(fused);
  run(shaped);
}

}  // namespace
}  // namespace zeropoint

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
  zeropoint::try_on_model([&] { zeropoint::ops::infer_shapes(graph); });
  zeropoint::try_on_model([&] { zeropoint::look_into(graph); });
  return 0;
}
