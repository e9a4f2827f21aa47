#include "kernels/elementwise_f32/elementwise_f32.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240614;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr BinaryOp kBinaryOps[] = {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div, BinaryOp::min, BinaryOp::max};
constexpr UnaryOp kUnaryOps[] = {
    UnaryOp::abs,        UnaryOp::neg,          UnaryOp::sqrt,       UnaryOp::reciprocal, UnaryOp::floor,     UnaryOp::ceil,
    UnaryOp::round,      UnaryOp::exp,          UnaryOp::log,        UnaryOp::tanh,       UnaryOp::erf,       UnaryOp::sigmoid,
    UnaryOp::leaky_relu, UnaryOp::hard_sigmoid, UnaryOp::hard_swish, UnaryOp::gelu,       UnaryOp::gelu_tanh, UnaryOp::swish};
constexpr std::int64_t kCounts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100};
constexpr std::size_t kGuard = 32;

class ElementwiseF32Entry : public testing::TestWithParam<const ElementwiseF32Kernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  const ElementwiseF32Functions& fast() const { return *GetParam()->functions; }
  const ElementwiseF32Functions& reference() const { return elementwise_f32_reference; }

  std::vector<float> floats(std::int64_t count) {
    constexpr float kSpecial[] = {0.0F, -0.0F, kInfinity, -kInfinity, 2.5F, -0.5F, 1e-42F, 3e38F, 8388609.0F, -3.5F};
    std::normal_distribution<float> normal(0, 3);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) {
      v = random_() % 8 == 0 ? kSpecial[random_() % 10] : normal(random_);
      if (random_() % 40 == 0) v = std::nanf("");
    }
    return values;
  }

  // Bytes, but any NaN equals any NaN: their payload is not defined by the standard.
  static void expect_same(const std::vector<float>& actual, const std::vector<float>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
      ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(float)), 0)
          << "at " << i << ": " << actual[i] << " instead of " << expected[i] << ", seed " << kSeed;
    }
  }

  // Both entries on the same call.
  template <class Call>
  void compare(std::int64_t count, const Call& call) {
    std::vector<float> actual(static_cast<std::size_t>(count) + kGuard, 77), expected = actual;
    call(fast(), actual.data());
    call(reference(), expected.data());
    expect_same(actual, expected);
  }

  std::vector<BinaryF32> operations() {
    std::vector<BinaryF32> list;
    for (const BinaryOp op : kBinaryOps) {
      list.push_back({op});
      list.push_back({op, 0});
      list.push_back({op, -1.5F, 2});
    }
    return list;
  }

  std::mt19937 random_{kSeed};
};

TEST_P(ElementwiseF32Entry, Binary) {
  for (const BinaryF32& params : operations())
    for (const std::int64_t count : kCounts) {
      const auto a = floats(count), b = floats(count);
      compare(count, [&](const auto& f, float* dst) { f.binary(params, a.data(), b.data(), dst, count); });
      for (const bool swapped : {false, true})
        compare(count, [&](const auto& f, float* dst) { f.binary_scalar(params, a.data(), 1.7F, swapped, dst, count); });
    }
}

TEST_P(ElementwiseF32Entry, BinaryChannel) {
  for (const BinaryF32& params : operations())
    for (const std::int64_t channels : kCounts)
      for (const bool swapped : {false, true}) {
        const auto a = floats(3 * channels), b = floats(channels);
        compare(3 * channels,
                [&](const auto& f, float* dst) { f.binary_channel(params, a.data(), b.data(), swapped, dst, 3, channels); });
      }
}

TEST_P(ElementwiseF32Entry, BinaryBroadcast) {
  using Dims = std::vector<std::int64_t>;
  const std::pair<Dims, Dims> pairs[] = {{{2, 3, 5}, {2, 3, 5}},
                                         {{4, 1, 17}, {3, 17}},
                                         {{2, 3, 4, 19}, {2, 1, 1, 19}},
                                         {{3, 1}, {1, 20}},
                                         {{2, 5, 1}, {2, 5, 9}},
                                         {{}, {7, 3}},
                                         {{6}, {}},
                                         {{}, {}},
                                         {{1, 1}, {1}},
                                         {{2, 1, 3, 1, 2}, {1, 4, 1, 5, 1}}};
  for (const auto& [a_dims, b_dims] : pairs) {
    BroadcastF32 shape;
    ASSERT_TRUE(broadcast(a_dims, b_dims, shape));
    std::int64_t count = 1, a_count = 1, b_count = 1;
    for (int axis = 0; axis < shape.rank; ++axis) count *= shape.dims[axis];
    for (const auto dim : a_dims) a_count *= dim;
    for (const auto dim : b_dims) b_count *= dim;
    const auto a = floats(a_count), b = floats(b_count);
    for (const BinaryOp op : kBinaryOps)
      for (const std::int64_t begin : {std::int64_t{0}, count / 3})
        compare(count,
                [&](const auto& f, float* dst) { f.binary_broadcast({op}, shape, a.data(), b.data(), dst, begin, count); });
  }
}

