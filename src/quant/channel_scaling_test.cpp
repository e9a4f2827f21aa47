#include "quant/channel_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ops/operator.h"
#include "quant/scaling_test_graphs.h"
#include "zeropoint/channel_scaling.h"
#include "zeropoint/error.h"
#include "zeropoint/passes.h"
#include "zeropoint/ranges.h"

namespace zeropoint {
namespace {

using quant::ChannelScaling;
using quant::ScalingGroup;
using testing::HasSubstr;

class RandomNetworks : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RandomNetworks, testing::Range(0U, 40U));

TEST_P(RandomNetworks, GiveTheSameFloatsAfterAnyFactors) {
  const Graph graph = fuse(random_network(GetParam()));
  const std::vector<ScalingGroup> groups = ChannelScaling(graph).all().groups;
  std::mt19937 random(GetParam());
  std::uniform_real_distribution<double> exponent(-4, 4);
  std::vector<std::vector<double>> factors;
  for (const ScalingGroup& group : groups) {
    factors.emplace_back(group.channels, 1.0);
    if (group.limits.empty())
      for (double& factor : factors.back()) factor = std::exp2(exponent(random));
  }
  Graph scaled = graph;
  quant::scale_channels(scaled, groups, factors);
  verify(scaled);
  expect_same_floats(graph, scaled, GetParam());
  expect_same_floats(graph, fuse(scaled), GetParam());
}

TEST_P(RandomNetworks, GiveTheSameFloatsAfterEqualization) {
  const Graph graph = fuse(random_network(GetParam()));
  StepLog log;
  const Graph equalized = cross_layer_equalization(graph, {}, &log);
  verify(equalized);
  expect_same_floats(graph, equalized, GetParam());
  expect_same_floats(graph, fuse(equalized), GetParam());
  const RandomSamples samples(graph, 4, GetParam());
  const Graph agreed = equalize_activations(graph, samples, 1.0, {}, &log);
  verify(agreed);
  expect_same_floats(graph, agreed, GetParam());
}

TEST(RandomNetworksTest, HaveWhatIsToBeScaled) {
  std::size_t groups = 0, changed = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Graph graph = fuse(random_network(seed));
    groups += ChannelScaling(graph).all().groups.size();
    changed += cross_layer_equalization(graph) == graph ? 0 : 1;
  }
  EXPECT_GT(groups, 80U);
  EXPECT_GT(changed, 30U);
}

// --- what is refused ---
struct Refused {
  const char* graph;
  const char* reason;
};
class Refusals : public testing::TestWithParam<Refused> {};

TEST_P(Refusals, StayAsTheyAre) {
  const Graph graph = filled(GetParam().graph, 3);
  const ChannelScaling::All all = ChannelScaling(graph).all();
  std::string reasons;
  for (const auto& [value, reason] : all.refused) reasons += value + ": " + reason + "\n";
  EXPECT_THAT(reasons, HasSubstr(GetParam().reason));
  EXPECT_TRUE(all.groups.empty());
  EXPECT_EQ(cross_layer_equalization(graph), graph);
}

