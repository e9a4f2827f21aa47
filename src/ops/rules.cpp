#include "ops/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "ir/float8.h"

namespace zeropoint::ops {

void fail(ErrorCode code, const Node& node, const std::string& message) { throw Error(code, describe(node), message); }

void fail_type(const Node& node, std::size_t input, DType dtype) {
  if (dtype == DType::opaque)
    fail(ErrorCode::kUnsupported, node, fmt::format("the element type of input {} does not run", input));
  fail(ErrorCode::kBadType, node,
       fmt::format("input {} has elements of type {}, which the operator does not take", input, name(dtype)));
}

DType same_dtype(const Node& node, DType a, DType b) {
  if (a == DType::undefined) return b;
  if (b != DType::undefined && a != b)
    fail(ErrorCode::kBadType, node, fmt::format("element types {} and {} must be equal", name(a), name(b)));
  return a;
}

std::size_t normalize_axis(const Node& node, std::int64_t axis, std::size_t rank) {
  const auto most = static_cast<std::int64_t>(rank);
  if (axis < -most || axis >= most)
    fail(ErrorCode::kBadAttribute, node, fmt::format("axis {} is outside a tensor of {} dimensions", axis, rank));
  return static_cast<std::size_t>(axis < 0 ? axis + most : axis);
}

std::vector<std::size_t> normalize_axes(const Node& node, std::span<const std::int64_t> axes, std::size_t rank) {
  std::set<std::size_t> unique;
  for (const std::int64_t axis : axes)
    if (!unique.insert(normalize_axis(node, axis, rank)).second)
      fail(ErrorCode::kBadAttribute, node, fmt::format("axis {} is named twice", axis));
  return {unique.begin(), unique.end()};
}

namespace {

Dim broadcast(const Node& node, const Dim& a, const Dim& b) {
  if (a.value == 1) return b;
  if (b.value == 1) return a;
  if (a.fixed() && b.fixed() && a.value != b.value)
    fail(ErrorCode::kBadShape, node, fmt::format("dimensions {} and {} neither agree nor broadcast", a.value, b.value));
  if (a.fixed()) return a;  // the unknown one is 1 or this
  if (b.fixed()) return b;
  return a == b ? a : Dim();
}

}  // namespace

Shape broadcast(const Node& node, const Shape& a, const Shape& b) {
  const std::size_t rank = std::max(a.size(), b.size());
  Shape result(rank);
  for (std::size_t i = 0; i < rank; ++i) {  // from the right
    const Dim left = i < a.size() ? a[a.size() - 1 - i] : Dim(1), right = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    result[rank - 1 - i] = broadcast(node, left, right);
  }
  return result;
}

Dim merge(const Node& node, const Dim& a, const Dim& b) {
  if (a.fixed() && b.fixed() && a.value != b.value)
    fail(ErrorCode::kBadShape, node, fmt::format("dimensions {} and {} must be equal", a.value, b.value));
  if (a.fixed()) return a;
  if (b.fixed()) return b;
  return a.symbol.empty() ? b : a;
}

Shape unknown_shape(std::size_t rank) { return Shape(rank); }

std::optional<std::int64_t> known_count(std::span<const Dim> dims) {
  Dims numbers;
  for (const Dim& dim : dims) {
    if (!dim.fixed()) return std::nullopt;
    numbers.push_back(dim.value);
  }
  return element_count(numbers);
}

std::int64_t product(std::optional<std::int64_t> a, std::optional<std::int64_t> b) {
  if (!a || !b || *a <= 0 || *b <= 0) return 0;
  return *a > INT64_MAX / *b ? INT64_MAX : *a * *b;
}

std::optional<std::vector<std::int64_t>> known_ints(const ShapeArgs& args, std::size_t input) {
  if (input < args.constants.size() && args.constants[input] != nullptr) {
    const Tensor& tensor = *args.constants[input];
    if (tensor.dtype() != DType::s64 && tensor.dtype() != DType::s32) fail_type(args.node, input, tensor.dtype());
    return ints(tensor);
  }
  if (input < args.integers.size() && args.integers[input] != nullptr) {
    std::vector<std::int64_t> values;
    for (const IntEntry& entry : args.integers[input]->entries) {
      if (!entry.number) return std::nullopt;
      values.push_back(*entry.number);
    }
    return values;
  }
  return std::nullopt;
}

std::optional<Shape> known_shape(const ShapeArgs& args, std::size_t input) {
  Shape shape;
  if (const auto values = known_ints(args, input)) {
    for (const std::int64_t value : *values) {
      if (value < 0) fail(ErrorCode::kBadShape, args.node, fmt::format("the shape has the dimension {}", value));
      shape.emplace_back(value);
    }
    return shape;
  }
  if (input < args.integers.size() && args.integers[input] != nullptr) {
    for (const IntEntry& entry : args.integers[input]->entries)
      shape.push_back(entry.number && *entry.number >= 0 ? Dim(*entry.number)
                      : entry.symbol.empty()             ? Dim()
                                                         : Dim(entry.symbol));
    return shape;
  }
  constexpr std::int64_t kMostDimensions = 64;
  const auto& type = args.inputs[input].shape;
  if (type && type->size() == 1 && (*type)[0].fixed() && (*type)[0].value <= kMostDimensions)
    return unknown_shape(static_cast<std::size_t>((*type)[0].value));
  return std::nullopt;
}

IntsArgument ints_argument(const ShapeArgs& args, std::string_view attribute, std::size_t input) {
  if (args.node.find(attribute) != nullptr) return {true, args.node.get_ints(attribute)};
  if (!args.node.input(input).empty()) return {true, known_ints(args, input)};
  return {false, std::vector<std::int64_t>{}};
}

std::vector<TensorType> same_as_input(const ShapeArgs& args) { return {args.inputs[0]}; }

std::vector<TensorType> broadcast_inputs(const ShapeArgs& args) {
  TensorType result = args.inputs[0];
  for (std::size_t i = 1; i < args.inputs.size(); ++i) {
    if (args.node.input(i).empty()) continue;
    result.dtype = same_dtype(args.node, result.dtype, args.inputs[i].dtype);
    if (result.shape && args.inputs[i].shape)
      result.shape = broadcast(args.node, *result.shape, *args.inputs[i].shape);
    else
      result.shape.reset();
  }
  return {result};
}

std::vector<TensorType> broadcast_to_bool(const ShapeArgs& args) {
  std::vector<TensorType> result = broadcast_inputs(args);
  result[0].dtype = DType::b8;
  return result;
}

std::vector<std::int64_t> ints(const Tensor& tensor) {
  if (tensor.dtype() == DType::s32) {
    const auto values = tensor.values<std::int32_t>();
    return {values.begin(), values.end()};
  }
  const auto values = tensor.values<std::int64_t>();
  return {values.begin(), values.end()};
}

Dims output_dims(const ComputeArgs& args, std::size_t output) {
  const TensorType& type = args.outputs[output];
  const std::optional<Dims> dims = type.shape ? fixed_dims(*type.shape) : std::nullopt;
  if (!dims)
    fail(ErrorCode::kBadShape, args.node, fmt::format("the shape of output {} cannot be told from the inputs", output));
  return *dims;
}

Tensor make_output(const ComputeArgs& args, std::size_t output) {
  return {args.outputs[output].dtype, output_dims(args, output)};
}

Dims strides_of(const Dims& dims) {
  Dims strides(dims.size());
  std::int64_t stride = 1;
  for (std::size_t axis = dims.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= dims[axis];
  }
  return strides;
}

Dims broadcast_strides(const Dims& dims, const Dims& shape) {
  const Dims own = strides_of(dims);
  Dims strides(shape.size(), 0);
  for (std::size_t i = 0; i < dims.size(); ++i)
    if (dims[i] != 1) strides[shape.size() - dims.size() + i] = own[i];
  return strides;
}

Tensor widened(const Tensor& tensor) {
  if (tensor.dtype() != DType::f16 && tensor.dtype() != DType::bf16) return tensor;
  const bool is_f16 = tensor.dtype() == DType::f16;
  Tensor result(DType::f32, tensor.dims());
  const auto src = words<std::uint16_t>(tensor);
  const auto dst = result.mutable_values<float>();
  for (std::size_t i = 0; i < src.size(); ++i) dst[i] = is_f16 ? numerics::from_f16(src[i]) : numerics::from_bf16(src[i]);
  return result;
}

Tensor narrowed(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() != DType::f32 || (dtype != DType::f16 && dtype != DType::bf16)) return tensor;
  Tensor result(dtype, tensor.dims());
  const auto src = tensor.values<float>();
  const auto dst = mutable_words<std::uint16_t>(result);
  for (std::size_t i = 0; i < src.size(); ++i)
    dst[i] = dtype == DType::f16 ? numerics::to_f16(src[i]) : numerics::to_bf16(src[i]);
  return result;
}

