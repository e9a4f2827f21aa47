// Softmax and LogSoftmax. From opset 13 on along one axis; before, over all axes from `axis` on (default 1) taken as one row.
// m = max, e = exp(x - m), s = sum of e in the order of numerics/lane_sum.h; e / s, or (x - m) - log(s).
#include <algorithm>

#include "numerics/elementary.h"
#include "numerics/lane_sum.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::size_t softmax_axis(const Node& node, std::int64_t opset, std::size_t rank) {
  const std::int64_t axis = node.get_int("axis", opset < 13 ? 1 : -1);
  if (opset < 13 && axis == static_cast<std::int64_t>(rank)) return rank;  // a row of one element each
  return normalize_axis(node, axis, rank);
}

std::vector<TensorType> softmax_shape(const ShapeArgs& args) {
  if (args.inputs[0].shape) softmax_axis(args.node, args.opset, args.inputs[0].shape->size());
  return {args.inputs[0]};
}

template <class T>
void softmax_row(std::span<T> row, bool logarithm) {
  T most = row[0];
  for (const T value : row) most = value > most || value != value ? value : most;
  std::vector<T> powers(row.size());
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] -= most;
    powers[i] = numerics::exp(row[i]);
  }
  const T sum = numerics::lane_sum<T>(powers);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = logarithm ? row[i] - numerics::log(sum) : powers[i] / sum;
}

template <bool logarithm>
std::vector<Tensor> softmax(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = x;
  const std::size_t axis = softmax_axis(args.node, args.opset, x.rank());
  std::int64_t length = 1, inner = 1;  // row elements lie `inner` apart
  for (std::size_t i = axis; i < x.rank(); ++i) (args.opset < 13 || i == axis ? length : inner) *= x.dim(i);
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    if (values.empty()) return;
    std::vector<T> row(static_cast<std::size_t>(length));
    for (std::int64_t start = 0; start < y.size() / length; ++start) {
      const std::int64_t first = start / inner * inner * length + start % inner;
      for (std::int64_t i = 0; i < length; ++i) row[i] = values[first + i * inner];
      softmax_row<T>(row, logarithm);
      for (std::int64_t i = 0; i < length; ++i) values[first + i * inner] = row[i];
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> softmax_operators() {
  return {
      {.op_type = "Softmax", .shape = softmax_shape, .reference = half_in_f32<softmax<false>>},
      {.op_type = "LogSoftmax", .shape = softmax_shape, .reference = half_in_f32<softmax<true>>},
  };
}

}  // namespace zeropoint::ops
