#include "kernels/elementwise_q8/elementwise_q8.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240612;
constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kCounts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 1000};
constexpr std::size_t kGuard = 64;  // elements after the end that must stay as they are

class ElementwiseQ8Entry : public testing::TestWithParam<const ElementwiseQ8Kernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  const ElementwiseQ8Functions& fast() const { return *GetParam()->functions; }
  const ElementwiseQ8Functions& reference() const { return elementwise_q8_reference; }

  template <class T>
  std::vector<T> random_integers(std::size_t count) {
    std::uniform_int_distribution<std::int64_t> any(std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max());
    std::vector<T> values(count);
    for (T& v : values) v = static_cast<T>(any(random_));
    return values;
  }
  float random_scale() { return std::exp2(std::uniform_real_distribution<float>(-12, 4)(random_)); }
  std::int32_t random_int(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }

  // Values around and far beyond the range, many at or next to ties, and every kind of special value.
  std::vector<float> floats(std::size_t count, float scale, float range) {
    std::uniform_real_distribution<float> inside(-1.3F * range, 1.3F * range);
    constexpr float kSpecial[] = {0.0F,  -0.0F,  kInfinity, -kInfinity, kNaN,   -kNaN,
                                  3e38F, -3e38F, 1e-44F,    -1e-44F,    1e-38F, 65504.0F};
    std::vector<float> values(count);
    for (float& v : values) {
      const int kind = random_int(0, 9);
      v = inside(random_) * scale;
      if (kind < 5) v = (std::floor(v / scale) + 0.5F) * scale;
      if (kind < 4 && v != 0) v = std::bit_cast<float>(std::bit_cast<std::int32_t>(v) + random_int(-2, 2));
      if (kind == 9 && random_int(0, 3) == 0) v = kSpecial[random_int(0, 11)];
    }
    return values;
  }

  template <class T>
  static void expect_same(const std::vector<T>& actual, const std::vector<T>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(T)), 0)
          << "at " << i << ": " << +actual[i] << " instead of " << +expected[i] << ", seed " << kSeed;
  }

  template <class Q, class Function>
  void check_quantize(Function ElementwiseQ8Functions::* function, std::int32_t low, std::int32_t high) {
    for (int round = 0; round < 100; ++round) {
      const float scale = round < 10 ? std::exp2(static_cast<float>(round - 5)) : random_scale();
      const std::int32_t zero_point = round % 3 == 0 ? 0 : random_int(low, high);
      numerics::Limits limits{low, high};
      if (round % 4 == 1) limits = {zero_point, high};
      if (round % 4 == 2) limits = {zero_point, random_int(zero_point, high)};
      QuantizeParams params = quantize_params(scale, zero_point, limits);
      if (round % 5 == 0) params.exact_inverse = false;
      for (const std::int64_t count : kCounts) {
        const auto src = floats(static_cast<std::size_t>(count), scale, static_cast<float>(high - low));
        std::vector<Q> actual(src.size() + kGuard, Q{77}), expected = actual;
        (fast().*function)(params, src.data(), actual.data(), count);
        (reference().*function)(params, src.data(), expected.data(), count);
        for (std::size_t i = 0; i < src.size(); ++i)
          ASSERT_EQ(actual[i], expected[i]) << "x " << src[i] << ", scale " << scale << ", zero point " << zero_point
                                            << ", limits " << limits.low << " " << limits.high << ", seed " << kSeed;
        expect_same(actual, expected);
      }
    }
  }

  template <class Q, class Function>
  void check_dequantize(Function ElementwiseQ8Functions::* function, std::int32_t low, std::int32_t high) {
    for (const std::int64_t count : kCounts)
      for (const std::int32_t zero_point : {0, low, high, random_int(low, high)}) {
        const DequantizeParams params{random_scale(), zero_point};
        const auto src = random_integers<Q>(static_cast<std::size_t>(count));
        std::vector<float> actual(src.size() + kGuard, 77), expected = actual;
        (fast().*function)(params, src.data(), actual.data(), count);
        (reference().*function)(params, src.data(), expected.data(), count);
        expect_same(actual, expected);
      }
  }

  BinaryQ8 random_binary(int round) {
    BinaryQ8 params{.a = {random_scale(), random_int(0, 255)}, .b = {random_scale(), random_int(0, 255)}};
    const std::int32_t zero_point = random_int(0, 255);
    const float scale = round % 3 == 0 ? params.a.scale : params.a.scale + params.b.scale;
    if (round % 4 == 0) params.b.scale = params.a.scale;  // many exact ties
    params.y = quantize_params(round % 7 == 0 ? scale * 1e-5F : scale, zero_point, {round % 2 == 0 ? 0 : zero_point, 255});
    if (round % 5 == 0) params.y.exact_inverse = false;
    if (round % 3 == 2) params.b.zero_point = 0;
    return round % 2 == 0 ? add_params(params.a, params.b, params.y) : params;
  }

  std::mt19937 random_{kSeed};
};

