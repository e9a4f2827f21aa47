#include "numerics/elementary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace zeropoint::numerics {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Distance of `value` from the exact result in units of the last place of fp32 there.
double ulps(float value, double exact) {
  const auto rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isnan(rounded))
    return std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(rounded) ? 0 : 1e9;
  const float size = std::max(std::fabs(rounded), std::numeric_limits<float>::min());
  const double unit = static_cast<double>(std::nextafterf(size, kInf)) - static_cast<double>(size);
  return std::fabs(static_cast<double>(value) - exact) / unit;
}

// Every 997th fp32 number with |x| < most, both signs: about 4 million over all magnitudes.
template <class Ours, class Exact>
double worst_ulps(Ours ours, Exact exact, float most, bool positive_only = false) {
  double worst = 0;
  for (std::uint32_t bits = 0; bits < std::bit_cast<std::uint32_t>(most); bits += 997) {
    const auto x = std::bit_cast<float>(bits);
    worst = std::max(worst, ulps(ours(x), exact(static_cast<double>(x))));
    if (!positive_only) worst = std::max(worst, ulps(ours(-x), exact(-static_cast<double>(x))));
  }
  return worst;
}

// Half a unit is the last rounding; the rest are the roundings before it (log: of the double result).
TEST(Elementary, WithinUlpsOfLibmInDouble) {
  EXPECT_LT(worst_ulps([](float x) { return exp(x); }, [](double x) { return std::exp(x); }, 110.0F), 1.0);
  EXPECT_LT(worst_ulps([](float x) { return log(x); }, [](double x) { return std::log(x); }, kInf, true), 0.5001);
  EXPECT_LT(worst_ulps([](float x) { return tanh(x); }, [](double x) { return std::tanh(x); }, 100.0F), 1.3);
  EXPECT_LT(worst_ulps([](float x) { return erf(x); }, [](double x) { return std::erf(x); }, 100.0F), 1.25);
  EXPECT_LT(worst_ulps([](float x) { return sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }, 200.0F), 2.3);
}

TEST(Elementary, PowWithinOneUlp) {
  constexpr std::uint32_t kSeed = 1;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  std::uniform_real_distribution<float> base(0.0F, 40.0F), exponent(-20.0F, 20.0F);
  for (int i = 0; i < 1'000'000; ++i) {
    const float x = base(random), y = exponent(random);
    ASSERT_LT(ulps(pow(x, y), std::pow(static_cast<double>(x), static_cast<double>(y))), 0.5001) << x << "^" << y;
    const float whole = std::floor(y);
    ASSERT_LT(ulps(pow(-x, whole), std::pow(-static_cast<double>(x), static_cast<double>(whole))), 0.5001)
        << -x << "^" << whole;
  }
}

TEST(Elementary, SpecialCasesAreThoseOfIec60559) {
  const double values[] = {0.0,  -0.0,  1.0,    -1.0,  0.5,    -0.5,     2.0,       -2.0, 3.0,
                           -3.0, 1e300, -1e300, 1e308, 1e-308, INFINITY, -INFINITY, NAN};
  for (const double x : values)
    for (const double y : values) {
      const double expected = std::pow(x, y), actual = pow(x, y);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(actual)) << x << "^" << y;
      } else if (expected == 0 || std::isinf(expected)) {
        EXPECT_EQ(std::bit_cast<std::uint64_t>(actual), std::bit_cast<std::uint64_t>(expected))
            << x << "^" << y << " = " << actual;
      } else {
        EXPECT_NEAR(actual / expected, 1.0, 1e-9) << x << "^" << y;
      }
    }
  EXPECT_EQ(exp(kInf), kInf);
  EXPECT_EQ(exp(-kInf), 0.0F);
  EXPECT_EQ(exp(0.0F), 1.0F);
  EXPECT_EQ(log(0.0F), -kInf);
  EXPECT_EQ(log(kInf), kInf);
  EXPECT_TRUE(std::isnan(log(-1.0F)));
  EXPECT_EQ(tanh(kInf), 1.0F);
  EXPECT_EQ(tanh(-kInf), -1.0F);
  EXPECT_TRUE(std::signbit(tanh(-0.0F)));
  EXPECT_EQ(erf(-kInf), -1.0F);
  EXPECT_EQ(sigmoid(-kInf), 0.0F);
  EXPECT_EQ(sigmoid(kInf), 1.0F);
  EXPECT_EQ(sigmoid(0.0F), 0.5F);
  for (const float nan : {NAN}) {
    EXPECT_TRUE(std::isnan(exp(nan)) && std::isnan(log(nan)) && std::isnan(tanh(nan)) && std::isnan(erf(nan)) &&
                std::isnan(sigmoid(nan)));
  }
}

// Where formulas meet, at the ends, and at zero.
TEST(Elementary, FloatEdges) {
  EXPECT_EQ(exp(88.8F), kInf);
  EXPECT_EQ(exp(-104.5F), 0.0F);
  EXPECT_EQ(exp(-103.9F), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(exp(-kInf), 0.0F);
  EXPECT_LE(tanh(std::nextafterf(0.625F, 0.0F)), tanh(0.625F));
  EXPECT_LE(erf(1.0F), erf(std::nextafterf(1.0F, 2.0F)));
  EXPECT_EQ(erf(3.875F), 1.0F);
  EXPECT_EQ(erf(kInf), 1.0F);
  EXPECT_TRUE(std::signbit(erf(-0.0F)));
  EXPECT_EQ(sigmoid(-200.0F), 0.0F);
  EXPECT_EQ(sigmoid(200.0F), 1.0F);
}

// The same bytes on every machine: values computed once and kept.
TEST(Elementary, BitsAreFixed) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a
  const auto add = [&](double value) { hash = (hash ^ std::bit_cast<std::uint64_t>(value)) * 1099511628211U; };
  for (int i = -4000; i <= 4000; ++i) {
    const double x = i * 0.017;
    add(exp(x)), add(tanh(x)), add(erf(x)), add(sigmoid(x)), add(log(x < 0 ? -x : x)), add(pow(x < 0 ? -x : x, 1.7));
  }
  EXPECT_EQ(hash, 8927776183591839579U);
}

}  // namespace
}  // namespace zeropoint::numerics
