// docs/passes/fold_pad.md
#include <algorithm>
#include <optional>
#include <utility>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// The pads [begin..., end...] of the spatial axes of a Pad that puts zeros there and nowhere else.
std::optional<std::vector<std::int64_t>> zero_padding(const Graph& graph, const Node& pad) {
  if (!pad.is("Pad") || pad.get_string("mode", "constant") != "constant" || !pad.input(3).empty()) return std::nullopt;
  std::vector<std::int64_t> pads = pad.get_ints("pads");
  if (pad.find("pads") == nullptr) {
    const Tensor* tensor = graph.constant(pad.input(1));
    if (tensor == nullptr || tensor->dtype() != DType::s64) return std::nullopt;
    const auto values = tensor->values<std::int64_t>();
    pads.assign(values.begin(), values.end());
  }
  if (pad.get_float("value", 0) != 0) return std::nullopt;
  if (!pad.input(2).empty() && constant_scalar(graph, pad.input(2)) != 0.0F) return std::nullopt;
  const std::size_t rank = pads.size() / 2;
  if (rank < 3 || std::ranges::any_of(pads, [](std::int64_t value) { return value < 0; })) return std::nullopt;
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}, rank, rank + 1})  // batch and channels
    if (pads[i] != 0) return std::nullopt;
  std::vector<std::int64_t> spatial;
  for (std::size_t i = 0; i < pads.size(); ++i)
    if (i % rank >= 2) spatial.push_back(pads[i]);
  return spatial;
}

// Adds padding to the node's own; false, and nothing done, when it cannot take it.
bool absorb(Node& node, std::vector<std::int64_t> pads) {
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && auto_pad != "VALID") return false;
  const std::vector<std::int64_t> none(pads.size(), 0), own = auto_pad == "VALID" ? none : node.get_ints("pads", none);
  if (own.size() != pads.size()) return false;
  for (std::size_t i = 0; i < pads.size(); ++i) pads[i] += own[i];
  if (node.is("AveragePool")) {
    // The zeros have counted so far, so all padding must. Runtimes want padding smaller than the window.
    const std::vector<std::int64_t> kernel = node.get_ints("kernel_shape");
    if (node.get_int("count_include_pad", 0) == 0 && own != none) return false;
    if (node.get_int("ceil_mode", 0) != 0 || 2 * kernel.size() != pads.size()) return false;
    for (std::size_t i = 0; i < pads.size(); ++i)
      if (pads[i] >= kernel[i % kernel.size()]) return false;
    node.attributes["count_include_pad"] = std::int64_t{1};
  }
  node.attributes.erase("auto_pad");
  node.attributes["pads"] = std::move(pads);
  return true;
}

}  // namespace

bool fold_pad(Graph& graph) {
  Rewrite rewrite(graph);
  for (Node& node : graph.nodes) {
    if (!node.is("Conv") && !node.is("AveragePool")) continue;
    while (const Node* pad = rewrite.producer(node.input(0))) {
      auto pads = zero_padding(graph, *pad);
      if (!pads || !absorb(node, std::move(*pads))) break;
      const bool last_reader = rewrite.is_private(node.inputs[0]);
      rewrite.set_input(node, 0, pad->inputs[0]);
      if (last_reader) rewrite.drop(*pad);
    }
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