TEST_P(ElementwiseQ8Entry, QuantizeU8) { check_quantize<std::uint8_t>(&ElementwiseQ8Functions::quantize_u8, 0, 255); }
TEST_P(ElementwiseQ8Entry, QuantizeS8) { check_quantize<std::int8_t>(&ElementwiseQ8Functions::quantize_s8, -128, 127); }
TEST_P(ElementwiseQ8Entry, QuantizeU16) { check_quantize<std::uint16_t>(&ElementwiseQ8Functions::quantize_u16, 0, 65535); }
TEST_P(ElementwiseQ8Entry, QuantizeS16) { check_quantize<std::int16_t>(&ElementwiseQ8Functions::quantize_s16, -32768, 32767); }

TEST_P(ElementwiseQ8Entry, QuantizePlanes) {
  for (const int channels : {1, 2, 3, 4})
    for (const std::int64_t stride : {std::int64_t{channels}, std::int64_t{4}})
      for (const std::int64_t pixels : kCounts) {
        const std::int64_t plane = pixels + 3;
        const QuantizeParams params = quantize_params(random_scale(), random_int(0, 255), {0, 255});
        const auto src = floats(static_cast<std::size_t>(plane * channels), params.scale, 255);
        std::vector<std::uint8_t> actual(static_cast<std::size_t>(pixels * stride) + kGuard, 77), expected = actual;
        fast().quantize_planes_u8(params, channels, src.data(), plane, actual.data(), stride, pixels);
        reference().quantize_planes_u8(params, channels, src.data(), plane, expected.data(), stride, pixels);
        expect_same(actual, expected);
      }
}

TEST_P(ElementwiseQ8Entry, DequantizeU8) { check_dequantize<std::uint8_t>(&ElementwiseQ8Functions::dequantize_u8, 0, 255); }
TEST_P(ElementwiseQ8Entry, DequantizeS8) { check_dequantize<std::int8_t>(&ElementwiseQ8Functions::dequantize_s8, -128, 127); }
TEST_P(ElementwiseQ8Entry, DequantizeU16) {
  check_dequantize<std::uint16_t>(&ElementwiseQ8Functions::dequantize_u16, 0, 65535);
}
TEST_P(ElementwiseQ8Entry, DequantizeS16) {
  check_dequantize<std::int16_t>(&ElementwiseQ8Functions::dequantize_s16, -32768, 32767);
}
TEST_P(ElementwiseQ8Entry, DequantizeS32) {
  check_dequantize<std::int32_t>(&ElementwiseQ8Functions::dequantize_s32, std::numeric_limits<std::int32_t>::lowest(),
                                 std::numeric_limits<std::int32_t>::max());
}

