#include "kernels/matmul_f32/matmul_f32.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240701;
constexpr float kUntouched = 77;

class MatmulF32Entry : public testing::TestWithParam<const MatmulF32Kernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  std::vector<float> floats(std::int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = normal(random_);
    return values;
  }
  void compare(const MatmulF32Shape& s, const std::vector<float>& a, const std::vector<float>& b, std::size_t c_size) {
    std::vector<float> expected(c_size, kUntouched);
    matmul_f32_reference.run(s, a.data(), b.data(), expected.data(), nullptr, 0, 1);
    for (const int workers : {1, 2, 3}) {
      std::vector<float> actual(c_size, kUntouched), scratch(matmul_f32_scratch_bytes(s, workers) / sizeof(float));
      for (int worker = 0; worker < workers; ++worker)
        GetParam()->functions->run(s, a.data(), b.data(), actual.data(), scratch.data(), worker, workers);
      ASSERT_EQ(actual, expected) << s.m << "x" << s.n << "x" << s.k << ", workers " << workers << ", seed " << kSeed;
    }
  }
  std::mt19937 random_{kSeed};
};

TEST_P(MatmulF32Entry, SizesAndTransposes) {
  for (const std::int64_t m : {1, 2, 5, 7, 13, 25, 40})
    for (const std::int64_t n : {1, 3, 8, 16, 17, 31, 33, 48, 50, 64, 70, 129})
      for (const std::int64_t k : {0, 1, 5, 8, 19, 32})
        for (const bool flip_a : {false, true})
          for (const bool flip_b : {false, true}) {
            MatmulF32Shape s{.m = m, .n = n, .k = k};
            s.a_row = flip_a ? 1 : k + 2;
            s.a_k = flip_a ? m + 1 : 1;
            s.b_k = flip_b ? 1 : n + 3;
            s.b_column = flip_b ? k + 1 : 1;
            s.c_row = n + 2;
            s.finish = n % 2 == 0 ? MatmulFinish::multiply : k % 2 == 0 ? MatmulFinish::divide : MatmulFinish::none;
            s.factor = 0.3F;
            compare(s, floats((m + 2) * (k + 2)), floats((n + 3) * (k + 2)), static_cast<std::size_t>(m * (n + 2)));
          }
}

// [2, 3 heads] of [tokens, heads, depth], b shared by pairs of heads, c written as [tokens, heads, depth].
TEST_P(MatmulF32Entry, BatchesThroughStrides) {
  for (const std::int64_t tokens : {4, 33}) {
    constexpr std::int64_t kHeads = 4, kDepth = 20;
    MatmulF32Shape s{.batch_rank = 3, .batch = {2, 2, 2}, .m = tokens, .n = kDepth, .k = tokens};
    const std::int64_t image = kHeads * tokens * tokens;
    s.a_batch[0] = image;
    s.a_batch[1] = 2 * tokens * tokens;
    s.a_batch[2] = tokens * tokens;
    s.b_batch[0] = tokens * 2 * kDepth;
    s.b_batch[1] = kDepth;
    s.c_batch[0] = tokens * kHeads * kDepth;
    s.c_batch[1] = 2 * kDepth;
    s.c_batch[2] = kDepth;
    s.a_row = tokens;
    s.b_k = 2 * kDepth;
    s.c_row = kHeads * kDepth;
    compare(s, floats(2 * image), floats(2 * tokens * 2 * kDepth), static_cast<std::size_t>(2 * tokens * kHeads * kDepth));
  }
}

std::vector<const MatmulF32Kernels*> entries() {
  std::vector<const MatmulF32Kernels*> list;
  for (const MatmulF32Kernels& kernel : matmul_f32_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, MatmulF32Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(MatmulF32Select, FollowsTheMask) {
  EXPECT_STREQ(select_matmul_f32(IsaSet()).name, "matmul_f32_reference");
  for (const MatmulF32Kernels& kernel : matmul_f32_kernels())
    EXPECT_STREQ(select_matmul_f32(implied_isas(kernel.needs)).name, kernel.name);
}

TEST(MatmulF32Reference, HandMade) {
  const float a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8};
  float c[4];
  matmul_f32_reference.run({.m = 2, .n = 2, .k = 2, .a_row = 2, .b_k = 2, .c_row = 2}, a, b, c, nullptr, 0, 1);
  EXPECT_EQ(std::vector<float>(c, c + 4), (std::vector<float>{19, 22, 43, 50}));
}

}  // namespace
}  // namespace zeropoint::kernels
