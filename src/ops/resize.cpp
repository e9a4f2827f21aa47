// Resize (modes nearest, linear, cubic) and Upsample. One axis after the other; coordinates in fp32 as
// coordinate_transformation_mode says: half_pixel, pytorch_half_pixel, half_pixel_symmetric, asymmetric, align_corners,
// tf_crop_and_resize (into the region that roi names; outside of the tensor lies extrapolation_value).
// Cubic: R. Keys, "Cubic convolution interpolation for digital image processing" (1981), with cubic_coeff_a. With antialias the
// kernels of linear and cubic grow by the factor of a reduction. Integers are rounded to the nearest and saturated.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

struct ResizeAxis {
  float scale = 1;
  std::int64_t input = 1, output = 1;  // -1: not known
  bool by_size = false;                // `scale` follows from the sizes
  bool changes = false;
  float begin = 0, end = 1;  // of tf_crop_and_resize: the region, as parts of the axis
};

constexpr std::int64_t kMost = std::int64_t{1} << 40;

// Where the scales and the sizes stand: X, scales (opset 10); X, roi, scales, sizes (from 11 on).
std::size_t scales_input(std::int64_t opset) { return opset < 11 ? 1 : 2; }

bool crops(const Node& node) { return node.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize"; }

std::optional<std::vector<ResizeAxis>> resize_axes(const ShapeArgs& args, const Shape& x) {
  const Node& node = args.node;
  const std::size_t at = scales_input(args.opset);
  std::vector<std::int64_t> named = node.get_ints("axes");
  if (node.find("axes") == nullptr)
    for (std::size_t i = 0; i < x.size(); ++i) named.push_back(static_cast<std::int64_t>(i));
  normalize_axes(node, named, x.size());

  std::vector<ResizeAxis> axes(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) axes[i].input = axes[i].output = x[i].value;
  const bool by_attribute = node.find("scales") != nullptr;  // Upsample of opset 7
  const bool scales_given =
      by_attribute || (!node.input(at).empty() && !(args.constants[at] != nullptr && args.constants[at]->size() == 0));
  const bool sizes_given = args.opset >= 11 && !node.input(3).empty();
  if (scales_given == sizes_given) fail(ErrorCode::kBadModel, node, "needs either scales or sizes");
  if (crops(node)) {
    const Tensor* roi = args.constants[1];
    if (node.input(1).empty()) fail(ErrorCode::kBadModel, node, "tf_crop_and_resize needs a roi");
    if (roi == nullptr) return std::nullopt;
    const std::vector<double> region = doubles(node, *roi);
    if (region.size() != 2 * named.size())
      fail(ErrorCode::kBadShape, node, fmt::format("a roi of {} numbers for {} axes", region.size(), named.size()));
    for (std::size_t i = 0; i < named.size(); ++i) {
      ResizeAxis& axis = axes[normalize_axis(node, named[i], x.size())];
      axis.begin = static_cast<float>(region[i]);
      axis.end = static_cast<float>(region[i + named.size()]);
    }
  }
  if (scales_given) {
    if (!by_attribute && args.constants[at] == nullptr) return std::nullopt;
    std::vector<float> scales = node.get_floats("scales");
    if (!by_attribute) {
      const auto values = args.constants[at]->values<float>();
      scales.assign(values.begin(), values.end());
    }
    if (scales.size() != named.size())
      fail(ErrorCode::kBadShape, node, fmt::format("{} scales for {} axes", scales.size(), named.size()));
    for (std::size_t i = 0; i < named.size(); ++i) {
      ResizeAxis& axis = axes[normalize_axis(node, named[i], x.size())];
      axis.scale = scales[i];
      axis.changes = axis.scale != 1;
      if (!(axis.scale > 0) || axis.scale > 1e6F)
        fail(ErrorCode::kBadAttribute, node, fmt::format("a scale of {}", axis.scale));
      const float length = std::floor(static_cast<float>(axis.input) * axis.scale);
      if (length > static_cast<float>(kMost)) fail(ErrorCode::kLimit, node, fmt::format("an axis of {} elements", length));
      if (axis.input >= 0) axis.output = static_cast<std::int64_t>(length);
    }
    return axes;
  }
  const auto sizes = known_ints(args, 3);
  if (!sizes) return std::nullopt;
  if (sizes->size() != named.size())
    fail(ErrorCode::kBadShape, node, fmt::format("{} sizes for {} axes", sizes->size(), named.size()));
  const std::string policy = node.get_string("keep_aspect_ratio_policy", "stretch");
  std::optional<float> common;  // one scale for all named axes
  for (std::size_t i = 0; i < named.size(); ++i) {
    ResizeAxis& axis = axes[normalize_axis(node, named[i], x.size())];
    axis.output = (*sizes)[i];
    axis.by_size = true;
    if (axis.output < 0 || axis.output > kMost) fail(ErrorCode::kBadShape, node, fmt::format("a size of {}", axis.output));
    if (axis.input < 0) {
      if (policy != "stretch") return std::nullopt;
      axis.changes = true;
      continue;
    }
    axis.scale = static_cast<float>(axis.output) / static_cast<float>(axis.input);
    axis.changes = axis.output != axis.input;
    if (policy == "not_larger") common = std::min(common.value_or(axis.scale), axis.scale);
    if (policy == "not_smaller") common = std::max(common.value_or(axis.scale), axis.scale);
  }
  if (common)
    for (const std::int64_t name : named) {
      ResizeAxis& axis = axes[normalize_axis(node, name, x.size())];
      axis.scale = *common;
      axis.by_size = false;
      axis.output = static_cast<std::int64_t>(std::floor(static_cast<float>(axis.input) * *common + 0.5F));
      axis.changes = axis.output != axis.input;
    }
  return axes;
}

std::vector<TensorType> resize_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const auto axes = resize_axes(args, *x.shape);
  if (!axes) return {{x.dtype, unknown_shape(x.shape->size())}};
  Shape shape = *x.shape;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if ((*axes)[i].changes || shape[i].fixed()) shape[i] = Dim((*axes)[i].output);
  return {{x.dtype, shape}};
}

