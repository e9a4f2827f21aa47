// InstanceNormalization, GroupNormalization, RMSNormalization, LpNormalization, LRN, MeanVarianceNormalization. Means over a
// contiguous row are sums in the order of numerics/lane_sum.h divided by the count.
#include <fmt/format.h>

#include <cmath>

#include "numerics/elementary.h"
#include "numerics/lane_sum.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// d = x - mean; d / sqrt(mean of d^2 + epsilon).
template <class T>
void normalize(std::span<T> row, T epsilon) {
  const auto count = static_cast<T>(row.size());
  const T mean = numerics::lane_sum<T>(row) / count;
  std::vector<T> squares(row.size());
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] -= mean;
    squares[i] = row[i] * row[i];
  }
  const T deviation = std::sqrt(numerics::lane_sum<T>(squares) / count + epsilon);
  for (T& value : row) value /= deviation;
}

const Shape& channelled(const Node& node, const Shape& x) {
  if (x.size() < 2) fail(ErrorCode::kBadShape, node, "input " + to_string(x) + " has no channels");
  return x;
}

void check_vector(const Node& node, const TensorType& parameter, const Dim& length, const char* what) {
  if (!parameter.shape) return;
  if (parameter.shape->size() != 1 || ((*parameter.shape)[0].fixed() && length.fixed() && (*parameter.shape)[0] != length))
    fail(ErrorCode::kBadShape, node,
         fmt::format("{} {} does not have {} entries", what, to_string(*parameter.shape), length.value));
}

// ---- GroupNormalization: rows are the groups of channels of each x [N,C,...]; InstanceNormalization: a channel a group.
// scale and bias: one a channel; before opset 21, GroupNormalization has one a group.

std::int64_t group_count(const Node& node, const Dim& channels) {
  if (node.op_type == "InstanceNormalization") return channels.fixed() ? std::max<std::int64_t>(1, channels.value) : 1;
  const std::int64_t groups = node.get_int("num_groups", 0);
  if (groups < 1) fail(ErrorCode::kBadAttribute, node, fmt::format("num_groups is {}", groups));
  if (channels.fixed() && channels.value % groups != 0)
    fail(ErrorCode::kBadShape, node, fmt::format("{} channels do not split into {} groups", channels.value, groups));
  return groups;
}

bool one_a_group(const Node& node, std::int64_t opset) { return node.op_type == "GroupNormalization" && opset < 21; }

std::vector<TensorType> group_normalization_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  const DType dtype = same_dtype(args.node, same_dtype(args.node, x.dtype, args.inputs[1].dtype), args.inputs[2].dtype);
  if (x.shape) {
    const Dim channels = channelled(args.node, *x.shape)[1];
    const std::int64_t groups = group_count(args.node, channels);
    const Dim length = one_a_group(args.node, args.opset) ? Dim(groups) : channels;
    check_vector(args.node, args.inputs[1], length, "scale");
    check_vector(args.node, args.inputs[2], length, "bias");
  }
  return {{dtype, x.shape}};
}

std::vector<Tensor> group_normalization(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = x;
  const std::int64_t C = x.dim(1), groups = group_count(args.node, Dim(C));
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    if (values.empty()) return;
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    const std::size_t width = values.size() / static_cast<std::size_t>(x.dim(0) * groups),
                      plane = values.size() / static_cast<std::size_t>(x.dim(0) * C);
    for (std::size_t row = 0; row < values.size() / width; ++row) normalize<T>(values.subspan(row * width, width), epsilon);
    const auto scale = args.inputs[1].values<T>(), bias = args.inputs[2].values<T>();
    const std::size_t channels_a_parameter = one_a_group(args.node, args.opset) ? static_cast<std::size_t>(C / groups) : 1;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t c = i / plane % static_cast<std::size_t>(C) / channels_a_parameter;
      values[i] = values[i] * scale[c] + bias[c];
    }
  });
  return one(std::move(y));
}

// ---- RMSNormalization: x / sqrt(mean of x^2 + epsilon) * scale over the axes from `axis` on

std::vector<TensorType> rms_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &scale = args.inputs[1];
  if (x.shape) {
    normalize_axis(args.node, args.node.get_int("axis", -1), x.shape->size());
    if (scale.shape && broadcast(args.node, *x.shape, *scale.shape).size() != x.shape->size())
      fail(ErrorCode::kBadShape, args.node,
           "scale " + to_string(*scale.shape) + " does not broadcast to " + to_string(*x.shape));
  }
  return {{scale.dtype == DType::undefined ? x.dtype : scale.dtype, x.shape}};
}

std::vector<Tensor> rms_normalization(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &scale = args.inputs[1];
  if (x.dtype() != scale.dtype()) fail_type(args.node, 1, scale.dtype());
  if (output_dims(args) != x.dims()) fail(ErrorCode::kBadShape, args.node, "scale does not broadcast to the input");
  Tensor y = x;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), x.rank());
  std::size_t width = 1;
  for (std::size_t i = axis; i < x.rank(); ++i) width *= static_cast<std::size_t>(x.dim(i));
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    std::vector<T> squares(width);
    for (std::size_t row = 0; width > 0 && row < values.size() / width; ++row) {
      const auto in = values.subspan(row * width, width);
      for (std::size_t i = 0; i < width; ++i) squares[i] = in[i] * in[i];
      const T rms = std::sqrt(numerics::lane_sum<T>(squares) / static_cast<T>(width) + epsilon);
      for (T& value : in) value /= rms;
    }
    const auto factor = scale.values<T>();
    walk<1>(y.dims(), {broadcast_strides(scale.dims(), y.dims())},
            [&](std::int64_t i, const auto& at) { values[i] *= factor[at[0]]; });
  });
  return one(std::move(y));
}

