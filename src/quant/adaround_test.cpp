#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "quant/test_rows.h"
#include "zeropoint/error.h"
#include "zeropoint/rounding.h"

namespace zeropoint {
namespace {

using namespace test_rows;

TEST(AdaRoundTest, NearTheBestOfAllRoundings) {
  double simple = 0, found = 0, best = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const WeightGrid grid = random_grid(random, 1, 10, {-7, 7});
    LayerRows rows = correlated_rows(random, 60, 1, 10, 1);
    aim_at_own_output(grid, rows);
    const std::vector<std::int32_t> start = round_to_nearest(grid), q = adaround(grid, rows);
    for (std::size_t k = 0; k < q.size(); ++k) {
      const float steps = grid.weight[k] / grid.scale[k];
      EXPECT_LT(std::abs(static_cast<float>(q[k]) - steps), 1.001F) << "neither neighbour";
    }
    simple += output_errors(grid, start, rows, false)[0];
    found += output_errors(grid, q, rows, false)[0];
    best += best_of_all(grid, rows);
  }
  EXPECT_LT(found, 4 * best);
  EXPECT_LT(found, 0.6 * simple);
  EXPECT_GT(simple, 4 * best) << "nothing to gain shows nothing";
}

struct Shape {
  std::int64_t groups, depth, outputs;
};
class AdaRoundShapeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(AdaRoundShapeTest, GainsAndThreadsDoNotShow) {
  const auto [groups, depth, outputs] = GetParam();
  std::mt19937 random(11);
  const WeightGrid grid = random_grid(random, outputs, depth, {-7, 7});
  LayerRows rows = correlated_rows(random, 300, groups, depth, outputs);
  aim_at_own_output(grid, rows);
  const std::vector<std::int32_t> start = round_to_nearest(grid);
  const std::vector<std::int32_t> q = adaround(grid, rows);
  for (const std::int32_t each : q) {
    EXPECT_GE(each, -7);
    EXPECT_LE(each, 7);
  }
  const std::vector<double> nearest = output_errors(grid, start, rows, false), better = output_errors(grid, q, rows, false);
  for (std::size_t o = 0; o < better.size(); ++o) EXPECT_LE(better[o], nearest[o]) << "output " << o;
  EXPECT_LT(sum(output_errors(grid, q, rows, false)), 0.5 * sum(output_errors(grid, start, rows, false)));
  EXPECT_EQ(adaround(grid, rows, {.threads = 3}), q);
  EXPECT_EQ(adaround(grid, rows, {.iterations = 0}), start) << "begins at the weights themselves";
}
INSTANTIATE_TEST_SUITE_P(, AdaRoundShapeTest,
                         ::testing::Values(Shape{1, 12, 5}, Shape{1, 100, 90}, Shape{3, 27, 12}, Shape{40, 9, 40}),
                         [](const auto& each) {
                           return "g" + std::to_string(each.param.groups) + "_k" + std::to_string(each.param.depth);
                         });

// What a Relu cuts off may be wrong: knowing it leaves more room for the rest.
TEST(AdaRoundTest, TakesTheReluBehindIntoAccount) {
  std::mt19937 random(4);
  const WeightGrid grid = random_grid(random, 8, 24, {-3, 3});
  LayerRows rows = correlated_rows(random, 400, 1, 24, 8);
  aim_at_own_output(grid, rows);
  rows.offset.assign(8, -14.0F);  // most rows are cut off
  const std::vector<std::int32_t> start = round_to_nearest(grid), without = adaround(grid, rows);
  rows.low = 0;
  const std::vector<std::int32_t> with = adaround(grid, rows);
  EXPECT_LT(sum(output_errors(grid, with, rows, true)), 0.9 * sum(output_errors(grid, without, rows, true)));
}

TEST(AdaRoundTest, NoRowsAndWrongSizes) {
  std::mt19937 random(6);
  const WeightGrid grid = random_grid(random, 6, 30, {-7, 7});
  EXPECT_EQ(adaround(grid, {.rows = 0, .groups = 1, .depth = 30, .outputs = 6}), round_to_nearest(grid));
  EXPECT_THROW(adaround(grid, {.rows = 1, .groups = 1, .depth = 30, .outputs = 5}), Error);
}

}  // namespace
}  // namespace zeropoint