// F is float; double for 64-bit floats and for integers.
template <class F>
F original_coordinate(const std::string& mode, const ResizeAxis& axis, std::int64_t position) {
  const auto x = static_cast<F>(position), input = static_cast<F>(axis.input);
  const F scale = axis.by_size ? static_cast<F>(axis.output) / input : static_cast<F>(axis.scale);
  const F length = axis.by_size ? static_cast<F>(axis.output) : input * scale;  // before it is cut to a whole number
  if (mode == "tf_crop_and_resize") {
    const auto begin = static_cast<F>(axis.begin), end = static_cast<F>(axis.end);
    if (axis.output <= 1) return F{0.5} * (begin + end) * (input - 1);
    return begin * (input - 1) + x * (end - begin) * (input - 1) / static_cast<F>(axis.output - 1);
  }
  if (mode == "asymmetric") return x / scale;
  if (mode == "align_corners") return axis.output <= 1 ? F{0} : x * (input - 1) / (length - 1);
  if (mode == "pytorch_half_pixel" && axis.output <= 1) return 0;
  const F half_pixel = (x + F{0.5}) / scale - F{0.5};
  if (mode != "half_pixel_symmetric") return half_pixel;
  const F adjustment = static_cast<F>(axis.output) / length;
  return input / 2 * (1 - adjustment) + half_pixel;
}

std::string coordinate_mode(const Node& node, std::int64_t opset) {
  std::string mode = node.get_string("coordinate_transformation_mode", opset < 11 ? "asymmetric" : "half_pixel");
  for (const char* known :
       {"asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel", "half_pixel_symmetric", "tf_crop_and_resize"})
    if (mode == known) return mode;
  if (mode == "tf_half_pixel_for_nn")  // of opset 11 and 12
    fail(ErrorCode::kUnsupported, node, "coordinate_transformation_mode '" + mode + "' does not run");
  fail(ErrorCode::kBadAttribute, node, "coordinate_transformation_mode is '" + mode + "'");
}

template <class F>
std::int64_t nearest(const Node& node, std::int64_t opset, F x) {
  const std::string mode = node.get_string("nearest_mode", opset < 11 ? "floor" : "round_prefer_floor");
  if (mode == "floor") return static_cast<std::int64_t>(std::floor(x));
  if (mode == "ceil") return static_cast<std::int64_t>(std::ceil(x));
  if (mode == "round_prefer_floor") return static_cast<std::int64_t>(std::ceil(x - F{0.5}));
  if (mode == "round_prefer_ceil") return static_cast<std::int64_t>(std::floor(x + F{0.5}));
  fail(ErrorCode::kBadAttribute, node, "nearest_mode is '" + mode + "'");
}

// What each output position takes: `width` elements from first[position] on (those outside are the border's), weighed.
template <class F>
struct Kernel {
  std::int64_t width = 1;
  std::vector<std::int64_t> first;
  std::vector<F> weights;     // [position, width]
  std::vector<bool> outside;  // tf_crop_and_resize: not in the tensor; else empty
};

