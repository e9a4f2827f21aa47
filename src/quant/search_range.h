// The search for a range that methods share: geometric over the level, so that one thousands of times below an outlier is
// found; then each end by turns.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "zeropoint/ranges.h"
#include "zeropoint/statistics.h"

namespace zeropoint::quant {

// What a range costs, and a part of it that grows as the level falls: beyond the least cost, nothing below can be better.
struct RangeCost {
  double total = 0, growing = 0;
};

// 2^(k/64). exp2 differs between C libraries; square roots are exact.
inline double power_of_two_64ths(int k) {
  double root = 2, result = 1;
  const int octaves = k >= 0 ? k / 64 : -((-k + 63) / 64), rest = k - 64 * octaves;
  for (int bit = 32; bit > 0; bit /= 2) {
    root = std::sqrt(root);
    if (rest & bit) result *= root;
  }
  return std::ldexp(result, octaves);
}

// The part of [histogram.min(), histogram.max()] of least cost(range).total among: |x| <= M * 2^(-k/8) for k up to 8 `octaves`,
// then for either end by turns steps of 2^(1/64) around the best.
template <class Cost>
Range search_range(const HistogramView& histogram, bool symmetric, int octaves, const Cost& cost) {
  constexpr int kStepsPerOctave = 8;
  constexpr int kRefineReach = 8;  // +- one step of the first search
  constexpr int kRefineRounds = 2;
  const double min = std::min(histogram.min(), 0.0), max = std::max(histogram.max(), 0.0);
  const double most = std::max(-min, max);
  const auto range_of = [&](double below, double above) {
    return Range{static_cast<float>(std::max(min, -below)), static_cast<float>(std::min(max, above))};
  };
  double least = std::numeric_limits<double>::infinity();
  std::array<double, 2> ends = {most, most};  // magnitudes of the lower and the upper end
  const auto try_ends = [&](std::array<double, 2> tried) {
    const RangeCost tried_cost = cost(range_of(tried[0], tried[1]));
    if (tried_cost.total < least) {
      least = tried_cost.total;
      ends = tried;
    }
    return tried_cost;
  };
  for (int k = 0; k <= octaves * kStepsPerOctave; ++k) {
    const double level = most * power_of_two_64ths(-k * 64 / kStepsPerOctave);
    if (try_ends({level, level}).growing > least) break;  // grows as the level falls: nothing below can be better
  }
  ends = {std::min(ends[0], -min), std::min(ends[1], max)};
  for (int round = 0; round < kRefineRounds; ++round)
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}}) {
      const std::array<double, 2> start = ends;
      const double limit = end == 0 ? -min : max;
      if (start[end] == 0) continue;
      for (int k = -kRefineReach; k <= kRefineReach; ++k) {
        std::array<double, 2> tried = start;
        tried[end] = std::min(start[end] * power_of_two_64ths(k), limit);
        if (symmetric) tried = {tried[end], tried[end]};
        if (k != 0) try_ends(tried);
      }
    }
  return range_of(ends[0], ends[1]);
}

}  // namespace zeropoint::quant
