#include "kernels/rows_f32/rows_f32.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240702;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kWidths[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 50, 64, 100};
constexpr std::size_t kGuard = 32;

class RowsF32Entry : public testing::TestWithParam<const RowsF32Kernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  std::vector<float> floats(std::int64_t count, bool special) {
    constexpr float kSpecial[] = {0.0F, -0.0F, kInfinity, -kInfinity, 1e-42F, 3e38F, -3.5F, NAN};
    std::normal_distribution<float> normal(1, 3);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = special && random_() % 50 == 0 ? kSpecial[random_() % 8] : normal(random_);
    return values;
  }
  template <class Call>
  void compare(std::int64_t count, const Call& call) {
    std::vector<float> actual(static_cast<std::size_t>(count) + kGuard, 77), expected = actual;
    call(*GetParam()->functions, actual.data());
    call(rows_f32_reference, expected.data());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
      ASSERT_EQ(actual[i], expected[i]) << "at " << i << " of " << count << ", seed " << kSeed;
    }
  }
  std::mt19937 random_{kSeed};
};

TEST_P(RowsF32Entry, Softmax) {
  for (const std::int64_t width : kWidths)
    for (const bool special : {false, true})
      for (const bool logarithm : {false, true}) {
        const auto src = floats(5 * width, special);
        compare(5 * width, [&](const auto& f, float* dst) { f.softmax(logarithm, src.data(), dst, 5, width); });
        compare(5 * width, [&](const auto& f, float* dst) {  // in place
          std::copy(src.begin(), src.end(), dst);
          f.softmax(logarithm, dst, dst, 5, width);
        });
      }
}

TEST_P(RowsF32Entry, Normalize) {
  for (const std::int64_t width : kWidths)
    for (const bool center : {false, true})
      for (const bool divide : {false, true}) {
        const auto src = floats(7 * width, false), scale = floats(width, false), bias = floats(width, false);
        for (const float* s : {scale.data(), static_cast<const float*>(nullptr)})
          for (const float* b : {bias.data(), static_cast<const float*>(nullptr)}) {
            const NormalizeF32 params{.epsilon = 1e-5F, .center = center, .divide = divide};
            compare(7 * width, [&](const auto& f, float* dst) { f.normalize(params, src.data(), s, b, dst, 7, width); });
            compare(7 * width, [&](const auto& f, float* dst) {  // in place
              std::copy(src.begin(), src.end(), dst);
              f.normalize(params, dst, s, b, dst, 7, width);
            });
          }
      }
}

TEST_P(RowsF32Entry, Reduce) {
  for (const ReduceF32 op :
       {ReduceF32::sum, ReduceF32::mean, ReduceF32::max, ReduceF32::min, ReduceF32::sum_square, ReduceF32::l2})
    for (const bool special : {false, true})
      for (const std::int64_t width : kWidths) {
        const auto src = floats(6 * width * 5, special);
        compare(6, [&](const auto& f, float* dst) { f.reduce(op, src.data(), dst, 6, width); });
        for (const std::int64_t inner : {1, 5})
          compare(6 * inner,
                  [&](const auto& f, float* dst) { f.reduce_columns(op, src.data(), dst, 6, width, inner, 0, inner); });
        compare(width * 2,
                [&](const auto& f, float* dst) { f.reduce_columns(op, src.data(), dst, 2, 7, width, width / 3, width); });
      }
}

std::vector<const RowsF32Kernels*> entries() {
  std::vector<const RowsF32Kernels*> list;
  for (const RowsF32Kernels& kernel : rows_f32_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, RowsF32Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(RowsF32Select, FollowsTheMask) {
  EXPECT_STREQ(select_rows_f32(IsaSet()).name, "rows_f32_reference");
  for (const RowsF32Kernels& kernel : rows_f32_kernels())
    EXPECT_STREQ(select_rows_f32(implied_isas(kernel.needs)).name, kernel.name);
}

TEST(RowsF32Reference, HandMade) {
  const float src[] = {0, 0, 1, 3};
  float dst[4];
  rows_f32_reference.softmax(false, src, dst, 2, 2);
  EXPECT_EQ(dst[0], 0.5F);
  EXPECT_NEAR(dst[3], 1 / (1 + std::exp(-2.0)), 1e-6);
  rows_f32_reference.normalize({.epsilon = 0}, src + 2, nullptr, nullptr, dst, 1, 2);
  EXPECT_EQ(dst[0], -1);
  EXPECT_EQ(dst[1], 1);
  rows_f32_reference.reduce(ReduceF32::mean, src, dst, 1, 4);
  EXPECT_EQ(dst[0], 1);
  const float legs[] = {3, -4};
  rows_f32_reference.reduce(ReduceF32::l2, legs, dst, 1, 2);
  EXPECT_EQ(dst[0], 5);
  rows_f32_reference.reduce_columns(ReduceF32::max, src, dst, 1, 2, 2, 0, 2);
  EXPECT_EQ(dst[1], 3);
}

}  // namespace
}  // namespace zeropoint::kernels
