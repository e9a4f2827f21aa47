// docs/passes/resolve_reshape.md
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

bool same(const Dim& a, const Dim& b) { return a == b && (a.fixed() || !a.symbol.empty()); }

// [d, ...] -> [d, product of the rest].
bool is_flatten(const Shape& in, const Shape& out) {
  if (out.size() != 2 || in.size() < 2 || !same(in[0], out[0]) || !out[1].fixed()) return false;
  std::int64_t rest = 1;
  for (std::size_t i = 1; i < in.size(); ++i) {
    if (!in[i].fixed() || in[i].value == 0) return false;
    rest *= in[i].value;
  }
  return rest == out[1].value;
}

// The target shape as Reshape takes it: 0 copies a dimension of the input, one -1 is what remains. Empty when it cannot be
// said.
std::vector<std::int64_t> constant_target(const Shape& in, const Shape& out) {
  std::vector<std::int64_t> target;
  bool rest_used = false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i].fixed()) {
      if (out[i].value == 0) return {};
      target.push_back(out[i].value);
    } else if (i < in.size() && same(in[i], out[i])) {
      target.push_back(0);
    } else if (!rest_used) {
      target.push_back(-1);
      rest_used = true;
    } else {
      return {};
    }
  }
  return target;
}

}  // namespace

bool resolve_reshape(Graph& graph) {
  Rewrite rewrite(graph);
  const ValueIndex values(graph);
  for (Node& node : graph.nodes) {
    if (!node.is("Reshape") || node.inputs.size() != 2) continue;
    const TensorType in = values.type_of(node.inputs[0]), out = values.type_of(node.outputs[0]);
    if (!in.shape || !out.shape) continue;
    if (is_flatten(*in.shape, *out.shape)) {
      node.op_type = "Flatten";
      node.inputs.resize(1);
      node.attributes.clear();
      node.attributes["axis"] = std::int64_t{1};
      rewrite.changed();
    } else if (graph.constant(node.inputs[1]) == nullptr) {
      const std::vector<std::int64_t> target = constant_target(*in.shape, *out.shape);
      if (target.empty()) continue;
      const std::string name = rewrite.fresh_name(node.inputs[1] + "_constant");
      graph.initializers.emplace(name, Tensor::of_ints(target));
      node.inputs[1] = name;
      node.attributes.erase("allowzero");
      rewrite.changed();
    }
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