std::vector<Tensor> run_widened(const ComputeArgs& args, Reference reference) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : args.inputs) inputs.push_back(widened(input));
  std::vector<TensorType> outputs(args.outputs.begin(), args.outputs.end());
  for (TensorType& type : outputs)
    if (type.dtype == DType::f16 || type.dtype == DType::bf16) type.dtype = DType::f32;
  std::vector<Tensor> results = reference({args.node, args.opset, inputs, outputs});
  for (std::size_t i = 0; i < results.size() && i < outputs.size(); ++i)
    results[i] = narrowed(results[i], args.outputs[i].dtype);
  return results;
}

DType dtype_of_code(const Node& node, std::int64_t code) {
  constexpr std::array<DType, 27> kDTypes = {
      DType::undefined, DType::f32,    DType::u8,     DType::s8,       DType::u16,        DType::s16,    DType::s32,
      DType::s64,       DType::opaque, DType::b8,     DType::f16,      DType::f64,        DType::u32,    DType::u64,
      DType::opaque,    DType::opaque, DType::bf16,   DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2, DType::f8e5m2fnuz,
      DType::u4,        DType::s4,     DType::f4e2m1, DType::f8e8m0,   DType::u2,         DType::s2};
  if (code <= 0 || code > 1000) fail(ErrorCode::kBadAttribute, node, fmt::format("{} is not an element type", code));
  return code < static_cast<std::int64_t>(kDTypes.size()) ? kDTypes[static_cast<std::size_t>(code)] : DType::opaque;
}