// ---- LpNormalization: x / (sum of |x|^p)^(1/p) along an axis, p = 1 or 2; zeros where the norm is 0

std::vector<TensorType> lp_shape(const ShapeArgs& args) {
  const std::int64_t p = args.node.get_int("p", 2);
  if (p != 1 && p != 2) fail(ErrorCode::kBadAttribute, args.node, fmt::format("p is {}, must be 1 or 2", p));
  if (args.inputs[0].shape) normalize_axis(args.node, args.node.get_int("axis", -1), args.inputs[0].shape->size());
  return {args.inputs[0]};
}

std::vector<Tensor> lp_normalization(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = x;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), x.rank());
  const bool squared = args.node.get_int("p", 2) == 2;
  const std::int64_t length = x.dim(axis);
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < x.rank(); ++i) inner *= x.dim(i);
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    if (values.empty()) return;
    std::vector<T> row(static_cast<std::size_t>(length));
    for (std::int64_t start = 0; start < y.size() / length; ++start) {
      const std::int64_t first = start / inner * inner * length + start % inner;
      for (std::int64_t i = 0; i < length; ++i) {
        const T value = values[first + i * inner];
        row[i] = squared ? value * value : std::fabs(value);
      }
      T norm = numerics::lane_sum<T>(row);
      if (squared) norm = std::sqrt(norm);
      for (std::int64_t i = 0; i < length; ++i) {
        T& value = values[first + i * inner];
        value = norm == 0 ? T{0} : value / norm;
      }
    }
  });
  return one(std::move(y));
}

// ---- LRN: x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels) ^ beta

std::vector<TensorType> lrn_shape(const ShapeArgs& args) {
  const std::int64_t size = args.node.get_int("size", 0);
  if (size < 1) fail(ErrorCode::kBadAttribute, args.node, fmt::format("size is {}", size));
  if (args.inputs[0].shape) channelled(args.node, *args.inputs[0].shape);
  return {args.inputs[0]};
}

std::vector<Tensor> lrn(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor& x = args.inputs[0];
  Tensor y(x.dtype(), x.dims());
  const std::int64_t C = x.dim(1), size = node.get_int("size", 1), before = (size - 1) / 2, after = size - 1 - before;
  with_floats(node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    if (src.empty()) return;
    const auto alpha = static_cast<T>(node.get_float("alpha", 1e-4F)), beta = static_cast<T>(node.get_float("beta", 0.75F)),
               bias = static_cast<T>(node.get_float("bias", 1));
    const std::int64_t plane = x.size() / (x.dim(0) * C);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t c = i / plane % C, first = i - c * plane;
      T sum = 0;
      for (std::int64_t k = std::max<std::int64_t>(0, c - std::min(before, c)); k < C && k - c <= after; ++k)
        sum += src[first + k * plane] * src[first + k * plane];
      dst[i] = src[i] / numerics::pow(bias + alpha / static_cast<T>(size) * sum, beta);
    }
  });
  return one(std::move(y));
}

// ---- MeanVarianceNormalization over `axes`: (x - mean) / (sqrt(mean of x^2 - mean^2) + 1e-9), as its function in ONNX says

std::vector<std::size_t> mvn_axes(const Node& node, std::size_t rank) {
  return normalize_axes(node, node.get_ints("axes", {0, 2, 3}), rank);
}

std::vector<TensorType> mvn_shape(const ShapeArgs& args) {
  if (args.inputs[0].shape) mvn_axes(args.node, args.inputs[0].shape->size());
  return {args.inputs[0]};
}

std::vector<Tensor> mean_variance_normalization(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y(x.dtype(), x.dims());
  Dims kept = x.dims();
  for (const std::size_t axis : mvn_axes(args.node, x.rank())) kept[axis] = 1;
  const Dims strides = broadcast_strides(kept, x.dims());
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    if (src.empty()) return;
    const auto groups = static_cast<std::size_t>(element_count(kept));
    const auto count = static_cast<T>(src.size() / groups);
    std::vector<T> means(groups), squares(groups);
    walk<1>(x.dims(), {strides}, [&](std::int64_t i, const auto& at) {
      means[at[0]] += src[i];
      squares[at[0]] += src[i] * src[i];
    });
    for (std::size_t i = 0; i < groups; ++i) {
      means[i] /= count;
      const T variance = squares[i] / count - means[i] * means[i];
      squares[i] = std::sqrt(variance > 0 ? variance : T{0}) + static_cast<T>(1e-9);
    }
    walk<1>(x.dims(), {strides}, [&](std::int64_t i, const auto& at) { dst[i] = (src[i] - means[at[0]]) / squares[at[0]]; });
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> normalization_operators() {
  return {
      {.op_type = "InstanceNormalization",
       .since = 6,
       .min_inputs = 3,
       .max_inputs = 3,
       .shape = group_normalization_shape,
       .reference = half_in_f32<group_normalization>},
      {.op_type = "GroupNormalization",
       .since = 18,
       .min_inputs = 3,
       .max_inputs = 3,
       .shape = group_normalization_shape,
       .reference = half_in_f32<group_normalization>},
      {.op_type = "RMSNormalization",
       .since = 23,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = rms_shape,
       .reference = half_in_f32<rms_normalization>},
      {.op_type = "LpNormalization", .shape = lp_shape, .reference = half_in_f32<lp_normalization>},
      {.op_type = "LRN", .shape = lrn_shape, .reference = half_in_f32<lrn>},
      {.op_type = "MeanVarianceNormalization",
       .since = 9,
       .shape = mvn_shape,
       .reference = half_in_f32<mean_variance_normalization>},
  };
}

}  // namespace zeropoint::ops