TEST_P(ElementwiseQ8Entry, Lookup) {
  for (const std::int64_t count : kCounts) {
    const auto table = random_integers<std::uint8_t>(256);
    const auto src = random_integers<std::uint8_t>(static_cast<std::size_t>(count));
    std::vector<std::uint8_t> actual(src.size() + kGuard, 77), expected = actual, in_place = src;
    fast().lookup_u8(table.data(), src.data(), actual.data(), count);
    reference().lookup_u8(table.data(), src.data(), expected.data(), count);
    expect_same(actual, expected);
    fast().lookup_u8(table.data(), in_place.data(), in_place.data(), count);
    expected.resize(src.size());
    expect_same(in_place, expected);
  }
}

// Every pair of values.
TEST_P(ElementwiseQ8Entry, AddAndMulAllPairs) {
  std::vector<std::uint8_t> a(65536), b(65536);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::uint8_t>(i >> 8);
    b[i] = static_cast<std::uint8_t>(i);
  }
  for (int round = 0; round < 60; ++round) {
    const BinaryQ8 params = random_binary(round);
    std::vector<std::uint8_t> actual(a.size()), expected(a.size());
    fast().add_u8(params, a.data(), b.data(), actual.data(), 65536);
    reference().add_u8(params, a.data(), b.data(), expected.data(), 65536);
    expect_same(actual, expected);
    fast().mul_u8(params, a.data(), b.data(), actual.data(), 65536);
    reference().mul_u8(params, a.data(), b.data(), expected.data(), 65536);
    expect_same(actual, expected);
  }
}

TEST(AddParams, ShortFormWhereItIsExact) {
  const QuantizeParams y = quantize_params(0.03F, 0, {0, 255});
  EXPECT_TRUE(add_params({0.0131237F, 120}, {0.0172919F, 0}, y).short_sum);
  EXPECT_FALSE(add_params({0.013F, 120}, {0.017F, 0}, y).short_sum);  // 13 a + 17 b = 15 (mod 30): next to ties everywhere
  EXPECT_TRUE(add_params({0.25F, 128}, {0.25F, 3}, quantize_params(0.5F, 7, {0, 255})).short_sum);  // ties everywhere
  EXPECT_FALSE(add_params({1e-30F, 0}, {1.0F, 0}, y).short_sum);
}

TEST_P(ElementwiseQ8Entry, AddAndMulCounts) {
  int round = 0;
  for (const std::int64_t count : kCounts) {
    const BinaryQ8 params = random_binary(++round);
    const auto a = random_integers<std::uint8_t>(static_cast<std::size_t>(count));
    const auto b = random_integers<std::uint8_t>(static_cast<std::size_t>(count));
    std::vector<std::uint8_t> actual(a.size() + kGuard, 77), expected = actual, in_place = a;
    fast().add_u8(params, a.data(), b.data(), actual.data(), count);
    reference().add_u8(params, a.data(), b.data(), expected.data(), count);
    expect_same(actual, expected);
    fast().add_u8(params, in_place.data(), b.data(), in_place.data(), count);
    expected.resize(a.size());
    expect_same(in_place, expected);
    in_place = b;
    fast().add_u8(params, a.data(), in_place.data(), in_place.data(), count);
    expect_same(in_place, expected);
    reference().mul_u8(params, a.data(), b.data(), expected.data(), count);
    in_place = b;
    fast().mul_u8(params, a.data(), in_place.data(), in_place.data(), count);
    expect_same(in_place, expected);
    in_place = a;
    fast().mul_u8(params, in_place.data(), b.data(), in_place.data(), count);
    expect_same(in_place, expected);
  }
}

