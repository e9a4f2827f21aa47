#include "kernels/attention_q8/attention_q8.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/same_floats.h"
#include "numerics/constant_division.h"

namespace zeropoint::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  AttentionShape shape;
  std::vector<float> q, k, v, mask;
  AttentionArgs args;
  std::int64_t size = 0;  // of dst

  Problem(AttentionShape s, bool strange, std::mt19937& random) : shape(s) {
    std::normal_distribution<float> normal;
    const auto make = [&](AttentionShape::Strides& strides, std::int64_t rows, std::int64_t width, float size_of) {
      strides.head = width + static_cast<std::int64_t>(random() % 3);  // heads side by side, as projections leave them
      strides.row = strides.head * s.heads + static_cast<std::int64_t>(random() % 3);
      strides.batch = strides.row * rows;
      std::vector<float> values(static_cast<std::size_t>(strides.batch * s.batch));
      for (float& x : values) x = normal(random) * size_of;
      for (float& x : values)
        if (strange && random() % 300 == 0) x = std::array{kInfinity, -kInfinity, std::nanf(""), 1e-39F, 1e35F}[random() % 5];
      return values;
    };
    q = make(shape.q, s.rows, s.depth, random() % 2 ? 1.0F : 6.0F);
    k = make(shape.k, s.columns, s.depth, 1);
    v = make(shape.v, s.columns, s.value_depth, 1);
    size = static_cast<std::int64_t>(make(shape.dst, s.rows, s.value_depth, 1).size());
    args.q = q.data(), args.k = k.data(), args.v = v.data();
    args.factor_kind = std::array{AttentionFactor::none, AttentionFactor::multiply, AttentionFactor::divide,
                                  AttentionFactor::divide_by_parts}[random() % 4];
    args.factor =
        args.factor_kind == AttentionFactor::multiply ? 0.125F : std::array{5.656854F, 8.944272F, -10.583005F}[random() % 3];
    const auto parts = numerics::constant_division(args.factor);
    if (args.factor_kind == AttentionFactor::divide_by_parts) args.inverse_high = parts->high, args.inverse_low = parts->low;
    if (random() % 2) {
      const bool rows = random() % 2 != 0;
      shape.mask = {.batch = s.columns * (rows ? s.rows : 1), .head = 0, .row = rows ? s.columns : 0};
      mask.resize(static_cast<std::size_t>(shape.mask.batch * s.batch));
      for (float& x : mask)
        x = random() % 4 ? 0.0F : (random() % 2 ? std::numeric_limits<float>::lowest() : strange ? -kInfinity : -3.0F);
      args.mask = mask.data();
    }
  }
  std::vector<float> result(const AttentionKernel& kernel, int workers) {
    const auto workspace = allocate_aligned(kernel.workspace_bytes(shape, workers) + 64);
    std::vector<float> y(static_cast<std::size_t>(size), 7.0F);
    AttentionArgs a = args;
    a.dst = y.data(), a.workspace = workspace.get();
    for (int worker = 0; worker < workers; ++worker) kernel.run(shape, a, worker, workers);
    return y;
  }
};

TEST(AttentionQ8Test, EveryKernelEqualsTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const AttentionKernel& reference = attention_q8_kernels().back();
  for (int trial = 0; trial < 80; ++trial) {
    const auto upto = [&](int most) { return 1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(most)); };
    const AttentionShape shape{.batch = upto(2),
                               .heads = upto(4),
                               .rows = upto(70),
                               .columns = upto(trial % 8 == 0 ? 300 : 140),
                               .depth = upto(trial % 5 == 0 ? 150 : 64),
                               .value_depth = upto(trial % 5 == 1 ? 100 : 64)};
    Problem problem(shape, trial % 4 == 3, random);
    const std::vector<float> expected = problem.result(reference, 1);
    for (const AttentionKernel& kernel : attention_q8_kernels()) {
      if (!detected_isas().contains(kernel.needs) || !kernel.supports(shape)) continue;
      for (const int workers : {1, 3})
        EXPECT_TRUE(same_floats(problem.result(kernel, workers), expected))
            << kernel.name << " heads " << shape.heads << " rows " << shape.rows << " columns " << shape.columns << " depth "
            << shape.depth << " value depth " << shape.value_depth << " mask " << (problem.args.mask != nullptr);
    }
  }
}

// Scores that are all alike: every row of P is 1 / columns, and 255 levels of that are V's mean.
TEST(AttentionQ8Test, EqualScoresGiveTheMean) {
  std::mt19937 random(1);
  Problem problem({.heads = 1, .rows = 8, .columns = 40, .depth = 16, .value_depth = 8}, false, random);
  problem.args.mask = nullptr;
  std::fill(problem.k.begin(), problem.k.end(), 0.5F);
  std::vector<double> mean(8);
  for (std::int64_t c = 0; c < 8; ++c)
    for (std::int64_t j = 0; j < 40; ++j)
      mean[static_cast<std::size_t>(c)] += problem.v[static_cast<std::size_t>(j * problem.shape.v.row + c)] / 40;
  for (const AttentionKernel& kernel : attention_q8_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const auto y = problem.result(kernel, 1);
    for (std::int64_t c = 0; c < 8; ++c) EXPECT_NEAR(y[static_cast<std::size_t>(c)], mean[static_cast<std::size_t>(c)], 0.02);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
