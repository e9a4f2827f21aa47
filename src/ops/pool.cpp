// AveragePool, MaxPool, GlobalAveragePool, GlobalMaxPool. An average is the sum of the window, added in row-major order,
// divided by the count.
#include "ops/pool.h"

#include <limits>

#include "ops/families.h"

namespace zeropoint::ops {

std::vector<TensorType> pool_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  if (x.shape->size() < 3) fail(ErrorCode::kBadShape, args.node, "input " + to_string(*x.shape) + " has no spatial dimensions");
  Shape shape = {(*x.shape)[0], (*x.shape)[1]};
  for (const WindowAxis& axis : window_axes(args.node, std::span(*x.shape).subspan(2), {})) shape.emplace_back(axis.output);
  return {{x.dtype, shape}};
}

std::vector<TensorType> global_pool_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  if (x.shape->size() < 3) fail(ErrorCode::kBadShape, args.node, "input " + to_string(*x.shape) + " has no spatial dimensions");
  Shape shape = *x.shape;
  for (std::size_t i = 2; i < shape.size(); ++i) shape[i] = Dim(1);
  return {{x.dtype, shape}};
}

std::vector<WindowAxis> pool_axes(const Node& node, const Dims& x) {
  const Shape shape = to_shape(x);
  return as_three(node, window_axes(node, std::span(shape).subspan(2), {}));
}

std::vector<WindowAxis> global_pool_axes(const Node& node, const Dims& x) {
  std::vector<WindowAxis> axes;
  for (std::size_t i = 2; i < x.size(); ++i) axes.push_back({.kernel = x[i], .input = x[i]});
  return as_three(node, std::move(axes));
}

namespace {

Tensor average(const ComputeArgs& args, const std::vector<WindowAxis>& axes, bool count_include_pad) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    for_each_window(axes, x.dim(0) * x.dim(1), count_include_pad,
                    [&](std::int64_t output, std::int64_t plane, const auto& inside, std::int64_t divisor) {
                      T sum = 0;
                      for (const std::int64_t i : inside) sum += src[plane + i];
                      dst[output] = sum / static_cast<T>(divisor);
                    });
  });
  return y;
}

std::vector<Tensor> average_pool(const ComputeArgs& args) {
  return one(average(args, pool_axes(args.node, args.inputs[0].dims()), args.node.get_int("count_include_pad", 0) != 0));
}
std::vector<Tensor> global_average_pool(const ComputeArgs& args) {
  return one(average(args, global_pool_axes(args.node, args.inputs[0].dims()), false));
}

// The largest element and where it lies in the plane; NaN is larger than everything; -1 and the lowest for an empty window.
Tensor maximum(const ComputeArgs& args, const std::vector<WindowAxis>& axes, std::span<std::int64_t> where) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    for_each_window(axes, x.dim(0) * x.dim(1), false,
                    [&](std::int64_t output, std::int64_t plane, const auto& inside, std::int64_t) {
                      std::int64_t best = -1;
                      for (const std::int64_t i : inside)
                        if (best < 0 || src[plane + i] > src[plane + best] ||
                            (src[plane + i] != src[plane + i] && src[plane + best] == src[plane + best]))
                          best = i;
                      dst[output] = best < 0 ? std::numeric_limits<T>::lowest() : src[plane + best];
                      if (!where.empty()) where[output] = best < 0 ? -1 : plane + best;
                    });
  });
  return y;
}

std::vector<TensorType> max_pool_shape(const ShapeArgs& args) {
  std::vector<TensorType> types = pool_shape(args);
  types.push_back({DType::s64, types[0].shape});
  return types;
}

std::vector<Tensor> max_pool(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const auto axes = pool_axes(args.node, x.dims());
  Tensor indices(DType::s64, output_dims(args, 0));
  const auto where = indices.mutable_values<std::int64_t>();
  Tensor y = maximum(args, axes, where);
  if (args.node.get_int("storage_order", 0) != 0) {  // column-major within the plane
    const std::int64_t plane = axes[0].input * axes[1].input * axes[2].input;
    for (std::int64_t& index : where) {
      if (index < 0) continue;
      const std::int64_t i = index % plane, w = i % axes[2].input, h = i / axes[2].input % axes[1].input,
                         d = i / (axes[2].input * axes[1].input);
      index = index - i + (w * axes[1].input + h) * axes[0].input + d;
    }
  }
  return {std::move(y), std::move(indices)};
}

std::vector<Tensor> global_max_pool(const ComputeArgs& args) {
  return one(maximum(args, global_pool_axes(args.node, args.inputs[0].dims()), {}));
}

}  // namespace

std::vector<Operator> pool_operators() {
  return {
      {.op_type = "AveragePool", .shape = pool_shape, .reference = half_in_f32<average_pool>},
      {.op_type = "MaxPool", .shape = max_pool_shape, .reference = half_in_f32<max_pool>},
      {.op_type = "GlobalAveragePool", .shape = global_pool_shape, .reference = half_in_f32<global_average_pool>},
      {.op_type = "GlobalMaxPool", .shape = global_pool_shape, .reference = half_in_f32<global_max_pool>},
  };
}

}  // namespace zeropoint::ops
