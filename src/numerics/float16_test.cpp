#include "numerics/float16.h"

#include <gtest/gtest.h>

#include <cmath>

namespace zeropoint::numerics {
namespace {

TEST(Float16, EveryValueRoundTrips) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float f16 = from_f16(static_cast<std::uint16_t>(bits)), bf16 = from_bf16(static_cast<std::uint16_t>(bits));
    if (!std::isnan(f16)) {
      EXPECT_EQ(to_f16(f16), bits);
    }
    if (!std::isnan(bf16)) {
      EXPECT_EQ(to_bf16(bf16), bits);
    }
  }
}

TEST(Float16, RoundsHalfToEven) {
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {  // finite neighbours
    const double low = from_f16(static_cast<std::uint16_t>(bits)), high = from_f16(static_cast<std::uint16_t>(bits + 1));
    const double middle = (low + high) / 2;
    EXPECT_EQ(to_f16(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(to_f16(std::nextafter(middle, 0.0)), bits);
    EXPECT_EQ(to_f16(-std::nextafter(middle, 1e9)), 0x8000U | (bits + 1));
  }
}

TEST(Float16, Limits) {
  EXPECT_EQ(from_f16(0x3C00), 1.0F);
  EXPECT_EQ(from_f16(0x0001), 5.9604644775390625e-08F);
  EXPECT_EQ(to_f16(65519.99), 0x7BFF);
  EXPECT_EQ(to_f16(65520.0), 0x7C00);
  EXPECT_EQ(to_f16(1e300), 0x7C00);
  EXPECT_EQ(to_f16(-1e-300), 0x8000);
  EXPECT_EQ(to_f16(NAN) & 0x7FFF, 0x7E00);
  EXPECT_EQ(to_bf16(1.0), 0x3F80);
  EXPECT_EQ(to_bf16(3.4e38), 0x7F80);
}

}  // namespace
}  // namespace zeropoint::numerics