TEST_P(ElementwiseQ8Entry, AddAndMulChannel) {
  int round = 0;
  for (const std::int64_t channels : kCounts) {
    const std::int64_t rows = random_int(1, 5);
    const BinaryQ8 params = random_binary(++round);
    const auto a = random_integers<std::uint8_t>(static_cast<std::size_t>(rows * channels));
    const auto b = random_integers<std::uint8_t>(static_cast<std::size_t>(channels));
    std::vector<std::uint8_t> actual(a.size() + kGuard, 77), expected = actual;
    fast().add_channel_u8(params, a.data(), b.data(), actual.data(), rows, channels);
    reference().add_channel_u8(params, a.data(), b.data(), expected.data(), rows, channels);
    expect_same(actual, expected);
    fast().mul_channel_u8(params, a.data(), b.data(), actual.data(), rows, channels);
    reference().mul_channel_u8(params, a.data(), b.data(), expected.data(), rows, channels);
    expect_same(actual, expected);
    std::vector<std::uint8_t> in_place = a;
    fast().mul_channel_u8(params, in_place.data(), b.data(), in_place.data(), rows, channels);
    expected.resize(a.size());
    expect_same(in_place, expected);
    reference().add_channel_u8(params, a.data(), b.data(), expected.data(), rows, channels);
    in_place = a;
    fast().add_channel_u8(params, in_place.data(), b.data(), in_place.data(), rows, channels);
    expect_same(in_place, expected);
  }
}

TEST_P(ElementwiseQ8Entry, Epilogues) {
  for (const std::int64_t channels : kCounts)
    for (const bool with_comp : {true, false}) {
      const std::int64_t rows = 3;
      std::vector<std::int32_t> acc(static_cast<std::size_t>(rows * channels)), comp(static_cast<std::size_t>(channels));
      std::vector<float> scale(comp.size());
      for (auto& v : acc) v = random_int(-(1 << 30), 1 << 30) >> random_int(0, 24);
      for (auto& v : comp) v = random_int(-(1 << 29), 1 << 29) >> random_int(0, 24);
      for (auto& v : scale) v = random_scale() / 64;
      const EpilogueS32 params{channels, with_comp ? comp.data() : nullptr, scale.data()};
      std::vector<float> actual_f32(acc.size() + kGuard, 77), expected_f32 = actual_f32;
      fast().epilogue_f32(params, acc.data(), actual_f32.data(), rows);
      reference().epilogue_f32(params, acc.data(), expected_f32.data(), rows);
      expect_same(actual_f32, expected_f32);
      const QuantizeParams y = quantize_params(1, random_int(0, 255), {random_int(0, 100), random_int(100, 255)});
      std::vector<std::uint8_t> actual(acc.size() + kGuard, 77), expected = actual;
      fast().epilogue_u8(params, y, acc.data(), actual.data(), rows);
      reference().epilogue_u8(params, y, acc.data(), expected.data(), rows);
      expect_same(actual, expected);
    }
}

TEST_P(ElementwiseQ8Entry, SplitsBytes) {
  for (const std::int64_t count : kCounts)
    for (const std::uint16_t flip : {std::uint16_t{0}, std::uint16_t{0x8000}}) {
      const auto src = random_integers<std::uint16_t>(static_cast<std::size_t>(count));
      std::vector<std::uint8_t> high(src.size() + kGuard, 77), low = high, expected_high = high, expected_low = high;
      fast().split_u16(flip, src.data(), high.data(), low.data(), count);
      reference().split_u16(flip, src.data(), expected_high.data(), expected_low.data(), count);
      expect_same(high, expected_high);
      expect_same(low, expected_low);
    }
}

