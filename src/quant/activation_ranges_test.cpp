#include "quant/activation_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "numerics/quantize.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

ValueStatistics observe(const std::vector<float>& values) {
  ValueStatistics statistics;
  statistics.samples = 1;
  statistics.min = *std::min_element(values.begin(), values.end());
  statistics.max = *std::max_element(values.begin(), values.end());
  statistics.histogram.add(values);
  return statistics;
}

double true_error(const std::vector<float>& values, Range range, IntegerLimits limits, bool symmetric) {
  const ScaleZeroPoint chosen = choose_scale(range, limits, symmetric);
  double sum = 0;
  for (const float x : values) {
    const auto q = numerics::quantize(x, chosen.scale, chosen.zero_point, {limits.low, limits.high});
    const double error = static_cast<double>(x) - static_cast<double>(numerics::dequantize(q, chosen.scale, chosen.zero_point));
    sum += error * error;
  }
  return sum;
}

std::vector<float> normal(std::size_t count, unsigned seed, float mean = 0, bool rectified = false) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(mean);
  std::vector<float> values(count);
  for (float& value : values) value = rectified ? std::max(0.0F, distribution(random)) : distribution(random);
  return values;
}

const Scheme kU8 = {};
Scheme with_range(Scheme scheme, const char* range) {
  scheme.range = range;
  return scheme;
}

TEST(SquaredErrorTest, EqualsTheSumOverTheValues) {
  for (const bool rectified : {false, true}) {
    const std::vector<float> values = normal(200000, 7, 0.3F, rectified);
    const ValueStatistics statistics = observe(values);
    const HistogramView view = statistics.view();
    for (const float level : {0.5F, 2.0F, 4.0F, 30.0F})
      for (const int bits : {4, 8}) {
        const Range range{-level, 2 * level};
        const IntegerLimits limits = limits_of_bits(bits, false, false);
        const double exact = true_error(values, range, limits, false);
        EXPECT_NEAR(squared_error(view, range, limits, false).total / exact, 1, 0.02) << level << ' ' << bits;
      }
  }
}

TEST(SquaredErrorTest, PointMassesAndClipping) {
  Histogram histogram;
  histogram.add(6.0F, 10);
  histogram.add(0.0F, 90);
  const SquaredError error = squared_error(HistogramView(histogram, 0, 6), {0, 5}, {0, 255}, false);
  EXPECT_NEAR(error.total, 10.0, 1e-5);
  EXPECT_NEAR(error.clipped, 10.0, 1e-5);
  EXPECT_NEAR(squared_error(HistogramView(histogram, 0, 6), {0, 6}, {0, 255}, false).total, 0, 1e-9);
}

TEST(RangeTest, MinMaxIsExact) {
  const ValueStatistics statistics = observe({-1.25F, 0.5F, 3.0001F});
  EXPECT_EQ(choose_range(statistics, kU8), (Range{-1.25F, 3.0001F}));
}

TEST(RangeTest, PercentileKeepsItsShare) {
  std::vector<float> values;
  for (int i = 1; i <= 100000; ++i) values.push_back(static_cast<float>(i) / 1000);
  Scheme scheme = with_range(kU8, "percentile");
  scheme.parameter = 99;
  const Range range = choose_range(observe(values), scheme);
  EXPECT_NEAR(range.max, 99.5, 0.05);
  EXPECT_NEAR(range.min, 0.5, 0.005);
  Scheme symmetric{.dtype = DType::s8, .symmetric = true, .range = "percentile", .parameter = 99};
  EXPECT_NEAR(choose_range(observe(values), symmetric).max, 99.0, 0.05);
}

TEST(RangeTest, AveragedMinMax) {
  const ValueStatistics statistics = observe({-4, 8});
  const HistogramView view = statistics.view();
  const RangeQuery query{.histogram = view, .mean_min = -3, .mean_max = 6, .limits = {0, 255}};
  EXPECT_EQ(range_averaged_min_max(query), (Range{-3, 6}));
}

// EXAMPLES: one outlier widens min-max and crushes the rest.
TEST(RangeTest, OneOutlier) {
  std::vector<float> values = normal(1 << 20, 3);
  values.push_back(300);
  const ValueStatistics statistics = observe(values);
  values.pop_back();
  const IntegerLimits limits{0, 255};
  const double power = static_cast<double>(values.size());
  const auto signal_to_noise = [&](const char* method) {
    return 10 * std::log10(power / true_error(values, choose_range(statistics, with_range(kU8, method)), limits, false));
  };
  EXPECT_LT(signal_to_noise("min_max"), 10);
  EXPECT_GT(signal_to_noise("percentile"), 38);
  EXPECT_GT(signal_to_noise("kl_divergence"), 30);
  EXPECT_GT(signal_to_noise("mse"), 15);  // the outlier's own error counts: 300^2 against the rest
}

