// BatchNormalization at inference: y = ((x - mean[c]) / sqrt(var[c] + epsilon)) * scale[c] + bias[c]; x: [N,C,...].
#include <cmath>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> batch_normalization_shape(const ShapeArgs& args) {
  if (args.node.get_int("training_mode", 0) != 0)
    fail(ErrorCode::kUnsupported, args.node, "training_mode is set: export the model for inference");
  const TensorType& x = args.inputs[0];
  if (x.shape && x.shape->size() < 2)
    fail(ErrorCode::kBadShape, args.node, "input " + to_string(*x.shape) + " has no channels");
  for (std::size_t i = 1; i < 5; ++i) {
    const TensorType& parameter = args.inputs[i];
    if (!parameter.shape) continue;
    if (parameter.shape->size() != 1)
      fail(ErrorCode::kBadShape, args.node, "a parameter is not one-dimensional: " + to_string(*parameter.shape));
    if (x.shape) merge(args.node, (*x.shape)[1], (*parameter.shape)[0]);
  }
  return {x};
}

std::vector<Tensor> batch_normalization(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y(x.dtype(), x.dims());
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>(), scale = args.inputs[1].values<T>(), bias = args.inputs[2].values<T>();
    const auto mean = args.inputs[3].values<T>(), variance = args.inputs[4].values<T>();
    const auto dst = y.mutable_values<T>();
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    const auto channels = static_cast<std::size_t>(x.dim(1));
    const std::size_t plane = src.empty() ? 1 : src.size() / (channels * static_cast<std::size_t>(x.dim(0)));
    for (std::size_t i = 0; i < src.size(); ++i) {
      const std::size_t c = i / plane % channels;
      dst[i] = ((src[i] - mean[c]) / std::sqrt(variance[c] + epsilon)) * scale[c] + bias[c];
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> batch_normalization_operators() {
  return {{.op_type = "BatchNormalization",
           .since = 7,
           .min_inputs = 5,
           .max_inputs = 5,
           .shape = batch_normalization_shape,
           .reference = half_in_f32<batch_normalization>}};
}

}  // namespace zeropoint::ops
