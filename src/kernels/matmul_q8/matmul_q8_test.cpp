#include "kernels/matmul_q8/matmul_q8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/matmul_q8/entries.h"
#include "kernels/same_floats.h"

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
  std::size_t dst_offset = 0;  // elements from a cache line on
  bool streamed = false;       // the last result
  bool in_place = false;       // the residual lies in dst

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
    q.resize(static_cast<std::size_t>(64 + s.m * shape.src_stride + 64));
    for (auto& v : q) v = static_cast<std::uint8_t>(random());
    weights.resize(static_cast<std::size_t>(s.n * s.k));
    for (auto& v : weights) v = static_cast<std::int8_t>(random());
    comp.resize(static_cast<std::size_t>(s.n));
    for (auto& v : comp) v = static_cast<std::int32_t>(random() % 20000) - 10000;
    const bool floats_in = random() % 2 != 0;
    args.source = floats_in ? MatmulQ8Source::f32 : MatmulQ8Source::u8;
    args.src = floats_in ? static_cast<const void*>(x.data()) : q.data() + 64;
    if (random() % 2) args.row_scale = row_scale.data();
    args.comp = comp.data(), args.scale = scale.data();
    for (float& v : scale) v *= random() % 2 ? 1e-3F : 1e-5F;
    if (random() % 2) args.bias = bias.data();
    if (random() % 2) args.residual = residual.data();
    args.low = random() % 3 ? -kInfinity : -0.5F, args.high = random() % 3 ? kInfinity : 1.5F;
    if (random() % 3 == 0) args.function = MatmulQ8Function::gelu;
    dst_offset = random() % 2;
  }
  std::vector<float> result(const MatmulQ8Kernel& kernel, int workers) {
    const auto packed = allocate_aligned(kernel.packed_bytes(shape));
    kernel.pack(shape, weights.data(), packed.get());
    const auto workspace = allocate_aligned(kernel.workspace_bytes(shape, workers) + 64);
    const auto count = static_cast<std::size_t>(shape.m * shape.dst_stride);
    const auto dst = allocate_aligned((dst_offset + count) * sizeof(float));
    MatmulQ8Args a = args;
    a.packed = packed.get(), a.workspace = workspace.get(), a.dst = reinterpret_cast<float*>(dst.get()) + dst_offset;
    std::fill_n(a.dst, count, 7.0F);
    if (in_place) {
      std::copy_n(residual.data(), count, a.dst);
      a.residual = a.dst;
    }
    streamed = matmul_streams(shape, a.dst);
    for (int worker = 0; worker < workers; ++worker) kernel.run(shape, a, worker, workers);
    return {a.dst, a.dst + count};
  }
};

bool takes(const MatmulQ8Kernel& kernel, const MatmulQ8Shape& shape) {
  return detected_isas().contains(kernel.needs) && kernel.supports(shape);
}

TEST(MatmulQ8Test, EveryKernelEqualsTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const MatmulQ8Kernel& reference = matmul_q8_kernels().back();
  for (int trial = 0; trial < 150; ++trial) {
    const MatmulQ8Shape shape{.m = 1 + static_cast<std::int64_t>(random() % (trial % 8 == 1 ? 3 : 100)),
                              .k = 1 + static_cast<std::int64_t>(random() % (trial % 10 == 0 ? 1500 : 200)),
                              .n = 1 + static_cast<std::int64_t>(random() % (trial % 10 == 3 ? 1500 : 150))};
    Problem problem(shape, random);
    problem.shape.network_bytes = random() % 2 ? 1 << 20 : 0;
    const std::vector<float> expected = problem.result(reference, 1);
    EXPECT_TRUE(same_floats(problem.result(reference, 3), expected));
    for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
      if (!takes(kernel, problem.shape)) continue;
      for (const int workers : {1, 2, 3, 8})
        EXPECT_TRUE(same_floats(problem.result(kernel, workers), expected))
            << kernel.name << " m " << shape.m << " k " << shape.k << " n " << shape.n << " workers " << workers;
    }
  }
}

TEST(MatmulQ8Test, TheSumMayReplaceTheResidual) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 20; ++trial) {
    const std::int64_t m = 1 + static_cast<std::int64_t>(random() % 100), n = 1 + static_cast<std::int64_t>(random() % 150);
    Problem problem({.m = m, .k = 96, .n = n}, random);
    problem.shape.dst_stride = problem.shape.residual_stride = n;
    problem.args.residual = problem.residual.data();
    const std::vector<float> expected = problem.result(matmul_q8_kernels().back(), 1);
    problem.in_place = true;
    for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
      if (!takes(kernel, problem.shape)) continue;
      for (const int workers : {1, 3}) EXPECT_TRUE(same_floats(problem.result(kernel, workers), expected)) << kernel.name;
    }
  }
}

TEST(MatmulQ8Test, LargeProductsGoByChunksOfRows) {
  std::mt19937 random(3);
  Problem problem({.m = 1300, .k = 1100, .n = 40}, random);
  problem.args.source = MatmulQ8Source::f32, problem.args.src = problem.x.data();
  const auto expected = problem.result(matmul_q8_kernels().back(), 1);
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels())
    if (takes(kernel, problem.shape)) {
      EXPECT_TRUE(same_floats(problem.result(kernel, 1), expected)) << kernel.name;
    }
}