TEST_P(ElementwiseQ8Entry, Joins) {
  for (const std::int64_t channels : kCounts)
    for (int planes = 1; planes <= JoinS32::kMaxPlanes; ++planes) {
      const std::int64_t rows = 3, count = rows * channels;
      std::vector<std::vector<std::int32_t>> sums(static_cast<std::size_t>(planes));
      JoinS32 params{.planes = planes, .channels = channels, .zero_point = random_int(-40000, 40000)};
      for (std::size_t plane = 0; plane < sums.size(); ++plane) {
        sums[plane] = random_integers<std::int32_t>(static_cast<std::size_t>(count));
        for (auto& v : sums[plane]) v >>= random_int(0, 24);
        params.sums[plane] = sums[plane].data();
        params.shifts[plane] = 8 * random_int(0, 2);
      }
      std::vector<std::int64_t> bias = random_integers<std::int64_t>(static_cast<std::size_t>(channels));
      std::vector<float> scale(bias.size());
      for (auto& v : bias) v >>= random_int(13, 62);
      for (std::size_t c = 0; c < bias.size(); ++c) {
        scale[c] = random_scale() / 65536;
        // Sums that lie on a tie of the rounding to fp32, and of the one to whole numbers.
        if (c % 3 == 0) scale[c] = 0.5F;
        if (c % 5 == 0) bias[c] = (std::int64_t{1} << random_int(25, 49)) + (std::int64_t{1} << random_int(0, 25));
      }
      const std::vector<double> doubles(bias.begin(), bias.end());
      params.bias = bias.data(), params.scale = scale.data();
      for (const bool exact : {true, false}) {
        params.bias_as_double = exact ? doubles.data() : nullptr;
        params.low = -kInfinity, params.high = kInfinity;
        std::vector<float> actual_f32(static_cast<std::size_t>(count) + kGuard, 77), expected_f32 = actual_f32;
        fast().join_f32(params, actual_f32.data(), rows);
        reference().join_f32(params, expected_f32.data(), rows);
        expect_same(actual_f32, expected_f32);
        params.low = static_cast<float>(random_int(-32768, 0)), params.high = static_cast<float>(random_int(1, 65535));
        std::vector<std::uint16_t> actual(static_cast<std::size_t>(count) + kGuard, 77), expected = actual;
        fast().join_u16(params, actual.data(), rows);
        reference().join_u16(params, expected.data(), rows);
        expect_same(actual, expected);
        std::vector<std::uint8_t> actual_u8(static_cast<std::size_t>(count) + kGuard, 77), expected_u8 = actual_u8;
        fast().join_u8(params, actual_u8.data(), rows);
        reference().join_u8(params, expected_u8.data(), rows);
        expect_same(actual_u8, expected_u8);
      }
    }
}

TEST_P(ElementwiseQ8Entry, MinMax) {
  for (const std::int64_t count : kCounts)
    for (int round = 0; round < 5; ++round) {
      auto src = floats(static_cast<std::size_t>(count), 1, 100);
      float low = round == 0 ? 0 : kInfinity, high = round == 0 ? 0 : -kInfinity;
      float expected_low = low, expected_high = high;
      fast().min_max_f32(src.data(), count, &low, &high);
      reference().min_max_f32(src.data(), count, &expected_low, &expected_high);
      EXPECT_EQ(low, expected_low) << kSeed;
      EXPECT_EQ(high, expected_high) << kSeed;
    }
}

TEST_P(ElementwiseQ8Entry, QuantizeRowLikeTheReference) {
  for (const std::int64_t count : kCounts)
    for (const float size : {0.0F, 1e-44F, 1e-37F, 0x1p-94F, 0x1p-93F, 1.0F, 300.0F, 0x1p106F, 0x1p107F, 3e38F})
      for (int kind = 0; kind < 3; ++kind) {
        // Halves of a step (of 1 / 127 of the size), where quotients lie half way between integers, and their neighbours; or
        // every kind of special value too.
        auto src = floats(static_cast<std::size_t>(count), size / 127, kind == 2 ? 127.0F : 97.0F);
        for (float& v : src)
          if (kind < 2 && !(std::abs(v) <= size)) v = 0;
        if (kind < 2 && count > 0) src[static_cast<std::size_t>(random_int(0, static_cast<int>(count) - 1))] = -size;
        std::vector<std::uint8_t> actual(static_cast<std::size_t>(count) + kGuard, 77), expected = actual;
        const float scale = fast().quantize_row_u8(src.data(), actual.data(), count);
        EXPECT_EQ(scale, reference().quantize_row_u8(src.data(), expected.data(), count)) << kSeed;
        expect_same(actual, expected);
      }
}

