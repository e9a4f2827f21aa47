// docs/passes/remove_identity.md
#include <algorithm>
#include <utility>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// Equal for certain: an unknown dimension without a name equals nothing.
bool same_shape(const TensorType& a, const TensorType& b) {
  if (!a.shape || !b.shape || *a.shape != *b.shape) return false;
  return std::all_of(a.shape->begin(), a.shape->end(), [](const Dim& dim) { return dim.fixed() || !dim.symbol.empty(); });
}

bool keeps_order(const Node& node) {
  const std::vector<std::int64_t> perm = node.get_ints("perm");
  for (std::size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<std::int64_t>(i)) return false;
  return !perm.empty();
}

bool pads_nothing(const Graph& graph, const Node& node) {
  const auto is_zero = [](std::int64_t pad) { return pad == 0; };
  if (node.find("pads") != nullptr) return std::ranges::all_of(node.get_ints("pads"), is_zero);
  const Tensor* pads = node.input(1).empty() ? nullptr : graph.constant(node.input(1));
  return pads != nullptr && pads->dtype() == DType::s64 && std::ranges::all_of(pads->values<std::int64_t>(), is_zero);
}

bool is_identity(const Graph& graph, const ValueIndex& values, const Node& node) {
  if (!node.domain.empty() || node.inputs.empty() || node.outputs.empty()) return false;
  const std::string& type = node.op_type;
  if (type == "Identity") return true;
  // Dropout with training_mode as an input is left to who can tell its value.
  if (type == "Dropout") return node.input(2).empty() && (node.outputs.size() == 1 || node.outputs[1].empty());
  if (type == "Concat" || type == "Sum" || type == "Max" || type == "Min" || type == "Mean") return node.inputs.size() == 1;
  if (type == "Transpose") return keeps_order(node);
  if (type == "Pad") return pads_nothing(graph, node);
  if (type == "Cast") {
    const DType in = values.type_of(node.inputs[0]).dtype, out = values.type_of(node.outputs[0]).dtype;
    return in == out && in != DType::undefined && in != DType::opaque;
  }
  if (type == "Reshape" || type == "Flatten" || type == "Squeeze" || type == "Unsqueeze" || type == "Expand")
    return same_shape(values.type_of(node.inputs[0]), values.type_of(node.outputs[0]));
  return false;
}

}  // namespace

bool remove_identity(Graph& graph) {
  Rewrite rewrite(graph);
  const ValueIndex values(graph);
  for (Node& node : graph.nodes)
    if (is_identity(graph, values, node)) rewrite.bypass(node, node.inputs[0]);
  return rewrite.finish();
}

}  // namespace zeropoint::passes