TEST(RangeTest, MseIsNearTheBestOfAFineGrid) {
  for (const int bits : {3, 4, 8})
    for (const bool rectified : {false, true}) {
      const std::vector<float> values = normal(1 << 15, 5, 0.2F, rectified);
      const ValueStatistics statistics = observe(values);
      const HistogramView view = statistics.view();
      const IntegerLimits limits = limits_of_bits(bits, false, false);
      const Range chosen = range_mse({.histogram = view, .limits = limits});
      double best = 1e300;
      for (float low = 0.2F; low <= 1.0F; low += 0.05F)
        for (float high = 0.2F; high <= 1.0F; high += 0.05F)
          best = std::min(best, true_error(values, {statistics.min * low, statistics.max * high}, limits, false));
      EXPECT_LT(true_error(values, chosen, limits, false), best * 1.02) << bits << " bits, rectified " << rectified;
    }
}

// Every method: inside what was seen, the same whatever the order of the values, and mse not worse than min_max.
TEST(RangeTest, Properties) {
  const unsigned seed = 77;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<float> values = normal(500 + static_cast<std::size_t>(trial) * 20, seed + static_cast<unsigned>(trial),
                                       static_cast<float>(trial % 5 - 2), trial % 3 == 0);
    for (float& value : values) value = std::ldexp(value, trial % 7 * 10 - 30);
    if (trial % 4 == 0) values[0] *= 1e4F;
    const ValueStatistics statistics = observe(values);
    const HistogramView view = statistics.view();
    std::shuffle(values.begin(), values.end(), random);
    const ValueStatistics shuffled = observe(values);
    for (const bool symmetric : {false, true})
      for (const std::string& method : range_methods()) {
        if (method == "averaged_min_max") continue;
        const Scheme scheme{.dtype = symmetric ? DType::s8 : DType::u8, .symmetric = symmetric, .range = method};
        const Range range = choose_range(statistics, scheme);
        SCOPED_TRACE(::testing::Message() << method << " trial " << trial);
        EXPECT_GE(range.min, std::min(statistics.min, 0.0F));
        EXPECT_LE(range.max, std::max(statistics.max, 0.0F));
        EXPECT_LE(range.min, range.max);
        EXPECT_EQ(choose_range(shuffled, scheme), range);
        if (method == "mse") {
          EXPECT_LE(squared_error(view, range, limits_of(scheme), symmetric).total,
                    squared_error(view, {statistics.min, statistics.max}, limits_of(scheme), symmetric).total);
        }
      }
  }
}

TEST(RangeTest, NothingSeenAndOnlyZeros) {
  for (const std::string& method : range_methods()) {
    EXPECT_EQ(choose_range(ValueStatistics{}, with_range(kU8, method.c_str())), Range{}) << method;
    if (method != "averaged_min_max") {
      EXPECT_EQ(choose_range(observe({0, 0, 0}), with_range(kU8, method.c_str())), Range{}) << method;
    }
  }
  EXPECT_THROW(choose_range(observe({1}), with_range(kU8, "best")), Error);
}

// Against all pairs of ends on a fine grid.
TEST(RangeTest, MseEqualsBruteForce) {
  for (const int bits : {2, 4, 8})
    for (const bool symmetric : {false, true})
      for (const bool power_of_two : {false, true}) {
        std::vector<float> values = normal(4000, 5, 0.5F);
        values[0] = 40;  // an outlier
        const ValueStatistics statistics = observe(values);
        const Scheme scheme{.dtype = symmetric ? DType::s8 : DType::u8,
                            .symmetric = symmetric,
                            .range = "mse",
                            .bits = bits == 8 ? 0 : bits,
                            .power_of_two = power_of_two};
        const IntegerLimits limits = limits_of(scheme);
        const auto error = [&](Range range) {
          const ScaleZeroPoint chosen = choose_scale(range, limits, symmetric, power_of_two);
          double sum = 0;
          for (const float x : values) {
            const auto q = numerics::quantize(x, chosen.scale, chosen.zero_point, {limits.low, limits.high});
            const double lost =
                static_cast<double>(x) - static_cast<double>(numerics::dequantize(q, chosen.scale, chosen.zero_point));
            sum += lost * lost;
          }
          return sum;
        };
        double least = error({statistics.min, statistics.max});
        for (float low = -4; low <= 0; low += 0.1F)
          for (float high = 0.1F; high < 41; high *= 1.05F) least = std::min(least, error({low, high}));
        EXPECT_LE(error(choose_range(statistics, scheme)), 1.06 * least) << bits << symmetric << power_of_two;
      }
}

