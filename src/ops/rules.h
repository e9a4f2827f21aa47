// What shape rules and references are written with: reading arguments, axes, broadcasting, typed access.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "numerics/float16.h"
#include "ops/operator.h"

namespace zeropoint::ops {

[[noreturn]] void fail(ErrorCode code, const Node& node, const std::string& message);
[[noreturn]] void fail_type(const Node& node, std::size_t input, DType dtype);  // "input 1 is u8, which ... does not take"

// ---- shape rules

inline bool present(const TensorType& type) { return type.dtype != DType::undefined || type.shape.has_value(); }
// Throws kBadType when two known types differ. Gives the known one.
DType same_dtype(const Node& node, DType a, DType b);
// Axis in [0, rank) from one in [-rank, rank); throws kBadAttribute.
std::size_t normalize_axis(const Node& node, std::int64_t axis, std::size_t rank);
// Sorted and unique; throws kBadAttribute when one is named twice.
std::vector<std::size_t> normalize_axes(const Node& node, std::span<const std::int64_t> axes, std::size_t rank);
// Numpy's rule. A dimension is unknown where it cannot be told; throws kBadShape on a conflict.
Shape broadcast(const Node& node, const Shape& a, const Shape& b);
// Same dimension said twice: the better known one; throws kBadShape when they conflict.
Dim merge(const Node& node, const Dim& a, const Dim& b);
Shape unknown_shape(std::size_t rank);
// Product of fixed dimensions; nullopt when one is unknown.
std::optional<std::int64_t> known_count(std::span<const Dim> dims);
// Of two counts, for multiply-accumulates: 0 when one is unknown, the largest number when it does not fit.
std::int64_t product(std::optional<std::int64_t> a, std::optional<std::int64_t> b);

// All of an integer input, when known: s64 or s32, a constant or carried through shape arithmetic.
std::optional<std::vector<std::int64_t>> known_ints(const ShapeArgs& args, std::size_t input);
// Axes (or the like) from the attribute of that name in old opsets, from the input in newer ones. `given` is false when there
// are neither; `values` empty when they are not known yet.
struct IntsArgument {
  bool given = false;
  std::optional<std::vector<std::int64_t>> values;
};
IntsArgument ints_argument(const ShapeArgs& args, std::string_view attribute, std::size_t input);

// The dimensions [first, second) that a Shape node gives, by its attributes start and end.
std::pair<std::size_t, std::size_t> shape_range(const Node& node, std::size_t rank);
// The dimensions that a shape input holds, as far as they are known; nullopt when not even their number is.
std::optional<Shape> known_shape(const ShapeArgs& args, std::size_t input);

// Ready-made rules.
std::vector<TensorType> same_as_input(const ShapeArgs& args);     // output 0 is typed as input 0
std::vector<TensorType> broadcast_inputs(const ShapeArgs& args);  // numpy's rule over all inputs, one element type
std::vector<TensorType> broadcast_to_bool(const ShapeArgs& args);

// The element type of an attribute that holds a TensorProto.DataType; opaque for strings and types that are not read. Throws
// kBadAttribute for what is no type.
DType dtype_of_code(const Node& node, std::int64_t code);

// ---- references

std::vector<std::int64_t> ints(const Tensor& tensor);  // of s64 or s32
Dims output_dims(const ComputeArgs& args, std::size_t output = 0);
Tensor make_output(const ComputeArgs& args, std::size_t output = 0);  // zeros
inline std::vector<Tensor> one(Tensor tensor) {
  std::vector<Tensor> list;
  list.push_back(std::move(tensor));
  return list;
}

// Strides of a tensor of `dims` seen as `shape` by broadcasting: 0 where it repeats.
Dims strides_of(const Dims& dims);
Dims broadcast_strides(const Dims& dims, const Dims& shape);

// body(i, offsets) for each index of `dims` in row-major order: i counts, offsets[k] follows strides[k] from starts[k].
template <std::size_t K, class Body>
void walk(const Dims& dims, const std::array<Dims, K>& strides, Body&& body, std::array<std::int64_t, K> offsets = {}) {
  const std::int64_t count = element_count(dims);
  const std::size_t rank = dims.size();
  Dims index(rank, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    body(i, offsets);
    for (std::size_t axis = rank; axis-- > 0;) {
      for (std::size_t k = 0; k < K; ++k) offsets[k] += strides[k][axis];
      if (++index[axis] < dims[axis]) break;
      for (std::size_t k = 0; k < K; ++k) offsets[k] -= strides[k][axis] * dims[axis];
      index[axis] = 0;
    }
  }
}

// Elements as unsigned numbers of their width, for what only moves data. W: std::uint8_t ... std::uint64_t.
template <class W>
std::span<const W> words(const Tensor& tensor) {
  return {reinterpret_cast<const W*>(tensor.bytes().data()), static_cast<std::size_t>(tensor.size())};
}
template <class W>
std::span<W> mutable_words(Tensor& tensor) {
  return {reinterpret_cast<W*>(tensor.mutable_bytes().data()), static_cast<std::size_t>(tensor.size())};
}
// body(W{}) with the word of the type's width; types below a byte are refused.
template <class Body>
void with_words(const Node& node, DType dtype, Body&& body) {
  switch (bits(dtype)) {
    case 8:
      return body(std::uint8_t{});
    case 16:
      return body(std::uint16_t{});
    case 32:
      return body(std::uint32_t{});
    case 64:
      return body(std::uint64_t{});
    default:
      fail(ErrorCode::kUnsupported, node, "does not run on elements of type " + std::string(name(dtype)));
  }
}

// body(T{}) with the C++ type of the elements.
template <class Body>
void with_floats(const Node& node, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    default:
      fail_type(node, 0, dtype);
  }
}
template <class Body>
void with_integers(const Node& node, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::s64:
      return body(std::int64_t{});
    case DType::u64:
      return body(std::uint64_t{});
    case DType::s32:
      return body(std::int32_t{});
    case DType::u32:
      return body(std::uint32_t{});
    case DType::s16:
      return body(std::int16_t{});
    case DType::u16:
      return body(std::uint16_t{});
    case DType::s8:
      return body(std::int8_t{});
    case DType::u8:
      return body(std::uint8_t{});
    default:
      fail_type(node, 0, dtype);
  }
}
template <class Body>
void with_numbers(const Node& node, DType dtype, Body&& body) {
  if (is_float(dtype)) return with_floats(node, dtype, body);
  with_integers(node, dtype, body);
}