std::vector<const ElementwiseQ8Kernels*> entries() {
  std::vector<const ElementwiseQ8Kernels*> list;
  for (const ElementwiseQ8Kernels& kernel : elementwise_q8_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, ElementwiseQ8Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(ElementwiseQ8Select, FollowsTheMask) {
  EXPECT_STREQ(select_elementwise_q8(IsaSet()).name, "elementwise_q8_reference");
  for (const ElementwiseQ8Kernels& kernel : elementwise_q8_kernels())
    EXPECT_STREQ(select_elementwise_q8(implied_isas(kernel.needs)).name, kernel.name);
}

// The definitions themselves, on values worked out by hand.
TEST(ElementwiseQ8Reference, QuantizesRows) {
  const float src[] = {0, -63.5F, 31.75F, 0.25F, 0.75F, -0.25F, kNaN};
  const int expected[] = {128, 1, 192, 128, 130, 128, 0};  // 31.75 is 63.5 steps
  std::uint8_t dst[7];
  EXPECT_EQ(elementwise_q8_reference.quantize_row_u8(src, dst, 7), 0.5F);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(dst[i], expected[i]) << i;
  EXPECT_EQ(elementwise_q8_reference.quantize_row_u8(src, dst, 1), std::numeric_limits<float>::min());
  EXPECT_EQ(dst[0], 128);
}

TEST(ElementwiseQ8Reference, Quantizes) {
  const QuantizeParams params = quantize_params(0.5F, 10, {0, 255});
  const float src[] = {0, 0.25F, 0.75F, -0.25F, -0.75F, -5, -5.5F, 122.5F, 1000, kNaN, -kInfinity, kInfinity};
  const int expected[] = {10, 10, 12, 10, 8, 0, 0, 255, 255, 0, 0, 255};
  std::uint8_t dst[12];
  elementwise_q8_reference.quantize_u8(params, src, dst, 12);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(dst[i], expected[i]) << src[i];
}

TEST(ElementwiseQ8Reference, Adds) {
  const BinaryQ8 params{.a = {0.5F, 128}, .b = {0.25F, 0}, .y = quantize_params(1, 5, {0, 255})};
  const std::uint8_t a[] = {130, 129, 129, 0}, b[] = {4, 0, 4, 0};  // 1 + 1, 0.5 + 0, 0.5 + 1, -64 + 0
  std::uint8_t dst[4];
  elementwise_q8_reference.add_u8(params, a, b, dst, 4);
  EXPECT_EQ(dst[0], 7);
  EXPECT_EQ(dst[1], 5);
  EXPECT_EQ(dst[2], 7);
  EXPECT_EQ(dst[3], 0);
}

TEST(QuantizeParams, InverseIsTriedNotTrusted) {
  std::mt19937 random(kSeed);
  int exact = 0;
  for (int i = 0; i < 200; ++i) {
    const float scale = std::exp2(std::uniform_real_distribution<float>(-12, 4)(random));
    exact += quantize_params(scale, 128, {0, 255}).exact_inverse;
  }
  EXPECT_GT(exact, 190) << kSeed;
  EXPECT_FALSE(quantize_params(1e-30F, 0, {0, 255}).exact_inverse);
  EXPECT_FALSE(quantize_params(0.1F, 0, {0, 65535}).exact_inverse);
}

TEST(DynamicQuantizeParams, EqualsOnnx) {
  const QuantizeParams symmetric = dynamic_quantize_params(-1, 1.55F);  // scale 0.01
  EXPECT_EQ(symmetric.scale, (1.55F + 1.0F) / 255.0F);
  EXPECT_EQ(symmetric.zero_point, 100);
  EXPECT_EQ(dynamic_quantize_params(2, 3).zero_point, 0);
  EXPECT_EQ(dynamic_quantize_params(2, 3).scale, 3.0F / 255.0F);
  EXPECT_EQ(dynamic_quantize_params(-3, -2).zero_point, 255);
  EXPECT_EQ(dynamic_quantize_params(0, 0).scale, 1.0F);
}

}  // namespace
}  // namespace zeropoint::kernels
