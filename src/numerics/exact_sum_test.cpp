#include "numerics/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <random>
#include <vector>

namespace zeropoint::numerics {
namespace {

ExactSum sum_of(const std::vector<float>& values) {
  ExactSum sum;
  for (const float v : values) sum.add(v);
  return sum;
}

TEST(ExactSum, IsExactWhereFloatsCancel) {
  EXPECT_EQ(sum_of({}).value(), 0.0);
  EXPECT_EQ(sum_of({1.0F}).value(), 1.0);
  EXPECT_EQ(sum_of({-1.5F}).value(), -1.5);
  EXPECT_EQ(sum_of({FLT_MAX, FLT_TRUE_MIN, -FLT_MAX}).value(), static_cast<double>(FLT_TRUE_MIN));
  EXPECT_EQ(sum_of({1e30F, 1.0F, -1e30F}).value(), 1.0);
  EXPECT_EQ(sum_of({FLT_MAX, FLT_MAX}).value(), 2.0 * static_cast<double>(FLT_MAX));
  EXPECT_EQ(sum_of({-FLT_TRUE_MIN, FLT_TRUE_MIN}), ExactSum());
}

TEST(ExactSum, EveryExponentAndSignRoundTrips) {
  for (int exponent = -149; exponent <= 127; ++exponent) {
    for (const float mantissa : {1.0F, 1.9999999F, 1.3333334F}) {
      const float x = std::ldexp(mantissa, exponent);
      if (std::isinf(x)) continue;
      EXPECT_EQ(sum_of({x}).value(), static_cast<double>(x));
      EXPECT_EQ(sum_of({-x}).value(), -static_cast<double>(x));
      EXPECT_EQ(sum_of({x, -x}), ExactSum()) << exponent;
    }
  }
}

TEST(ExactSum, RoundsToNearestTiesToEven) {
  const float one = 1.0F, half_ulp = std::ldexp(1.0F, -53), tiny = FLT_TRUE_MIN;
  EXPECT_EQ(sum_of({one, half_ulp}).value(), 1.0);                                        // tie, even stays
  EXPECT_EQ(sum_of({one, half_ulp, tiny}).value(), 1.0 + DBL_EPSILON);                    // above the tie
  EXPECT_EQ(sum_of({one, half_ulp, -tiny}).value(), 1.0);                                 // below
  EXPECT_EQ(sum_of({one, half_ulp, half_ulp, half_ulp}).value(), 1.0 + 2 * DBL_EPSILON);  // tie, odd goes up
  EXPECT_EQ(sum_of({-one, -half_ulp, -tiny}).value(), -(1.0 + DBL_EPSILON));
  // All ones round up into the next power of two.
  EXPECT_EQ(sum_of({std::ldexp(1.0F, 60), -tiny}).value(), std::ldexp(1.0, 60));
}

TEST(ExactSum, OrderAndGroupingDoNotShow) {
  constexpr unsigned kSeed = 7;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::vector<float> values(1000);
  for (float& v : values) {
    do {
      v = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    } while (!std::isfinite(v));
  }
  const ExactSum expected = sum_of(values);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    const auto cut = values.begin() + static_cast<std::ptrdiff_t>(random() % values.size());
    ExactSum left = sum_of({values.begin(), cut});
    left.add(sum_of({cut, values.end()}));
    EXPECT_EQ(left, expected);
  }
}

TEST(ExactSum, EqualsIntegersForSmallNumbers) {
  constexpr unsigned kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  ExactSum sum;
  std::int64_t expected = 0;  // in 1/1024
  for (int i = 0; i < 100000; ++i) {
    const int n = static_cast<int>(random() % 2000001) - 1000000;
    sum.add(static_cast<float>(n) / 1024.0F);
    expected += n;
    if (i % 1000 == 0) {
      ASSERT_EQ(sum.value(), static_cast<double>(expected) / 1024.0);
    }
  }
  EXPECT_EQ(sum.value(), static_cast<double>(expected) / 1024.0);
}

}  // namespace
}  // namespace zeropoint::numerics
