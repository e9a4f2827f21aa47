#include "kernels/matmul_wq/matmul_wq.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>
#include <string>

namespace zeropoint::kernels {
namespace {

struct Problem {
  WqShape shape;
  std::vector<float> x, scale, zero, bias;
  std::vector<std::uint8_t> q;
  WqArgs args;

  Problem(const WqShape& s, std::int64_t m, bool with_bias, bool narrow, std::mt19937& random) : shape(s) {
    std::normal_distribution<float> normal;
    x.resize(static_cast<std::size_t>(m * s.k));
    for (float& v : x) v = normal(random);
    q.resize(static_cast<std::size_t>(packed_wq_bytes(s)));
    pack_wq(
        s, [&](std::int64_t, std::int64_t) { return static_cast<std::uint8_t>(random() % (s.bits == 8 ? 256 : 16)); },
        q.data());
    scale.resize(static_cast<std::size_t>(packed_wq_parameters(s)));
    zero.resize(scale.size());
    pack_wq_parameters(
        s, [&](std::int64_t, std::int64_t) { return 0.01F + 0.001F * static_cast<float>(random() % 100); }, scale.data());
    pack_wq_parameters(
        s, [&](std::int64_t, std::int64_t) { return static_cast<float>(random() % (s.bits == 8 ? 256 : 16)); }, zero.data());
    bias.resize(static_cast<std::size_t>(s.panels() * kWqPanel));
    for (float& v : bias) v = normal(random);
    args.x = x.data();
    args.m = m;
    args.q = q.data();
    args.scale = scale.data();
    args.zero = zero.data();
    args.bias = with_bias ? bias.data() : nullptr;
    args.low = narrow ? 0.0F : -std::numeric_limits<float>::infinity();
    args.high = narrow ? 1.5F : std::numeric_limits<float>::infinity();
  }
  std::vector<float> result(const MatmulWqKernels& kernel, int workers) {
    std::vector<float> y(static_cast<std::size_t>(args.m * shape.n + 8), 7.0F);
    std::vector<float> scratch(static_cast<std::size_t>(wq_scratch_bytes(shape, args.m, workers) / 4 + 1));
    args.y = y.data();
    args.scratch = scratch.data();
    for (int worker = 0; worker < workers; ++worker) kernel.functions->run(shape, args, worker, workers);
    return y;
  }
};

TEST(MatmulWqTest, EveryKernelEqualsTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int trial = 0; trial < 60; ++trial) {
    const std::int64_t k = 1 + random() % 90, m = 1 + random() % (trial % 3 == 0 ? 40 : 12);
    const int bits = trial % 2 ? 4 : 8;
    const std::int64_t block = trial % 5 == 0 ? k : bits == 4 ? 2 * (1 + random() % 20) : 1 + random() % 40;
    Problem problem({.k = k, .n = static_cast<std::int64_t>(1 + random() % 100), .block = block, .bits = bits}, m,
                    trial % 4 < 2, trial % 7 < 3, random);
    const std::vector<float> expected = problem.result(matmul_wq_kernels().back(), 1);
    for (const MatmulWqKernels& kernel : matmul_wq_kernels())
      if (detected_isas().contains(kernel.needs)) {
        const std::vector<float> actual = problem.result(kernel, 1 + trial % 3);
        ASSERT_EQ(std::memcmp(actual.data(), expected.data(), expected.size() * 4), 0)
            << kernel.name << " k " << k << " m " << m << " n " << problem.shape.n << " block " << block << " bits " << bits;
      }
  }
}

TEST(MatmulWqTest, ByHand) {
  // One column: w = (3 - 1) * 0.5, (15 - 1) * 0.5, (0 - 2) * 4
  const WqShape shape{.k = 3, .n = 1, .block = 2, .bits = 4};
  std::vector<std::uint8_t> q(static_cast<std::size_t>(packed_wq_bytes(shape)));
  const int values[] = {3, 15, 0};
  pack_wq(shape, [&](std::int64_t k, std::int64_t) { return static_cast<std::uint8_t>(values[k]); }, q.data());
  EXPECT_EQ(q[0], 0xF3);
  std::vector<float> scale(64), zero(64);
  pack_wq_parameters(shape, [](std::int64_t block, std::int64_t) { return block == 0 ? 0.5F : 4.0F; }, scale.data());
  pack_wq_parameters(shape, [](std::int64_t block, std::int64_t) { return block == 0 ? 1.0F : 2.0F; }, zero.data());
  const float x[] = {1, 10, 100};
  float y = 0;
  for (const MatmulWqKernels& kernel : matmul_wq_kernels())
    if (detected_isas().contains(kernel.needs)) {
      kernel.functions->run(
          shape,
          {.x = x, .m = 1, .q = q.data(), .scale = scale.data(), .zero = zero.data(), .low = -1e9F, .high = 1e9F, .y = &y}, 0,
          1);
      EXPECT_EQ(y, 1 * 1 + 10 * 7 - 100 * 8) << kernel.name;
    }
}

}  // namespace
}  // namespace zeropoint::kernels
