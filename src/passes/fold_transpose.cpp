// docs/passes/fold_transpose.md
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// Where each place of a flattened row comes from in the row before the Transpose; nullopt where the batch moves too, or where
// dimensions are open, or where rows have not `length` places.
std::optional<std::vector<std::size_t>> row_order(const TensorType& in, const Node& transpose, std::int64_t length) {
  if (!in.shape || in.shape->size() < 3) return std::nullopt;
  std::vector<std::int64_t> perm = transpose.get_ints("perm");
  const std::size_t rank = in.shape->size();
  for (std::int64_t& axis : perm) axis += axis < 0 ? static_cast<std::int64_t>(rank) : 0;
  if (perm.size() != rank || perm[0] != 0) return std::nullopt;
  std::vector<std::int64_t> axes = perm;
  std::ranges::sort(axes);
  for (std::size_t i = 0; i < rank; ++i)
    if (axes[i] != static_cast<std::int64_t>(i)) return std::nullopt;
  std::vector<std::size_t> strides(rank, 1);
  for (std::size_t i = rank; i-- > 1;) {
    if (!(*in.shape)[i].fixed()) return std::nullopt;
    strides[i - 1] = strides[i] * static_cast<std::size_t>((*in.shape)[i].value);
  }
  if (strides[0] != static_cast<std::size_t>(length)) return std::nullopt;
  std::vector<std::size_t> order = {0};
  for (std::size_t i = 1; i < rank; ++i) {
    const auto axis = static_cast<std::size_t>(perm[i]);
    std::vector<std::size_t> longer;
    longer.reserve(order.size() * static_cast<std::size_t>((*in.shape)[axis].value));
    for (const std::size_t start : order)
      for (std::int64_t at = 0; at < (*in.shape)[axis].value; ++at)
        longer.push_back(start + static_cast<std::size_t>(at) * strides[axis]);
    order = std::move(longer);
  }
  return order;
}

// The matrix with its row i at order[i]; with `columns`, its column i there.
Tensor reordered(const Tensor& matrix, const std::vector<std::size_t>& order, bool columns) {
  Tensor result(DType::f32, matrix.dims());
  const auto from = matrix.values<float>();
  const auto to = result.mutable_values<float>();
  const auto rows = static_cast<std::size_t>(matrix.dim(0)), width = static_cast<std::size_t>(matrix.dim(1));
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t column = 0; column < width; ++column) {
      const std::size_t there = columns ? row * width + order[column] : order[row] * width + column;
      to[there] = from[row * width + column];
    }
  return result;
}

}  // namespace

bool fold_transpose(Graph& graph) {
  Rewrite rewrite(graph);
  const ValueIndex values(graph);
  for (Node& product : graph.nodes) {
    const bool gemm = product.is("Gemm");
    if ((!gemm && !product.is("MatMul")) || product.inputs.size() < 2 || product.get_int("transA", 0) != 0) continue;
    const Tensor* weight = graph.constant(product.inputs[1]);
    if (weight == nullptr || weight->dtype() != DType::f32 || weight->rank() != 2) continue;
    const Node* flatten = rewrite.producer(product.inputs[0]);
    if (flatten == nullptr || !flatten->is("Flatten") || flatten->get_int("axis", 1) != 1) continue;
    Node* transpose = rewrite.producer(flatten->inputs[0]);
    if (transpose == nullptr || !transpose->is("Transpose")) continue;
    if (!rewrite.is_private(flatten->outputs[0]) || !rewrite.is_private(transpose->outputs[0])) continue;
    const bool columns = gemm && product.get_int("transB", 0) != 0;
    const auto order = row_order(values.type_of(transpose->inputs[0]), *transpose, weight->dim(columns ? 1 : 0));
    if (!order) continue;
    if (!rewrite.may_replace(product.inputs[1])) continue;
    product.inputs[1] = rewrite.replace_initializer(product.inputs[1], reordered(*weight, *order, columns));
    rewrite.bypass(*transpose, transpose->inputs[0]);
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
