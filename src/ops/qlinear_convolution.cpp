// QLinearConv(x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias): exact sums with the bias at
// x_scale * w_scale[o], then requantization. Equals ONNX Runtime bit for bit where its
// sums of 32 bits do not wrap around.
#include "ops/convolution.h"
#include "ops/families.h"
#include "ops/quantized.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> qlinear_conv_shape(const ShapeArgs& args) {
  same_dtype(args.node, args.inputs[0].dtype, args.inputs[2].dtype);
  same_dtype(args.node, args.inputs[3].dtype, args.inputs[5].dtype);
  same_dtype(args.node, args.inputs[8].dtype, DType::s32);
  return convolution_shape(args, 3, args.inputs[7].dtype);
}

std::vector<Tensor> qlinear_conv(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor &x = args.inputs[0], &w = args.inputs[3], &bias = args.inputs[8];
  const Dims dims = output_dims(args);
  const Convolution geometry = read_convolution(node, x.dims(), w.dims());
  const std::int64_t O = geometry.O;
  const float x_scale = scalar_scale(node, args.inputs[1]), y_scale = scalar_scale(node, args.inputs[6]);
  const std::int32_t x_zero = scalar_zero(node, args.inputs[2]), y_zero = scalar_zero(node, args.inputs[7]);
  const auto w_scale = channel_scales(node, args.inputs[4], O);
  const auto w_zero = channel_zeros(node, args.inputs[5], O);
  const auto x_values = read_integers(node, x), w_values = read_integers(node, w);
  if (bias.defined() && bias.size() != O)
    fail(ErrorCode::kBadShape, node, "bias " + to_string(bias.dims()) + " does not fit the output channels");

  std::vector<std::int64_t> sums(static_cast<std::size_t>(element_count(dims)));
  convolve<std::int64_t>(
      geometry, std::span(x_values), std::span(w_values), std::span(sums),
      [=](std::int32_t value) { return std::int64_t{value} - x_zero; },
      [&](std::int32_t value, std::int64_t o) { return std::int64_t{value} - w_zero[o]; });
  const DType dtype = args.outputs[0].dtype;
  std::vector<std::int32_t> q(sums.size());
  const std::int64_t plane = static_cast<std::int64_t>(sums.size()) / std::max<std::int64_t>(1, geometry.N * O);
  for (std::size_t i = 0; i < q.size(); ++i) {
    const std::int64_t o = static_cast<std::int64_t>(i) / plane % O;
    const std::int64_t sum = sums[i] + (bias.defined() ? bias.values<std::int32_t>()[o] : 0);
    q[i] = requantize(sum, numerics::requantize_scale(x_scale, w_scale[o], y_scale), y_zero, limits_of(dtype));
  }
  return one(write_integers(q, dtype, dims));
}

std::int64_t qlinear_conv_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return convolution_macs(inputs, outputs, 3);
}

}  // namespace

std::vector<Operator> qlinear_convolution_operators() {
  return {{.op_type = "QLinearConv",
           .since = 10,
           .min_inputs = 8,
           .max_inputs = 9,
           .shape = qlinear_conv_shape,
           .reference = qlinear_conv,
           .macs = qlinear_conv_macs}};
}

}  // namespace zeropoint::ops
