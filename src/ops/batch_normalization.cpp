// BatchNormalization: y = ((x - mean[c]) / sqrt(var[c] + epsilon)) * scale[c] + bias[c]; x: [N,C,...]. With training_mode, mean
// and variance are those of x itself, and further outputs are mean * momentum + own mean * (1 - momentum), variances likewise.
#include <cmath>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

bool trains(const Node& node) { return node.get_int("training_mode", 0) != 0; }

std::vector<TensorType> batch_normalization_shape(const ShapeArgs& args) {
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
  if (!trains(args.node)) return {x};
  return {x, {args.inputs[3].dtype, args.inputs[3].shape}, {args.inputs[4].dtype, args.inputs[4].shape}};
}

std::vector<Tensor> batch_normalization(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y(x.dtype(), x.dims());
  std::vector<Tensor> more;
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>(), scale = args.inputs[1].values<T>(), bias = args.inputs[2].values<T>();
    auto mean = args.inputs[3].values<T>(), variance = args.inputs[4].values<T>();
    const auto dst = y.mutable_values<T>();
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    const auto channels = static_cast<std::size_t>(x.dim(1));
    const std::size_t plane = src.empty() ? 1 : src.size() / (channels * static_cast<std::size_t>(x.dim(0)));
    std::vector<T> own_mean, own_variance;
    if (trains(args.node)) {
      own_mean.resize(channels);
      own_variance.resize(channels);
      const T count = static_cast<T>(src.size() / std::max<std::size_t>(1, channels));
      for (std::size_t i = 0; i < src.size(); ++i) own_mean[i / plane % channels] += src[i];
      for (T& value : own_mean) value /= count;
      for (std::size_t i = 0; i < src.size(); ++i) {
        const T difference = src[i] - own_mean[i / plane % channels];
        own_variance[i / plane % channels] += difference * difference;
      }
      for (T& value : own_variance) value /= count;
      const auto momentum = static_cast<T>(args.node.get_float("momentum", 0.9F));
      const auto running = [&](std::span<const T> before, const std::vector<T>& own) {
        std::vector<T> result(channels);
        for (std::size_t c = 0; c < channels; ++c) result[c] = before[c] * momentum + own[c] * (1 - momentum);
        return Tensor::of<T>({x.dim(1)}, result);
      };
      more = {running(mean, own_mean), running(variance, own_variance)};
      mean = own_mean;
      variance = own_variance;
    }
    for (std::size_t i = 0; i < src.size(); ++i) {
      const std::size_t c = i / plane % channels;
      dst[i] = ((src[i] - mean[c]) / std::sqrt(variance[c] + epsilon)) * scale[c] + bias[c];
    }
  });
  more.insert(more.begin(), std::move(y));
  return more;
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