INSTANTIATE_TEST_SUITE_P(All, Refusals,
                         testing::Values(Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,4,5,5]) {
  y = Conv(x, w_4x3x1x1)
})",
                                                 "x: 'x' is an input of the graph"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (a: f32[1,4,5,5], y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  y = Conv(a, w_2x4x1x1)
})",
                                                 "a: 'a' is an output of the graph"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (s: f32[1,4,5,5], y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  s = Sigmoid(a)
  y = Conv(a, w_2x4x1x1)
})",
                                                 "a: node of 's' (Sigmoid) keeps no factors"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  b = Conv(x, w_3x3x1x1)
  c = Concat(a, b) {axis=1}
  y = Conv(c, w_2x7x1x1)
})",
                                                 "c: node of 'c' (Concat) joins channels"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  b = HardSwish(a)
  y = Conv(b, w_2x4x1x1)
})",
                                                 "b: node of 'b' (HardSwish) keeps no factors"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5], z: f32[1,4,5,5]) {
  a = Conv(x, w_4x3x1x1)
  z = Mul(a, a)
  y = Conv(a, w_2x4x1x1)
})",
                                                 "a: node of 'z' (Mul) multiplies two values"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  low = f32[]{-1}
  b = Clip(a, low)
  y = Conv(b, w_2x4x1x1)
})",
                                                 "b: node of 'b' (Clip) has a lower limit other than 0"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  start = s64[1]{0}
  end = s64[1]{3}
  axis = s64[1]{1}
  b = Slice(a, start, end, axis)
  y = Conv(b, w_2x3x1x1)
})",
                                                 "b: node of 'b' (Slice) keeps no factors"},
                                         Refused{R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5], z: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x1x1)
  b = Relu(a)
  y = Conv(b, w_2x4x1x1)
  c = Abs(b)
  z = Conv(c, w_2x4x1x1)
})",
                                                 "shares its weights with other nodes"},
                                         Refused{R"(graph g(x: f32[1,6,4]) -> (y: f32[1,6,4]) {
  n = LayerNormalization(x, v_4, u_4)
  a = MatMul(n, w_4x4)
  r = Add(a, n)
  y = LayerNormalization(r, t_4, s_4)
})",
                                                 "n: node of 'y' (LayerNormalization) normalizes it"}));

// --- factors ---
std::vector<double> largest_by(const Tensor& weight, std::size_t axis) {
  std::vector<double> result(static_cast<std::size_t>(weight.dim(axis)), 0.0);
  std::size_t inner = 1;
  for (std::size_t i = axis + 1; i < weight.rank(); ++i) inner *= static_cast<std::size_t>(weight.dim(i));
  const auto values = weight.values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    double& channel = result[i / inner % result.size()];
    channel = std::max(channel, std::abs(static_cast<double>(values[i])));
  }
  return result;
}

TEST(CrossLayerEqualizationTest, IsEquation11) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_4x3x3x3, b_4) {pads=[1,1,1,1]}
  r = Relu(a)
  y = Conv(r, v_2x4x1x1, c_2)
})",
                             5);
  const std::vector<double> r1 = largest_by(*graph.constant("w_4x3x3x3"), 0), r2 = largest_by(*graph.constant("v_2x4x1x1"), 1);
  const Graph equalized = cross_layer_equalization(graph);
  const Tensor &w = *equalized.constant("w_4x3x3x3"), &v = *equalized.constant("v_2x4x1x1"), &b = *equalized.constant("b_4");
  for (std::size_t c = 0; c < 4; ++c) {
    const double s = std::sqrt(r1[c] * r2[c]) / r2[c];
    for (std::size_t i = 27 * c; i < 27 * (c + 1); ++i)
      EXPECT_NEAR(w.values<float>()[i] * s / graph.constant("w_4x3x3x3")->values<float>()[i], 1, 1e-6);
    EXPECT_NEAR(b.values<float>()[c] * s / graph.constant("b_4")->values<float>()[c], 1, 1e-6);
    for (const std::size_t i : {c, 4 + c})
      EXPECT_NEAR(v.values<float>()[i] / s / graph.constant("v_2x4x1x1")->values<float>()[i], 1, 1e-6);
  }
}

TEST(CrossLayerEqualizationTest, TakesDepthwiseLayersFromBothSides) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2,5,5]) {
  a = Conv(x, w_6x3x1x1, b_6)
  r = Relu(a)
  d = Conv(r, d_6x1x3x3, c_6) {group=6, pads=[1,1,1,1]}
  s = Relu(d)
  y = Conv(s, v_2x6x1x1)
})",
                             7);
  const Graph equalized = cross_layer_equalization(graph);
  // At the fixed point all three layers have the same range in a channel.
  const std::vector<double> first = largest_by(*equalized.constant("w_6x3x1x1"), 0),
                            middle = largest_by(*equalized.constant("d_6x1x3x3"), 0),
                            last = largest_by(*equalized.constant("v_2x6x1x1"), 1);
  for (std::size_t c = 0; c < 6; ++c) {
    EXPECT_NEAR(middle[c] / first[c], 1, 0.01);
    EXPECT_NEAR(middle[c] / last[c], 1, 0.01);
  }
  expect_same_floats(graph, equalized, 7);
}

