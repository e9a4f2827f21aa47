// docs/passes/simplify_matmul.md
#include <algorithm>
#include <utility>
#include <vector>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

const Tensor* constant_f32(const Graph& graph, const std::string& value) {
  const Tensor* tensor = value.empty() ? nullptr : graph.constant(value);
  return tensor != nullptr && tensor->dtype() == DType::f32 ? tensor : nullptr;
}

Tensor scaled(const Tensor& tensor, float factor) {
  Tensor result(DType::f32, tensor.dims());
  const auto from = tensor.values<float>();
  const auto to = result.mutable_values<float>();
  std::transform(from.begin(), from.end(), to.begin(), [&](float value) { return value * factor; });
  return result;
}

// alpha into the constant B, beta into the constant C.
void fold_factors(Graph& graph, Rewrite& rewrite, Node& gemm) {
  const float alpha = gemm.get_float("alpha", 1), beta = gemm.get_float("beta", 1);
  if (alpha != 1)
    if (const Tensor* b = constant_f32(graph, gemm.input(1)); b != nullptr && rewrite.may_replace(gemm.input(1))) {
      gemm.inputs[1] = rewrite.replace_initializer(gemm.input(1), scaled(*b, alpha));
      gemm.attributes.erase("alpha");
    }
  if (beta == 1) return;
  if (gemm.input(2).empty()) {
    gemm.attributes.erase("beta");
    rewrite.changed();
  } else if (const Tensor* c = constant_f32(graph, gemm.input(2)); c != nullptr && rewrite.may_replace(gemm.input(2))) {
    gemm.inputs[2] = rewrite.replace_initializer(gemm.input(2), scaled(*c, beta));
    gemm.attributes.erase("beta");
  }
}

// [1,...,1,K,N] -> [K,N], where the other operand has as many dimensions, so that the product keeps its own.
void drop_leading_ones(Graph& graph, const ValueIndex& values, Rewrite& rewrite, Node& matmul) {
  const Tensor* b = constant_f32(graph, matmul.input(1));
  if (b == nullptr || b->rank() < 3) return;
  const TensorType a = values.type_of(matmul.input(0));
  if (!a.shape || a.shape->size() < b->rank()) return;
  for (std::size_t i = 0; i + 2 < b->rank(); ++i)
    if (b->dim(i) != 1) return;
  const Dims matrix = {b->dim(b->rank() - 2), b->dim(b->rank() - 1)};
  matmul.inputs[1] = rewrite.replace_initializer(matmul.input(1), b->reshaped(matrix));
}

}  // namespace

bool simplify_matmul(Graph& graph) {
  Rewrite rewrite(graph);
  const ValueIndex values(graph);
  std::vector<std::pair<std::size_t, Node>> transposes;  // to stand before a node
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& node = graph.nodes[i];
    if (node.is("MatMul") && node.inputs.size() == 2) drop_leading_ones(graph, values, rewrite, node);
    if (!node.is("Gemm")) continue;
    fold_factors(graph, rewrite, node);
    if (node.get_int("transA", 0) == 0 || constant_f32(graph, node.input(1)) == nullptr || graph.constant(node.input(0)))
      continue;
    Node transpose;
    transpose.op_type = "Transpose";
    transpose.name = node.name.empty() ? "" : node.name + "_transpose";
    transpose.inputs = {node.input(0)};
    transpose.outputs = {rewrite.fresh_name(node.outputs[0] + "_transposed")};
    transpose.attributes["perm"] = std::vector<std::int64_t>{1, 0};
    rewrite.set_input(node, 0, transpose.outputs[0]);
    node.attributes.erase("transA");
    transposes.emplace_back(i, std::move(transpose));
  }
  if (!transposes.empty()) {
    std::vector<Node> nodes;
    nodes.reserve(graph.nodes.size() + transposes.size());
    auto next = transposes.begin();
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (; next != transposes.end() && next->first == i; ++next) nodes.push_back(std::move(next->second));
      nodes.push_back(std::move(graph.nodes[i]));
    }
    graph.nodes = std::move(nodes);
    remove_unused_values(graph);
    return true;  // nothing was dropped or renamed, so the index of `rewrite` is not needed any more
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
