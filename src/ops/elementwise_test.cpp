// Element by element: types at their limits, worked by hand.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "ops/test_nodes.h"

namespace zeropoint::ops {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Mod, SignsOfDivisorAndDividend) {
  const Feeds ints = {{"a", list<std::int32_t>({-7, 7, INT32_MIN, 6})}, {"b", list<std::int32_t>({3, -3, -1, 3})}};
  EXPECT_THAT(values<std::int32_t>(run_node("Mod(a, b)", ints)), ElementsAre(2, -2, 0, 0));
  EXPECT_THAT(values<std::int32_t>(run_node("Mod(a, b) {fmod=1}", ints)), ElementsAre(-1, 1, 0, 0));
  const Feeds floats = {{"a", list<float>({-7, 7, -6, 5})}, {"b", list<float>({3, -3, 3, 0})}};
  EXPECT_THAT(values<float>(run_node("Mod(a, b) {fmod=1}", floats)), ElementsAre(-1, 1, -0.0F, testing::IsNan()));
  EXPECT_THAT(refusal([] { run_node("Mod(a, b)", {{"a", list<std::int8_t>({1})}, {"b", list<std::int8_t>({0})}}); },
                      ErrorCode::kBadArgument),
              HasSubstr("divided by zero"));
  EXPECT_THAT(values<std::uint64_t>(
                  run_node("Mod(a, b)", {{"a", list<std::uint64_t>({UINT64_MAX})}, {"b", list<std::uint64_t>({10})}})),
              ElementsAre(5));
}

TEST(BitShift, ByNothingAllAndNegativeAmounts) {
  const Feeds bytes = {{"a", list<std::uint8_t>({1, 255, 255})}, {"b", list<std::uint8_t>({7, 8, 200})}};
  EXPECT_THAT(values<std::uint8_t>(run_node("BitShift(a, b) {direction=\"LEFT\"}", bytes)), ElementsAre(128, 0, 0));
  EXPECT_THAT(values<std::uint8_t>(run_node("BitShift(a, b) {direction=\"RIGHT\"}", bytes)), ElementsAre(0, 0, 0));
  const Feeds longs = {{"a", list<std::int64_t>({-8, -1, 5})}, {"b", list<std::int64_t>({1, 64, -1})}};
  EXPECT_THAT(values<std::int64_t>(run_node("BitShift(a, b) {direction=\"RIGHT\"}", longs, 28)), ElementsAre(-4, -1, 0));
  EXPECT_THAT(values<std::int64_t>(run_node("BitShift(a, b) {direction=\"LEFT\"}", longs, 28)), ElementsAre(-16, 0, 0));
}

TEST(Pow, IntegersWrapAndFractionsAreCut) {
  const Feeds feeds = {{"a", list<std::int32_t>({3, 2, -1, 2})}, {"b", list<std::int32_t>({4, 31, -3, -1})}};
  EXPECT_THAT(values<std::int32_t>(run_node("Pow(a, b)", feeds)), ElementsAre(81, INT32_MIN, -1, 0));
  EXPECT_THAT(values<std::int32_t>(run_node("Pow(a, b)", {{"a", list<std::int32_t>({2, 10})}, {"b", list<float>({0.5F, 30})}})),
              ElementsAre(1, INT32_MAX));  // too large: saturated, never undefined
}