// A row's winner decides; an outlier on the losing side may be cut.
TEST(RangeTest, CrossEntropyEqualsBruteForce) {
  std::mt19937 random(9);
  std::normal_distribution<float> distribution;
  std::vector<std::vector<float>> rows;
  std::vector<float> all;
  for (int r = 0; r < 64; ++r) {
    std::vector<float> row(10);
    for (float& x : row) x = 2 * distribution(random);
    row[static_cast<std::size_t>(r) % 10] -= 60;
    all.insert(all.end(), row.begin(), row.end());
    rows.push_back(std::move(row));
  }
  const ValueStatistics statistics = observe(all);
  const HistogramView view = statistics.view();
  for (const int bits : {3, 4, 8}) {
    const Scheme scheme{.range = "cross_entropy", .bits = bits == 8 ? 0 : bits};
    const RangeQuery query{.histogram = view, .limits = limits_of(scheme)};
    const Range chosen = choose_range(statistics, scheme, rows);
    double least = cross_entropy(rows, {statistics.min, statistics.max}, query);
    for (float low = statistics.min; low <= 0; low += 0.5F)
      for (float high = 0.5F; high <= statistics.max; high += 0.25F)
        least = std::min(least, cross_entropy(rows, {low, high}, query));
    const double mse = cross_entropy(rows, choose_range(statistics, with_range(scheme, "mse")), query);
    const double found = cross_entropy(rows, chosen, query);
    EXPECT_LE(found, least * 1.05 + 1e-4) << bits;
    EXPECT_LE(found, mse) << bits;
    if (bits < 8) {
      EXPECT_LT(found, 0.9 * mse) << bits << ": the squared error pays for the outliers";
    }
    EXPECT_EQ(choose_range(statistics, scheme), choose_range(statistics, with_range(scheme, "mse"))) << "without rows";
  }
}

// The entropy of softmax itself is the least possible: by hand for two logits.
TEST(RangeTest, CrossEntropyOfTwoLogits) {
  const std::vector<std::vector<float>> rows = {{0.0F, 1.0F}};
  const ValueStatistics statistics = observe({0.0F, 1.0F});
  const HistogramView view = statistics.view();
  const RangeQuery query{.histogram = view, .limits = {0, 255}};
  const double p = 1 / (1 + std::exp(-1.0));
  EXPECT_NEAR(cross_entropy(rows, {0, 1}, query), -p * std::log(p) - (1 - p) * std::log(1 - p), 1e-6);
  const double q = 1 / (1 + std::exp(-0.5));  // clipped at 0.5
  EXPECT_NEAR(cross_entropy(rows, {0, 0.5F}, query), -p * std::log(q) - (1 - p) * std::log(1 - q), 1e-6);
}

// Where weights have one sign, what clipping takes from all inputs adds up: a wider range than that of the least squared error.
TEST(RangeTest, AutoPredictsTheErrorAtTheOutput) {
  const std::vector<float> values = normal(20000, 3, 0, true);
  const ValueStatistics statistics = observe(values);
  const HistogramView view = statistics.view();
  const Scheme scheme{.range = "auto", .bits = 4};
  const Scheme mse = with_range(scheme, "mse");
  EXPECT_EQ(choose_range(statistics, scheme), choose_range(statistics, mse)) << "nothing known of the readers";
  const ErrorGain aligned{.independent = 1, .common = 2000};
  const Range wide = choose_range(statistics, scheme, {}, aligned);
  EXPECT_GT(wide.max, choose_range(statistics, mse).max);
  // Against the output of such a layer: 2,000 weights of 1 / sqrt(2000), 10 rows.
  const auto output_error = [&](Range range) {
    const ScaleZeroPoint chosen = choose_scale(range, limits_of(scheme), false);
    double sum = 0;
    for (std::size_t row = 0; row < 10; ++row) {
      double error = 0;
      for (std::size_t i = 0; i < 2000; ++i) {
        const float x = values[row * 2000 + i];
        const auto q = numerics::quantize(x, chosen.scale, chosen.zero_point, {0, 15});
        error += static_cast<double>(x) - static_cast<double>(numerics::dequantize(q, chosen.scale, chosen.zero_point));
      }
      sum += error * error / 2000;
    }
    return sum / 10;
  };
  const RangeQuery query{.histogram = view, .limits = limits_of(scheme), .gain = aligned};
  EXPECT_LT(output_error(wide), output_error(choose_range(statistics, mse)));
  EXPECT_NEAR(predicted_error(query, {0, 1}) / output_error({0, 1}), 1, 0.1);  // clipping leads
}

TEST(RangeTest, KlKeepsAUniformWhole) {  // nothing to gain from clipping
  std::vector<float> values;
  for (int i = 1; i <= 1 << 18; ++i) values.push_back(static_cast<float>(i));
  EXPECT_GT(choose_range(observe(values), with_range(kU8, "kl_divergence")).max, 0.9F * static_cast<float>(1 << 18));
}

}  // namespace
}  // namespace zeropoint::quant
