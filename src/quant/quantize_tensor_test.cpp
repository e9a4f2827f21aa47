// EXAMPLES that textbooks on quantization teach with: the same numbers, and why an integer zero point changes some of them.
#include "zeropoint/quantize_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "numerics/quantize.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"

namespace zeropoint {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

template <class T>
std::vector<int> ints(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  return {values.begin(), values.end()};
}
std::vector<float> floats(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}
Tensor vector_of(const std::vector<float>& values) {
  return Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values);
}
double mean_squared_error(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values<float>().size(); ++i) {
    const double error = static_cast<double>(a.values<float>()[i]) - static_cast<double>(b.values<float>()[i]);
    sum += error * error;
  }
  return sum / static_cast<double>(a.size());
}

const std::vector<float> kFirst = {0.46483758F, 1.1436542F,  -1.457284F,  -0.658385F,   1.2318981F,
                                   0.6196174F,  0.95771927F, 0.00453585F, -0.02097602F, 1.118749F};
const std::vector<float> kSecond = {-0.47069794F, 0.8608386F, -0.947035F, -1.0697421F,  0.10035864F,
                                    0.0013437F,   0.6782814F, 0.7141242F, -0.09668107F, 0.4391506F};

TEST(TextbookTest, TenValuesWithRealZeroPoint) {
  const Tensor x = vector_of(kFirst);
  const QuantizedTensor quantized = quantize_tensor(x, TensorScheme{.real_zero_point = true});
  EXPECT_FLOAT_EQ(quantized.qparams.scale[0], (1.2318981F + 1.457284F) / 255);
  EXPECT_NEAR(quantized.real_zero_point[0], 138.18604F, 1e-4F);
  EXPECT_THAT(ints<std::uint8_t>(quantized.q), ElementsAre(182, 247, 0, 76, 255, 197, 229, 139, 136, 244));
  const std::vector<float> back = {0.4620538F, 1.1475316F, -1.4572839F, -0.6558022F,  1.2318981F,
                                   0.620241F,  0.957707F,  0.00858392F, -0.02305352F, 1.1158942F};
  EXPECT_THAT(floats(dequantize_tensor(quantized)), ::testing::Pointwise(::testing::FloatNear(2e-7F), back));
}

// With the zero point 138.186 a real 0 falls between two integers: it comes back as 0.00196. Runtimes pad with zeros and skip
// products with zero points, so for them 0 must be exact: ONNX demands an integer zero point. Rounding it to 138 moves the grid
// by 0.186 of a step, so values whose fraction lies in that gap go to the neighbour (246.6 -> 246.4, 138.6 -> 138.4).
TEST(TextbookTest, TenValuesWithIntegerZeroPoint) {
  const Tensor x = vector_of(kFirst);
  const QuantizedTensor quantized = quantize_tensor(x, TensorScheme{});
  EXPECT_EQ(quantized.qparams.zero_point[0], 138);
  EXPECT_THAT(ints<std::uint8_t>(quantized.q), ElementsAre(182, 246, 0, 76, 255, 197, 229, 138, 136, 244));
  const Tensor zero = Tensor::of<float>({1}, {0.0F});
  EXPECT_EQ(floats(dequantize_tensor(quantize_tensor(zero, quantized.qparams), quantized.qparams))[0], 0.0F);
}

TEST(TextbookTest, TenMoreValuesAndTheirError) {
  const Tensor x = vector_of(kSecond);
  const QuantizedTensor real = quantize_tensor(x, TensorScheme{.real_zero_point = true});
  EXPECT_THAT(ints<std::uint8_t>(real.q), ElementsAre(79, 255, 16, 0, 155, 141, 231, 236, 129, 199));
  EXPECT_NEAR(mean_squared_error(x, dequantize_tensor(real)), 5.47e-06, 0.005e-06);
  const QuantizedTensor integer = quantize_tensor(x, TensorScheme{});
  EXPECT_EQ(integer.qparams.zero_point[0], 141);
  EXPECT_THAT(ints<std::uint8_t>(integer.q), ElementsAre(79, 255, 16, 0, 154, 141, 231, 235, 128, 199));
  EXPECT_NEAR(mean_squared_error(x, dequantize_tensor(integer)), 3.65e-06, 0.005e-06);
  EXPECT_EQ(x.bytes().size(), 40U);
  EXPECT_EQ(integer.q.bytes().size(), 10U);
}

