// What operators with tensors of indices share.
#pragma once

#include <cstdint>
#include <span>

#include "ops/rules.h"

namespace zeropoint::ops {

// In [0, size) from one in [-size, size); throws kBadShape.
std::int64_t checked_index(const Node& node, std::int64_t index, std::int64_t size);
void check_index_type(const Node& node, std::size_t input, DType dtype);  // s64 or s32
// Input 1 of GatherElements and ScatterElements: as many axes as input 0, none longer but the one of attribute `axis`.
void check_elements_shape(const ShapeArgs& args);
// Offset of the element that `place` names along the first axes of `dims`.
std::int64_t nd_offset(const Node& node, std::span<const std::int64_t> place, std::span<const std::int64_t> dims,
                       std::span<const std::int64_t> strides);

}  // namespace zeropoint::ops
