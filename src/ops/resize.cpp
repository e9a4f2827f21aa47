// Resize (modes nearest and linear) and Upsample. One axis after the other; coordinates in fp32 as
// coordinate_transformation_mode says: half_pixel, pytorch_half_pixel, half_pixel_symmetric, asymmetric, align_corners.
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
  bool changes = false;
};

constexpr std::int64_t kMost = std::int64_t{1} << 40;

// Where the scales and the sizes stand: X, scales (opset 10); X, roi, scales, sizes (from 11 on).
std::size_t scales_input(std::int64_t opset) { return opset < 11 ? 1 : 2; }

std::optional<std::vector<ResizeAxis>> resize_axes(const ShapeArgs& args, const Shape& x) {
  const Node& node = args.node;
  const std::size_t at = scales_input(args.opset);
  std::vector<std::int64_t> named = node.get_ints("axes");
  if (node.find("axes") == nullptr)
    for (std::size_t i = 0; i < x.size(); ++i) named.push_back(static_cast<std::int64_t>(i));
  normalize_axes(node, named, x.size());

  std::vector<ResizeAxis> axes(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) axes[i].input = axes[i].output = x[i].value;
  const bool scales_given = !node.input(at).empty() && !(args.constants[at] != nullptr && args.constants[at]->size() == 0);
  const bool sizes_given = args.opset >= 11 && !node.input(3).empty();
  if (scales_given == sizes_given) fail(ErrorCode::kBadModel, node, "needs either scales or sizes");
  if (scales_given) {
    if (args.constants[at] == nullptr) return std::nullopt;
    const auto scales = args.constants[at]->values<float>();
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

float original_coordinate(const Node& node, std::int64_t opset, const ResizeAxis& axis, std::int64_t position) {
  const std::string mode = node.get_string("coordinate_transformation_mode", opset < 11 ? "asymmetric" : "half_pixel");
  const auto x = static_cast<float>(position);
  if (mode == "asymmetric") return x / axis.scale;
  if (mode == "align_corners")
    return axis.output <= 1 ? 0.0F : x * static_cast<float>(axis.input - 1) / static_cast<float>(axis.output - 1);
  if (mode == "pytorch_half_pixel" && axis.output <= 1) return 0.0F;
  const float half_pixel = (x + 0.5F) / axis.scale - 0.5F;
  if (mode == "half_pixel" || mode == "pytorch_half_pixel") return half_pixel;
  if (mode == "half_pixel_symmetric") {
    const float adjustment = static_cast<float>(axis.output) / (axis.scale * static_cast<float>(axis.input));
    return static_cast<float>(axis.input) / 2.0F * (1.0F - adjustment) + half_pixel;
  }
  fail(ErrorCode::kUnsupported, node, "coordinate_transformation_mode '" + mode + "' does not run");
}

std::int64_t nearest(const Node& node, std::int64_t opset, float x) {
  const std::string mode = node.get_string("nearest_mode", opset < 11 ? "floor" : "round_prefer_floor");
  if (mode == "floor") return static_cast<std::int64_t>(std::floor(x));
  if (mode == "ceil") return static_cast<std::int64_t>(std::ceil(x));
  if (mode == "round_prefer_floor") return static_cast<std::int64_t>(std::ceil(x - 0.5F));
  if (mode == "round_prefer_ceil") return static_cast<std::int64_t>(std::floor(x + 0.5F));
  fail(ErrorCode::kBadAttribute, node, "nearest_mode is '" + mode + "'");
}

// What one output position takes: first + weight * (second - first), as two weighted terms.
struct Tap {
  std::int64_t first, second;
  float first_weight, second_weight;
};

std::vector<Tap> taps(const Node& node, std::int64_t opset, const ResizeAxis& axis, bool linear) {
  std::vector<Tap> result;
  for (std::int64_t position = 0; position < axis.output; ++position) {
    const float x = original_coordinate(node, opset, axis, position);
    const std::int64_t last = axis.input - 1;
    if (!linear) {
      const std::int64_t at = std::clamp<std::int64_t>(nearest(node, opset, x), 0, last);
      result.push_back({at, at, 1, 0});
      continue;
    }
    const float inside = std::clamp(x, 0.0F, static_cast<float>(last));
    const auto first = static_cast<std::int64_t>(inside);
    const float weight = inside - static_cast<float>(first);
    result.push_back({first, std::min(first + 1, last), 1.0F - weight, weight});
  }
  return result;
}

Tensor resample(const Node& node, const Tensor& x, std::size_t axis, const std::vector<Tap>& along, bool linear) {
  Dims dims = x.dims();
  dims[axis] = static_cast<std::int64_t>(along.size());
  Tensor y(x.dtype(), dims);
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  const std::int64_t rows = element_count(std::span(dims).first(axis)), in = x.dim(axis), out = dims[axis];
  const auto each = [&](auto&& body) {
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t i = 0; i < out; ++i)
        for (std::int64_t k = 0; k < inner; ++k)
          body((row * out + i) * inner + k, (row * in + along[i].first) * inner + k, (row * in + along[i].second) * inner + k,
               along[i]);
  };
  if (linear) {
    with_floats(node, x.dtype(), [&]<class T>(T) {
      const auto src = x.values<T>();
      const auto dst = y.mutable_values<T>();
      each([&](std::int64_t to, std::int64_t a, std::int64_t b, const Tap& tap) {
        dst[to] = src[a] * static_cast<T>(tap.first_weight) + src[b] * static_cast<T>(tap.second_weight);
      });
    });
  } else {
    with_words(node, x.dtype(), [&]<class W>(W) {
      const auto src = words<W>(x);
      const auto dst = mutable_words<W>(y);
      each([&](std::int64_t to, std::int64_t a, std::int64_t, const Tap&) { dst[to] = src[a]; });
    });
  }
  return y;
}

std::vector<Tensor> resize(const ComputeArgs& args) {
  const Node& node = args.node;
  const std::string mode = node.get_string("mode", "nearest");
  if (mode != "nearest" && mode != "linear") fail(ErrorCode::kUnsupported, node, "mode '" + mode + "' does not run");
  if (node.get_int("antialias", 0) != 0) fail(ErrorCode::kUnsupported, node, "antialias does not run");
  std::vector<TensorType> types(4);
  std::vector<const Tensor*> constants;
  for (std::size_t i = 0; i < 4; ++i)
    constants.push_back(i < args.inputs.size() && args.inputs[i].defined() ? &args.inputs[i] : nullptr);
  Tensor x = args.inputs[0];
  const auto axes = *resize_axes({node, args.opset, types, constants}, to_shape(x.dims()));
  for (std::size_t i = axes.size(); i-- > 0;) {
    if (!axes[i].changes) continue;
    if (axes[i].input == 0) fail(ErrorCode::kBadShape, node, "nothing to interpolate in " + to_string(x.dims()));
    x = resample(node, x, i, taps(node, args.opset, axes[i], mode == "linear"), mode == "linear");
  }
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
       .since = 9,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = upsample_shape,
       .reference = half_in_f32<upsample>},
  };
}

}  // namespace zeropoint::ops