template <class F>
F cubic_weight(F distance, F a) {
  const F x = std::fabs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}
template <class F>
F linear_weight(F distance) {
  return std::max(F{0}, 1 - std::fabs(distance));
}

template <class F>
Kernel<F> kernel(const Node& node, std::int64_t opset, const ResizeAxis& axis, const std::string& mode) {
  const bool antialias = node.get_int("antialias", 0) != 0 && mode != "nearest";
  const bool exclude_outside = node.get_int("exclude_outside", 0) != 0 && mode != "nearest";
  const auto a = static_cast<F>(node.get_float("cubic_coeff_a", -0.75F));
  const std::string coordinates = coordinate_mode(node, opset);
  const std::int64_t last = axis.input - 1;
  // Weights are f(shrink * distance); the kernel reaches 1 (linear) or 2 (cubic) elements, more when it grows.
  const F scale = axis.by_size ? static_cast<F>(axis.output) / static_cast<F>(axis.input) : static_cast<F>(axis.scale);
  const F shrink = antialias ? std::min(scale, F{1}) : F{1};
  Kernel<F> result;
  const auto reach = static_cast<std::int64_t>(std::ceil((mode == "cubic" ? 2 : 1) / shrink));
  result.width = mode == "nearest" ? 1 : 2 * std::min(reach, axis.input + 2);
  element_count(std::vector<std::int64_t>{axis.output, result.width});  // checked before anything is allocated
  for (std::int64_t position = 0; position < axis.output; ++position) {
    F x = original_coordinate<F>(coordinates, axis, position);
    if (coordinates == "tf_crop_and_resize") result.outside.push_back(!(x >= 0 && x <= static_cast<F>(last)));
    // Far outside, or not a number: all border.
    const auto far = static_cast<F>(axis.input + 2 * reach + 2);
    x = x > -far ? std::min(x, far) : -far;
    if (mode == "nearest") {
      result.first.push_back(std::clamp<std::int64_t>(nearest(node, opset, x), 0, last));
      result.weights.push_back(1);
      continue;
    }
    if (mode == "linear" && !antialias && !exclude_outside) x = std::clamp(x, F{0}, static_cast<F>(last));
    const auto whole = static_cast<std::int64_t>(std::floor(x));
    const F part = x - static_cast<F>(whole);
    const std::int64_t first = whole - result.width / 2 + 1;
    result.first.push_back(first);
    const std::size_t start = result.weights.size();
    F sum = 0;
    for (std::int64_t i = 0; i < result.width; ++i) {
      const F distance = shrink * (static_cast<F>(i - result.width / 2 + 1) - part);
      F weight = mode == "cubic" ? cubic_weight(distance, a) : linear_weight(distance);
      if (mode == "linear" && !antialias) weight = i == 0 ? 1 - part : part;
      if (exclude_outside && (first + i < 0 || first + i > last)) weight = 0;
      result.weights.push_back(weight);
      sum += weight;
    }
    if ((antialias || exclude_outside) && sum != 0)
      for (std::size_t i = start; i < result.weights.size(); ++i) result.weights[i] /= sum;
  }
  return result;
}

// body(to, row, position, k) for each element of the result; row counts what stands before the axis, k what stands after it.
template <class Body>
void each_position(const Dims& dims, std::size_t axis, Body&& body) {
  const std::int64_t rows = element_count(std::span(dims).first(axis)), out = dims[axis];
  const std::int64_t inner = element_count(std::span(dims).subspan(axis + 1));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < out; ++i)
      for (std::int64_t k = 0; k < inner; ++k) body((row * out + i) * inner + k, row, i, k);
}

// One axis of `from` to `to`: x[row, first[i] + j, k] times its weight, summed over j; for nearest, the one element.
template <class T, class F>
void resample(std::span<const T> from, std::span<T> to, const Dims& in, const Dims& out, std::size_t axis,
              const Kernel<F>& along) {
  const std::int64_t inner = element_count(std::span(out).subspan(axis + 1)), length = in[axis];
  each_position(out, axis, [&](std::int64_t at, std::int64_t row, std::int64_t i, std::int64_t k) {
    const auto source = [&](std::int64_t j) {
      return from[(row * length + std::clamp<std::int64_t>(along.first[i] + j, 0, length - 1)) * inner + k];
    };
    if constexpr (std::is_floating_point_v<T>) {
      T sum = source(0) * static_cast<T>(along.weights[i * along.width]);
      for (std::int64_t j = 1; j < along.width; ++j) sum += source(j) * static_cast<T>(along.weights[i * along.width + j]);
      to[at] = sum;
    } else {
      to[at] = source(0);
    }
  });
}

