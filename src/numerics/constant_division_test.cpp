#include "numerics/constant_division.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace zeropoint::numerics {
namespace {

ConstantDivision parts(float c) {
  auto high = static_cast<float>(1.0 / c);
  if (static_cast<double>(high) * c > 1) high = std::nextafter(high, 0.0F);
  return {high, static_cast<float>((1.0 - static_cast<double>(high) * c) / c)};
}

// Whether all mantissas are divided right; powers of two change nothing.
bool right(float c) {
  const ConstantDivision division = parts(c);
  for (float x = 0x1p23F; x < 0x1p24F; ++x)
    if (std::fma(x, division.high, x * division.low) != x / c) return false;
  return true;
}

TEST(ConstantDivision, RootsOfHeadSizes) {
  for (const float size : {20.0F, 24.0F, 32.0F, 40.0F, 80.0F, 96.0F, 112.0F, 128.0F, 160.0F}) {
    const float c = std::sqrt(size);
    const auto division = constant_division(c);
    ASSERT_TRUE(division) << size;
    EXPECT_EQ(division->high, parts(c).high);
    EXPECT_EQ(division->low, parts(c).low);
    EXPECT_TRUE(right(c)) << size;
  }
}

TEST(ConstantDivision, ExistsWhereAllAreRight) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 12; ++i) {
    const auto mantissa = static_cast<float>((1U << 23) + (random() % (1U << 23) | 1U));
    const float c = std::ldexp(mantissa, static_cast<int>(random() % 30) - 40);
    const bool exists = constant_division(c).has_value();
    EXPECT_EQ(exists, right(c)) << c;
    EXPECT_EQ(constant_division(-c).has_value(), exists) << c;
    EXPECT_EQ(constant_division(2 * c).has_value(), exists) << c;
  }
}

TEST(ConstantDivision, InfinitiesStay) {
  for (int i = 2; i < 400; ++i)
    for (const float scale : {1.0F, -0x1p-50F}) {
      const float c = scale * std::sqrt(static_cast<float>(i));
      const auto division = constant_division(c);
      if (!division) continue;
      for (const float x : {HUGE_VALF, -HUGE_VALF}) EXPECT_EQ(std::fma(x, division->high, x * division->low), x / c) << c;
    }
}

TEST(ConstantDivision, NotOfFewBitsOrFarFromOne) {
  for (const float c : {0.0F, 1.0F, 3.0F, 1 + 0x1p-11F, 1.1F * 0x1p-126F, 1.1F * 0x1p127F, HUGE_VALF, NAN})
    EXPECT_FALSE(constant_division(c)) << c;
}

}  // namespace
}  // namespace zeropoint::numerics
