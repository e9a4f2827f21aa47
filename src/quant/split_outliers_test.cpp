#include "zeropoint/split_outliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ops/operator.h"
#include "quant/scaling_test_graphs.h"
#include "zeropoint/error.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

class SplitRandomNetworks : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, SplitRandomNetworks, testing::Range(0U, 40U));

TEST_P(SplitRandomNetworks, GiveTheSameFloats) {
  const Graph graph = fuse(random_network(GetParam()));
  const RandomSamples samples(graph, 4, GetParam());
  for (const bool weights : {false, true}) {
    const Graph wide = split_outliers(graph, samples, {.weights = weights, .ratio = 0.5, .threshold = 1.2});
    verify(wide);
    EXPECT_EQ(wide.nodes.size(), graph.nodes.size());
    expect_same_floats(graph, wide, GetParam());
    expect_same_floats(graph, fuse(wide), GetParam());
  }
}

TEST(SplitOutliersTest, SplitsManyRandomNetworks) {
  int activations = 0, weights = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Graph graph = fuse(random_network(seed));
    const RandomSamples samples(graph, 4, seed);
    activations += split_outliers(graph, samples, {.ratio = 0.5}) == graph ? 0 : 1;
    weights += split_outliers(graph, samples, {.weights = true, .ratio = 0.5}) == graph ? 0 : 1;
  }
  EXPECT_GT(activations, 15);
  EXPECT_GT(weights, 15);
}

// Channel 1 is eight times as large as the others.
constexpr char kOutlier[] = R"(graph g(x: f32[1,1,2,2]) -> (y: f32[1,1]) {
  w = f32[4,1,1,1]{1, 8, -1, 0.9}
  b = f32[4]{0, 0.5, 0, 0}
  k = f32[4,1,1]{0.25, 4, 0, 0}
  a = Conv(x, w, b)
  s = Add(a, k)
  r = Relu(s)
  f = Flatten(r) {axis=1}
  y = Gemm(f, v_16x1)
})";

TEST(SplitOutliersTest, HalvesTheLargestAgainAndAgain) {
  const Graph graph = filled(kOutlier, 3);
  const RandomSamples samples(graph, 6, 2);
  StepLog log;
  const Graph wide = split_outliers(graph, samples, {.ratio = 0.75}, &log);
  // Two eighths would still be more than twice the median, so parts of 1/4, 1/4 and 1/2 follow 1/2 and 1/2; three may be added.
  const Tensor& w = *wide.constant(wide.nodes[0].inputs[1]);
  EXPECT_EQ(w.dims(), (Dims{7, 1, 1, 1}));
  EXPECT_THAT(std::vector<float>(w.values<float>().begin(), w.values<float>().end()),
              testing::ElementsAre(1, 2, -1, 0.9F, 2, 2, 2));
  const Tensor& k = *wide.constant(wide.nodes[1].inputs[1]);
  EXPECT_THAT(std::vector<float>(k.values<float>().begin(), k.values<float>().end()),
              testing::ElementsAre(0.25F, 1, 0, 0, 1, 1, 1));
  const Tensor& v = *wide.constant(wide.nodes[4].inputs[1]);
  EXPECT_EQ(v.dims(), (Dims{28, 1}));
  for (std::size_t p = 4; p < 7; ++p)
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(v.values<float>()[4 * p + i], v.values<float>()[4 + i]);
  expect_same_floats(graph, wide, 5);
  ASSERT_EQ(log.gains.size(), 1U);
  EXPECT_THAT(log.gains[0].what, testing::HasSubstr("3 channels added"));
  EXPECT_GT(log.gains[0].after, 1.5 * log.gains[0].before);
}

TEST(SplitOutliersTest, OfWeightsGoesBehindLimits) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,4,4]) -> (y: f32[1,2,4,4]) {
  zero = f32[]{0}
  six = f32[]{6}
  v = f32[2,4,1,1]{1, 10, -1, 0.5, 1, -12, 1, 1}
  a = Conv(x, w_4x3x1x1, b_4)
  r = Clip(a, zero, six)
  y = Conv(r, v)
})",
                             3);
  const RandomSamples samples(graph, 6, 2);
  EXPECT_EQ(split_outliers(graph, samples, {.ratio = 0.25}), graph);  // x / 2 would pass the limit later
  const Graph wide = split_outliers(graph, samples, {.weights = true, .ratio = 0.25});
  const Tensor& v = *wide.constant(wide.nodes[2].inputs[1]);
  EXPECT_THAT(std::vector<float>(v.values<float>().begin(), v.values<float>().end()),
              testing::ElementsAre(1, 5, -1, 0.5F, 5, 1, -6, 1, 1, -6));
  expect_same_floats(graph, wide, 5);
}

TEST(SplitOutliersTest, LeavesValuesWhoseChannelsAreCounted) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,4,4]) -> (y: f32[1,2,4,4], z: s64[4]) {
  w = f32[4,3,1,1]{1, 1, 1, 9, 9, 9, 1, 1, 1, 1, 1, 1}
  a = Conv(x, w)
  z = Shape(a)
  y = Conv(a, v_2x4x1x1)
})",
                             3);
  const RandomSamples samples(graph, 3, 2);
  EXPECT_EQ(split_outliers(graph, samples, {.ratio = 1}), graph);
  Graph uncounted = graph;
  uncounted.nodes.erase(uncounted.nodes.begin() + 1);
  uncounted.outputs.pop_back();
  EXPECT_FALSE(split_outliers(uncounted, samples, {.ratio = 1}) == uncounted);
}

TEST(SplitOutliersTest, LeavesOrdinaryChannelsAndDepthwiseLayers) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,4,4]) -> (y: f32[1,2,4,4]) {
  a = Conv(x, w_4x3x1x1, b_4)
  d = Conv(a, d_4x1x3x3) {group=4, pads=[1,1,1,1]}
  y = Conv(d, v_2x4x1x1)
})",
                             3, 6);
  const RandomSamples samples(graph, 3, 2);
  EXPECT_EQ(split_outliers(graph, samples, {.ratio = 1}), graph);
  const Graph plain = filled(kOutlier, 3);
  const RandomSamples few(plain, 3, 2);
  EXPECT_EQ(split_outliers(plain, few, {.ratio = 1, .threshold = 100}), plain);
  EXPECT_EQ(split_outliers(plain, few, {.ratio = 0}), plain);
  EXPECT_THROW(split_outliers(plain, few, {.ratio = 2}), Error);
  EXPECT_THROW(split_outliers(plain, few, {.threshold = 0.5}), Error);
}

}  // namespace
}  // namespace zeropoint
