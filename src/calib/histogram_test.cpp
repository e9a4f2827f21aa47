#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <random>

#include "zeropoint/statistics.h"

namespace zeropoint {
namespace {

HistogramView view_of(const std::vector<float>& values) {
  Histogram histogram;
  histogram.add(values);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return HistogramView(histogram, *low, *high);
}

std::vector<float> any_finite(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::vector<float> values;
  while (values.size() < count) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isfinite(x)) values.push_back(x);
  }
  return values;
}

TEST(Histogram, BinsAreSignExponentAndEightBits) {
  Histogram histogram;
  histogram.add(1.0F);
  histogram.add(std::nextafter(1.0F + 1.0F / 256, 0.0F));  // the last of the same bin
  histogram.add(1.0F + 1.0F / 256);
  histogram.add(-1.0F, 5);
  histogram.add(0.0F);
  histogram.add(-0.0F);
  histogram.add(NAN);
  histogram.add(INFINITY);
  EXPECT_EQ(histogram.count(), 10U);
  EXPECT_EQ(histogram.zeros(), 2U);
  ASSERT_EQ(histogram.octaves().size(), 2U);
  EXPECT_EQ(histogram.octaves().at(127)[0], 2U);
  EXPECT_EQ(histogram.octaves().at(127)[1], 1U);
  EXPECT_EQ(histogram.octaves().at(256 + 127)[0], 5U);
}

TEST(Histogram, OneOutlierCostsNoResolution) {
  std::vector<float> values;
  for (int i = 1; i <= 1000; ++i) values.push_back(static_cast<float>(i) / 1000.0F);
  const HistogramView narrow = view_of(values);
  for (const float outlier : {1e4F, FLT_MAX}) {
    std::vector<float> more = values;
    more.push_back(outlier);
    more.push_back(-outlier);
    const HistogramView wide = view_of(more);
    EXPECT_EQ(wide.bins().size(), narrow.bins().size() + 2);
    EXPECT_EQ(wide.min(), -static_cast<double>(outlier));
    EXPECT_EQ(wide.max(), static_cast<double>(outlier));
    EXPECT_NEAR(wide.quantile(0.5), 0.5, 0.005);
  }
}

TEST(Histogram, HoldsEveryFiniteFloat) {
  constexpr unsigned kSeed = 5;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::vector<float> values = any_finite(kSeed, 20000);
  for (const float x : {FLT_MAX, -FLT_MAX, FLT_MIN, -FLT_MIN, FLT_TRUE_MIN, -FLT_TRUE_MIN, 0.0F}) values.push_back(x);
  const HistogramView view = view_of(values);
  EXPECT_EQ(view.count(), values.size());
  EXPECT_EQ(view.min(), -static_cast<double>(FLT_MAX));
  EXPECT_EQ(view.max(), static_cast<double>(FLT_MAX));
  std::uint64_t total = 0;
  double last = -INFINITY;
  for (const HistogramBin& bin : view.bins()) {
    EXPECT_GE(bin.low, last);
    EXPECT_LE(bin.low, bin.high);
    EXPECT_GT(bin.count, 0U);
    // Width: 1/256 of the value, or 2^-134 below the smallest normal number.
    EXPECT_LE(bin.high - bin.low, std::max(std::min(std::abs(bin.low), std::abs(bin.high)) / 256, std::ldexp(1.0, -134)));
    last = bin.high;
    total += bin.count;
  }
  EXPECT_EQ(total, values.size());
  // Every value lies in a bin: what is below a bin's upper edge is counted up to it.
  std::sort(values.begin(), values.end());
  std::uint64_t below = 0;
  for (const HistogramBin& bin : view.bins()) {
    below += bin.count;
    const auto upto =
        std::upper_bound(values.begin(), values.end(), bin.high, [](double a, float b) { return a < static_cast<double>(b); });
    const auto before =
        std::lower_bound(values.begin(), values.end(), bin.high, [](float a, double b) { return static_cast<double>(a) < b; });
    EXPECT_LE(below, static_cast<std::uint64_t>(upto - values.begin()));
    EXPECT_GE(below, static_cast<std::uint64_t>(before - values.begin()));
  }
}

