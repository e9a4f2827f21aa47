#include "kernels/matmul_q8/matmul_q8.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"

namespace zeropoint::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  MatmulQ8Shape shape;
  std::vector<float> x, row_scale, scale, bias, residual;
  std::vector<std::uint8_t> q;
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> comp;
  MatmulQ8Args args;

  Problem(MatmulQ8Shape s, std::mt19937& random) : shape(s) {
    std::normal_distribution<float> normal;
    shape.src_stride = s.k + random() % 5, shape.dst_stride = s.n + random() % 5, shape.residual_stride = s.n + random() % 3;
    const auto floats = [&](std::int64_t count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& v : values) v = normal(random);
      return values;
    };
    x = floats(s.m * shape.src_stride);
    // Rows of every size, and halves of a step, where quotients lie half way between integers.
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i) / shape.src_stride;
      if (row % 3 == 0) x[i] = std::round(x[i] * 40) * 0.5F;
      if (row % 3 == 0 && static_cast<std::int64_t>(i) % shape.src_stride == 0) x[i] = 127;
      if (row % 7 == 4) x[i] *= 1e-37F;
      if (row % 7 == 5) x[i] *= 1e30F;
      if (row % 11 == 6) x[i] = 0;
      if (random() % 500 == 0) x[i] = std::array{kInfinity, -kInfinity, std::nanf("")}[random() % 3];
    }
    row_scale = floats(s.m), scale = floats(s.n), bias = floats(s.n), residual = floats(s.m * shape.residual_stride);
    q.resize(static_cast<std::size_t>(s.m * shape.src_stride + 64));
    for (auto& v : q) v = static_cast<std::uint8_t>(random());
    weights.resize(static_cast<std::size_t>(s.n * s.k));
    for (auto& v : weights) v = static_cast<std::int8_t>(random());
    comp.resize(static_cast<std::size_t>(s.n));
    for (auto& v : comp) v = static_cast<std::int32_t>(random() % 20000) - 10000;
    const bool floats_in = random() % 2 != 0;
    args.source = floats_in ? MatmulQ8Source::f32 : MatmulQ8Source::u8;
    args.src = floats_in ? static_cast<const void*>(x.data()) : q.data();
    if (random() % 2) args.row_scale = row_scale.data();
    args.comp = comp.data(), args.scale = scale.data();
    for (float& v : scale) v *= random() % 2 ? 1e-3F : 1e-5F;
    if (random() % 2) args.bias = bias.data();
    if (random() % 2) args.residual = residual.data();
    args.low = random() % 3 ? -kInfinity : -0.5F, args.high = random() % 3 ? kInfinity : 1.5F;
    if (random() % 3 == 0) args.function = MatmulQ8Function::gelu;
  }
  std::vector<float> result(const MatmulQ8Kernel& kernel, int workers) {
    const auto packed = allocate_aligned(kernel.packed_bytes(shape));
    kernel.pack(shape, weights.data(), packed.get());
    const auto workspace = allocate_aligned(kernel.workspace_bytes(shape, workers) + 64);
    std::vector<float> y(static_cast<std::size_t>(shape.m * shape.dst_stride), 7.0F);
    MatmulQ8Args a = args;
    a.packed = packed.get(), a.workspace = workspace.get(), a.dst = y.data();
    for (int worker = 0; worker < workers; ++worker) kernel.run(shape, a, worker, workers);
    return y;
  }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {  // any NaN is as good as another
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]) && !(std::isnan(a[i]) && std::isnan(b[i])))
      return false;
  return a.size() == b.size();
}

TEST(MatmulQ8Test, EveryKernelEqualsTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const MatmulQ8Kernel& reference = matmul_q8_kernels().back();
  for (int trial = 0; trial < 150; ++trial) {
    const MatmulQ8Shape shape{.m = 1 + static_cast<std::int64_t>(random() % 100),
                              .k = 1 + static_cast<std::int64_t>(random() % (trial % 10 == 0 ? 1500 : 200)),
                              .n = 1 + static_cast<std::int64_t>(random() % 150)};
    Problem problem(shape, random);
    const std::vector<float> expected = problem.result(reference, 1);
    EXPECT_TRUE(same(problem.result(reference, 3), expected));
    for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
      if (!detected_isas().contains(kernel.needs) || !kernel.supports(problem.shape)) continue;
      for (const int workers : {1, 2, 3})
        EXPECT_TRUE(same(problem.result(kernel, workers), expected))
            << kernel.name << " m " << shape.m << " k " << shape.k << " n " << shape.n << " workers " << workers;
    }
  }
}

TEST(MatmulQ8Test, LargeProductsGoByChunksOfRowsAndStream) {
  std::mt19937 random(3);
  Problem problem({.m = 1300, .k = 1100, .n = 40}, random);
  problem.args.source = MatmulQ8Source::f32, problem.args.src = problem.x.data();
  const auto expected = problem.result(matmul_q8_kernels().back(), 1);
  Problem wide({.m = 300, .k = 8, .n = 8000}, random);
  const auto expected_wide = wide.result(matmul_q8_kernels().back(), 1);
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    EXPECT_TRUE(same(problem.result(kernel, 1), expected)) << kernel.name;
    EXPECT_TRUE(same(wide.result(kernel, 2), expected_wide)) << kernel.name;
  }
}

// The two-term product that stands for x / sqrt(2) in GELU: every mantissa, as powers of two change nothing; and the ends.
TEST(MatmulQ8Test, TheReciprocalOfRootTwoDividesExactly) {
  constexpr float kRoot = 1.4142135623730951F, kHigh = 0.707106769F, kLow = 2.4203235e-08F;
  std::int64_t wrong = 0;
  for (std::uint32_t mantissa = 0; mantissa < 1U << 23; ++mantissa) {
    const float x = std::bit_cast<float>(0x3F800000U + mantissa);
    wrong += std::fma(x, kHigh, x * kLow) != x / kRoot;
  }
  EXPECT_EQ(wrong, 0);
  for (const float x : {kInfinity, -kInfinity, 0.0F, -0.0F, std::numeric_limits<float>::max()})
    EXPECT_EQ(std::bit_cast<std::uint32_t>(std::fma(x, kHigh, x * kLow)), std::bit_cast<std::uint32_t>(x / kRoot)) << x;
}

TEST(MatmulQ8Test, TheReferenceIsNeverSelected) {
  EXPECT_EQ(select_matmul_q8({.m = 128, .k = 64, .n = 64}, IsaSet()), nullptr);
  const auto* kernel = select_matmul_q8({.m = 128, .k = 64, .n = 64}, implied_isas(Isa::amxint8));
#if defined(__x86_64__)
  ASSERT_NE(kernel, nullptr);
  EXPECT_EQ(kernel->needs, Isa::amxint8);
#else
  EXPECT_EQ(kernel, nullptr);
#endif
}

}  // namespace
}  // namespace zeropoint::kernels
