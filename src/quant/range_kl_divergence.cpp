// S. Migacz, "8-bit Inference with TensorRT" (GTC 2017): the threshold T on |x| at which the distribution loses least
// information when [0, T] is merged into as many levels as the type has and everything beyond T is moved to T.
// Deviations: candidates for T are geometric and each has its own linear bins (kBinsPerLevel a level) cut out of the
// logarithmic histogram, so that an outlier does not coarsen all of them, where the original cuts [0, max] into 2048 bins once;
// exact zeros, which every scale represents exactly, are left out; a range of both signs and no symmetry keeps T for both ends.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "numerics/elementary.h"
#include "quant/activation_ranges.h"

namespace zeropoint::quant {
namespace {

constexpr int kBinsPerLevel = 8;
constexpr std::int64_t kMostLevels = 1024;
constexpr int kStepsPerOctave = 8;
constexpr double kLargestCut = 0.25;  // share of the values that a threshold may clip
constexpr double kFloor = 1e-10;      // stands for a probability of 0 where the reference's is not

double divergence(const HistogramView& magnitudes, double zeros, double threshold, std::int64_t levels) {
  const std::size_t bins = static_cast<std::size_t>(levels * kBinsPerLevel);
  std::vector<double> counts(bins);
  double before = zeros;
  for (std::size_t i = 0; i < bins; ++i) {
    const double edge = threshold * static_cast<double>(i + 1) / static_cast<double>(bins);
    const double below = std::max(magnitudes.count_below(edge), before);
    counts[i] = below - before;
    before = below;
  }
  const double all = static_cast<double>(magnitudes.count()) - zeros;
  const double inside = before - zeros;
  if (inside <= 0) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (std::size_t first = 0; first < bins; first += kBinsPerLevel) {
    double total = 0;
    int filled = 0;
    for (std::size_t i = first; i < first + kBinsPerLevel; ++i) {
      total += counts[i];
      filled += counts[i] > 0;
    }
    for (std::size_t i = first; i < first + kBinsPerLevel; ++i) {
      const double p = (counts[i] + (i + 1 == bins ? all - inside : 0)) / all;
      if (p <= 0) continue;
      const double q = counts[i] > 0 ? total / filled / inside : 0;
      sum += p * numerics::log(p / std::max(q, kFloor));
    }
  }
  return sum;
}

}  // namespace

Range range_kl_divergence(const RangeQuery& query) {
  const HistogramView& histogram = query.histogram;
  const HistogramView magnitudes = histogram.magnitudes();
  const bool has_zeros = magnitudes.bins().front().high == 0;
  const double zeros = has_zeros ? static_cast<double>(magnitudes.bins().front().count) : 0;
  const double most = magnitudes.max(), nonzero = static_cast<double>(magnitudes.count()) - zeros;
  if (nonzero == 0) return {};
  const bool one_sided = histogram.min() >= 0 || histogram.max() <= 0;
  // Of more levels each holds so few values that only clipping costs anything.
  const std::int64_t all_levels = std::min<std::int64_t>(query.limits.high - query.limits.low + 1, kMostLevels);
  const std::int64_t levels = !query.symmetric && one_sided ? all_levels : (all_levels + 1) / 2;
  double best = most, least = std::numeric_limits<double>::infinity();
  const double step = std::sqrt(std::sqrt(std::sqrt(0.5)));  // 2^(-1 / kStepsPerOctave)
  static_assert(kStepsPerOctave == 8);
  for (double threshold = most;; threshold *= step) {
    if (static_cast<double>(magnitudes.count()) - magnitudes.count_below(threshold) > kLargestCut * nonzero && threshold < most)
      break;
    const double loss = divergence(magnitudes, zeros, threshold, levels);
    if (loss < least) {
      least = loss;
      best = threshold;
    }
  }
  return {static_cast<float>(std::max(-best, histogram.min())), static_cast<float>(std::min(best, histogram.max()))};
}

}  // namespace zeropoint::quant