TEST(CrossLayerEqualizationTest, HelpsWeightsOfOneScale) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    const Graph graph = filled(R"(graph g(x: f32[1,3,7,7]) -> (y: f32[1,5,7,7]) {
  a = Conv(x, w_16x3x3x3, b_16) {pads=[1,1,1,1]}
  r = Relu(a)
  d = Conv(r, d_16x1x3x3, c_16) {group=16, pads=[1,1,1,1]}
  s = Relu(d)
  y = Conv(s, v_5x16x1x1)
})",
                               seed, 6);
    StepLog log;
    const Graph equalized = cross_layer_equalization(graph, {}, &log);
    ASSERT_EQ(log.gains.size(), 1U);
    EXPECT_EQ(log.gains[0].step, "cross_layer_equalization");
    EXPECT_GT(log.gains[0].after, 1.5 * log.gains[0].before);
    const auto rounded_db = [&](const Graph& from) {
      Graph coarse = from;
      for (auto& [name, tensor] : coarse.initializers)
        if (tensor.rank() == 4) tensor = dequantize_tensor(quantize_tensor(tensor, {.symmetric = true, .is_signed = true}));
      double squares = 0, errors = 0;
      const RandomSamples samples(graph, 3, seed);
      for (std::size_t i = 0; i < samples.size(); ++i) {
        const Tensor exact = ops::evaluate(graph, samples.get(i))[0], other = ops::evaluate(coarse, samples.get(i))[0];
        for (std::size_t e = 0; e < exact.values<float>().size(); ++e) {
          const double x = exact.values<float>()[e], y = other.values<float>()[e];
          squares += x * x;
          errors += (x - y) * (x - y);
        }
      }
      return 10 * std::log10(squares / errors);
    };
    EXPECT_GT(rounded_db(equalized), rounded_db(graph) + 3) << "seed " << seed;
  }
}

TEST(CrossLayerEqualizationTest, KeepsClearOfUpperLimits) {
  // Channel 0 passes 6 on the samples, channel 1 stays below 1.
  Graph graph = filled(R"(graph g(x: f32[1,1,4,4]) -> (y: f32[1,1,4,4]) {
  six = f32[]{6}
  zero = f32[]{0}
  w = f32[2,1,1,1]{20, 0.1}
  v = f32[1,2,1,1]{0.5, 30}
  a = Conv(x, w)
  r = Clip(a, zero, six)
  y = Conv(r, v)
})",
                       1);
  const RandomSamples samples(graph, 8, 3);
  StepLog log;
  EXPECT_EQ(cross_layer_equalization(graph, {}, &log), graph);
  EXPECT_THAT(log.notes, testing::ElementsAre(HasSubstr("1 of 1 places stand before a Clip")));
  const Graph scaled = cross_layer_equalization(graph, {2, &samples});
  EXPECT_EQ(scaled.constant("w")->values<float>()[0], 20);
  EXPECT_GT(scaled.constant("w")->values<float>()[1], 0.15F);
  expect_same_floats(graph, scaled, samples);
  // Twice the values of the samples stay below the limit.
  Graph unlimited = graph, unlimited_scaled = scaled;
  for (Graph* each : {&unlimited, &unlimited_scaled}) each->initializers["six"] = Tensor::scalar(1e9F);
  double largest = 0, largest_scaled = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::vector<std::string> values = {"r"};
    const Tensor r = ops::evaluate(unlimited, samples.get(i), values)[0],
                 s = ops::evaluate(unlimited_scaled, samples.get(i), values)[0];
    for (std::size_t e = 16; e < 32; ++e) {
      largest = std::max(largest, static_cast<double>(r.values<float>()[e]));
      largest_scaled = std::max(largest_scaled, static_cast<double>(s.values<float>()[e]));
    }
  }
  EXPECT_GT(largest_scaled, 1.5 * largest);
  EXPECT_LE(2 * largest_scaled, 6.0001);
  EXPECT_THROW(cross_layer_equalization(graph, {2, nullptr}), Error);
  EXPECT_THROW(cross_layer_equalization(graph, {0.5, &samples}), Error);
}

