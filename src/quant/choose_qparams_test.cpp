#include "quant/choose_qparams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Statistics observe(const Graph& graph, const std::map<std::string, std::vector<float>>& seen) {
  Statistics statistics;
  statistics.model_hash = graph_hash(graph);
  statistics.samples = 1;
  for (const auto& [value, numbers] : seen) {
    ValueStatistics& each = statistics.values[value];
    each.samples = 1;
    each.min = *std::min_element(numbers.begin(), numbers.end());
    each.max = *std::max_element(numbers.begin(), numbers.end());
    each.histogram.add(numbers);
  }
  return statistics;
}

Graph one_convolution(const std::vector<float>& weights, const std::vector<float>& bias) {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,2,1,1]) -> (y: f32[1,2,1,1]) {
  y = Conv(x, w, b) "conv"
}
)");
  graph.initializers["w"] = Tensor::of<float>({2, 2, 1, 1}, weights);
  graph.initializers["b"] = Tensor::of<float>({2}, bias);
  return graph;
}
const std::map<std::string, std::vector<float>> kSeen = {{"x", {-1, 1.55F}}, {"y", {0, 5.1F}}};

TEST(ChooseQParamsTest, OneConvolution) {
  const Graph graph = one_convolution({1.27F, -0.5F, 0.0127F, 0}, {1, 1});
  const QParamsChoice choice = choose_with_notes(graph, observe(graph, kSeen), recipes::static_w8a8());
  ASSERT_EQ(choice.qparams.size(), 3U);
  const QParams& x = choice.qparams.at("x");
  EXPECT_EQ(x.dtype, DType::u8);
  EXPECT_FLOAT_EQ(x.scale[0], 0.01F);
  EXPECT_EQ(x.zero_point[0], 100);
  EXPECT_FLOAT_EQ(choice.qparams.at("y").scale[0], 0.02F);
  const QParams& w = choice.qparams.at("w");
  EXPECT_EQ(w.dtype, DType::s8);
  EXPECT_TRUE(w.granularity == Granularity(PerChannel{0}));
  EXPECT_FLOAT_EQ(w.scale[0], 0.01F);
  EXPECT_FLOAT_EQ(w.scale[1], 0.0001F);
  EXPECT_THAT(w.zero_point, ElementsAre(0, 0));
  EXPECT_THAT(choice.notes, IsEmpty());
  EXPECT_THAT(quantizable_values(graph, recipes::static_w8a8()), ElementsAre("x", "y"));
}

TEST(ChooseQParamsTest, TiesTakeTheRangeOfTheirSources) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,1,4,4]) -> (y: f32[1,1,4,8]) {
  w = f32[1,1,1,1]{1}
  a = Conv(x, w) "a"
  p = MaxPool(a) "p" {kernel_shape=[1, 1]}
  c = Concat(p, a) "c" {axis=3}
  y = Conv(c, w) "y"
}
)");
  const Recipe recipe = recipes::static_w8a8();
  EXPECT_THAT(quantizable_values(graph, recipe), ElementsAre("c", "x", "y"));
  const Statistics statistics = observe(graph, {{"x", {-1, 1}}, {"c", {-2, 3.1F}}, {"y", {-1, 1}}});
  const QParamsMap qparams = choose_qparams(graph, statistics, recipe);
  EXPECT_FLOAT_EQ(qparams.at("c").scale[0], 0.02F);
  EXPECT_EQ(qparams.at("a"), qparams.at("c"));
  EXPECT_EQ(qparams.at("p"), qparams.at("c"));
}

TEST(ChooseQParamsTest, OpenVinoInput) {
  const Graph graph = one_convolution({1, 1, 1, 1}, {0, 0});
  Recipe recipe = recipes::static_w8a8();
  recipe.target = Target::openvino;
  const QParamsMap qparams = choose_qparams(graph, observe(graph, kSeen), recipe);
  EXPECT_EQ(qparams.at("x").dtype, DType::s8);
  EXPECT_EQ(qparams.at("x").zero_point[0], 0);
  EXPECT_FLOAT_EQ(qparams.at("x").scale[0], 1.55F / 127);
  EXPECT_EQ(qparams.at("y").dtype, DType::u8);
  const std::map<std::string, std::vector<float>> positive = {{"x", {0, 1}}, {"y", {0, 5.1F}}};
  EXPECT_EQ(choose_qparams(graph, observe(graph, positive), recipe).at("x").dtype, DType::u8) << "zero point 0 already";
}

