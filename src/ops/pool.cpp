// AveragePool, MaxPool, LpPool and their global forms, MaxUnpool, MaxRoiPool. An average is the sum of the window, added in
// row-major order, divided by the count.
#include "ops/pool.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "numerics/elementary.h"
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

// ---- LpPool: (sum of |x|^p)^(1/p)

std::int64_t norm_of(const Node& node) {
  const std::int64_t p = node.get_int("p", 2);
  if (p < 1) fail(ErrorCode::kBadAttribute, node, fmt::format("p is {}", p));
  return p;
}

template <ShapeRule rule>
std::vector<TensorType> lp_pool_shape(const ShapeArgs& args) {
  norm_of(args.node);
  return rule(args);
}

Tensor norm(const ComputeArgs& args, const std::vector<WindowAxis>& axes) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  const std::int64_t p = norm_of(args.node);
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    const auto exponent = static_cast<T>(p);
    for_each_window(axes, x.dim(0) * x.dim(1), false,
                    [&](std::int64_t output, std::int64_t plane, const auto& inside, std::int64_t) {
                      T sum = 0;
                      for (const std::int64_t i : inside) {
                        const T value = std::fabs(src[plane + i]);
                        sum += p == 1 ? value : p == 2 ? value * value : numerics::pow(value, exponent);
                      }
                      dst[output] = p == 1 ? sum : p == 2 ? std::sqrt(sum) : numerics::pow(sum, T{1} / exponent);
                    });
  });
  return y;
}

std::vector<Tensor> lp_pool(const ComputeArgs& args) { return one(norm(args, pool_axes(args.node, args.inputs[0].dims()))); }
std::vector<Tensor> global_lp_pool(const ComputeArgs& args) {
  return one(norm(args, global_pool_axes(args.node, args.inputs[0].dims())));
}

// ---- MaxUnpool(x, indices): zeros, and each x at its index in the picture that MaxPool took it from. A larger output_shape
// adds zeros behind that picture.

Dims unpooled(const Node& node, const Dims& x) {
  const std::size_t rank = x.size() - 2;
  const auto kernel = node.get_ints("kernel_shape"), strides = node.get_ints("strides", std::vector<std::int64_t>(rank, 1)),
             pads = node.get_ints("pads", std::vector<std::int64_t>(2 * rank, 0));
  if (kernel.size() != rank || strides.size() != rank || pads.size() != 2 * rank)
    fail(ErrorCode::kBadAttribute, node, fmt::format("kernel_shape, strides or pads do not fit {} spatial axes", rank));
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  Dims dims = {x[0], x[1]};
  for (std::size_t i = 0; i < rank; ++i) {
    for (const std::int64_t value : {kernel[i] - 1, strides[i] - 1, pads[i], pads[i + rank]})
      if (value < 0 || value > kMost) fail(ErrorCode::kBadAttribute, node, "kernel_shape, strides or pads are out of range");
    if (x[i + 2] > kMost) fail(ErrorCode::kLimit, node, fmt::format("an axis of {}", x[i + 2]));
    dims.push_back((x[i + 2] - 1) * strides[i] - pads[i] - pads[i + rank] + kernel[i]);
    if (dims.back() < 0) fail(ErrorCode::kBadShape, node, "padding removes the whole output");
  }
  return dims;
}

std::vector<TensorType> max_unpool_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &indices = args.inputs[1];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  if (x.shape->size() < 3) fail(ErrorCode::kBadShape, args.node, "input " + to_string(*x.shape) + " has no spatial dimensions");
  if (indices.shape) {
    if (indices.shape->size() != x.shape->size()) fail(ErrorCode::kBadShape, args.node, "X and the indices differ in shape");
    for (std::size_t i = 0; i < x.shape->size(); ++i) merge(args.node, (*x.shape)[i], (*indices.shape)[i]);
  }
  const auto dims = fixed_dims(*x.shape);
  const auto plain = dims ? std::optional(unpooled(args.node, *dims)) : std::nullopt;
  if (!present(args.inputs[2])) return {{x.dtype, plain ? to_shape(*plain) : unknown_shape(x.shape->size())}};
  const auto wanted = known_shape(args, 2);
  if (!wanted || !plain) return {{x.dtype, wanted ? *wanted : unknown_shape(x.shape->size())}};
  for (std::size_t i = 0; i < std::max(plain->size(), wanted->size()); ++i)
    if (wanted->size() != plain->size() || ((*wanted)[i].fixed() && (*wanted)[i].value < (*plain)[i]))
      fail(ErrorCode::kBadShape, args.node, fmt::format("output_shape {} is below {}", to_string(*wanted), to_string(*plain)));
  return {{x.dtype, *wanted}};
}

std::vector<Tensor> max_unpool(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  const Dims plain = unpooled(args.node, x.dims()), strides = strides_of(y.dims());
  const auto where = args.inputs[1].values<std::int64_t>();
  const std::int64_t count = element_count(plain);
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    for (std::size_t i = 0; i < src.size(); ++i) {
      if (where[i] < 0 || where[i] >= count)
        fail(ErrorCode::kBadShape, args.node, fmt::format("index {} is outside an output of {}", where[i], count));
      std::int64_t rest = where[i], at = 0;
      for (std::size_t axis = plain.size(); axis-- > 0;) {
        at += rest % plain[axis] * strides[axis];
        rest /= plain[axis];
      }
      dst[at] = src[i];
    }
  });
  return one(std::move(y));
}

