// J. McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient Embedded Inference"
// (2018), section 3.1, with 99.99 as H. Wu et al., "Integer Quantization for Deep Learning Inference" (2020), recommend. Like
// ONNX Runtime's, the percentage is what stays inside, both ends together.
#include <algorithm>

#include "quant/activation_ranges.h"

namespace zeropoint::quant {

constexpr double kDefaultPercent = 99.99;

Range range_percentile(const RangeQuery& query) {
  const double inside = (query.parameter > 0 ? query.parameter : kDefaultPercent) / 100;
  const HistogramView& histogram = query.histogram;
  if (!query.symmetric)
    return {static_cast<float>(histogram.quantile((1 - inside) / 2)), static_cast<float>(histogram.quantile((1 + inside) / 2))};
  const double most = histogram.magnitudes().quantile(inside);
  return {static_cast<float>(std::max(-most, histogram.min())), static_cast<float>(std::min(most, histogram.max()))};
}

}  // namespace zeropoint::quant