std::vector<double> doubles(const Node& node, const Tensor& tensor) {
  std::vector<double> result;
  const Tensor wide = float8_to_f32(widened(unpacked(tensor)));
  if (wide.dtype() == DType::b8) {
    for (const bool value : wide.values<bool>()) result.push_back(value ? 1 : 0);
  } else {
    with_numbers(node, wide.dtype(), [&]<class T>(T) {
      for (const T value : wide.values<T>()) result.push_back(static_cast<double>(value));
    });
  }
  return result;
}

Tensor float8_to_f32(const Tensor& tensor) {
  if (!is_float8(tensor.dtype())) return tensor;
  Tensor result(DType::f32, tensor.dims());
  const Tensor codes = unpacked(tensor);
  const auto src = words<std::uint8_t>(codes);
  const auto dst = result.mutable_values<float>();
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = decode_float8(tensor.dtype(), src[i]);
  return result;
}

std::vector<Tensor> run_in_bytes(const ComputeArgs& args, Reference reference) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : args.inputs) inputs.push_back(unpacked(input));
  std::vector<TensorType> outputs(args.outputs.begin(), args.outputs.end());
  for (TensorType& type : outputs)
    if (bits(type.dtype) > 0 && bits(type.dtype) < 8) type.dtype = lowest(type.dtype) < 0 ? DType::s8 : DType::u8;
  std::vector<Tensor> results = reference({args.node, args.opset, inputs, outputs});
  for (std::size_t i = 0; i < results.size() && i < outputs.size(); ++i)
    if (results[i].defined()) results[i] = packed(results[i], args.outputs[i].dtype);
  return results;
}

Tensor unpacked(const Tensor& tensor) {
  const int width = bits(tensor.dtype());
  if (width >= 8 || width == 0) return tensor;
  const bool is_signed = tensor.dtype() == DType::s4 || tensor.dtype() == DType::s2;
  Tensor result(is_signed ? DType::s8 : DType::u8, tensor.dims());
  const auto src = tensor.bytes();
  const auto dst = mutable_words<std::uint8_t>(result);
  const int per_byte = 8 / width, mask = (1 << width) - 1;
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const auto place = static_cast<int>(i % static_cast<std::size_t>(per_byte));
    int value = (static_cast<int>(src[i / static_cast<std::size_t>(per_byte)]) >> (place * width)) & mask;
    if (is_signed && (value >> (width - 1)) != 0) value -= mask + 1;
    dst[i] = static_cast<std::uint8_t>(value);
  }
  return result;
}

Tensor packed(const Tensor& tensor, DType dtype) {
  const int width = bits(dtype);
  if (width >= 8 || width == 0) return tensor;
  Tensor result(dtype, tensor.dims());
  const auto src = words<std::uint8_t>(tensor);
  const auto dst = result.mutable_bytes();
  const int per_byte = 8 / width, mask = (1 << width) - 1;
  for (std::size_t i = 0; i < src.size(); ++i) {
    const auto place = static_cast<int>(i % static_cast<std::size_t>(per_byte));
    std::byte& byte = dst[i / static_cast<std::size_t>(per_byte)];
    byte |= static_cast<std::byte>((src[i] & mask) << (place * width));
  }
  return result;
}

}  // namespace zeropoint::ops