// 16-bit floats compute in fp32 and round once at the end: `half_in_f32<&reference>` wraps a reference for them.
Tensor widened(const Tensor& tensor);                // f16, bf16 -> f32; others as they are
Tensor narrowed(const Tensor& tensor, DType dtype);  // f32 -> f16, bf16; others as they are
std::vector<Tensor> run_widened(const ComputeArgs& args, Reference reference);
template <Reference reference>
std::vector<Tensor> half_in_f32(const ComputeArgs& args) {
  for (const Tensor& input : args.inputs)
    if (input.dtype() == DType::f16 || input.dtype() == DType::bf16) return run_widened(args, reference);
  return reference(args);
}

// Float to integer cuts towards zero and saturates, NaN gives 0; integers keep their low bits.
template <class To, class From>
To converted(From value) {
  if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (value != value) return 0;
    // 2^63 and the like are exact in both float types, the largest integers are not.
    constexpr From kAbove = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (value >= kAbove) return std::numeric_limits<To>::max();
    if (value < static_cast<From>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

// All numbers and bools as doubles (64-bit integers may round): for thresholds, scales, regions.
std::vector<double> doubles(const Node& node, const Tensor& tensor);

Tensor float8_to_f32(const Tensor& tensor);  // others as they are

// Types below a byte become one each for references that only move elements: `small_in_bytes<&reference>`.
std::vector<Tensor> run_in_bytes(const ComputeArgs& args, Reference reference);
template <Reference reference>
std::vector<Tensor> small_in_bytes(const ComputeArgs& args) {
  for (const TensorType& output : args.outputs)
    if (bits(output.dtype) > 0 && bits(output.dtype) < 8) return run_in_bytes(args, reference);
  return reference(args);
}

// Types below a byte <-> a byte each (s8, or u8 for unsigned integers and f4e2m1's codes).
Tensor unpacked(const Tensor& tensor);
Tensor packed(const Tensor& tensor, DType dtype);  // values must fit

}  // namespace zeropoint::ops