TEST(TextbookTest, SixToSix) {  // 127.5 rounds to even
  const ScaleZeroPoint chosen = choose_scale({-6, 6}, {0, 255}, false);
  EXPECT_FLOAT_EQ(chosen.scale, 12.0F / 255.0F);
  EXPECT_EQ(chosen.zero_point, 128);
  EXPECT_EQ(choose_scale({-6, 6}, {-128, 127}, false).zero_point, 0);
}

TEST(TextbookTest, AsymmetricAgainstSymmetric) {
  const Scheme asymmetric{.dtype = DType::u8}, symmetric{.dtype = DType::s8, .symmetric = true};
  const QParams a = choose_qparams(Range{-44.93F, 43.31F}, asymmetric);
  EXPECT_NEAR(a.scale[0], 88.24 / 255, 1e-6);
  EXPECT_EQ(a.zero_point[0], 130);  // 44.93 / 0.34604 = 129.84
  const QParams s = choose_qparams(Range{-44.93F, 43.31F}, symmetric);
  EXPECT_NEAR(s.scale[0], 44.93 / 127, 1e-6);
  EXPECT_EQ(s.zero_point[0], 0);
  EXPECT_EQ(limits_of(symmetric), (IntegerLimits{-127, 127}));
  const Tensor ends = vector_of({-44.93F, 43.31F, -100.0F});
  EXPECT_THAT(ints<std::int8_t>(quantize_tensor(ends, s, limits_of(symmetric))), ElementsAre(-127, 122, -127));
  EXPECT_THAT(ints<std::uint8_t>(quantize_tensor(ends, a)), ElementsAre(0, 255, 0));
}

// torch.quantize_per_tensor(torch.tensor([...]), 0.01, 0, torch.qint8): full signed range, ties to even.
TEST(TextbookTest, GivenScale) {
  const QParams given{DType::s8, PerTensor{}, {0.01F}, {0}};
  const Tensor x = vector_of({0.0F, 0.014F, -0.016F, 1.5F, -1.5F, 0.5F});
  const Tensor q = quantize_tensor(x, given);
  EXPECT_THAT(ints<std::int8_t>(q), ElementsAre(0, 1, -2, 127, -128, 50));
  EXPECT_THAT(floats(dequantize_tensor(q, given)), ElementsAre(0.0F, 0.01F, -0.02F, 1.27F, -1.28F, 0.5F));
}

TEST(TextbookTest, GivenScaleOverManyValues) {  // 64 x 64 standard normal values: a quarter of the bytes
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  Tensor x(DType::f32, {64, 64});
  for (float& value : x.mutable_values<float>()) value = normal(random);
  const QParams given{DType::s8, PerTensor{}, {0.01F}, {0}};
  const Tensor q = quantize_tensor(x, given);
  EXPECT_EQ(x.bytes().size(), 4 * q.bytes().size());
  const Tensor back = dequantize_tensor(q, given);
  double inside = 0, error = 0;
  for (std::size_t i = 0; i < 64 * 64; ++i) {
    const float value = x.values<float>()[i];
    if (value < -1.28F || value > 1.27F) continue;
    ++inside;
    error += std::abs(static_cast<double>(value) - static_cast<double>(back.values<float>()[i]));
  }
  EXPECT_NEAR(error / inside, 0.0025, 0.0002) << "a quarter of the scale on average";
}

