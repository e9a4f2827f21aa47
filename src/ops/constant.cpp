// Operators that make values out of attributes, shapes and numbers: Constant, ConstantOfShape, Shape, Size, Range.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// ---- Constant: value, value_int(s), value_float(s)

std::optional<Tensor> constant_value(const Node& node) {
  if (node.attributes.size() > 1) fail(ErrorCode::kBadAttribute, node, "has more than one value");
  if (const Attribute* value = node.find("value")) {
    if (const auto* tensor = std::get_if<Tensor>(value)) return *tensor;
    fail(ErrorCode::kBadAttribute, node, "value is not a tensor");
  }
  if (node.find("value_int") != nullptr) return Tensor::scalar<std::int64_t>(node.get_int("value_int", 0));
  if (node.find("value_float") != nullptr) return Tensor::scalar<float>(node.get_float("value_float", 0));
  if (node.find("value_ints") != nullptr) return Tensor::of_ints(node.get_ints("value_ints"));
  if (node.find("value_floats") != nullptr) {
    const std::vector<float> values = node.get_floats("value_floats");
    return Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
  }
  if (node.attributes.empty()) fail(ErrorCode::kBadAttribute, node, "value is missing");
  return std::nullopt;  // strings, sparse tensors
}

std::vector<TensorType> constant_shape(const ShapeArgs& args) {
  const auto value = constant_value(args.node);
  if (!value) return {{DType::undefined, std::nullopt}};
  return {{value->dtype(), to_shape(value->dims())}};
}

std::vector<Tensor> constant(const ComputeArgs& args) {
  auto value = constant_value(args.node);
  if (!value) fail(ErrorCode::kUnsupported, args.node, "its kind of value does not run");
  return one(std::move(*value));
}

// ---- ConstantOfShape

Tensor fill_value(const Node& node) {
  const Attribute* value = node.find("value");
  if (value == nullptr) return Tensor::scalar(0.0F);
  const auto* tensor = std::get_if<Tensor>(value);
  if (tensor == nullptr || tensor->size() != 1) fail(ErrorCode::kBadAttribute, node, "value is not a tensor of one element");
  return *tensor;
}

std::vector<TensorType> constant_of_shape_shape(const ShapeArgs& args) {
  return {{fill_value(args.node).dtype(), known_shape(args, 0)}};
}

std::vector<Tensor> constant_of_shape(const ComputeArgs& args) {
  Tensor y = make_output(args);
  const Tensor value = unpacked(fill_value(args.node));
  with_words(args.node, y.dtype(), [&]<class W>(W) {
    const W fill = words<W>(value)[0];
    std::ranges::fill(mutable_words<W>(y), fill);
  });
  return one(std::move(y));
}

// ---- Shape: dimensions [start, end) as s64; Size

std::vector<TensorType> shape_shape(const ShapeArgs& args) {
  const auto& x = args.inputs[0].shape;
  if (!x) return {{DType::s64, unknown_shape(1)}};
  const auto [begin, end] = shape_range(args.node, x->size());
  return {{DType::s64, Shape{Dim(static_cast<std::int64_t>(end - begin))}}};
}

std::vector<Tensor> shape(const ComputeArgs& args) {
  const Dims& dims = args.inputs[0].dims();
  const auto [begin, end] = shape_range(args.node, dims.size());
  return one(
      Tensor::of_ints({dims.begin() + static_cast<std::ptrdiff_t>(begin), dims.begin() + static_cast<std::ptrdiff_t>(end)}));
}

std::vector<TensorType> size_shape(const ShapeArgs&) { return {{DType::s64, Shape{}}}; }
std::vector<Tensor> size(const ComputeArgs& args) { return one(Tensor::scalar<std::int64_t>(args.inputs[0].size())); }

// ---- Range: start, start + delta, ... below limit

template <class T>
std::int64_t range_count(const Node& node, T start, T limit, T delta) {
  if (delta == 0) fail(ErrorCode::kBadArgument, node, "delta is 0");
  if constexpr (std::is_integral_v<T>) {
    if (delta > 0 ? start >= limit : start <= limit) return 0;
    const auto low = static_cast<std::uint64_t>(delta > 0 ? start : limit),
               high = static_cast<std::uint64_t>(delta > 0 ? limit : start);
    const std::uint64_t step =
        delta > 0 ? static_cast<std::uint64_t>(delta) : std::uint64_t{0} - static_cast<std::uint64_t>(delta);
    const std::uint64_t count = (high - low - 1) / step + 1;
    if (count > std::uint64_t{1} << 40) fail(ErrorCode::kLimit, node, "the range is too long");
    return static_cast<std::int64_t>(count);
  }
  const double count = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
  if (!(count < 1e12)) fail(ErrorCode::kLimit, node, "the range is too long");
  return count > 0 ? static_cast<std::int64_t>(count) : 0;
}

std::vector<TensorType> range_shape(const ShapeArgs& args) {
  const DType dtype = args.inputs[0].dtype;
  for (std::size_t i = 0; i < 3; ++i) {
    same_dtype(args.node, dtype, args.inputs[i].dtype);
    if (args.constants[i] == nullptr) return {{dtype, unknown_shape(1)}};
    if (args.constants[i]->size() != 1) fail(ErrorCode::kBadShape, args.node, "start, limit and delta must be scalars");
  }
  std::int64_t count = 0;
  const Tensor start = widened(*args.constants[0]), limit = widened(*args.constants[1]), delta = widened(*args.constants[2]);
  with_numbers(args.node, start.dtype(), [&]<class T>(T) {
    count = range_count(args.node, start.values<T>()[0], limit.values<T>()[0], delta.values<T>()[0]);
  });
  return {{dtype, Shape{Dim(count)}}};
}

std::vector<Tensor> range(const ComputeArgs& args) {
  Tensor y = make_output(args);
  with_numbers(args.node, y.dtype(), [&]<class T>(T) {
    const T start = args.inputs[0].values<T>()[0], delta = args.inputs[2].values<T>()[0];
    const auto out = y.mutable_values<T>();
    for (std::size_t i = 0; i < out.size(); ++i) {
      if constexpr (std::is_integral_v<T>)  // no product overflows on its way
        out[i] = static_cast<T>(static_cast<std::uint64_t>(start) + i * static_cast<std::uint64_t>(delta));
      else
        out[i] = start + static_cast<T>(i) * delta;
    }
  });
  return one(std::move(y));
}

}  // namespace

std::pair<std::size_t, std::size_t> shape_range(const Node& node, std::size_t rank) {
  const auto most = static_cast<std::int64_t>(rank);
  const auto place = [most](std::int64_t at) {
    return static_cast<std::size_t>(std::clamp<std::int64_t>(at < 0 ? at + most : at, 0, most));
  };
  const std::size_t begin = place(node.get_int("start", 0)), end = place(node.get_int("end", most));
  return {begin, std::max(begin, end)};
}

std::vector<Operator> constant_operators() {
  return {
      {.op_type = "Constant", .min_inputs = 0, .max_inputs = 0, .shape = constant_shape, .reference = constant},
      {.op_type = "ConstantOfShape",
       .since = 9,
       .shape = constant_of_shape_shape,
       .reference = small_in_bytes<constant_of_shape>},
      {.op_type = "Shape", .shape = shape_shape, .reference = shape},
      {.op_type = "Size", .shape = size_shape, .reference = size},
      {.op_type = "Range",
       .since = 11,
       .min_inputs = 3,
       .max_inputs = 3,
       .shape = range_shape,
       .reference = half_in_f32<range>},
  };
}

}  // namespace zeropoint::ops