TEST(MatmulQ8Test, LargeResultsStream) {
  std::mt19937 random(3);
  // The last block of columns is cut: its lines are not whole.
  Problem problem({.m = 300, .k = 8, .n = 8010}, random);
  struct Case {
    std::int64_t dst_stride;
    std::size_t dst_offset;
    bool streams;
  };
  for (const Case& c : {Case{8016, 0, true}, Case{8016, 1, false}, Case{8010, 0, false}}) {
    problem.shape.dst_stride = c.dst_stride, problem.dst_offset = c.dst_offset;
    const auto expected = problem.result(matmul_q8_kernels().back(), 1);
    for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
      if (!takes(kernel, problem.shape)) continue;
      EXPECT_TRUE(same_floats(problem.result(kernel, 2), expected))
          << kernel.name << " " << c.dst_stride << " " << c.dst_offset;
      EXPECT_EQ(problem.streamed, c.streams) << kernel.name << " " << c.dst_stride << " " << c.dst_offset;
    }
  }
}

// The two-term product that stands for x / sqrt(2) in GELU. Powers of two change nothing as long as the small term is normal:
// every mantissa of one binade, some of the others.
TEST(MatmulQ8Test, TheReciprocalOfRootTwoDividesExactly) {
  constexpr float kRoot = 1.4142135623730951F, kHigh = 0.707106769F, kLow = 2.4203235e-08F;
  constexpr std::uint32_t kOne = 127, kLeast = 27;  // exponents of 1 and 2^-100
  std::int64_t wrong = 0;
  const auto try_number = [&](std::uint32_t exponent, std::uint32_t mantissa) {
    const float x = std::bit_cast<float>(exponent << 23 | mantissa);
    wrong += std::fma(x, kHigh, x * kLow) != x / kRoot;
  };
  for (std::uint32_t mantissa = 0; mantissa < 1U << 23; ++mantissa) try_number(kOne, mantissa);
  for (std::uint32_t exponent = kLeast; exponent < 255; ++exponent)
    for (std::uint32_t mantissa = exponent; mantissa < 1U << 23; mantissa += 4093) try_number(exponent, mantissa);
  EXPECT_EQ(wrong, 0);
  for (const float x : {kInfinity, -kInfinity, 0.0F, -0.0F, std::numeric_limits<float>::max(), 0x1p-100F, -0x1p-100F})
    EXPECT_EQ(std::bit_cast<std::uint32_t>(std::fma(x, kHigh, x * kLow)), std::bit_cast<std::uint32_t>(x / kRoot)) << x;
}

// Below that the product may differ from the quotient in its last place, but GELU does not see it: 1 + erf is 1.
TEST(MatmulQ8Test, GeluOfTinyNumbersIsHalfOfThem) {
  std::mt19937 random(5);
  Problem problem({.m = 5, .k = 1, .n = 4096}, random);
  problem.args = {.src = problem.q.data() + 64,
                  .comp = problem.comp.data(),
                  .scale = problem.scale.data(),
                  .low = -kInfinity,
                  .high = kInfinity,
                  .function = MatmulQ8Function::gelu};
  std::fill(problem.q.begin(), problem.q.end(), 0);
  std::fill(problem.comp.begin(), problem.comp.end(), 1);
  for (std::size_t n = 0; n < problem.scale.size(); ++n)  // of every size up to 2^-30
    problem.scale[n] =
        std::bit_cast<float>(static_cast<std::uint32_t>(n) % 98 << 23 | (static_cast<std::uint32_t>(random()) & 0x807FFFFFU));
  const auto expected = problem.result(matmul_q8_kernels().back(), 1);
  for (std::size_t n = 0; n < problem.scale.size(); ++n) ASSERT_EQ(expected[n], 0.5F * problem.scale[n]);
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels())
    if (takes(kernel, problem.shape)) {
      EXPECT_TRUE(same_floats(problem.result(kernel, 1), expected)) << kernel.name;
    }
}

TEST(MatmulQ8Test, TheReferenceIsNeverSelected) {
  EXPECT_EQ(select_matmul_q8({.m = 128, .k = 64, .n = 64}, IsaSet()), nullptr);
}

TEST(MatmulQ8Test, EveryInstructionSetHasAKernelOfItsOwn) {
#if defined(__x86_64__)
  constexpr Isa kIsas[] = {Isa::avx2, Isa::avx2vnni, Isa::avx512vnni, Isa::amxint8};
#else
  constexpr Isa kIsas[] = {Isa::neon, Isa::neondot, Isa::neoni8mm};
#endif
  for (const Isa isa : kIsas) {
    const auto* kernel = select_matmul_q8({.m = 128, .k = 64, .n = 64}, implied_isas(isa));
    ASSERT_NE(kernel, nullptr) << name(isa);
    EXPECT_EQ(kernel->needs, isa);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