TEST(TextbookTest, ChannelsOfDifferentRange) {  // a filter 100 times smaller than its neighbour
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  Tensor x(DType::f32, {2, 3, 3, 3});
  const auto values = x.mutable_values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(random) * (i < 27 ? 1.0F : 0.01F);
  const auto error_of_small = [&](const Granularity& granularity) {
    const Tensor back = dequantize_tensor(quantize_tensor(x, TensorScheme{.symmetric = true, .granularity = granularity}));
    double sum = 0, power = 0;
    for (std::size_t i = 27; i < 54; ++i) {
      const double difference = static_cast<double>(values[i]) - static_cast<double>(back.values<float>()[i]);
      sum += difference * difference;
      power += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    return 10 * std::log10(power / sum);
  };
  EXPECT_LT(error_of_small(PerTensor{}), 10);  // dB
  EXPECT_GT(error_of_small(PerChannel{0}), 40);
}

// Y = X W + B in integers only: exact s32 sums, s32 bias at x_scale * w_scale, one multiplication to requantize (gemmlowp).
TEST(TextbookTest, MatrixProductInIntegers) {
  std::mt19937 random(9);
  std::uniform_real_distribution<float> uniform(-1, 1);
  constexpr int kM = 5, kK = 32, kN = 7;
  Tensor x(DType::f32, {kM, kK}), w(DType::f32, {kK, kN});
  for (float& value : x.mutable_values<float>()) value = uniform(random);
  for (float& value : w.mutable_values<float>()) value = uniform(random);
  std::vector<float> bias(kN);
  for (float& value : bias) value = uniform(random);
  std::vector<double> exact(kM * kN);
  float least = 0, most = 0;
  for (int m = 0; m < kM; ++m)
    for (int n = 0; n < kN; ++n) {
      double sum = static_cast<double>(bias[static_cast<std::size_t>(n)]);
      for (int k = 0; k < kK; ++k)
        sum += static_cast<double>(x.values<float>()[static_cast<std::size_t>(m * kK + k)]) *
               static_cast<double>(w.values<float>()[static_cast<std::size_t>(k * kN + n)]);
      exact[static_cast<std::size_t>(m * kN + n)] = sum;
      least = std::min(least, static_cast<float>(sum));
      most = std::max(most, static_cast<float>(sum));
    }
  const QuantizedTensor qx = quantize_tensor(x, TensorScheme{.is_signed = true});
  const QuantizedTensor qw = quantize_tensor(w, TensorScheme{.symmetric = true});
  const ScaleZeroPoint y = choose_scale({least, most}, {-128, 127}, false);
  const float bias_scale = qx.qparams.scale[0] * qw.qparams.scale[0];
  const float multiplier = numerics::requantize_scale(qx.qparams.scale[0], qw.qparams.scale[0], y.scale);
  double worst = 0;
  for (int m = 0; m < kM; ++m)
    for (int n = 0; n < kN; ++n) {
      std::int32_t sum = static_cast<std::int32_t>(std::nearbyint(bias[static_cast<std::size_t>(n)] / bias_scale));
      for (int k = 0; k < kK; ++k)
        sum += (qx.q.values<std::int8_t>()[static_cast<std::size_t>(m * kK + k)] - qx.qparams.zero_point[0]) *
               qw.q.values<std::int8_t>()[static_cast<std::size_t>(k * kN + n)];
      const std::int32_t q = numerics::requantize(sum, multiplier, y.zero_point, {-128, 127});
      const double back = static_cast<double>(numerics::dequantize(q, y.scale, y.zero_point));
      worst = std::max(worst, std::abs(back - exact[static_cast<std::size_t>(m * kN + n)]));
    }
  EXPECT_LT(worst, 0.08) << "half a step of y is " << y.scale / 2;
}

TEST(ChooseScaleTest, RangeIsWidenedToZero) {
  EXPECT_EQ(choose_scale({2, 5.1F}, {0, 255}, false).zero_point, 0);
  EXPECT_FLOAT_EQ(choose_scale({2, 5.1F}, {0, 255}, false).scale, 0.02F);
  EXPECT_EQ(choose_scale({-5.1F, -2}, {0, 255}, false).zero_point, 255);
  EXPECT_EQ(choose_scale({-5.1F, -2}, {-128, 127}, false).zero_point, 127);
}

TEST(ChooseScaleTest, OnlyZero) {
  for (const bool symmetric : {false, true}) {
    const ScaleZeroPoint chosen = choose_scale({0, 0}, symmetric ? IntegerLimits{-127, 127} : IntegerLimits{0, 255}, symmetric);
    EXPECT_EQ(chosen.scale, 1.0F);
    EXPECT_EQ(chosen.zero_point, 0);
  }
}

TEST(ChooseScaleTest, Extremes) {
  EXPECT_EQ(choose_scale({0, 1e-40F}, {0, 255}, false).scale, FLT_MIN);
  EXPECT_EQ(choose_scale({-1e-42F, 0}, {-127, 127}, true).scale, FLT_MIN);
  const ScaleZeroPoint widest = choose_scale({-FLT_MAX, FLT_MAX}, {0, 255}, false);
  EXPECT_TRUE(std::isfinite(widest.scale));
  EXPECT_NEAR(widest.zero_point, 128, 1);
  EXPECT_THROW(choose_scale({-1, std::numeric_limits<float>::infinity()}, {0, 255}, false), Error);
  EXPECT_THROW(choose_scale({std::nanf(""), 1}, {0, 255}, false), Error);
}

// For any range and width: 0 is exact, the ends of the range are representable to half a step, nothing leaves the limits.
TEST(ChooseScaleTest, Properties) {
  const unsigned seed = 20240607;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> mantissa(-1, 1);
  std::uniform_int_distribution<int> exponent(-100, 100);
  for (int trial = 0; trial < 20000; ++trial) {
    const int width = 2 + trial % 15;
    const bool symmetric = trial % 2 == 0, is_signed = trial % 3 == 0;
    const IntegerLimits limits = limits_of_bits(width, is_signed, symmetric);
    const float a = std::ldexp(mantissa(random), exponent(random)), b = std::ldexp(mantissa(random), exponent(random));
    const Range range{std::min(a, b), std::max(a, b)};
    const ScaleZeroPoint chosen = choose_scale(range, limits, symmetric);
    SCOPED_TRACE(::testing::Message() << width << " bits, " << range.min << " ... " << range.max);
    ASSERT_GE(chosen.scale, FLT_MIN);
    ASSERT_GE(chosen.zero_point, limits.low);
    ASSERT_LE(chosen.zero_point, limits.high);
    const auto round_trip = [&](float x) {
      const auto q = numerics::quantize(x, chosen.scale, chosen.zero_point, {limits.low, limits.high});
      EXPECT_GE(q, limits.low);
      EXPECT_LE(q, limits.high);
      return numerics::dequantize(q, chosen.scale, chosen.zero_point);
    };
    ASSERT_EQ(round_trip(0), 0.0F);
    for (const float x : {range.min, range.max, range.min / 3, range.max / 3})
      // A rounded zero point may cut the ends by up to half a step more.
      ASSERT_LE(std::abs(round_trip(x) - x), chosen.scale * 1.001F);
  }
}

TEST(QuantizeTensorTest, GroupsAndTheirScales) {
  Tensor x(DType::f32, {5, 2});  // groups of 2 along axis 0: 3 groups, the last of one row
  const auto values = x.mutable_values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  EXPECT_EQ(scale_dims(x.dims(), PerGroup{0, 2}), (Dims{3, 2}));
  const QuantizedTensor quantized = quantize_tensor(x, TensorScheme{.symmetric = true, .granularity = PerGroup{0, 2}});
  EXPECT_THAT(quantized.qparams.scale,
              ::testing::Pointwise(::testing::FloatEq(), std::vector<float>{3 / 127.0F, 4 / 127.0F, 7 / 127.0F, 8 / 127.0F,
                                                                            9 / 127.0F, 10 / 127.0F}));
  EXPECT_THAT(ints<std::int8_t>(quantized.q), ElementsAre(42, 64, 127, 127, 91, 95, 127, 127, 127, 127));
}

TEST(QuantizeTensorTest, ChannelsOnAnInnerAxis) {
  const Tensor x = Tensor::of<float>({2, 2}, {1.0F, 10.0F, -2.0F, 5.0F});
  const QuantizedTensor quantized = quantize_tensor(x, TensorScheme{.symmetric = true, .granularity = PerChannel{-1}});
  EXPECT_THAT(ints<std::int8_t>(quantized.q), ElementsAre(64, 127, -127, 64));
}

TEST(QuantizeTensorTest, NarrowTypesArePacked) {
  const QParams u4{DType::u4, PerTensor{}, {1.0F}, {3}}, s4{DType::s4, PerTensor{}, {1.0F}, {0}},
      s2{DType::s2, PerTensor{}, {1.0F}, {0}};
  const Tensor x = vector_of({-3.0F, 0.0F, 20.0F});
  EXPECT_THAT(quantize_tensor(x, u4).bytes(), ElementsAre(std::byte{0x30}, std::byte{0x0F}));
  EXPECT_THAT(floats(dequantize_tensor(quantize_tensor(x, u4), u4)), ElementsAre(-3, 0, 12));
  EXPECT_THAT(floats(dequantize_tensor(quantize_tensor(x, s4), s4)), ElementsAre(-3, 0, 7));
  EXPECT_THAT(floats(dequantize_tensor(quantize_tensor(x, s2), s2)), ElementsAre(-2, 0, 1));
}

TEST(QuantizeTensorTest, EveryWidth) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  Tensor x(DType::f32, {1000});
  for (float& value : x.mutable_values<float>()) value = normal(random);
  double last = 1e9;
  for (int width = 2; width <= 16; ++width) {
    const double error = mean_squared_error(x, dequantize_tensor(quantize_tensor(x, TensorScheme{.bits = width})));
    EXPECT_LT(error, last / 2) << width << " bits";
    last = error;
  }
  EXPECT_THROW(quantize_tensor(x, TensorScheme{.bits = 1}), Error);
  EXPECT_THROW(quantize_tensor(x, TensorScheme{.bits = 17}), Error);
}

