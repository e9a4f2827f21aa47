// com.microsoft's quantized operators without weights: QLinearAdd, QLinearMul, QLinearSigmoid, QLinearLeakyRelu,
// QLinearSoftmax, QLinearGlobalAveragePool, QLinearAveragePool, QLinearConcat. Mul and pooling form exact integers and scale
// once; the others are the literal graph dequantize - operator - quantize.
#include <fmt/format.h>

#include <functional>

#include "numerics/elementary.h"
#include "ops/families.h"
#include "ops/pool.h"
#include "ops/quantized.h"

namespace zeropoint::ops {
namespace {

// A quantized input and its parameters, in three consecutive inputs.
struct Quantized {
  std::vector<std::int32_t> values;
  float scale;
  std::int32_t zero_point;
  float real(std::int64_t i) const { return numerics::dequantize(values[i], scale, zero_point); }
};
Quantized read_quantized(const ComputeArgs& args, std::size_t input) {
  const Node& node = args.node;
  return {read_integers(node, args.inputs[input]), scalar_scale(node, args.inputs[input + 1]),
          scalar_zero(node, args.inputs[input + 2])};
}

// ---- QLinearAdd, QLinearMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)

std::vector<TensorType> qlinear_binary_shape(const ShapeArgs& args) {
  TensorType result{same_dtype(args.node, args.inputs[0].dtype, args.inputs[3].dtype), std::nullopt};
  if (args.inputs[0].shape && args.inputs[3].shape)
    result.shape = broadcast(args.node, *args.inputs[0].shape, *args.inputs[3].shape);
  return {result};
}

template <bool product>
std::vector<Tensor> qlinear_binary(const ComputeArgs& args) {
  const Quantized a = read_quantized(args, 0), b = read_quantized(args, 3);
  const float scale = scalar_scale(args.node, args.inputs[6]);
  const std::int32_t zero = scalar_zero(args.node, args.inputs[7]);
  const Dims dims = output_dims(args);
  const numerics::Limits limits = limits_of(args.outputs[0].dtype);
  std::vector<std::int32_t> q(static_cast<std::size_t>(element_count(dims)));
  const float factor = numerics::requantize_scale(a.scale, b.scale, scale);
  walk<2>(dims, {broadcast_strides(args.inputs[0].dims(), dims), broadcast_strides(args.inputs[3].dims(), dims)},
          [&](std::int64_t i, const auto& at) {
            q[i] = product ? numerics::requantize((a.values[at[0]] - a.zero_point) * (b.values[at[1]] - b.zero_point), factor,
                                                  zero, limits)
                           : numerics::quantize(a.real(at[0]) + b.real(at[1]), scale, zero, limits);
          });
  return one(write_integers(q, args.outputs[0].dtype, dims));
}

// ---- QLinearSigmoid, QLinearLeakyRelu, QLinearSoftmax(x, x_scale, x_zero_point, y_scale, y_zero_point)

Tensor quantized_like(const ComputeArgs& args, std::span<const float> reals) {
  const float scale = scalar_scale(args.node, args.inputs[3]);
  const std::int32_t zero = scalar_zero(args.node, args.inputs[4]);
  std::vector<std::int32_t> q(reals.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = numerics::quantize(reals[i], scale, zero, limits_of(args.outputs[0].dtype));
  return write_integers(q, args.outputs[0].dtype, output_dims(args));
}

std::vector<float> reals(const ComputeArgs& args) {
  const Quantized x = read_quantized(args, 0);
  std::vector<float> result(x.values.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = x.real(static_cast<std::int64_t>(i));
  return result;
}

std::vector<Tensor> qlinear_sigmoid(const ComputeArgs& args) {
  std::vector<float> values = reals(args);
  for (float& value : values) value = numerics::sigmoid(value);
  return one(quantized_like(args, values));
}

std::vector<Tensor> qlinear_leaky_relu(const ComputeArgs& args) {
  std::vector<float> values = reals(args);
  const float alpha = args.node.get_float("alpha", 0.01F);
  for (float& value : values) value = value < 0 ? alpha * value : value;
  return one(quantized_like(args, values));
}

std::vector<Tensor> qlinear_softmax(const ComputeArgs& args) {
  const Tensor input = Tensor::of<float>(args.inputs[0].dims(), reals(args));
  const std::vector<TensorType> type = {{DType::f32, to_shape(input.dims())}};
  // The attribute opset says which of Softmax's two meanings holds.
  const Tensor result =
      find("", "Softmax")->reference({args.node, args.node.get_int("opset", 13), std::span(&input, 1), type})[0];
  return one(quantized_like(args, result.values<float>()));
}

// ---- Pooling: (float(sum(x - zero_point)) * x_scale) / float(count), quantized. channels_last: x is [N,...,C].

Dims channels_first(const Node& node, Dims dims) {
  if (node.get_int("channels_last", 0) != 0 && dims.size() > 2) std::rotate(dims.begin() + 1, dims.end() - 1, dims.end());
  return dims;
}
Shape channels_first(const Node& node, Shape shape) {
  if (node.get_int("channels_last", 0) != 0 && shape.size() > 2) std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
  return shape;
}
std::vector<TensorType> channels_back(const Node& node, std::vector<TensorType> types) {
  if (node.get_int("channels_last", 0) != 0 && types[0].shape && types[0].shape->size() > 2)
    std::rotate(types[0].shape->begin() + 1, types[0].shape->begin() + 2, types[0].shape->end());
  return types;
}

template <ShapeRule rule>
std::vector<TensorType> qlinear_pool_shape(const ShapeArgs& args) {
  std::vector<TensorType> inputs(args.inputs.begin(), args.inputs.end());
  if (inputs[0].shape) inputs[0].shape = channels_first(args.node, *inputs[0].shape);
  return channels_back(args.node, rule({args.node, args.opset, inputs, args.constants, args.integers}));
}

std::vector<Tensor> qlinear_pool(const ComputeArgs& args, bool global) {
  const Node& node = args.node;
  const bool last = node.get_int("channels_last", 0) != 0;
  const Quantized x = read_quantized(args, 0);
  const Dims dims = channels_first(node, args.inputs[0].dims());
  const std::vector<WindowAxis> axes = global ? global_pool_axes(node, dims) : pool_axes(node, dims);
  const float scale = scalar_scale(node, args.inputs[3]);
  const std::int32_t zero = scalar_zero(node, args.inputs[4]);
  const std::int64_t C = dims[1], plane = axes[0].input * axes[1].input * axes[2].input;
  const std::int64_t out_plane = axes[0].output * axes[1].output * axes[2].output;
  std::vector<std::int32_t> q(static_cast<std::size_t>(dims[0] * C * out_plane));
  for_each_window(axes, dims[0] * C, !global && node.get_int("count_include_pad", 0) != 0,
                  [&](std::int64_t output, std::int64_t start, const auto& inside, std::int64_t divisor) {
                    const std::int64_t n = output / (C * out_plane), c = output / out_plane % C;
                    std::int64_t sum = 0;
                    for (const std::int64_t i : inside)
                      sum += x.values[last ? (n * plane + i) * C + c : start + i] - x.zero_point;
                    const float mean = (static_cast<float>(sum) * x.scale) / static_cast<float>(divisor);
                    q[last ? (n * out_plane + output % out_plane) * C + c : output] =
                        numerics::quantize(mean, scale, zero, limits_of(args.outputs[0].dtype));
                  });
  return one(write_integers(q, args.outputs[0].dtype, output_dims(args)));
}
std::vector<Tensor> qlinear_average_pool(const ComputeArgs& args) { return qlinear_pool(args, false); }
std::vector<Tensor> qlinear_global_average_pool(const ComputeArgs& args) { return qlinear_pool(args, true); }

// ---- QLinearConcat(y_scale, y_zero_point, x0, x0_scale, x0_zero_point, x1, ...)

std::vector<TensorType> qlinear_concat_shape(const ShapeArgs& args) {
  if (args.inputs.size() % 3 != 2 || args.inputs.size() < 5)
    fail(ErrorCode::kBadModel, args.node, fmt::format("takes 2 + 3n inputs, has {}", args.inputs.size()));
  std::vector<TensorType> parts;
  for (std::size_t i = 2; i < args.inputs.size(); i += 3) parts.push_back(args.inputs[i]);
  const std::vector<const Tensor*> constants(parts.size(), nullptr);
  return find("", "Concat")->shape({args.node, 13, parts, constants});
}

std::vector<Tensor> qlinear_concat(const ComputeArgs& args) {
  const float scale = scalar_scale(args.node, args.inputs[0]);
  const std::int32_t zero = scalar_zero(args.node, args.inputs[1]);
  std::vector<Tensor> parts;
  for (std::size_t i = 2; i < args.inputs.size(); i += 3) {
    const Quantized x = read_quantized(args, i);
    if (x.scale == scale && x.zero_point == zero) {
      parts.push_back(args.inputs[i]);
      continue;
    }
    std::vector<std::int32_t> q(x.values.size());
    for (std::size_t k = 0; k < q.size(); ++k)
      q[k] = numerics::quantize(x.real(static_cast<std::int64_t>(k)), scale, zero, limits_of(args.inputs[i].dtype()));
    parts.push_back(write_integers(q, args.inputs[i].dtype(), args.inputs[i].dims()));
  }
  return find("", "Concat")->reference({args.node, 13, parts, args.outputs});
}

}  // namespace

std::vector<Operator> qlinear_elementwise_operators() {
  return {
      microsoft("QLinearAdd", 7, 8, qlinear_binary_shape, qlinear_binary<false>),
      microsoft("QLinearMul", 7, 8, qlinear_binary_shape, qlinear_binary<true>),
      microsoft("QLinearSigmoid", 4, 5, same_as_input, qlinear_sigmoid),
      microsoft("QLinearLeakyRelu", 4, 5, same_as_input, qlinear_leaky_relu),
      microsoft("QLinearSoftmax", 4, 5, same_as_input, qlinear_softmax),
      microsoft("QLinearAveragePool", 4, 5, qlinear_pool_shape<pool_shape>, qlinear_average_pool),
      microsoft("QLinearGlobalAveragePool", 4, 5, qlinear_pool_shape<global_pool_shape>, qlinear_global_average_pool),
      microsoft("QLinearConcat", 5, kAnyNumber, qlinear_concat_shape, qlinear_concat),
  };
}

}  // namespace zeropoint::ops