TEST(ChooseQParamsTest, ABiasTooLargeWidensItsChannel) {
  const Graph graph = one_convolution({1, 1, 1e-6F, 1e-6F}, {1, 500});
  const QParamsChoice choice = choose_with_notes(graph, observe(graph, kSeen), recipes::static_w8a8());
  const QParams& w = choice.qparams.at("w");
  EXPECT_FLOAT_EQ(w.scale[0], 1.0F / 127);
  EXPECT_GT(w.scale[1], 1e-6F / 127);
  const double steps = 500 / (static_cast<double>(choice.qparams.at("x").scale[0]) * static_cast<double>(w.scale[1]));
  const double products = 255 * (2e-6 / static_cast<double>(w.scale[1]) + 1);
  EXPECT_LT(steps + products, 2147483647.0);
  EXPECT_GT(steps, 2e9) << "wider than needed";
  ASSERT_EQ(choice.notes.size(), 1U);
  EXPECT_THAT(choice.notes[0], HasSubstr("initializer 'w'"));
  EXPECT_THAT(choice.notes[0], HasSubstr("channel 1"));
}

TEST(ChooseQParamsTest, ZeroWeightsLeaveTheScaleToTheBias) {
  const Graph graph = one_convolution({1, 1, 0, 0}, {1, 0.3F});
  const QParamsChoice choice = choose_with_notes(graph, observe(graph, kSeen), recipes::static_w8a8());
  const float scale = choice.qparams.at("x").scale[0] * choice.qparams.at("w").scale[1];
  const double q = std::nearbyint(static_cast<double>(0.3F) / static_cast<double>(scale));
  EXPECT_NEAR(q * static_cast<double>(scale), static_cast<double>(0.3F), 3e-8);
  EXPECT_THAT(choice.notes, IsEmpty());
  const Graph nothing = one_convolution({1, 1, 0, 0}, {1, 0});
  EXPECT_EQ(choose_qparams(nothing, observe(nothing, kSeen), recipes::static_w8a8()).at("w").scale[1], 1.0F);
}

TEST(ChooseQParamsTest, ScalesNeverUnderflow) {
  const Graph graph = one_convolution({1e-38F, 0, 0, 0}, {0, 0});
  const std::map<std::string, std::vector<float>> tiny = {{"x", {0, 1e-37F}}, {"y", {0, 1e-37F}}};
  const QParamsMap qparams = choose_qparams(graph, observe(graph, tiny), recipes::static_w8a8());
  EXPECT_GE(qparams.at("x").scale[0] * qparams.at("w").scale[0], FLT_MIN);
}

TEST(ChooseQParamsTest, LeastSafeScale) {
  // 100,000 products of |w| = 1 with a u8 input: sums of 255 * 127 * 100,000 = 3.2e9 at the usual scale.
  const double scale = least_safe_scale(100000, 0, 100000, 1.0F, 255);
  EXPECT_GT(scale, 1.0 / 127);
  EXPECT_LE(255 * (100000 / scale + 50000), 2147483647.0);
  EXPECT_LT(least_safe_scale(4608, 0, 4608, 1.0F, 255), 1.0 / 127) << "a ResNet's largest kernel needs nothing";
  EXPECT_THROW(least_safe_scale(1, 0, 20000000, 1.0F, 255), Error);
}

TEST(ChooseQParamsTest, NonFiniteConstants) {
  for (const bool in_bias : {false, true}) {
    const float bad = in_bias ? std::numeric_limits<float>::infinity() : std::nanf("");
    const Graph graph = one_convolution({1, in_bias ? 1 : bad, 1, 1}, {1, in_bias ? bad : 1});
    try {
      choose_qparams(graph, observe(graph, kSeen), recipes::static_w8a8());
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kNonFinite);
      EXPECT_THAT(error.what(),
                  HasSubstr(in_bias ? "initializer 'b' of node 'conv' (Conv)" : "initializer 'w' of node 'conv' (Conv)"));
    }
  }
}

TEST(ChooseQParamsTest, StatisticsThatDoNotBelong) {
  const Graph graph = one_convolution({1, 1, 1, 1}, {0, 0}), other = one_convolution({1, 1, 1, 2}, {0, 0});
  const auto code = [](const Graph& g, const Statistics& statistics) {
    try {
      choose_qparams(g, statistics, recipes::static_w8a8());
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code(graph, observe(other, kSeen)), ErrorCode::kMismatch);
  EXPECT_EQ(code(graph, observe(graph, {{"x", {1}}})), ErrorCode::kMismatch) << "nothing on y";
  EXPECT_EQ(code(graph, observe(graph, kSeen)), ErrorCode::kOk);
}

}  // namespace
}  // namespace zeropoint::quant