// extrapolation_value where the region of tf_crop_and_resize leaves the tensor.
template <class F>
void extrapolate(const Node& node, Tensor& y, std::size_t axis, const Kernel<F>& along) {
  const float value = node.get_float("extrapolation_value", 0);
  with_numbers(node, y.dtype(), [&]<class T>(T) {
    const auto dst = y.mutable_values<T>();
    each_position(y.dims(), axis, [&](std::int64_t to, std::int64_t, std::int64_t i, std::int64_t) {
      if (along.outside[i]) dst[to] = converted<T>(value);
    });
  });
}

std::vector<Tensor> resize(const ComputeArgs& args) {
  const Node& node = args.node;
  std::string mode = node.get_string("mode", "nearest");
  if (mode == "bilinear") mode = "linear";
  if (mode != "nearest" && mode != "linear" && mode != "cubic") fail(ErrorCode::kBadAttribute, node, "mode is '" + mode + "'");
  std::vector<TensorType> types(4);
  std::vector<const Tensor*> constants;
  for (std::size_t i = 0; i < 4; ++i)
    constants.push_back(i < args.inputs.size() && args.inputs[i].defined() ? &args.inputs[i] : nullptr);
  Tensor x = args.inputs[0];
  const DType dtype = x.dtype();
  const auto axes = *resize_axes({node, args.opset, types, constants}, to_shape(x.dims()));
  element_count(output_dims(args));
  const auto run = [&]<class F>(F) {
    std::vector<std::pair<std::size_t, Kernel<F>>> cropped;
    for (std::size_t i = axes.size(); i-- > 0;) {
      if (!axes[i].changes && !(crops(node) && (axes[i].begin != 0 || axes[i].end != 1))) continue;
      if (axes[i].input == 0) fail(ErrorCode::kBadShape, node, "nothing to interpolate in " + to_string(x.dims()));
      Dims dims = x.dims();
      dims[i] = axes[i].output;
      Tensor y(x.dtype(), dims);  // first: it checks the size
      Kernel<F> along = kernel<F>(node, args.opset, axes[i], mode);
      if (mode == "nearest")
        with_words(node, x.dtype(),
                   [&]<class W>(W) { resample<W, F>(words<W>(x), mutable_words<W>(y), x.dims(), dims, i, along); });
      else
        with_floats(node, x.dtype(),
                    [&]<class T>(T) { resample<T, F>(x.values<T>(), y.mutable_values<T>(), x.dims(), dims, i, along); });
      x = std::move(y);
      if (!along.outside.empty()) cropped.emplace_back(i, std::move(along));
    }
    if (x.dtype() != dtype) {  // integers, that were interpolated in double
      Tensor y(dtype, x.dims());
      const auto src = x.values<double>();
      with_integers(node, dtype, [&]<class T>(T) {
        const auto dst = y.mutable_values<T>();
        for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = converted<T>(std::nearbyint(src[i]));
      });
      x = std::move(y);
    }
    for (const auto& [axis, along] : cropped) extrapolate(node, x, axis, along);
  };
  if (mode != "nearest" && is_integer(dtype)) {
    const std::vector<double> numbers = doubles(node, x);
    x = Tensor::of<double>(x.dims(), numbers);
  }
  if (x.dtype() == DType::f64 && mode != "nearest")
    run(double{});
  else
    run(float{});
  return one(std::move(x));
}

// Upsample: the older name, with the meaning of Resize in opset 10.
std::vector<TensorType> upsample_shape(const ShapeArgs& args) {
  return resize_shape({args.node, 10, args.inputs, args.constants, args.integers});
}
std::vector<Tensor> upsample(const ComputeArgs& args) { return resize({args.node, 10, args.inputs, args.outputs}); }

}  // namespace

std::vector<Operator> resize_operators() {
  return {
      {.op_type = "Resize",
       .since = 10,
       .min_inputs = 1,
       .max_inputs = 4,
       .shape = resize_shape,
       .reference = half_in_f32<resize>},
      {.op_type = "Upsample",
       .since = 7,
       .min_inputs = 1,
       .max_inputs = 2,
       .shape = upsample_shape,
       .reference = half_in_f32<upsample>},
  };
}

}  // namespace zeropoint::ops
