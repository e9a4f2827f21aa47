#include "quant/layer_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "zeropoint/insert_qdq.h"
#include "zeropoint/quantize_tensor.h"

namespace zeropoint::quant {
namespace {

constexpr char kNetwork[] = R"(ir_version 10
opset 21
graph g(x: f32[1,3,8,8]) -> (y: f32[1,4]) {
  a = Conv(x, w1, b1) "conv" {pads=[1, 1, 1, 1]}
  r = Relu(a)
  d = Conv(r, w2) "depthwise" {group=6}
  m = GlobalAveragePool(d)
  f = Flatten(m)
  p = MatMul(f, w3) "product"
  y = Add(p, b3)
}
)";

class Noise : public Samples {
 public:
  std::size_t size() const override { return 160; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + 1);
    std::normal_distribution<float> normal;
    Tensor x(DType::f32, {1, 3, 8, 8});
    for (float& value : x.mutable_values<float>()) value = normal(random);
    return {{"x", x}};
  }
};

Graph network() {
  Graph graph = parse_graph(kNetwork);
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (const auto& [name, dims] :
       std::map<std::string, Dims>{{"w1", {6, 3, 3, 3}}, {"b1", {6}}, {"w2", {6, 1, 3, 3}}, {"w3", {6, 4}}, {"b3", {4}}}) {
    Tensor tensor(DType::f32, dims);
    for (float& value : tensor.mutable_values<float>()) value = normal(random);
    graph.initializers[name] = tensor;
  }
  verify(graph);
  return graph;
}

QParamsMap qparams_of(DType weights) {
  QParamsMap qparams;
  for (const auto& [value, scale] : std::map<std::string, float>{{"x", 0.03F}, {"r", 0.15F}, {"f", 0.2F}, {"y", 0.3F}})
    qparams[value] = {DType::u8, PerTensor{}, {scale}, {value == "r" ? 0 : 128}};
  const float step = weights == DType::s4 ? 0.4F : 0.025F;
  for (const auto& [weight, axis] : std::map<std::string, int>{{"w1", 0}, {"w2", 0}, {"w3", 1}})
    qparams[weight] = {weights, PerChannel{axis}, std::vector<float>(weight == "w3" ? 4 : 6, step),
                       std::vector<std::int32_t>(weight == "w3" ? 4 : 6, 0)};
  return qparams;
}

class LayerStepsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(LayerStepsTest, WeightsLieOnTheGridBitByBit) {
  const Graph graph = network();
  const Noise samples;
  for (const DType dtype : {DType::s8, DType::s4}) {
    Recipe recipe;
    recipe.add_step({.name = GetParam()});
    StepLog log;
    const StepOptions options{.threads = 1};
    const Statistics statistics;
    Rounding rounding{graph, statistics, graph, qparams_of(dtype)};
    run_after(rounding, {recipe, &samples, options, log});
    for (const char* name : {"w1", "w2", "w3"}) {
      const Tensor& weight = *rounding.graph.constant(name);
      const QParams& parameters = rounding.qparams.at(name);
      const Tensor back = dequantize_tensor(quantize_tensor(weight, parameters, limits_of_weight(parameters)), parameters);
      EXPECT_TRUE(std::ranges::equal(back.values<float>(), weight.values<float>())) << name;
      EXPECT_FALSE(std::ranges::equal(weight.values<float>(), graph.constant(name)->values<float>())) << name;
    }
    EXPECT_EQ(rounding.corrected, (std::set<std::string>{"a", "d", "p"}));
    verify(insert_qdq(rounding.graph, rounding.qparams));
    ASSERT_EQ(log.gains.size(), 1U);
    EXPECT_GT(log.gains[0].after, log.gains[0].before);
    EXPECT_EQ(log.gains[0].what, "outputs of 3 layers");
  }
}
INSTANTIATE_TEST_SUITE_P(, LayerStepsTest, ::testing::Values("gptq", "adaround"));

// The bias takes what the quantized network does on average: a second run finds nothing left.
TEST(EmpiricalBiasCorrectionTest, LeavesNothingToASecondRun) {
  const Graph graph = network();
  const Noise samples;
  Recipe recipe;
  recipe.add_step({.name = "empirical_bias_correction"}).add_step({.name = "empirical_bias_correction"});
  StepLog log;
  const StepOptions options{.threads = 1};
  const Statistics statistics;
  Rounding rounding{graph, statistics, graph, qparams_of(DType::s4)};
  run_after(rounding, {recipe, &samples, options, log});
  ASSERT_EQ(log.gains.size(), 2U);
  EXPECT_GT(log.gains[0].after, log.gains[0].before + 0.1);
  EXPECT_NEAR(log.gains[1].before, log.gains[0].after, 0.05);
  EXPECT_NEAR(log.gains[1].after, log.gains[1].before, 0.1);
  EXPECT_TRUE(std::ranges::equal(rounding.graph.constant("w1")->values<float>(), graph.constant("w1")->values<float>()));
}

}  // namespace
}  // namespace zeropoint::quant