TEST(Tests, OfNanAndInfinity) {
  const Tensor x = list<float>({NAN, kInf, -kInf, 0});
  EXPECT_EQ(values<bool>(run_node("IsNaN(x)", {{"x", x}})), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(values<bool>(run_node("IsInf(x)", {{"x", x}})), (std::vector<bool>{false, true, true, false}));
  EXPECT_EQ(values<bool>(run_node("IsInf(x) {detect_negative=0}", {{"x", x}})), (std::vector<bool>{false, true, false, false}));
  const Tensor f8 = run_node("Cast(x) {to=19, saturate=0}", {{"x", x}});  // e5m2 has infinities
  EXPECT_EQ(values<bool>(run_node("IsInf(x)", {{"x", f8}})), (std::vector<bool>{false, true, true, false}));
  EXPECT_EQ(values<bool>(run_node("IsNaN(x)", {{"x", f8}})), (std::vector<bool>{true, false, false, false}));
}

TEST(Activations, AtTheirEnds) {
  const Tensor x = list<float>({-1000, -1, 0, 1, 1000, NAN});
  EXPECT_THAT(values<float>(run_node("Mish(x)", {{"x", x}})),
              ElementsAre(0, testing::FloatNear(-0.30340147F, 1e-7F), 0, testing::FloatNear(0.8650984F, 1e-7F), 1000,
                          testing::IsNan()));
  EXPECT_THAT(values<float>(run_node("Swish(x)", {{"x", x}})),
              ElementsAre(0, testing::FloatNear(-0.26894143F, 1e-7F), 0, testing::FloatNear(0.7310586F, 1e-7F), 1000,
                          testing::IsNan()));
  EXPECT_THAT(values<float>(run_node("Selu(x)", {{"x", x}})),
              ElementsAre(testing::FloatNear(-1.7580993F, 1e-6F), testing::FloatNear(-1.1113307F, 1e-6F), 0,
                          testing::FloatNear(1.050701F, 1e-6F), testing::FloatNear(1050.701F, 1e-3F), testing::IsNan()));
  EXPECT_THAT(values<float>(run_node("Celu(x) {alpha=2.0}", {{"x", x}})),
              ElementsAre(-2, testing::FloatNear(-0.7869387F, 1e-6F), 0, 1, 1000, testing::IsNan()));
  EXPECT_THAT(values<float>(run_node("ThresholdedRelu(x)", {{"x", x}})), ElementsAre(0, 0, 0, 0, 1000, testing::IsNan()));
  EXPECT_THAT(values<float>(run_node("Shrink(x) {lambd=0.5, bias=0.5}", {{"x", x}})),
              ElementsAre(-999.5F, -0.5F, 0, 0.5F, 999.5F, testing::IsNan()));
}

TEST(Clip, OldLimitsAreAttributes) {
  const Tensor x = list<float>({-5, 0.5F, 5, NAN});
  EXPECT_THAT(values<float>(run_node("Clip(x) {min=-1.0, max=1.0}", {{"x", x}}, 7)),
              ElementsAre(-1, 0.5F, 1, testing::IsNan()));
  const Feeds crossed = {{"x", x}, {"a", Tensor::scalar(2.0F)}, {"b", Tensor::scalar(1.0F)}};
  EXPECT_THAT(values<float>(run_node("Clip(x, a, b)", crossed, 13)), ElementsAre(1, 1, 1, testing::IsNan()));
}

TEST(Range, OfIntegersAtTheirEnds) {
  const auto range = [](std::int64_t start, std::int64_t limit, std::int64_t delta) {
    return values<std::int64_t>(
        run_node("Range(a, b, c)", {{"a", Tensor::scalar(start)}, {"b", Tensor::scalar(limit)}, {"c", Tensor::scalar(delta)}}));
  };
  EXPECT_THAT(range(INT64_MIN, INT64_MAX, INT64_MAX), ElementsAre(INT64_MIN, -1, INT64_MAX - 1));
  EXPECT_THAT(range(5, 0, -2), ElementsAre(5, 3, 1));
  EXPECT_THAT(range(5, 0, 2), testing::IsEmpty());
  EXPECT_THAT(refusal([&] { range(0, 10, 0); }, ErrorCode::kBadArgument), HasSubstr("delta is 0"));
  EXPECT_THAT(refusal([&] { range(INT64_MIN, INT64_MAX, 1); }, ErrorCode::kLimit), HasSubstr("too long"));
}

TEST(Reduce, LogSumExpDoesNotOverflow) {
  const Tensor x = Tensor::of<float>({2, 2}, std::vector<float>{1000, 1000, -kInf, -kInf});
  EXPECT_THAT(values<float>(run_node("ReduceLogSumExp(x, a) {keepdims=0}", {{"x", x}, {"a", list<std::int64_t>({1})}})),
              ElementsAre(testing::FloatNear(1000.6931F, 1e-3F), -kInf));
  const Tensor least = list<std::int32_t>({INT32_MIN, 1});
  EXPECT_THAT(values<std::int32_t>(run_node("ReduceL1(x)", {{"x", least}})), ElementsAre(INT32_MIN + 1));  // wraps
}

// ---- casts

TEST(Cast, FloatsToIntegersNeverLeaveTheType) {
  const Tensor x = list<float>({NAN, kInf, -kInf, 300.7F, -300.7F, 3e9F});
  EXPECT_THAT(values<std::int8_t>(run_node("Cast(x) {to=3}", {{"x", x}})), ElementsAre(0, 127, -128, 127, -128, 127));
  EXPECT_THAT(values<std::uint8_t>(run_node("Cast(x) {to=2}", {{"x", x}})), ElementsAre(0, 255, 0, 255, 0, 255));
  EXPECT_THAT(values<std::int64_t>(run_node("Cast(x) {to=7}", {{"x", x}})),
              ElementsAre(0, INT64_MAX, INT64_MIN, 300, -300, 3000000000));
  EXPECT_THAT(values<std::int8_t>(run_node("Cast(x) {to=3}", {{"x", list<std::int32_t>({200, -129})}})), ElementsAre(-56, 127));
  EXPECT_THAT(refusal([&] { run_node("Cast(x) {to=8}", {{"x", x}}); }, ErrorCode::kUnsupported), HasSubstr("strings"));
  EXPECT_THAT(refusal([&] { run_node("Cast(x) {to=0}", {{"x", x}}); }, ErrorCode::kBadAttribute), HasSubstr("0 is not"));
}

TEST(Cast, EightBitFloatsSaturateOrNot) {
  const Tensor x = list<float>({1000, -1000, 0.3F});
  const auto through = [&](int to, const std::string& more) {
    const Tensor y = run_node("Cast(x) {to=" + std::to_string(to) + more + "}", {{"x", x}});
    return values<float>(run_node("Cast(x) {to=1}", {{"x", y}}));
  };
  EXPECT_THAT(through(17, ""), ElementsAre(448, -448, 0.3125F));
  EXPECT_THAT(through(17, ", saturate=0"), ElementsAre(testing::IsNan(), testing::IsNan(), 0.3125F));
  EXPECT_THAT(through(18, ""), ElementsAre(240, -240, 0.3125F));
  EXPECT_THAT(through(19, ""), ElementsAre(1024, -1024, 0.3125F));
  EXPECT_THAT(through(23, ""), ElementsAre(6, -6, 0.5F));
  EXPECT_THAT(through(24, ", round_mode=\"up\""), ElementsAre(1024, 1024, 0.5F));
  EXPECT_THAT(through(24, ", round_mode=\"down\""), ElementsAre(512, 512, 0.25F));
  EXPECT_THAT(refusal([&] { through(24, ", round_mode=\"even\""); }, ErrorCode::kBadAttribute), HasSubstr("'even'"));
}

TEST(Quantize, ToEightBitFloats) {
  const Tensor x = list<float>({1, -2000, 0.26F}), scale = Tensor::scalar(0.5F);
  const Tensor q = run_node("QuantizeLinear(x, s) {output_dtype=17}", {{"x", x}, {"s", scale}});
  EXPECT_EQ(q.dtype(), DType::f8e4m3fn);
  EXPECT_THAT(values<float>(run_node("DequantizeLinear(x, s)", {{"x", q}, {"s", scale}})), ElementsAre(1, -224, 0.25F));
  const Tensor f4 = run_node("QuantizeLinear(x, s) {output_dtype=23}", {{"x", x}, {"s", scale}});
  EXPECT_THAT(values<float>(run_node("DequantizeLinear(x, s)", {{"x", f4}, {"s", scale}})), ElementsAre(1, -3, 0.25F));
  const Tensor power = run_node("Cast(x) {to=24}", {{"x", list<float>({4})}}).reshaped({});  // a scale of e8m0
  EXPECT_THAT(values<float>(run_node("DequantizeLinear(x, s)", {{"x", list<std::int8_t>({3})}, {"s", power}}, 28)),
              ElementsAre(12));
}

}  // namespace
}  // namespace zeropoint::ops
