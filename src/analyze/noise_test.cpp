#include "analyze/noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "analyze/output_check.h"
#include "engine/tap.h"
#include "quant/choose_qparams.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/passes.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/ranges.h"
#include "zeropoint/session.h"

namespace zeropoint::analyze {
namespace {

class Pictures : public Samples {
 public:
  explicit Pictures(std::size_t count) : count_(count) {}
  std::size_t size() const override { return count_; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + 3);
    std::normal_distribution<float> normal(0.5F);
    Tensor x(DType::f32, {1, 1, 28, 28});
    for (float& value : x.mutable_values<float>()) value = normal(random);
    return {{"images", x}};
  }

 private:
  std::size_t count_;
};

Graph fashion(const std::string& name) {
  return fuse(load(std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/" + name + ".onnx"));
}

struct Case {
  Graph graph;
  QParamsMap qparams;
  std::vector<std::vector<std::string>> groups;
};
Case calibrated(const std::string& name, const Recipe& recipe = recipes::static_w8a8()) {
  Case result{.graph = fashion(name)};
  const Statistics statistics =
      calibrate(result.graph, Pictures(8), {.values = quantizable_values(result.graph, recipe), .threads = 1});
  const quant::QParamsChoice choice = quant::choose_with_notes(result.graph, statistics, recipe);
  result.qparams = choice.qparams;
  for (const quant::TieGroup& group : choice.placement.groups) result.groups.push_back(group.values);
  return result;
}

Recipe w4a4(DType activations) {
  Recipe recipe = recipes::static_w8a8();
  recipe.rules.at(0).activation->dtype = activations;
  recipe.rules.at(0).activation->bits = 4;
  recipe.rules.at(0).weight->dtype = DType::s4;
  return recipe;
}

void expect_that_of_models_with_one_quantizer(const Case& model, bool few_bits = false) {
  const Pictures samples(2);
  NoiseOptions options{.threads = 1, .samples = 2, .groups = model.groups};
  const Noise noise = measure_noise(model.graph, insert_qdq(model.graph, model.qparams), samples, options);
  EXPECT_EQ(noise.measured, noise.sources.size());
  EXPECT_EQ(noise.samples, 2U);
  const FloatReference reference(model.graph, samples, {.threads = 1});
  std::size_t values = 0, weights = 0;
  for (const NoiseSource& source : noise.sources) {
    QParamsMap one;
    for (const std::string& value : source.values) one.emplace(value, model.qparams.at(value));
    if (!source.weight.empty()) one.emplace(source.weight, model.qparams.at(source.weight));
    (source.values.empty() ? weights : values) += 1;
    // Beside coarse values biases are coarse, too, which a model with quantized weights alone does not show.
    if (source.values.empty() && few_bits) continue;
    const double expected = reference.check(insert_qdq(model.graph, one)).sqnr_db;
    EXPECT_NEAR(decibels(source.noise), expected, 0.5) << source.weight << (source.values.empty() ? "" : source.values[0]);
    EXPECT_GE(source.local, source.local_16);
    EXPECT_LE(source.saturated + source.dead, 1);
  }
  EXPECT_EQ(values, model.groups.size());
  EXPECT_GT(weights, 3U);
}

class NoiseTest : public ::testing::TestWithParam<const char*> {};

// What measure_noise finds by changing values on the way is what a model with that quantizer alone loses.
TEST_P(NoiseTest, IsThatOfAModelWithOneQuantizer) { expect_that_of_models_with_one_quantizer(calibrated(GetParam())); }

// Values of a few bits, which stand behind a Clip to their levels.
TEST(NoiseOfFewBitsTest, IsThatOfAModelWithOneQuantizer) {
  for (const DType activations : {DType::u8, DType::s8, DType::u4}) {
    SCOPED_TRACE(name(activations));
    const Case model = calibrated("fmnist_dscnn", w4a4(activations));
    expect_that_of_models_with_one_quantizer(model, true);
    for (const auto& [value, qparams] : activation_qparams(model.graph, insert_qdq(model.graph, model.qparams))) {
      SCOPED_TRACE(value);
      EXPECT_EQ(limits_of(qparams), limits_of(model.qparams.at(value)));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(, NoiseTest, ::testing::Values("fmnist_resnet8", "fmnist_dscnn", "fmnist_vit"));

TEST(NoiseBoundTest, BigModelsAreMeasuredInPart) {
  const Case model = calibrated("fmnist_resnet8");
  NoiseOptions options{.threads = 1, .samples = 4, .groups = model.groups, .most_macs = 1};
  const Noise noise = measure_noise(model.graph, insert_qdq(model.graph, model.qparams), Pictures(4), options);
  EXPECT_EQ(noise.samples, 1U);
  EXPECT_EQ(noise.measured, 8U);
  EXPECT_GT(noise.sources.size(), noise.measured);
  for (const NoiseSource& source : noise.sources) EXPECT_EQ(source.noise > 0, source.local > 0);
}

TEST(AlterTest, WhatIsWrittenIsRead) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,4]) -> (y: f32[1,4]) {
  a = Relu(x)
  y = Neg(a)
}
)");
  Feeds feeds = {{"x", Tensor::of<float>({1, 4}, std::vector<float>{1, 2, 3, -4})}};
  const Feeds before = feeds;
  TapSession session(graph, {"x", "a"}, {.threads = 1});
  const auto doubled = [](const TapView&, std::span<float> values) {
    for (float& value : values) value *= 2;
  };
  const Tensor y = session.run_altered(feeds, doubled).at(0);
  EXPECT_THAT(y.values<float>(), ::testing::ElementsAre(-4, -8, -12, 0));
  EXPECT_EQ(feeds.at("x"), before.at("x"));
  EXPECT_THAT(session.run(feeds, [](const TapView&) {}).at(0).values<float>(), ::testing::ElementsAre(-1, -2, -3, 0));
}

TEST(JudgedValuesTest, WhatProbabilitiesAreMadeOf) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,4]) -> (p: f32[1,4], z: f32[1,4]) {
  z = Neg(x)
  s = Softmax(z)
  p = Identity(s)
}
)");
  EXPECT_THAT(judged_values(graph), ::testing::ElementsAre("z", "z"));
}

}  // namespace
}  // namespace zeropoint::analyze
