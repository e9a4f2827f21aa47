// The rule of Slice, shared with the propagation of shape values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/rules.h"

namespace zeropoint::ops {

// Of one axis: elements start, start + step, ... (count of them).
struct SliceAxis {
  std::size_t axis;
  std::int64_t start, step, count;
};
// For each sliced axis; nullopt while starts, ends, axes or steps are unknown. An axis of unknown size gets count -1.
std::optional<std::vector<SliceAxis>> slice_axes(const ShapeArgs& args, const Shape& x);

}  // namespace zeropoint::ops
