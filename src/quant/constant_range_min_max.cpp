#include <algorithm>

#include "quant/constant_ranges.h"

namespace zeropoint::quant {

Range constant_range_min_max(std::span<const float> values, const Levels& /*levels*/) {
  Range range;
  for (const float value : values) {
    range.min = std::min(range.min, value);
    range.max = std::max(range.max, value);
  }
  return range;
}

}  // namespace zeropoint::quant
