// What every function of zeropoint/rounding.h asks of its arguments.
#pragma once

#include <cstddef>

#include "zeropoint/error.h"
#include "zeropoint/rounding.h"

namespace zeropoint::quant {

inline void check_rows(const WeightGrid& grid, const LayerRows& rows) {
  const auto is = [](std::size_t size, std::int64_t count) { return size == static_cast<std::size_t>(count); };
  const std::int64_t weights = grid.outputs * grid.depth;
  const bool fits = is(grid.weight.size(), weights) && is(grid.scale.size(), weights) && is(grid.zero_point.size(), weights) &&
                    rows.depth == grid.depth && rows.outputs == grid.outputs && rows.groups > 0 &&
                    rows.outputs % rows.groups == 0 && is(rows.x.size(), rows.rows * rows.groups * rows.depth) &&
                    is(rows.target.size(), rows.rows * rows.outputs) &&
                    (rows.offset.empty() || is(rows.offset.size(), rows.outputs));
  if (!fits) throw Error(ErrorCode::kBadShape, "rounding", "weights, grid, inputs and targets don't fit each other");
}

}  // namespace zeropoint::quant