// ---- MaxRoiPool(x, rois [R,5] of picture, x1, y1, x2, y2): the largest of each cell of a grid over the region, as in Caffe

std::vector<TensorType> max_roi_pool_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType &x = args.inputs[0], &rois = args.inputs[1];
  const auto cells = node.get_ints("pooled_shape");
  constexpr std::int64_t kMost = 1 << 20;
  if (cells.size() != 2 || cells[0] < 1 || cells[1] < 1 || cells[0] > kMost || cells[1] > kMost)
    fail(ErrorCode::kBadAttribute, node, "pooled_shape must be two positive numbers");
  if (x.shape && x.shape->size() != 4) fail(ErrorCode::kBadShape, node, "input " + to_string(*x.shape) + " must have 4 axes");
  if (rois.shape && (rois.shape->size() != 2 || ((*rois.shape)[1].fixed() && (*rois.shape)[1].value != 5)))
    fail(ErrorCode::kBadShape, node, "rois " + to_string(*rois.shape) + " must be [R,5]");
  return {{same_dtype(node, x.dtype, rois.dtype),
           Shape{rois.shape ? (*rois.shape)[0] : Dim(), x.shape ? (*x.shape)[1] : Dim(), Dim(cells[0]), Dim(cells[1])}}};
}

std::vector<Tensor> max_roi_pool(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  const std::int64_t C = x.dim(1), H = x.dim(2), W = x.dim(3), rows = y.dim(2), columns = y.dim(3);
  const float spatial = node.get_float("spatial_scale", 1);
  with_floats(node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>(), rois = args.inputs[1].values<T>();
    const auto dst = y.mutable_values<T>();
    for (std::int64_t r = 0; r < y.dim(0); ++r) {
      std::array<std::int64_t, 5> roi{};
      for (std::size_t i = 0; i < 5; ++i) {
        const double value =
            static_cast<double>(rois[static_cast<std::size_t>(r) * 5 + i]) * (i == 0 ? 1.0 : static_cast<double>(spatial));
        if (!(value > -1e9 && value < 1e9)) fail(ErrorCode::kBadShape, node, "a region is out of range");
        roi[i] = static_cast<std::int64_t>(i == 0 ? value : std::round(value));
      }
      if (roi[0] < 0 || roi[0] >= x.dim(0)) fail(ErrorCode::kBadShape, node, fmt::format("a region of picture {}", roi[0]));
      const std::int64_t height = std::max<std::int64_t>(1, roi[4] - roi[2] + 1),
                         width = std::max<std::int64_t>(1, roi[3] - roi[1] + 1);
      const auto bound = [](std::int64_t cell, std::int64_t size, std::int64_t cells, std::int64_t start, std::int64_t most,
                            bool upper) {
        return std::clamp<std::int64_t>((cell * size + (upper ? cells - 1 : 0)) / cells + start, 0, most);
      };
      for (std::int64_t c = 0; c < C; ++c)
        for (std::int64_t i = 0; i < rows; ++i)
          for (std::int64_t j = 0; j < columns; ++j) {
            const std::int64_t top = bound(i, height, rows, roi[2], H, false),
                               bottom = bound(i + 1, height, rows, roi[2], H, true),
                               left = bound(j, width, columns, roi[1], W, false),
                               right = bound(j + 1, width, columns, roi[1], W, true);
            T most = bottom <= top || right <= left ? T{0} : std::numeric_limits<T>::lowest();
            for (std::int64_t h = top; h < bottom; ++h)
              for (std::int64_t w = left; w < right; ++w) most = std::max(most, src[((roi[0] * C + c) * H + h) * W + w]);
            dst[((r * C + c) * rows + i) * columns + j] = most;
          }
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> pool_operators() {
  return {
      {.op_type = "AveragePool", .shape = pool_shape, .reference = half_in_f32<average_pool>},
      {.op_type = "MaxPool", .shape = max_pool_shape, .reference = half_in_f32<max_pool>},
      {.op_type = "GlobalAveragePool", .shape = global_pool_shape, .reference = half_in_f32<global_average_pool>},
      {.op_type = "GlobalMaxPool", .shape = global_pool_shape, .reference = half_in_f32<global_max_pool>},
      {.op_type = "LpPool", .since = 2, .shape = lp_pool_shape<pool_shape>, .reference = half_in_f32<lp_pool>},
      {.op_type = "GlobalLpPool",
       .since = 2,
       .shape = lp_pool_shape<global_pool_shape>,
       .reference = half_in_f32<global_lp_pool>},
      {.op_type = "MaxUnpool",
       .since = 9,
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = max_unpool_shape,
       .reference = max_unpool},
      {.op_type = "MaxRoiPool",
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = max_roi_pool_shape,
       .reference = half_in_f32<max_roi_pool>},
  };
}

}  // namespace zeropoint::ops
