#include "quant/activation_ranges.h"

namespace zeropoint::quant {

Range range_min_max(const RangeQuery& query) {
  return {static_cast<float>(query.histogram.min()), static_cast<float>(query.histogram.max())};
}

}  // namespace zeropoint::quant
