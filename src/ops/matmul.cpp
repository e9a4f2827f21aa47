// MatMul, Gemm, MatMulInteger.
#include "ops/matmul.h"

#include <fmt/format.h>

#include "ops/families.h"

namespace zeropoint::ops {

std::optional<Shape> matmul_shape(const Node& node, const TensorType& a, const TensorType& b) {
  if (!a.shape || !b.shape) return std::nullopt;
  if (a.shape->empty() || b.shape->empty()) fail(ErrorCode::kBadShape, node, "a scalar has no rows or columns");
  Shape left = *a.shape, right = *b.shape;
  const bool row = left.size() == 1, column = right.size() == 1;
  if (row) left.insert(left.begin(), Dim(1));
  if (column) right.push_back(Dim(1));
  const Dim &ka = left.back(), &kb = right[right.size() - 2];
  if (ka.fixed() && kb.fixed() && ka != kb)
    fail(ErrorCode::kBadShape, node,
         fmt::format("{} and {} cannot be multiplied: {} columns meet {} rows", to_string(*a.shape), to_string(*b.shape),
                     ka.value, kb.value));
  Shape result = broadcast(node, {left.begin(), left.end() - 2}, {right.begin(), right.end() - 2});
  if (!row) result.push_back(left[left.size() - 2]);
  if (!column) result.push_back(right.back());
  return result;
}

std::int64_t matmul_macs(const TensorType& a, std::span<const TensorType> outputs) {
  if (!a.shape || a.shape->empty() || !a.shape->back().fixed() || outputs.empty() || !outputs[0].shape) return 0;
  return product(known_count(*outputs[0].shape), a.shape->back().value);
}

MatMulGeometry matmul_geometry(const Node& node, const Dims& a, const Dims& b) {
  Dims left = a, right = b;
  if (left.size() == 1) left.insert(left.begin(), 1);
  if (right.size() == 1) right.push_back(1);
  MatMulGeometry geometry{left[left.size() - 2], right.back(), left.back(), {}, {}, {}};
  left.resize(left.size() - 2);
  right.resize(right.size() - 2);
  geometry.batch = *fixed_dims(broadcast(node, to_shape(left), to_shape(right)));
  geometry.a_strides = broadcast_strides(left, geometry.batch);
  geometry.b_strides = broadcast_strides(right, geometry.batch);
  for (std::int64_t& stride : geometry.a_strides) stride *= geometry.M * geometry.K;
  for (std::int64_t& stride : geometry.b_strides) stride *= geometry.K * geometry.N;
  return geometry;
}

namespace {

std::vector<TensorType> matmul_rule(const ShapeArgs& args) {
  return {{same_dtype(args.node, args.inputs[0].dtype, args.inputs[1].dtype),
           matmul_shape(args.node, args.inputs[0], args.inputs[1])}};
}

std::vector<Tensor> matmul(const ComputeArgs& args) {
  const Tensor &a = args.inputs[0], &b = args.inputs[1];
  Tensor y = make_output(args);
  with_numbers(args.node, a.dtype(), [&]<class T>(T) {
    // Integers wrap around: their sums are formed modulo 2^64.
    using Sum = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;
    std::vector<Sum> sums(static_cast<std::size_t>(y.size()));
    multiply<Sum>(
        matmul_geometry(args.node, a.dims(), b.dims()), a.values<T>(), b.values<T>(), std::span(sums),
        [](T value) { return static_cast<Sum>(value); }, [](T value, std::int64_t) { return static_cast<Sum>(value); });
    const auto out = y.mutable_values<T>();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(sums[i]);
  });
  return one(std::move(y));
}

std::int64_t matmul_count(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return matmul_macs(inputs[0], outputs);
}

// ---- MatMulInteger: zero points of a per tensor or per row, of b per tensor or per column

std::vector<TensorType> matmul_integer_rule(const ShapeArgs& args) {
  return {{DType::s32, matmul_shape(args.node, args.inputs[0], args.inputs[1])}};
}

// A tensor less its zero point, as s64: per tensor, or one along the second last (rows) or last (columns) axis, or of the
// tensor's own rank with 1 in the other place.
Tensor centered(const Node& node, const Tensor& x, const Tensor& zero, bool rows) {
  Tensor result(DType::s64, x.dims());
  with_integers(node, x.dtype(), [&]<class X>(X) {
    const auto src = x.values<X>();
    const auto dst = result.mutable_values<std::int64_t>();
    Dims strides(x.rank(), 0);
    if (zero.defined() && zero.size() != 1) {
      if (zero.rank() == 1 && x.rank() >= 1) {
        const std::size_t axis = rows && x.rank() >= 2 ? x.rank() - 2 : x.rank() - 1;
        if (zero.dim(0) != x.dim(axis))
          fail(ErrorCode::kBadShape, node, "zero point " + to_string(zero.dims()) + " does not fit " + to_string(x.dims()));
        strides[axis] = 1;
      } else {
        broadcast(node, to_shape(x.dims()), to_shape(zero.dims()));
        if (zero.rank() > x.rank())
          fail(ErrorCode::kBadShape, node, "zero point " + to_string(zero.dims()) + " does not fit " + to_string(x.dims()));
        strides = broadcast_strides(zero.dims(), x.dims());
      }
    }
    const std::span<const X> zeros = zero.defined() ? zero.values<X>() : std::span<const X>();
    walk<1>(x.dims(), {strides}, [&](std::int64_t i, const auto& at) {
      dst[i] = static_cast<std::int64_t>(src[i]) - (zeros.empty() ? 0 : static_cast<std::int64_t>(zeros[at[0]]));
    });
  });
  return result;
}

std::vector<Tensor> matmul_integer(const ComputeArgs& args) {
  const Tensor a = centered(args.node, args.inputs[0], args.inputs[2], true),
               b = centered(args.node, args.inputs[1], args.inputs[3], false);
  Tensor y = make_output(args);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(y.size()));
  multiply<std::int64_t>(
      matmul_geometry(args.node, a.dims(), b.dims()), a.values<std::int64_t>(), b.values<std::int64_t>(), std::span(sums),
      [](std::int64_t value) { return value; }, [](std::int64_t value, std::int64_t) { return value; });
  const auto out = y.mutable_values<std::int32_t>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int32_t>(sums[i]);
  return one(std::move(y));
}

// ---- Gemm: y = alpha a' b' + beta c, where ' transposes as transA, transB say. fp32: (alpha * sum) + (beta * c).

std::vector<TensorType> gemm_rule(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType &a = args.inputs[0], &b = args.inputs[1], &c = args.inputs[2];
  const DType dtype = same_dtype(node, same_dtype(node, a.dtype, b.dtype), c.dtype);
  if (!a.shape || !b.shape) return {{dtype, unknown_shape(2)}};
  if (a.shape->size() != 2 || b.shape->size() != 2)
    fail(ErrorCode::kBadShape, node, fmt::format("takes matrices, not {} and {}", to_string(*a.shape), to_string(*b.shape)));
  const bool flip_a = node.get_int("transA", 0) != 0, flip_b = node.get_int("transB", 0) != 0;
  const Dim &ka = (*a.shape)[flip_a ? 0 : 1], &kb = (*b.shape)[flip_b ? 1 : 0];
  if (ka.fixed() && kb.fixed() && ka != kb)
    fail(ErrorCode::kBadShape, node,
         fmt::format("{} and {} cannot be multiplied: {} columns meet {} rows", to_string(*a.shape), to_string(*b.shape),
                     ka.value, kb.value));
  const Shape result = {(*a.shape)[flip_a ? 1 : 0], (*b.shape)[flip_b ? 0 : 1]};
  if (c.shape && (c.shape->size() > 2 || broadcast(node, result, *c.shape).size() != 2))
    fail(ErrorCode::kBadShape, node, "C " + to_string(*c.shape) + " does not broadcast to " + to_string(result));
  return {{dtype, result}};
}

template <class T>
std::vector<T> transposed(std::span<const T> values, std::int64_t rows, std::int64_t columns) {
  std::vector<T> result(values.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
  return result;
}

std::vector<Tensor> gemm(const ComputeArgs& args) {
  const Tensor &a = args.inputs[0], &b = args.inputs[1], &c = args.inputs[2];
  Tensor y = make_output(args);
  with_floats(args.node, a.dtype(), [&]<class T>(T) {
    const std::int64_t M = y.dim(0), N = y.dim(1), K = a.size() / std::max<std::int64_t>(1, M);
    std::span<const T> left = a.values<T>(), right = b.values<T>();
    std::vector<T> left_copy, right_copy;
    if (args.node.get_int("transA", 0) != 0) left = left_copy = transposed(left, K, M);
    if (args.node.get_int("transB", 0) != 0) right = right_copy = transposed(right, N, K);
    const auto out = y.mutable_values<T>();
    multiply<T>(
        {M, N, K, {}, {}, {}}, left, right, out, [](T value) { return value; }, [](T value, std::int64_t) { return value; });
    const auto alpha = static_cast<T>(args.node.get_float("alpha", 1)), beta = static_cast<T>(args.node.get_float("beta", 1));
    if (alpha != 1)
      for (T& value : out) value *= alpha;
    if (!c.defined()) return;
    const auto bias = c.values<T>();
    walk<1>(y.dims(), {broadcast_strides(c.dims(), y.dims())},
            [&](std::int64_t i, const auto& at) { out[i] += beta * bias[at[0]]; });
  });
  return one(std::move(y));
}

std::int64_t gemm_count(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (!inputs[0].shape || inputs[0].shape->size() != 2 || outputs.empty() || !outputs[0].shape) return 0;
  const Dim& K = (*inputs[0].shape)[node.get_int("transA", 0) != 0 ? 0 : 1];
  return K.fixed() ? product(known_count(*outputs[0].shape), K.value) : 0;
}

}  // namespace

std::vector<Operator> matmul_operators() {
  return {
      {.op_type = "MatMul",
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = matmul_rule,
       .reference = half_in_f32<matmul>,
       .macs = matmul_count},
      {.op_type = "MatMulInteger",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 4,
       .shape = matmul_integer_rule,
       .reference = matmul_integer,
       .macs = matmul_count},
      {.op_type = "Gemm",
       .since = 7,
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = gemm_rule,
       .reference = half_in_f32<gemm>,
       .macs = gemm_count},
  };
}

}  // namespace zeropoint::ops