TEST(QuantizeTensorTest, MseIsNeverWorseThanMinMax) {
  const unsigned seed = 11;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 60; ++trial) {
    Tensor x(DType::f32, {200});
    for (float& value : x.mutable_values<float>()) value = std::pow(normal(random), trial % 2 ? 3.0F : 1.0F);
    TensorScheme scheme{.bits = 2 + trial % 7, .symmetric = trial % 3 == 0};
    const double min_max = mean_squared_error(x, dequantize_tensor(quantize_tensor(x, scheme)));
    scheme.range = "mse";
    EXPECT_LE(mean_squared_error(x, dequantize_tensor(quantize_tensor(x, scheme))), min_max * (1 + 1e-6));
  }
}

TEST(QuantizeTensorTest, Errors) {
  const Tensor x = vector_of({1, 2, 3});
  EXPECT_THROW(quantize_tensor(x, QParams{DType::u8, PerChannel{0}, {1, 1}, {0, 0}}), Error);  // 3 channels
  EXPECT_THROW(quantize_tensor(x, QParams{DType::u8, PerChannel{1}, {1}, {0}}), Error);
  EXPECT_THROW(quantize_tensor(x, QParams{DType::f32, PerTensor{}, {1}, {0}}), Error);
  EXPECT_THROW(quantize_tensor(x, TensorScheme{.granularity = PerGroup{0, 0}}), Error);
  EXPECT_THROW(quantize_tensor(x, TensorScheme{.range = "percentile"}), Error);
  try {
    quantize_tensor(vector_of({1, 2, std::nanf("")}), TensorScheme{});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("element 2"));
  }
}

TEST(QuantizeTensorTest, NanGivesTheLowest) {
  const QParams qparams{DType::u8, PerTensor{}, {1.0F}, {100}};
  EXPECT_THAT(ints<std::uint8_t>(quantize_tensor(vector_of({std::nanf(""), 1e30F, -1e30F}), qparams)), ElementsAre(0, 255, 0));
}

}  // namespace
}  // namespace zeropoint
