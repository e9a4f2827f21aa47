// The tables are those of ml_dtypes 0.6 for codes 0 to 127; the others are the same with a minus sign.
#include "numerics/float8.h"

#include <gtest/gtest.h>

#include <cmath>

namespace zeropoint::numerics {
namespace {

// clang-format off
constexpr float kE4M3FN[128] = {0.0F, 0.001953125F, 0.00390625F, 0.005859375F, 0.0078125F, 0.009765625F, 0.01171875F,
0.013671875F, 0.015625F, 0.017578125F, 0.01953125F, 0.021484375F, 0.0234375F, 0.025390625F, 0.02734375F, 0.029296875F,
0.03125F, 0.03515625F, 0.0390625F, 0.04296875F, 0.046875F, 0.05078125F, 0.0546875F, 0.05859375F, 0.0625F, 0.0703125F,
0.078125F, 0.0859375F, 0.09375F, 0.1015625F, 0.109375F, 0.1171875F, 0.125F, 0.140625F, 0.15625F, 0.171875F, 0.1875F,
0.203125F, 0.21875F, 0.234375F, 0.25F, 0.28125F, 0.3125F, 0.34375F, 0.375F, 0.40625F, 0.4375F, 0.46875F, 0.5F, 0.5625F,
0.625F, 0.6875F, 0.75F, 0.8125F, 0.875F, 0.9375F, 1.0F, 1.125F, 1.25F, 1.375F, 1.5F, 1.625F, 1.75F, 1.875F, 2.0F, 2.25F,
2.5F, 2.75F, 3.0F, 3.25F, 3.5F, 3.75F, 4.0F, 4.5F, 5.0F, 5.5F, 6.0F, 6.5F, 7.0F, 7.5F, 8.0F, 9.0F, 10.0F, 11.0F, 12.0F,
13.0F, 14.0F, 15.0F, 16.0F, 18.0F, 20.0F, 22.0F, 24.0F, 26.0F, 28.0F, 30.0F, 32.0F, 36.0F, 40.0F, 44.0F, 48.0F, 52.0F,
56.0F, 60.0F, 64.0F, 72.0F, 80.0F, 88.0F, 96.0F, 104.0F, 112.0F, 120.0F, 128.0F, 144.0F, 160.0F, 176.0F, 192.0F, 208.0F,
224.0F, 240.0F, 256.0F, 288.0F, 320.0F, 352.0F, 384.0F, 416.0F, 448.0F, NAN};
constexpr float kE4M3FNUZ[128] = {0.0F, 0.0009765625F, 0.001953125F, 0.0029296875F, 0.00390625F, 0.0048828125F,
0.005859375F, 0.0068359375F, 0.0078125F, 0.0087890625F, 0.009765625F, 0.0107421875F, 0.01171875F, 0.0126953125F,
0.013671875F, 0.0146484375F, 0.015625F, 0.017578125F, 0.01953125F, 0.021484375F, 0.0234375F, 0.025390625F, 0.02734375F,
0.029296875F, 0.03125F, 0.03515625F, 0.0390625F, 0.04296875F, 0.046875F, 0.05078125F, 0.0546875F, 0.05859375F, 0.0625F,
0.0703125F, 0.078125F, 0.0859375F, 0.09375F, 0.1015625F, 0.109375F, 0.1171875F, 0.125F, 0.140625F, 0.15625F, 0.171875F,
0.1875F, 0.203125F, 0.21875F, 0.234375F, 0.25F, 0.28125F, 0.3125F, 0.34375F, 0.375F, 0.40625F, 0.4375F, 0.46875F, 0.5F,
0.5625F, 0.625F, 0.6875F, 0.75F, 0.8125F, 0.875F, 0.9375F, 1.0F, 1.125F, 1.25F, 1.375F, 1.5F, 1.625F, 1.75F, 1.875F, 2.0F,
2.25F, 2.5F, 2.75F, 3.0F, 3.25F, 3.5F, 3.75F, 4.0F, 4.5F, 5.0F, 5.5F, 6.0F, 6.5F, 7.0F, 7.5F, 8.0F, 9.0F, 10.0F, 11.0F,
12.0F, 13.0F, 14.0F, 15.0F, 16.0F, 18.0F, 20.0F, 22.0F, 24.0F, 26.0F, 28.0F, 30.0F, 32.0F, 36.0F, 40.0F, 44.0F, 48.0F,
52.0F, 56.0F, 60.0F, 64.0F, 72.0F, 80.0F, 88.0F, 96.0F, 104.0F, 112.0F, 120.0F, 128.0F, 144.0F, 160.0F, 176.0F, 192.0F,
208.0F, 224.0F, 240.0F};
constexpr float kE5M2[128] = {0.0F, 1.52587890625e-05F, 3.0517578125e-05F, 4.57763671875e-05F, 6.103515625e-05F,
7.62939453125e-05F, 9.1552734375e-05F, 0.0001068115234375F, 0.0001220703125F, 0.000152587890625F, 0.00018310546875F,
0.000213623046875F, 0.000244140625F, 0.00030517578125F, 0.0003662109375F, 0.00042724609375F, 0.00048828125F,
0.0006103515625F, 0.000732421875F, 0.0008544921875F, 0.0009765625F, 0.001220703125F, 0.00146484375F, 0.001708984375F,
0.001953125F, 0.00244140625F, 0.0029296875F, 0.00341796875F, 0.00390625F, 0.0048828125F, 0.005859375F, 0.0068359375F,
0.0078125F, 0.009765625F, 0.01171875F, 0.013671875F, 0.015625F, 0.01953125F, 0.0234375F, 0.02734375F, 0.03125F, 0.0390625F,
0.046875F, 0.0546875F, 0.0625F, 0.078125F, 0.09375F, 0.109375F, 0.125F, 0.15625F, 0.1875F, 0.21875F, 0.25F, 0.3125F,
0.375F, 0.4375F, 0.5F, 0.625F, 0.75F, 0.875F, 1.0F, 1.25F, 1.5F, 1.75F, 2.0F, 2.5F, 3.0F, 3.5F, 4.0F, 5.0F, 6.0F, 7.0F,
8.0F, 10.0F, 12.0F, 14.0F, 16.0F, 20.0F, 24.0F, 28.0F, 32.0F, 40.0F, 48.0F, 56.0F, 64.0F, 80.0F, 96.0F, 112.0F, 128.0F,
160.0F, 192.0F, 224.0F, 256.0F, 320.0F, 384.0F, 448.0F, 512.0F, 640.0F, 768.0F, 896.0F, 1024.0F, 1280.0F, 1536.0F, 1792.0F,
2048.0F, 2560.0F, 3072.0F, 3584.0F, 4096.0F, 5120.0F, 6144.0F, 7168.0F, 8192.0F, 10240.0F, 12288.0F, 14336.0F, 16384.0F,
20480.0F, 24576.0F, 28672.0F, 32768.0F, 40960.0F, 49152.0F, 57344.0F, INFINITY, NAN, NAN, NAN};
constexpr float kE5M2FNUZ[128] = {0.0F, 7.62939453125e-06F, 1.52587890625e-05F, 2.288818359375e-05F, 3.0517578125e-05F,
3.814697265625e-05F, 4.57763671875e-05F, 5.340576171875e-05F, 6.103515625e-05F, 7.62939453125e-05F, 9.1552734375e-05F,
0.0001068115234375F, 0.0001220703125F, 0.000152587890625F, 0.00018310546875F, 0.000213623046875F, 0.000244140625F,
0.00030517578125F, 0.0003662109375F, 0.00042724609375F, 0.00048828125F, 0.0006103515625F, 0.000732421875F,
0.0008544921875F, 0.0009765625F, 0.001220703125F, 0.00146484375F, 0.001708984375F, 0.001953125F, 0.00244140625F,
0.0029296875F, 0.00341796875F, 0.00390625F, 0.0048828125F, 0.005859375F, 0.0068359375F, 0.0078125F, 0.009765625F,
0.01171875F, 0.013671875F, 0.015625F, 0.01953125F, 0.0234375F, 0.02734375F, 0.03125F, 0.0390625F, 0.046875F, 0.0546875F,
0.0625F, 0.078125F, 0.09375F, 0.109375F, 0.125F, 0.15625F, 0.1875F, 0.21875F, 0.25F, 0.3125F, 0.375F, 0.4375F, 0.5F,
0.625F, 0.75F, 0.875F, 1.0F, 1.25F, 1.5F, 1.75F, 2.0F, 2.5F, 3.0F, 3.5F, 4.0F, 5.0F, 6.0F, 7.0F, 8.0F, 10.0F, 12.0F, 14.0F,
16.0F, 20.0F, 24.0F, 28.0F, 32.0F, 40.0F, 48.0F, 56.0F, 64.0F, 80.0F, 96.0F, 112.0F, 128.0F, 160.0F, 192.0F, 224.0F,
256.0F, 320.0F, 384.0F, 448.0F, 512.0F, 640.0F, 768.0F, 896.0F, 1024.0F, 1280.0F, 1536.0F, 1792.0F, 2048.0F, 2560.0F,
3072.0F, 3584.0F, 4096.0F, 5120.0F, 6144.0F, 7168.0F, 8192.0F, 10240.0F, 12288.0F, 14336.0F, 16384.0F, 20480.0F, 24576.0F,
28672.0F, 32768.0F, 40960.0F, 49152.0F, 57344.0F};
constexpr float kE2M1[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
// clang-format on

struct Case {
  const char* name;
  Float8Format format;
  const float* table;
  int codes;  // without sign
};
const Case kCases[] = {
    {"e4m3fn", kFloat8E4M3FN, kE4M3FN, 128}, {"e4m3fnuz", kFloat8E4M3FNUZ, kE4M3FNUZ, 128},
    {"e5m2", kFloat8E5M2, kE5M2, 128},       {"e5m2fnuz", kFloat8E5M2FNUZ, kE5M2FNUZ, 128},
    {"e2m1", kFloat4E2M1, kE2M1, 8},
};

TEST(Float8, EveryCodeMeansWhatTheTablesSay) {
  for (const Case& c : kCases) {
    for (int i = 0; i < c.codes; ++i) {
      const float positive = from_float8(static_cast<std::uint8_t>(i), c.format);
      const float negative = from_float8(static_cast<std::uint8_t>(i + c.codes), c.format);
      if (std::isnan(c.table[i])) {
        EXPECT_TRUE(std::isnan(positive) && std::isnan(negative)) << c.name << " " << i;
        continue;
      }
      EXPECT_EQ(positive, c.table[i]) << c.name << " " << i;
      if (i == 0 && !c.format.negative_zero) {
        EXPECT_TRUE(std::isnan(negative)) << c.name;
      } else {
        EXPECT_EQ(negative, -c.table[i]) << c.name << " " << i;
        EXPECT_TRUE(std::signbit(negative));
      }
    }
  }
}

TEST(Float8, EveryNumberRoundTripsAndMiddlesGoToEven) {
  for (const Case& c : kCases) {
    for (int i = 0; i <= c.format.highest; ++i) {
      const double value = c.table[i];
      for (const bool saturate : {false, true}) {
        EXPECT_EQ(to_float8(value, c.format, saturate), i) << c.name;
        if (i > 0) {
          EXPECT_EQ(to_float8(-value, c.format, saturate), i + c.codes) << c.name;
        }
        if (i == c.format.highest) continue;
        const double middle = (value + c.table[i + 1]) / 2;
        EXPECT_EQ(to_float8(middle, c.format, saturate), i % 2 == 0 ? i : i + 1) << c.name;
        EXPECT_EQ(to_float8(std::nextafter(middle, 0.0), c.format, saturate), i) << c.name;
        EXPECT_EQ(to_float8(std::nextafter(middle, 1e9), c.format, saturate), i + 1) << c.name;
      }
    }
  }
}

// The two tables of ONNX's text of Cast.
TEST(Float8, SpecialValues) {
  const auto both = [](double x, const Float8Format& format, int saturated, int not_saturated) {
    EXPECT_EQ(to_float8(x, format, true), saturated) << x;
    EXPECT_EQ(to_float8(x, format, false), not_saturated) << x;
  };
  both(-0.0, kFloat8E4M3FN, 0x80, 0x80);
  both(-0.0, kFloat8E4M3FNUZ, 0, 0);
  both(-1e-30, kFloat8E5M2FNUZ, 0, 0);
  both(NAN, kFloat8E4M3FN, 0x7F, 0x7F);
  both(NAN, kFloat8E4M3FNUZ, 0x80, 0x80);
  both(NAN, kFloat8E5M2, 0x7E, 0x7E);
  both(INFINITY, kFloat8E4M3FN, 0x7E, 0x7F);
  both(-INFINITY, kFloat8E4M3FN, 0xFE, 0xFF);
  both(INFINITY, kFloat8E4M3FNUZ, 0x7F, 0x80);
  both(-INFINITY, kFloat8E4M3FNUZ, 0xFF, 0x80);
  both(INFINITY, kFloat8E5M2, 0x7B, 0x7C);
  both(-INFINITY, kFloat8E5M2, 0xFB, 0xFC);
  both(464, kFloat8E4M3FN, 0x7E, 0x7E);  // the middle to the next number, were there one
  both(465, kFloat8E4M3FN, 0x7E, 0x7F);
  both(61439, kFloat8E5M2, 0x7B, 0x7B);
  both(61440, kFloat8E5M2, 0x7B, 0x7C);
  both(1e300, kFloat8E5M2FNUZ, 0x7F, 0x80);
  both(1e9, kFloat4E2M1, 7, 7);
  both(-INFINITY, kFloat4E2M1, 15, 15);
  both(NAN, kFloat4E2M1, 8, 8);
}

TEST(Float8, PowersOfTwo) {
  for (int code = 0; code < 255; ++code) {
    const double value = std::ldexp(1.0, code - 127);
    EXPECT_EQ(from_e8m0(static_cast<std::uint8_t>(code)), value);
    for (const auto rounding : {Float8Rounding::kUp, Float8Rounding::kDown, Float8Rounding::kNearest})
      for (const bool saturate : {false, true}) EXPECT_EQ(to_e8m0(value, saturate, rounding), code);
    if (code == 254) continue;
    EXPECT_EQ(to_e8m0(value * 1.001, true, Float8Rounding::kUp), code + 1);
    EXPECT_EQ(to_e8m0(value * 1.999, true, Float8Rounding::kDown), code);
    EXPECT_EQ(to_e8m0(value * 1.499, true, Float8Rounding::kNearest), code);
    EXPECT_EQ(to_e8m0(value * 1.5, true, Float8Rounding::kNearest), code + 1);
  }
  EXPECT_TRUE(std::isnan(from_e8m0(0xFF)));
  EXPECT_EQ(to_e8m0(NAN), 0xFF);
  EXPECT_EQ(to_e8m0(0), 0);
  EXPECT_EQ(to_e8m0(INFINITY), 0xFE);
  EXPECT_EQ(to_e8m0(3e38), 0xFE);
  EXPECT_EQ(to_e8m0(3e38, false), 0xFF);
  EXPECT_EQ(to_e8m0(0, false, Float8Rounding::kNearest), 0xFF);
  EXPECT_EQ(to_e8m0(INFINITY, false, Float8Rounding::kNearest), 0xFF);
  EXPECT_EQ(to_e8m0(-4.0), 129);
}

}  // namespace
}  // namespace zeropoint::numerics