TEST(EqualizeActivationsTest, GivesChannelsOneRange) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,5,5]) -> (y: f32[1,2]) {
  a = Conv(x, w_8x3x3x3, b_8)
  r = Relu(a)
  f = Flatten(r) {axis=1}
  y = Gemm(f, v_72x2, c_2)
})",
                             9, 5);
  const RandomSamples samples(graph, 8, 5);
  const auto ranges = [&](const Graph& of) {
    std::vector<double> result(8, 0.0);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const std::vector<std::string> values = {"r"};
      const Tensor r = ops::evaluate(of, samples.get(i), values)[0];
      for (std::size_t e = 0; e < r.values<float>().size(); ++e)
        result[e / 9] = std::max(result[e / 9], static_cast<double>(r.values<float>()[e]));
    }
    return result;
  };
  const std::vector<double> before = ranges(graph);
  StepLog log;
  const Graph equal = equalize_activations(graph, samples, 1, {}, &log), half = equalize_activations(graph, samples, 0.5);
  const std::vector<double> after = ranges(equal), between = ranges(half);
  const double most = *std::max_element(before.begin(), before.end());
  for (std::size_t c = 0; c < 8; ++c) {
    EXPECT_NEAR(after[c] / most, 1, 1e-5);
    EXPECT_NEAR(between[c] / std::sqrt(before[c] * most), 1, 1e-5);
  }
  ASSERT_EQ(log.gains.size(), 1U);
  EXPECT_NEAR(log.gains[0].after, 255, 0.1);
  EXPECT_LT(log.gains[0].before, 150);
  EXPECT_EQ(equalize_activations(graph, samples, 0), graph);
  EXPECT_THROW(equalize_activations(graph, samples, 1.5), Error);
}

// Axes move with Transpose, Reshape and reductions; constants along the way take their share.
TEST(ChannelScalingTest, FollowsTheChannels) {
  const Graph graph = filled(R"(graph g(x: f32[2,3,4,5]) -> (y: f32[2,20,3], z: f32[2,2]) {
  a = Conv(x, w_6x3x1x1)
  t = Transpose(a) {perm=[0,2,3,1]}
  shape = s64[3]{2,20,6}
  m = Reshape(t, shape)
  k = f32[]{0.5}
  half = Mul(m, k)
  n = Add(half, k)
  y = MatMul(n, u_6x3)
  mean = ReduceMean(n) {axes=[1], keepdims=0}
  z = Gemm(mean, v_2x6) {transB=1}
})",
                             11);
  const ChannelScaling::All all = ChannelScaling(graph).all();
  ASSERT_EQ(all.groups.size(), 1U);
  const ScalingGroup& group = all.groups[0];
  EXPECT_EQ(group.makers.size(), 1U);
  EXPECT_EQ(group.readers.size(), 2U);
  Graph scaled = graph;
  quant::scale_channels(scaled, all.groups, {{0.25, 3, 1, 7, 0.5, 100}});
  verify(scaled);
  EXPECT_EQ(scaled.constant(scaled.nodes[4].inputs[1])->dims(), (Dims{6}));  // the summand became one a channel
  EXPECT_EQ(scaled.nodes[3].inputs[1], "k");
  expect_same_floats(graph, scaled, 11);
}

TEST(ChannelScalingTest, LayersThatReadTheirOwnSumTakeBothSides) {
  const Graph graph = filled(R"(graph g(x: f32[1,3,4,4]) -> (y: f32[1,2,4,4]) {
  a = Conv(x, w_4x3x1x1)
  b = Conv(a, u_4x4x1x1, b_4)
  c = Add(a, b)
  y = Conv(c, v_2x4x1x1)
})",
                             13);
  const ChannelScaling::All all = ChannelScaling(graph).all();
  ASSERT_EQ(all.groups.size(), 1U);
  EXPECT_EQ(all.groups[0].makers, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(all.groups[0].readers, (std::vector<std::size_t>{1, 3}));
  Graph scaled = graph;
  quant::scale_channels(scaled, all.groups, {{0.25, 3, 1, 7}});
  expect_same_floats(graph, scaled, 13);
}

}  // namespace
}  // namespace zeropoint
