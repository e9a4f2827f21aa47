#include "numerics/constant_division.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace zeropoint::numerics {
namespace {

// Whether all mantissas are divided right; powers of two change nothing.
bool right(float c) {
  const auto high = static_cast<float>(1.0 / c), low = static_cast<float>((1.0 - static_cast<double>(high) * c) / c);
  for (float x = 0x1p23F; x < 0x1p24F; ++x)
    if (std::fma(x, high, x * low) != x / c) return false;
  return true;
}

TEST(ConstantDivision, RootsOfHeadSizes) {
  for (const float size : {20.0F, 24.0F, 32.0F, 80.0F, 96.0F, 128.0F}) {
    const float c = std::sqrt(size);
    const auto division = constant_division(c);
    ASSERT_TRUE(division) << size;
    EXPECT_EQ(division->high, 1 / c);
    EXPECT_TRUE(right(c)) << size;
  }
  EXPECT_FALSE(constant_division(std::sqrt(48.0F)));
}

TEST(ConstantDivision, ExistsWhereAllAreRight) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int wrong = 0;
  for (int i = 0; i < 40; ++i) {
    const float c = std::ldexp(static_cast<float>((1 << 23) + random() % (1 << 23)), static_cast<int>(random() % 30) - 40);
    const bool exists = constant_division(c).has_value();
    EXPECT_EQ(exists, right(c)) << c;
    wrong += !exists;
    EXPECT_EQ(constant_division(-c).has_value(), exists);
    EXPECT_EQ(constant_division(2 * c).has_value(), exists);
  }
  EXPECT_LT(wrong, 40);
}

TEST(ConstantDivision, NotOfStrangeNumbers) {
  for (const float c : {0.0F, 1.0F, 3.0F, 0x1p-126F, 0x1p127F, HUGE_VALF, NAN}) EXPECT_FALSE(constant_division(c)) << c;
}

}  // namespace
}  // namespace zeropoint::numerics