TEST(HistogramView, QuantilesAreWithinABin) {
  constexpr unsigned kSeed = 9;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0.3F, 2.0F);
  std::vector<float> values(50000);
  for (float& v : values) v = std::max(normal(random), -1.0F) * static_cast<float>(random() % 4 != 0);
  const HistogramView view = view_of(values);
  std::sort(values.begin(), values.end());
  for (double fraction = 0; fraction <= 1; fraction += 0.0103) {
    const auto place = static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1));
    const double exact = static_cast<double>(values[place]);
    EXPECT_NEAR(view.quantile(fraction), exact, std::abs(exact) / 200 + 1e-3) << fraction;
  }
  EXPECT_EQ(view.quantile(0), static_cast<double>(values.front()));
  EXPECT_EQ(view.quantile(1), static_cast<double>(values.back()));
  for (double fraction = 0.001; fraction < 1; fraction += 0.013) {
    // Values that are many times the same (the zeros, the minimum) are steps.
    const double v = view.quantile(fraction), target = fraction * 50000;
    EXPECT_LE(view.count_below(v), target + 1e-6);
    EXPECT_GE(view.count_below(std::nextafter(v, INFINITY)), target - 1e-6);
  }
}

TEST(HistogramView, EdgesAreExact) {
  const HistogramView view = view_of({5.001F, 5.002F, 5.003F});
  EXPECT_EQ(view.min(), static_cast<double>(5.001F));
  EXPECT_EQ(view.max(), static_cast<double>(5.003F));
  EXPECT_EQ(view.count_below(5.0), 0.0);
  EXPECT_EQ(view.count_below(6.0), 3.0);
  const HistogramView point = view_of({2.5F, 2.5F});
  EXPECT_EQ(point.quantile(0.3), 2.5);
  EXPECT_EQ(point.count_below(2.5), 0.0);
  EXPECT_EQ(point.count_below(2.6), 2.0);
  const HistogramView negative = view_of({-3.0F, -2.0F, 0.0F, 0.0F});
  EXPECT_EQ(negative.max(), 0.0);
  EXPECT_EQ(negative.count_below(0), 2.0);
  EXPECT_EQ(negative.quantile(0.75), 0.0);
  EXPECT_TRUE(HistogramView().empty());
  EXPECT_EQ(HistogramView().quantile(0.5), 0.0);
}

TEST(HistogramView, MagnitudesAreTheHistogramOfAbsoluteValues) {
  constexpr unsigned kSeed = 31;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (unsigned kind = 0; kind < 4; ++kind) {
    std::vector<float> values = any_finite(kSeed + kind, 3000), absolute;
    for (float& x : values) {
      if (kind == 1) x = std::abs(x);
      if (kind == 2) x = -std::abs(x);
      if (kind == 3) x = static_cast<float>(static_cast<int>(x) % 5);  // zeros and repeated values
      absolute.push_back(std::abs(x));
    }
    const HistogramView folded = view_of(values).magnitudes(), expected = view_of(absolute);
    ASSERT_EQ(folded.bins().size(), expected.bins().size()) << kind;
    for (std::size_t i = 0; i < expected.bins().size(); ++i) {
      EXPECT_EQ(folded.bins()[i].count, expected.bins()[i].count);
      // Edges that were clipped on one side only are narrower, or unknown at the small end.
      EXPECT_EQ(folded.bins()[i].low, i == 0 ? folded.bins()[i].low : expected.bins()[i].low);
      EXPECT_LE(folded.bins()[i].low, expected.bins()[i].low);
      EXPECT_LE(folded.bins()[i].high, expected.bins()[i].high);
    }
    EXPECT_EQ(folded.max(), expected.max());
  }
}

TEST(Histogram, MergingIsAddition) {
  const std::vector<float> a = any_finite(1, 5000), b = any_finite(2, 3000);
  Histogram left, right, both;
  left.add(a);
  right.add(b);
  both.add(b);
  both.add(a);
  Histogram forward = left, backward = right;
  forward.merge(right);
  backward.merge(left);
  EXPECT_EQ(forward, both);
  EXPECT_EQ(backward, both);
  Histogram full;
  full.add(1.0F, std::uint64_t{1} << 63);
  EXPECT_THROW(full.add(1.0F), Error);
  EXPECT_THROW(full.merge(left), Error);
}

}  // namespace
}  // namespace zeropoint