// Strides as views have them: both operands repeated along the last axis, and rows apart.
TEST_P(ElementwiseF32Entry, BinaryThroughViews) {
  BroadcastF32 repeated{.rank = 2, .dims = {4, 21}, .a_strides = {2, 0}, .b_strides = {1, 0}};
  BroadcastF32 apart{.rank = 2, .dims = {4, 21}, .a_strides = {30, 1}, .b_strides = {-25, 1}};
  BroadcastF32 backwards{.rank = 2, .dims = {4, 21}, .a_strides = {30, 1}, .b_strides = {20, -1}};
  const auto a = floats(200), b = floats(200);
  for (const BroadcastF32& shape : {repeated, apart, backwards})
    for (const std::int64_t begin : {0, 30})
      compare(84, [&](const auto& f, float* dst) {
        f.binary_broadcast({BinaryOp::sub}, shape, a.data(), b.data() + 100, dst, begin, 84);  // b: -75 ... 160
      });
}

TEST_P(ElementwiseF32Entry, ClampAndUnary) {
  for (const std::int64_t count : kCounts) {
    const auto src = floats(count);
    compare(count, [&](const auto& f, float* dst) { f.clamp(0, kInfinity, src.data(), dst, count); });
    compare(count, [&](const auto& f, float* dst) { f.clamp(-1, 6, src.data(), dst, count); });
    for (const UnaryOp op : kUnaryOps)
      compare(count, [&](const auto& f, float* dst) { f.unary({op, 1.0F / 6, 0.5F}, src.data(), dst, count); });
  }
}

TEST_P(ElementwiseF32Entry, InPlace) {
  for (const std::int64_t count : kCounts) {
    const auto a = floats(3 * count), b = floats(3 * count), row = floats(count);
    const auto on = [&](const std::vector<float>& operand, const auto& call) {
      compare(3 * count, [&](const auto& f, float* dst) {
        std::copy(operand.begin(), operand.end(), dst);
        call(f, dst);
      });
    };
    const BinaryF32 params{BinaryOp::sub, -1.5F, 2};
    on(a, [&](const auto& f, float* dst) { f.binary(params, dst, b.data(), dst, 3 * count); });
    on(b, [&](const auto& f, float* dst) { f.binary(params, a.data(), dst, dst, 3 * count); });
    on(a, [&](const auto& f, float* dst) { f.binary_scalar(params, dst, 1.7F, true, dst, 3 * count); });
    on(a, [&](const auto& f, float* dst) { f.binary_channel(params, dst, row.data(), true, dst, 3, count); });
    on(a, [&](const auto& f, float* dst) { f.clamp(-1, 6, dst, dst, 3 * count); });
    for (const UnaryOp op : kUnaryOps)
      on(a, [&](const auto& f, float* dst) { f.unary({op, 1.0F / 6, 0.5F}, dst, dst, 3 * count); });
  }
}

// About a million floats of every sign, exponent and kind.
TEST_P(ElementwiseF32Entry, UnaryOverAllExponents) {
  std::vector<float> src;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 4099)
    src.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  const auto count = static_cast<std::int64_t>(src.size());
  for (const UnaryOp op : {UnaryOp::exp, UnaryOp::tanh, UnaryOp::erf, UnaryOp::sigmoid})
    compare(count, [&](const auto& f, float* dst) { f.unary({op}, src.data(), dst, count); });
  compare(count, [&](const auto& f, float* dst) { f.unary({UnaryOp::gelu, std::sqrt(2.0F)}, src.data(), dst, count); });
}

std::vector<const ElementwiseF32Kernels*> entries() {
  std::vector<const ElementwiseF32Kernels*> list;
  for (const ElementwiseF32Kernels& kernel : elementwise_f32_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, ElementwiseF32Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(ElementwiseF32Select, FollowsTheMask) {
  EXPECT_STREQ(select_elementwise_f32(IsaSet()).name, "elementwise_f32_reference");
  for (const ElementwiseF32Kernels& kernel : elementwise_f32_kernels())
    EXPECT_STREQ(select_elementwise_f32(implied_isas(kernel.needs)).name, kernel.name);
}

TEST(Broadcast, MergesAxes) {
  BroadcastF32 shape;
  const std::int64_t nhwc[] = {2, 3, 4, 8}, channels[] = {8}, image[] = {2, 1, 1, 8}, bad[] = {3};
  ASSERT_TRUE(broadcast(nhwc, channels, shape));
  EXPECT_EQ(shape.rank, 2);
  EXPECT_EQ(shape.dims[0], 24);
  EXPECT_EQ(shape.b_strides[0], 0);
  ASSERT_TRUE(broadcast(nhwc, image, shape));
  EXPECT_EQ(shape.rank, 3);
  EXPECT_EQ(shape.b_strides[0], 8);
  EXPECT_FALSE(broadcast(nhwc, bad, shape));
}

TEST(ElementwiseF32Reference, HandMade) {
  const float src[] = {-2, 0, 2.5F, 7}, expected_round[] = {-2, 0, 2, 7},
              expected_swish[] = {-2 * (1.0F / 6 * -2 + 0.5F), 0, 2.5F * (1.0F / 6 * 2.5F + 0.5F), 7};
  float dst[4];
  elementwise_f32_reference.unary({UnaryOp::round}, src, dst, 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(dst[i], expected_round[i]);
  elementwise_f32_reference.unary({UnaryOp::hard_swish, 1.0F / 6, 0.5F}, src, dst, 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(dst[i], expected_swish[i]);
  elementwise_f32_reference.binary_scalar({BinaryOp::sub}, src, 1, true, dst, 4);
  EXPECT_EQ(dst[0], 3);
  elementwise_f32_reference.clamp(0, 6, src, dst, 4);
  EXPECT_EQ(dst[0], 0);
  EXPECT_EQ(dst[3], 6);
}

}  // namespace
}  // namespace zeropoint::kernels
