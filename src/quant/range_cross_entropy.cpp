// For the logits of a classifier: the range that leaves the least cross entropy between the softmax of the real and that of the
// quantized values, H(softmax(v), softmax(q(v))): M. Nagel, M. Fournarakis, R. A. Amjad, Y. Bondarenko, M. van Baalen,
// T. Blankevoort, "A White Paper on Neural Network Quantization" (2021), section 3.1, "Cross entropy". What a row of logits says
// lies in the order of the largest ones, which the mean squared error does not know. A histogram knows no rows: calibration
// keeps a bounded sample of them (ValueStatistics::rows). The search is that of range_mse, over 8 octaves. Values without rows,
// or with rows of one element, go by range_mse.
#include <algorithm>
#include <cmath>
#include <vector>

#include "numerics/elementary.h"
#include "numerics/quantize.h"
#include "quant/activation_ranges.h"
#include "quant/search_range.h"

namespace zeropoint::quant {

double cross_entropy(std::span<const std::vector<float>> rows, Range range, const RangeQuery& query) {
  const ScaleZeroPoint chosen = choose_scale(range, query.limits, query.symmetric, query.power_of_two);
  const auto quantized = [&](float x) {
    const std::int32_t q = numerics::quantize(x, chosen.scale, chosen.zero_point, {query.limits.low, query.limits.high});
    return static_cast<double>(numerics::dequantize(q, chosen.scale, chosen.zero_point));
  };
  double sum = 0;
  for (const std::vector<float>& row : rows) {
    const double most = static_cast<double>(*std::max_element(row.begin(), row.end())),
                 most_quantized = quantized(static_cast<float>(most));
    double all = 0, all_quantized = 0, mean = 0;  // of exp(v), exp(q(v)); sum of exp(v) * q(v)
    for (const float x : row) {
      const double p = numerics::exp(static_cast<double>(x) - most), y = quantized(x) - most_quantized;
      all += p;
      all_quantized += numerics::exp(y);
      mean += p * y;
    }
    sum += numerics::log(all_quantized) - mean / all;
  }
  return rows.empty() ? 0 : sum / static_cast<double>(rows.size());
}

Range range_cross_entropy(const RangeQuery& query) {
  const bool one_each = std::all_of(query.rows.begin(), query.rows.end(), [](const auto& row) { return row.size() < 2; });
  if (one_each) return range_mse(query);
  constexpr int kOctaves = 8;
  return search_range(query.histogram, query.symmetric, kOctaves,
                      [&](Range range) { return RangeCost{cross_entropy(query.rows, range, query), 0}; });
}

}  // namespace zeropoint::quant
