// QLinearMatMul and com.microsoft's QGemm: exact sums, then requantization. Equal ONNX Runtime bit for bit where its
// sums of 32 bits do not wrap around.
#include <fmt/format.h>

#include "ops/families.h"
#include "ops/matmul.h"
#include "ops/quantized.h"

namespace zeropoint::ops {
namespace {

// ---- QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point); b's scale may be one a column.

std::vector<TensorType> qlinear_matmul_shape(const ShapeArgs& args) {
  same_dtype(args.node, args.inputs[0].dtype, args.inputs[2].dtype);
  same_dtype(args.node, args.inputs[3].dtype, args.inputs[5].dtype);
  return {{args.inputs[7].dtype, matmul_shape(args.node, args.inputs[0], args.inputs[3])}};
}

std::vector<Tensor> qlinear_matmul(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor &a = args.inputs[0], &b = args.inputs[3];
  const Dims dims = output_dims(args);
  const MatMulGeometry geometry = matmul_geometry(node, a.dims(), b.dims());
  const float a_scale = scalar_scale(node, args.inputs[1]), y_scale = scalar_scale(node, args.inputs[6]);
  const std::int32_t a_zero = scalar_zero(node, args.inputs[2]), y_zero = scalar_zero(node, args.inputs[7]);
  const auto b_scale = channel_scales(node, args.inputs[4], geometry.N);
  const auto b_zero = channel_zeros(node, args.inputs[5], geometry.N);
  const auto a_values = read_integers(node, a), b_values = read_integers(node, b);

  std::vector<std::int64_t> sums(static_cast<std::size_t>(element_count(dims)));
  multiply<std::int64_t>(
      geometry, std::span(a_values), std::span(b_values), std::span(sums),
      [=](std::int32_t value) { return std::int64_t{value} - a_zero; },
      [&](std::int32_t value, std::int64_t n) { return std::int64_t{value} - b_zero[n]; });
  const DType dtype = args.outputs[0].dtype;
  std::vector<std::int32_t> q(sums.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    const float scale = numerics::requantize_scale(a_scale, b_scale[static_cast<std::int64_t>(i) % geometry.N], y_scale);
    q[i] = requantize(sums[i], scale, y_zero, limits_of(dtype));
  }
  return one(write_integers(q, dtype, dims));
}

std::int64_t qlinear_matmul_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return matmul_macs(inputs[0], outputs);
}

// ---- QGemm(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point): c in s32 at alpha a_scale
// b_scale[n]. Without y_scale the result is float: sum * (alpha * a_scale * b_scale[n]).

std::vector<TensorType> qgemm_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType &a = args.inputs[0], &b = args.inputs[3];
  same_dtype(node, a.dtype, args.inputs[2].dtype);
  same_dtype(node, b.dtype, args.inputs[5].dtype);
  same_dtype(node, args.inputs[6].dtype, DType::s32);
  TensorType result{node.input(7).empty()   ? DType::f32
                    : node.input(8).empty() ? a.dtype
                                            : args.inputs[8].dtype,
                    unknown_shape(2)};
  if (!a.shape || !b.shape) return {result};
  if (a.shape->size() != 2 || b.shape->size() != 2) fail(ErrorCode::kBadShape, node, "takes matrices");
  const bool flip_a = node.get_int("transA", 0) != 0, flip_b = node.get_int("transB", 0) != 0;
  merge(node, (*a.shape)[flip_a ? 0 : 1], (*b.shape)[flip_b ? 1 : 0]);
  result.shape = Shape{(*a.shape)[flip_a ? 1 : 0], (*b.shape)[flip_b ? 0 : 1]};
  if (args.inputs[6].shape && broadcast(node, *result.shape, *args.inputs[6].shape).size() != 2)
    fail(ErrorCode::kBadShape, node, "C does not broadcast to the result");
  return {result};
}

std::vector<std::int32_t> transposed(const std::vector<std::int32_t>& values, std::int64_t rows, std::int64_t columns) {
  std::vector<std::int32_t> result(values.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
  return result;
}

std::vector<Tensor> qgemm(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor &a = args.inputs[0], &b = args.inputs[3], &c = args.inputs[6];
  const Dims dims = output_dims(args);
  const std::int64_t M = dims[0], N = dims[1], K = a.size() / std::max<std::int64_t>(1, M);
  const float alpha = node.get_float("alpha", 1), a_scale = scalar_scale(node, args.inputs[1]);
  const std::int32_t a_zero = scalar_zero(node, args.inputs[2]);
  const auto b_scale = channel_scales(node, args.inputs[4], N);
  const auto b_zero = channel_zeros(node, args.inputs[5], N);
  auto a_values = read_integers(node, a), b_values = read_integers(node, b);
  if (node.get_int("transA", 0) != 0) a_values = transposed(a_values, K, M);
  if (node.get_int("transB", 0) != 0) b_values = transposed(b_values, N, K);

  std::vector<std::int64_t> sums(static_cast<std::size_t>(M * N));
  multiply<std::int64_t>(
      {M, N, K, {}, {}, {}}, std::span<const std::int32_t>(a_values), std::span<const std::int32_t>(b_values), std::span(sums),
      [=](std::int32_t value) { return std::int64_t{value} - a_zero; },
      [&](std::int32_t value, std::int64_t n) { return std::int64_t{value} - b_zero[n]; });
  if (c.defined()) {
    const auto bias = c.values<std::int32_t>();
    walk<1>(dims, {broadcast_strides(c.dims(), dims)}, [&](std::int64_t i, const auto& at) { sums[i] += bias[at[0]]; });
  }
  const DType dtype = args.outputs[0].dtype;
  if (!args.inputs[7].defined()) {
    Tensor y(DType::f32, dims);
    const auto dst = y.mutable_values<float>();
    for (std::size_t i = 0; i < dst.size(); ++i)
      dst[i] = static_cast<float>(sums[i]) * (alpha * a_scale * b_scale[static_cast<std::int64_t>(i) % N]);
    return one(std::move(y));
  }
  const float y_scale = scalar_scale(node, args.inputs[7]);
  const std::int32_t y_zero = scalar_zero(node, args.inputs[8]);
  std::vector<std::int32_t> q(sums.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    const float scale = numerics::requantize_scale(alpha * a_scale, b_scale[static_cast<std::int64_t>(i) % N], y_scale);
    q[i] = requantize(sums[i], scale, y_zero, limits_of(dtype));
  }
  return one(write_integers(q, dtype, dims));
}

std::int64_t qgemm_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (!inputs[0].shape || inputs[0].shape->size() != 2 || outputs.empty() || !outputs[0].shape) return 0;
  const Dim& K = (*inputs[0].shape)[node.get_int("transA", 0) != 0 ? 0 : 1];
  return K.fixed() ? product(known_count(*outputs[0].shape), K.value) : 0;
}

}  // namespace

std::vector<Operator> qlinear_matmul_operators() {
  return {
      {.op_type = "QLinearMatMul",
       .since = 10,
       .min_inputs = 8,
       .max_inputs = 8,
       .shape = qlinear_matmul_shape,
       .reference = qlinear_matmul,
       .macs = qlinear_matmul_macs},
      {.domain = "com.microsoft",
       .op_type = "QGemm",
       .min_inputs = 6,
       .max_inputs = 9,
       .shape = qgemm_shape,
       .reference = qgemm,
       .macs = qgemm_macs},
  };
}

}  // namespace zeropoint::ops
