// Against the C library in double, whose error is below a unit in the last place.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "numerics/elementary.h"

namespace zeropoint::numerics {
namespace {

// Largest relative difference over `count` seeded doubles of random exponents in [2^low, 2^high), both signs.
template <class Ours, class Exact>
double worst(Ours ours, Exact exact, int low, int high, int count = 200'000) {
  constexpr std::uint32_t kSeed = 5;
  std::mt19937_64 random(kSeed);
  std::uniform_real_distribution<double> mantissa(1.0, 2.0);
  std::uniform_int_distribution<int> exponent(low, high - 1);
  double most = 0;
  for (int i = 0; i < count; ++i) {
    const double x = std::ldexp(mantissa(random), exponent(random)) * (i % 2 == 0 ? 1 : -1);
    const double a = ours(x), b = exact(x);
    if (std::isnan(a) && std::isnan(b)) continue;
    if (a == b) continue;
    most = std::max(most, std::fabs(a - b) / std::max(std::fabs(b), std::numeric_limits<double>::min()));
  }
  return most;
}

constexpr double kFewUnits = 1.2e-15;  // some five units in the last place

TEST(Trigonometry, NearTheCLibrary) {
  EXPECT_LT(worst([](double x) { return sin(x); }, [](double x) { return std::sin(x); }, -40, 1000), kFewUnits);
  EXPECT_LT(worst([](double x) { return cos(x); }, [](double x) { return std::cos(x); }, -40, 1000), kFewUnits);
  EXPECT_LT(worst([](double x) { return tan(x); }, [](double x) { return std::tan(x); }, -40, 1000), kFewUnits);
  EXPECT_LT(worst([](double x) { return sin(x); }, [](double x) { return std::sin(x); }, -4, 10), kFewUnits);
  EXPECT_LT(worst([](double x) { return cos(x); }, [](double x) { return std::cos(x); }, -4, 10), kFewUnits);
  EXPECT_LT(worst([](double x) { return atan(x); }, [](double x) { return std::atan(x); }, -40, 200), kFewUnits);
  EXPECT_LT(worst([](double x) { return asin(x); }, [](double x) { return std::asin(x); }, -20, 1), kFewUnits);
  EXPECT_LT(worst([](double x) { return acos(x); }, [](double x) { return std::acos(x); }, -20, 0), kFewUnits);
  EXPECT_LT(worst([](double x) { return sinh(x); }, [](double x) { return std::sinh(x); }, -30, 11), 4e-13);  // exp's own
  EXPECT_LT(worst([](double x) { return cosh(x); }, [](double x) { return std::cosh(x); }, -30, 11), 4e-13);
  EXPECT_LT(worst([](double x) { return asinh(x); }, [](double x) { return std::asinh(x); }, -30, 900), 1e-14);
  EXPECT_LT(worst([](double x) { return acosh(x); }, [](double x) { return std::acosh(x); }, 0, 900), 1e-14);
  EXPECT_LT(worst([](double x) { return atanh(x); }, [](double x) { return std::atanh(x); }, -30, 1), 1e-14);
}

TEST(Trigonometry, SpecialValues) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto function :
       {static_cast<double (*)(double)>(sin), static_cast<double (*)(double)>(cos), static_cast<double (*)(double)>(tan)}) {
    EXPECT_TRUE(std::isnan(function(infinity)) && std::isnan(function(-infinity)) && std::isnan(function(nan)));
  }
  for (const auto function :
       {static_cast<double (*)(double)>(asin), static_cast<double (*)(double)>(acos), static_cast<double (*)(double)>(atanh)}) {
    EXPECT_TRUE(std::isnan(function(1.5)) && std::isnan(function(-1.5)) && std::isnan(function(nan)));
  }
  for (const auto function :
       {static_cast<double (*)(double)>(sin), static_cast<double (*)(double)>(tan), static_cast<double (*)(double)>(atan),
        static_cast<double (*)(double)>(asin), static_cast<double (*)(double)>(sinh), static_cast<double (*)(double)>(asinh),
        static_cast<double (*)(double)>(atanh)}) {
    EXPECT_EQ(function(0.0), 0.0);
    EXPECT_TRUE(std::signbit(function(-0.0)));
  }
  EXPECT_EQ(cos(0.0), 1.0);
  EXPECT_EQ(cosh(0.0), 1.0);
  EXPECT_EQ(acos(1.0), 0.0);
  EXPECT_EQ(acosh(1.0), 0.0);
  EXPECT_TRUE(std::isnan(acosh(0.5)));
  EXPECT_EQ(atan(infinity), 1.5707963267948966);
  EXPECT_EQ(atan(-infinity), -1.5707963267948966);
  EXPECT_EQ(asin(1.0), 1.5707963267948966);
  EXPECT_EQ(acos(-1.0), 3.141592653589793);
  EXPECT_EQ(atanh(1.0), infinity);
  EXPECT_EQ(sinh(800.0), infinity);
  EXPECT_EQ(cosh(-800.0), infinity);
  EXPECT_EQ(sinh(-infinity), -infinity);
  EXPECT_EQ(asinh(infinity), infinity);
  EXPECT_NEAR(sin(3.4028234663852886e38), std::sin(3.4028234663852886e38), 1e-15);
}

}  // namespace
}  // namespace zeropoint::numerics
