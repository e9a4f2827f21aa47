// LayerNormalization over the axes from `axis` on: d = x - mean, inverse = 1 / sqrt(mean(d^2) + epsilon),
// y = d * inverse * scale + bias, in fp32 (f64 for f64 values); a stash_type that asks for less is refused; sums in the order
// of numerics/lane_sum.h. Further outputs: the mean and the inverse.
#include <fmt/format.h>

#include <cmath>

#include "numerics/lane_sum.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> layer_normalization_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  TensorType statistic{x.dtype == DType::f64 ? DType::f64 : DType::f32, std::nullopt};
  if (x.shape) {
    const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), x.shape->size());
    statistic.shape = x.shape;
    for (std::size_t i = axis; i < x.shape->size(); ++i) (*statistic.shape)[i] = Dim(1);
    for (std::size_t i = 1; i < 3; ++i)
      if (args.inputs[i].shape && broadcast(args.node, *x.shape, *args.inputs[i].shape).size() != x.shape->size())
        fail(ErrorCode::kBadShape, args.node,
             to_string(*args.inputs[i].shape) + " does not broadcast to " + to_string(*x.shape));
  }
  return {x, statistic, statistic};
}

// The type of the statistics. ONNX Runtime knows fp32 alone, too.
void check_stash_type(const Node& node) {
  constexpr std::int64_t kFloat = 1;  // TensorProto.FLOAT
  if (const std::int64_t type = node.get_int("stash_type", kFloat); type != kFloat)
    fail(ErrorCode::kUnsupported, node, fmt::format("stash_type {}: statistics are computed in float32 (1) only", type));
}

std::vector<Tensor> layer_normalization(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &scale = args.inputs[1], &bias = args.inputs[2];
  check_stash_type(args.node);
  Tensor y = make_output(args, 0), means = make_output(args, 1), inverses = make_output(args, 2);
  const auto rows = static_cast<std::size_t>(means.size());
  const std::size_t width = rows == 0 ? 0 : static_cast<std::size_t>(x.size()) / rows;
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>(), mean_out = means.mutable_values<T>(), inverse_out = inverses.mutable_values<T>();
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    std::vector<T> squares(width);
    for (std::size_t row = 0; row < rows; ++row) {
      const auto in = src.subspan(row * width, width);
      const auto out = dst.subspan(row * width, width);
      const T mean = numerics::lane_sum<T>(in) / static_cast<T>(width);
      for (std::size_t i = 0; i < width; ++i) {
        out[i] = in[i] - mean;
        squares[i] = out[i] * out[i];
      }
      const T inverse = T{1} / std::sqrt(numerics::lane_sum<T>(squares) / static_cast<T>(width) + epsilon);
      for (T& value : out) value *= inverse;
      mean_out[row] = mean;
      inverse_out[row] = inverse;
    }
    const auto factor = scale.values<T>();
    walk<1>(y.dims(), {broadcast_strides(scale.dims(), y.dims())},
            [&](std::int64_t i, const auto& at) { dst[i] *= factor[at[0]]; });
    if (!bias.defined()) return;
    const auto summand = bias.values<T>();
    walk<1>(y.dims(), {broadcast_strides(bias.dims(), y.dims())},
            [&](std::int64_t i, const auto& at) { dst[i] += summand[at[0]]; });
  });
  return {std::move(y), std::move(means), std::move(inverses)};
}

}  // namespace

std::vector<Operator> layer_normalization_operators() {
  // ONNX has it since opset 17; ONNX Runtime's optimizer writes it into older models, with the same meaning.
  return {{.op_type = "LayerNormalization",
           .min_inputs = 2,
           .max_inputs = 3,
           .shape = layer_normalization_shape,
           .reference = half_in_f32<layer_normalization>}};
}

}  // namespace zeropoint::ops
