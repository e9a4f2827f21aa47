#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "quant/matrix.h"
#include "quant/test_rows.h"
#include "zeropoint/error.h"
#include "zeropoint/rounding.h"

namespace zeropoint {
namespace {

using namespace test_rows;

TEST(MatrixTest, GramAndFactorMultiplyBack) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const std::int64_t size : {1, 7, 130, 200}) {
    const std::int64_t rows = 700;
    std::vector<float> x(static_cast<std::size_t>(rows * size));
    for (float& value : x) value = normal(random);
    ThreadPool one(1), three(3);
    const std::vector<double> h = quant::gram(x.data(), rows, size, size, one);
    EXPECT_EQ(h, quant::gram(x.data(), rows, size, size, three));
    const auto at = [&](const std::vector<double>& m, std::int64_t i, std::int64_t j) {
      return m[static_cast<std::size_t>(i * size + j)];
    };
    for (std::int64_t i = 0; i < size; i += 3)
      for (std::int64_t j = 0; j < size; j += 5) {
        double exact = 0;
        for (std::int64_t row = 0; row < rows; ++row)
          exact += static_cast<double>(x[static_cast<std::size_t>(row * size + i)]) *
                   static_cast<double>(x[static_cast<std::size_t>(row * size + j)]);
        EXPECT_NEAR(at(h, i, j), exact, 1e-4 * static_cast<double>(rows)) << size;
      }
    std::vector<double> u = h, same = h;
    quant::factor_udu(u, size, 1e-9, one);
    quant::factor_udu(same, size, 1e-9, three);
    EXPECT_EQ(u, same);
    for (std::int64_t i = 0; i < size; i += 4)
      for (std::int64_t j = i; j < size; j += 3) {
        double back = 0;
        for (std::int64_t k = j; k < size; ++k) back += (i == k ? 1 : at(u, i, k)) * at(u, k, k) * (j == k ? 1 : at(u, j, k));
        EXPECT_NEAR(back, at(h, i, j), 1e-5 * static_cast<double>(rows)) << size << ": " << i << ", " << j;
      }
  }
}

TEST(GptqTest, NearTheBestOfAllRoundings) {
  double simple = 0, found = 0, best = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const WeightGrid grid = random_grid(random, 1, 10, {-7, 7});
    LayerRows rows = correlated_rows(random, 60, 1, 10, 1);
    aim_at_own_output(grid, rows);
    const double of_all = best_of_all(grid, rows), nearest = output_errors(grid, round_to_nearest(grid), rows, false)[0],
                 one = output_errors(grid, gptq(grid, rows), rows, false)[0];
    EXPECT_LE(one, nearest);
    EXPECT_LT(one, 6 * of_all);
    simple += nearest;
    found += one;
    best += of_all;
  }
  EXPECT_LT(found, 2 * best);
  EXPECT_GT(simple, 4 * best) << "nothing to gain shows nothing";
}

struct Shape {
  std::int64_t groups, depth, outputs;
};
class GptqShapeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(GptqShapeTest, NoOutputIsWorseAndThreadsDoNotShow) {
  const auto [groups, depth, outputs] = GetParam();
  std::mt19937 random(11);
  for (const IntegerLimits limits : {IntegerLimits{-7, 7}, IntegerLimits{-127, 127}}) {
    const WeightGrid grid = random_grid(random, outputs, depth, limits);
    LayerRows rows = correlated_rows(random, 300, groups, depth, outputs);
    aim_at_own_output(grid, rows);
    const std::vector<double> simple = output_errors(grid, round_to_nearest(grid), rows, false);
    for (const GptqOptions& options :
         {GptqOptions{}, GptqOptions{.act_order = false}, GptqOptions{.sweeps = 0}, GptqOptions{.correct_inputs = 1}}) {
      const std::vector<std::int32_t> q = gptq(grid, rows, options);
      for (const std::int32_t each : q) {
        EXPECT_GE(each, limits.low);
        EXPECT_LE(each, limits.high);
      }
      const std::vector<double> better = output_errors(grid, q, rows, false);
      for (std::size_t o = 0; o < better.size(); ++o) EXPECT_LE(better[o], simple[o] * (1 + 1e-4)) << "output " << o;
      EXPECT_LT(sum(better), 0.75 * sum(simple));
      GptqOptions threaded = options;
      threaded.threads = 3;
      EXPECT_EQ(gptq(grid, rows, threaded), q);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(, GptqShapeTest,
                         ::testing::Values(Shape{1, 12, 5}, Shape{1, 150, 20}, Shape{3, 27, 12}, Shape{40, 9, 40}),
                         [](const auto& each) {
                           return "g" + std::to_string(each.param.groups) + "_k" + std::to_string(each.param.depth);
                         });

// Weights make up for inputs that the layers before got wrong.
TEST(GptqTest, CorrectsInputs) {
  std::mt19937 random(3);
  const WeightGrid grid = random_grid(random, 4, 20, {-127, 127});
  LayerRows rows = correlated_rows(random, 400, 1, 20, 4);
  aim_at_own_output(grid, rows);
  for (float& x : rows.x) x *= 0.9F;  // what came out of the layer before
  const double plain = sum(output_errors(grid, gptq(grid, rows), rows, false)),
               corrected = sum(output_errors(grid, gptq(grid, rows, {.damping = 1e-4, .correct_inputs = 1}), rows, false));
  EXPECT_LT(corrected, 0.1 * plain);
}

TEST(GptqTest, ScalesToo) {
  std::mt19937 random(21);
  const WeightGrid given = random_grid(random, 12, 40, {-7, 7});
  LayerRows rows = correlated_rows(random, 400, 1, 40, 12);
  aim_at_own_output(given, rows);
  const double fixed = sum(output_errors(given, gptq(given, rows), rows, false));
  WeightGrid grid = given;
  const GptqOptions options{.scale_factors = {0.6F, 0.75F, 0.9F}};
  const std::vector<std::int32_t> q = gptq_with_scales(grid, rows, options);
  EXPECT_NE(grid.scale, given.scale);
  EXPECT_LT(sum(output_errors(grid, q, rows, false)), 0.9 * fixed);
  for (std::size_t i = 0; i < q.size(); ++i) EXPECT_EQ(grid.scale[i], grid.scale[i / 40 * 40]) << "one for each output";
  WeightGrid held = given;
  for (std::int64_t o = 0; o < 12; ++o) held.least_scale.push_back(held.scale[static_cast<std::size_t>(o * 40)]);
  EXPECT_EQ(gptq_with_scales(held, rows, options), gptq(given, rows));
  EXPECT_EQ(held.scale, given.scale);
}

TEST(GptqTest, DeadInputsAndNoRows) {
  std::mt19937 random(9);
  const WeightGrid grid = random_grid(random, 3, 8, {-7, 7});
  LayerRows rows = correlated_rows(random, 20, 1, 8, 3);
  for (std::size_t i = 0; i < rows.x.size(); i += 8) rows.x[i] = 0;
  aim_at_own_output(grid, rows);
  EXPECT_LE(sum(output_errors(grid, gptq(grid, rows), rows, false)),
            sum(output_errors(grid, round_to_nearest(grid), rows, false)));
  const LayerRows none{.rows = 0, .groups = 1, .depth = 8, .outputs = 3};
  EXPECT_EQ(gptq(grid, none), round_to_nearest(grid));
  EXPECT_THROW(gptq(grid, {.rows = 1, .groups = 1, .depth = 7, .outputs = 3}), Error);
}

}  // namespace
}  // namespace zeropoint
