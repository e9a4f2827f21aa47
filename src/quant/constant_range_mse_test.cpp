// The clipped ranges of weights against a search over all levels, per tensor and per channel.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "numerics/quantize.h"
#include "quant/constant_ranges.h"
#include "zeropoint/quantize_tensor.h"

namespace zeropoint::quant {
namespace {

double error_of(std::span<const float> values, const ScaleZeroPoint& chosen, IntegerLimits limits) {
  double sum = 0;
  for (const float x : values) {
    const auto q = numerics::quantize(x, chosen.scale, chosen.zero_point, {limits.low, limits.high});
    const double error = static_cast<double>(x) - static_cast<double>(numerics::dequantize(q, chosen.scale, chosen.zero_point));
    sum += error * error;
  }
  return sum;
}

// Of both ends cut by one ratio, as the method is defined: 4,000 ratios.
double least_error(std::span<const float> values, const Levels& levels) {
  const Range full = constant_range_min_max(values, levels);
  double least = error_of(values, levels.scale_of(full), levels.limits);
  for (int step = 1; step < 4000; ++step) {
    const float ratio = static_cast<float>(step) / 4000;
    least = std::min(least, error_of(values, levels.scale_of({full.min * ratio, full.max * ratio}), levels.limits));
  }
  return least;
}

// [O=6, I=50]: channels of different widths, one with an outlier 30 times as large as the rest.
Tensor weights(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensor tensor(DType::f32, {6, 50});
  const auto values = tensor.mutable_values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(random) * static_cast<float>(1 + i / 50);
  values[77] = 60;
  return tensor;
}

TEST(ConstantRangeMseTest, EqualsBruteForce) {
  for (const unsigned seed : {1U, 2U})
    for (const int bits : {2, 3, 4, 6, 8})
      for (const bool symmetric : {true, false})
        for (const bool power_of_two : {false, true}) {
          const Tensor tensor = weights(seed);
          const Levels levels{limits_of_bits(bits, true, symmetric), symmetric, power_of_two};
          SCOPED_TRACE(testing::Message() << seed << ' ' << bits << ' ' << symmetric << power_of_two);
          for (const Granularity& granularity : {Granularity(PerTensor{}), Granularity(PerChannel{0})}) {
            double found = 0, least = 0, min_max = 0;
            for (const std::vector<float>& part : split_by_parameter(tensor, granularity)) {
              found += error_of(part, levels.scale_of(constant_range_mse(part, levels)), levels.limits);
              least += least_error(part, levels);
              min_max += error_of(part, levels.scale_of(constant_range_min_max(part, levels)), levels.limits);
            }
            EXPECT_LE(found, 1.06 * least);
            EXPECT_LE(found, min_max);
          }
        }
}

// Three levels serve normal values best at 1.22 standard deviations: far below half of the largest of many.
TEST(ConstantRangeMseTest, GoesBelowHalf) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> values(5000);
  for (float& value : values) value = normal(random);
  const Levels levels{limits_of_bits(2, true, true), true, false};
  EXPECT_NEAR(levels.scale_of(constant_range_mse(values, levels)).scale, 1.224F, 0.06F);  // Max 1960, N = 3
}

// The parameters that quantization uses are those of the ranges found: per channel, each by itself.
TEST(ConstantRangeMseTest, ChannelsByThemselves) {
  const Tensor tensor = weights(3);
  const Scheme scheme{
      .dtype = DType::s4, .granularity = PerChannel{0}, .symmetric = true, .range = "mse", .bits = 3, .power_of_two = true};
  const QParams qparams = choose_qparams(tensor, scheme);
  EXPECT_EQ(qparams.bits, 3);
  const std::vector<std::vector<float>> parts = split_by_parameter(tensor, scheme.granularity);
  for (std::size_t c = 0; c < 6; ++c) {
    int exponent = 0;
    EXPECT_EQ(std::frexp(qparams.scale[c], &exponent), 0.5F);
    EXPECT_EQ(qparams.scale[c], levels_of(scheme).scale_of(constant_range_mse(parts[c], levels_of(scheme))).scale);
  }
  const Tensor q = quantize_tensor(tensor, qparams, limits_of_weight(qparams)), back = dequantize_tensor(q, qparams);
  for (std::size_t i = 0; i < 300; ++i)
    EXPECT_LE(std::abs(back.values<float>()[i]), 3 * qparams.scale[i / 50]) << "-3 ... 3 are the levels of 3 bits";
}

}  // namespace
}  // namespace zeropoint::quant
