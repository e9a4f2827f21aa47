// The moving average of TensorFlow's FakeQuant observers (B. Jacob et al., "Quantization and Training of Neural Networks for
// Efficient Integer-Arithmetic-Only Inference", 2018, section 3.1) without its decay: the plain mean does not depend on order.
#include <algorithm>

#include "quant/activation_ranges.h"

namespace zeropoint::quant {

Range range_averaged_min_max(const RangeQuery& query) {
  const double min = std::max(query.mean_min, query.histogram.min()), max = std::min(query.mean_max, query.histogram.max());
  return {static_cast<float>(min), static_cast<float>(max)};
}

}  // namespace zeropoint::quant
