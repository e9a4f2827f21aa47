// Elementwise operators on integers, bools and mixed types with general broadcasting: masks, positions, conditions. Plain loops
// for the baseline: networks spend little time here, but a pass over a mask must not cost as much as a product.
//
// Integers wrap around. Float to integer cuts towards zero and saturates, NaN gives 0; anything to bool is x != 0 (the
// definitions of src/ops).
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

enum class Element : std::uint8_t { b8, s32, s64, f32 };
enum class TypedOp : std::uint8_t {
  add,
  sub,
  mul,
  min,  // NaN wins
  max,
  equal,  // to b8, as the next four
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  logical_and,  // of b8, as the next two
  logical_or,
  logical_xor,
  power,  // of f32 by numerics::pow
  prelu,  // x < 0 ? slope * x : x
};

// dst is dense with `dims`; operands have strides in elements, 0 along broadcast axes.
inline constexpr int kMaxTypedRank = 8;
struct TypedShape {
  int rank = 0;
  std::int64_t dims[kMaxTypedRank] = {};
  std::int64_t strides[3][kMaxTypedRank] = {};
};

// Elements begin ... end - 1 of the flat dst.
using TypedFunction = void (*)(const TypedShape& shape, const void* const* operands, void* dst, std::int64_t begin,
                               std::int64_t end) noexcept;
// Null where the pair is not offered.
TypedFunction typed_binary(TypedOp op, Element element);
TypedFunction typed_cast(Element from, Element to);
TypedFunction typed_not();             // of b8
TypedFunction typed_where(int bytes);  // condition b8 ? a : b, elements of 1, 4 or 8 bytes

}  // namespace zeropoint::kernels
