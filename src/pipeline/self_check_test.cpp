#include "pipeline/self_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "zeropoint/error.h"
#include "zeropoint/sensitivity.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;

const QuantizeOptions kQuick{.threads = 1};

// Feeds of normal numbers; inputs called mask hold 0 and, above the diagonal, the lowest number, those called offset 25,000.
class Noise : public Samples {
 public:
  Noise(const Graph& graph, std::size_t count) : graph_(graph), count_(count) {}
  std::size_t size() const override { return count_; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + 11);
    std::normal_distribution<float> normal;
    Feeds feeds;
    for (const ValueInfo& input : graph_.inputs) {
      Dims dims;
      for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
      Tensor x(DType::f32, dims);
      const auto values = x.mutable_values<float>();
      const auto columns = static_cast<std::size_t>(x.dims().back());
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = input.name == "offset"                ? 25000
                    : input.name != "mask"                ? normal(random)
                    : i % columns > i / columns % columns ? -FLT_MAX
                                                          : 0;
      feeds.emplace(input.name, std::move(x));
    }
    return feeds;
  }

 private:
  const Graph& graph_;
  std::size_t count_;
};

class Builder {
 public:
  Builder() {
    graph.ir_version = 8;
    graph.opsets[""] = 17;
  }
  std::string input(const std::string& name, Dims dims) {
    graph.inputs.push_back({name, {DType::f32, to_shape(dims)}});
    return name;
  }
  void output(const std::string& name, Dims dims) { graph.outputs.push_back({name, {DType::f32, to_shape(dims)}}); }
  Tensor random(Dims dims, float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    Tensor tensor(DType::f32, std::move(dims));
    for (float& value : tensor.mutable_values<float>()) value = normal(random_);
    return tensor;
  }
  std::string constant(const std::string& name, Tensor tensor) {
    graph.initializers.emplace(name, std::move(tensor));
    return name;
  }
  std::string node(const std::string& op_type, const std::string& name, std::vector<std::string> inputs) {
    graph.nodes.push_back({.name = name, .op_type = op_type, .inputs = std::move(inputs), .outputs = {name + "_y"}});
    return name + "_y";
  }
  std::string gemm(const std::string& name, const std::string& x, std::int64_t in, std::int64_t out) {
    return node("Gemm", name, {x, constant(name + "_w", random({in, out}, 1 / std::sqrt(static_cast<float>(in))))});
  }

  Graph graph;

 private:
  std::mt19937 random_{5};
};

// The same function as without the scaling: channel 3 is a thousand times as large on the way.
Graph scaled_channel() {
  Builder b;
  b.input("x", {1, 8, 12, 12});
  Tensor first = b.random({16, 8, 3, 3}, 0.1F), second = b.random({32, 16, 3, 3}, 0.1F);
  for (std::size_t i = 0; i < 72; ++i) first.mutable_values<float>()[3 * 72 + i] *= 1000;
  for (std::size_t o = 0; o < 32; ++o)
    for (std::size_t i = 0; i < 9; ++i) second.mutable_values<float>()[(o * 16 + 3) * 9 + i] /= 1000;
  std::string y = b.node("Conv", "first", {"x", b.constant("first_w", std::move(first))});
  y = b.node("Relu", "relu", {y});
  y = b.node("Conv", "second", {y, b.constant("second_w", std::move(second))});
  y = b.node("Relu", "relu2", {y});
  y = b.node("Conv", "third", {y, b.constant("third_w", b.random({32, 32, 3, 3}, 0.1F))});
  b.output(y, {1, 32, 6, 6});
  return b.graph;
}

// Weights of a thousandth beside a bias of 25,000, which a later node takes off again.
Graph clipped_bias() {
  Builder b;
  b.input("x", {1, 128});
  const std::string wide = b.node("Relu", "relu", {b.gemm("before", "x", 128, 1024)});
  b.constant("shift", Tensor::of<float>({8}, std::vector<float>(8, 25000)));
  const std::string shifted = b.node("Gemm", "biased", {wide, b.constant("biased_w", b.random({1024, 8}, 1e-3F)), "shift"});
  b.input("offset", {1, 8});
  const std::string y = b.node("Sub", "minus", {shifted, "offset"});
  b.output(y, {1, 8});
  return b.graph;
}

Graph mixed_concat() {
  Builder b;
  b.input("x", {1, 64});
  const std::string small = b.gemm("small", "x", 64, 64);
  Tensor large = b.random({64, 64}, 300);
  const std::string big = b.node("Gemm", "large", {"x", b.constant("large_w", std::move(large))});
  const std::string joined = b.node("Concat", "join", {small, big});
  b.graph.nodes.back().attributes["axis"] = std::int64_t{1};
  Tensor weight = b.random({128, 128}, 0.1F);
  for (std::size_t i = 64 * 128; i < 128 * 128; ++i) weight.mutable_values<float>()[i] *= 1e-4F;
  const std::string y = b.node("Gemm", "read", {joined, b.constant("read_w", std::move(weight))});
  b.output(y, {1, 128});
  return b.graph;
}

Graph masked_attention() {
  Builder b;
  b.input("x", {1, 8, 16, 16});
  b.input("mask", {1, 1, 16, 16});
  const std::string scores = b.node("Conv", "scores", {"x", b.constant("scores_w", b.random({4, 8, 1, 1}, 0.5F))});
  const std::string masked = b.node("Add", "add_mask", {scores, "mask"});
  const std::string weights = b.node("Softmax", "softmax", {masked});
  b.graph.nodes.back().attributes["axis"] = std::int64_t{-1};
  const std::string values = b.node("Conv", "values", {"x", b.constant("values_w", b.random({4, 8, 1, 1}, 0.5F))});
  const std::string y = b.node("MatMul", "attend", {weights, values});
  b.output(y, {1, 4, 16, 16});
  return b.graph;
}

struct Broken {
  const char* name;
  Graph (*make)();
  std::vector<std::string> nodes;  // any of which may be named
  std::vector<std::string> causes;
};
std::ostream& operator<<(std::ostream& out, const Broken& broken) { return out << broken.name; }

class BrokenModelTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenModelTest, IsDiagnosedByNodeAndCause) {
  const Graph graph = GetParam().make();
  const Noise samples(graph, 48);
  const Sensitivity found = sensitivity(graph, samples, recipes::static_w8a8(), {.threads = 1});
  ASSERT_FALSE(found.nodes.empty());
  EXPECT_LT(found.sqnr_db, 20) << to_text(found);
  const NodeSensitivity& worst = found.nodes.front();
  EXPECT_THAT(GetParam().nodes, ::testing::Contains(worst.node)) << to_text(found);
  EXPECT_THAT(GetParam().causes, ::testing::Contains(worst.cause)) << to_text(found);
  EXPECT_TRUE(worst.measured);
  EXPECT_LT(worst.alone_db, 20);
  EXPECT_GT(worst.restored_db, found.sqnr_db);
  EXPECT_FALSE(worst.figures.empty());
  EXPECT_FALSE(worst.fix.empty());
  EXPECT_THAT(to_text(found), HasSubstr(worst.cause));
  EXPECT_THAT(to_json(found), HasSubstr("\"cause\": \"" + worst.cause + "\""));
}

TEST_P(BrokenModelTest, IsRepairedByDefault) {
  const Graph graph = GetParam().make();
  const Noise samples(graph, 64), others(graph, 100);
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  const Quantized broken = quantize(graph, samples, recipes::static_w8a8(), unchecked);
  EXPECT_FALSE(broken.report.self_check);
  EXPECT_LT(compare(graph, broken.model, others, {.threads = 1}).outputs[0].error.sqnr_db, 20);

  const Quantized repaired = quantize(graph, samples, recipes::static_w8a8(), kQuick);
  ASSERT_TRUE(repaired.report.self_check);
  const SelfCheck& check = *repaired.report.self_check;
  EXPECT_TRUE(check.sound) << to_text(repaired.report);
  EXPECT_TRUE(check.kept_aside);
  EXPECT_EQ(check.samples, 16U);
  EXPECT_EQ(check.calibrated_on, 48U);
  EXPECT_LT(check.before_db, 20);
  ASSERT_FALSE(repaired.report.repairs.empty());
  EXPECT_TRUE(std::any_of(repaired.report.repairs.begin(), repaired.report.repairs.end(), [](const Repair& repair) {
    return std::ranges::find(GetParam().nodes, repair.node) != GetParam().nodes.end() &&
           std::ranges::find(GetParam().causes, repair.cause) != GetParam().causes.end();
  })) << to_text(repaired.report);
  EXPECT_GT(compare(graph, repaired.model, others, {.threads = 1}).outputs[0].error.sqnr_db, 20) << to_text(repaired.report);
  EXPECT_THAT(to_text(repaired.report), HasSubstr("repairs ("));
  EXPECT_THAT(to_json(repaired.report), HasSubstr("\"repairs\""));

  // The recipe says it all: no check, the same file.
  const Recipe recipe = parse_recipe(repaired.model.metadata.at(kRecipeKey));
  EXPECT_EQ(serialize(quantize(graph, repaired.statistics, recipe).model), serialize(repaired.model));

  // From the samples, too: what is repaired is judged again, and stays as it is.
  EXPECT_TRUE(recipe.checked);
  EXPECT_EQ(repaired.report.recipe_json, to_json(recipe));
  const Quantized replayed = quantize(graph, samples, recipe, kQuick);
  EXPECT_EQ(serialize(replayed.model), serialize(repaired.model));
  EXPECT_TRUE(replayed.report.repairs.empty());
  EXPECT_NEAR(replayed.report.self_check->sqnr_db, check.sqnr_db, 0.01);  // of float graphs with the same function
  EXPECT_TRUE(replayed.report.self_check->sound);
}

INSTANTIATE_TEST_SUITE_P(, BrokenModelTest,
                         ::testing::Values(Broken{"scaled_channel", &scaled_channel, {"second"}, {"wide_channel_spread"}},
                                           Broken{"clipped_bias", &clipped_bias, {"biased"}, {"clipped_bias"}},
                                           Broken{"mixed_concat", &mixed_concat, {"read"}, {"mixed_concat"}},
                                           Broken{"masked_attention", &masked_attention, {"add_mask"}, {"mask_value"}}),
                         [](const auto& broken) { return std::string(broken.param.name); });

Graph fashion(const std::string& name) { return load(std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/" + name + ".onnx"); }

TEST(SelfCheckTest, SoundModelsStayAsTheyAre) {
  const Graph graph = fashion("fmnist_dscnn");
  const Noise samples(graph, 24);
  const Quantized quantized = quantize(graph, samples, recipes::static_w8a8(), kQuick);
  ASSERT_TRUE(quantized.report.self_check);
  EXPECT_TRUE(quantized.report.self_check->sound);
  EXPECT_FALSE(quantized.report.self_check->kept_aside);  // too few
  EXPECT_EQ(quantized.report.self_check->calibrated_on, 24U);
  EXPECT_EQ(quantized.report.self_check->samples, 16U);
  EXPECT_TRUE(quantized.report.repairs.empty());
  EXPECT_THAT(to_text(quantized.report), HasSubstr("self check on 16 samples"));
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  EXPECT_EQ(serialize(quantize(graph, samples, recipes::static_w8a8(), unchecked).model), serialize(quantized.model));
}

TEST(SelfCheckTest, ACheckedRecipeIsJudgedNotRepaired) {
  const Graph graph = scaled_channel();
  Recipe recipe = recipes::static_w8a8();
  recipe.checked = true;
  const Report report = quantize(graph, Noise(graph, 64), recipe, kQuick).report;
  EXPECT_FALSE(report.self_check->sound);
  EXPECT_TRUE(report.repairs.empty());
}

TEST(SelfCheckTest, NotesOfStepsBeforeCalibrationSurviveRepairs) {
  const Graph graph = clipped_bias();
  const Noise samples(graph, 64);
  Recipe recipe = recipes::static_w8a8();
  recipe.add_step({.name = "smooth_quant", .parameters = {}});
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  const Quantized first = quantize(graph, samples, recipe, unchecked), repaired = quantize(graph, samples, recipe, kQuick);
  ASSERT_FALSE(first.preparation_notes.empty());
  ASSERT_FALSE(repaired.report.repairs.empty());
  for (const std::string& note : first.preparation_notes) EXPECT_THAT(repaired.report.notes, ::testing::Contains(note));
}

// Products whose weights lose more than their values: rounding them better comes before float.
TEST(SelfCheckTest, WeightsAreRoundedBetterBeforeNodesGoToFloat) {
  const Graph graph = fashion("fmnist_resnet8");
  const Noise samples(graph, 64);
  Recipe recipe = recipes::named("static_w8a16");
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  const Quantized first = quantize(graph, samples, recipe, unchecked);
  const auto remake = [&](const Recipe& changed) { return quantize(graph, samples, changed, unchecked); };
  const SelfCheck before = *check_and_repair(first, samples, samples, remake, {.threads = 1}).report.self_check;
  ASSERT_TRUE(before.sound);
  const double wanted = before.sqnr_db + 2;
  const Quantized repaired =
      check_and_repair(first, samples, samples, remake,
                       {.threads = 1, .least_db = wanted, .aim_db = wanted, .good_db = wanted, .float_share = 0});
  EXPECT_TRUE(repaired.report.self_check->sound) << to_text(repaired.report);
  EXPECT_TRUE(parse_recipe(repaired.model.metadata.at(kRecipeKey)).has_step("gptq"));
  ASSERT_FALSE(repaired.report.repairs.empty());
  EXPECT_EQ(repaired.report.repairs.back().action, "step gptq");
  for (const Repair& repair : repaired.report.repairs) EXPECT_NE(repair.action, "float");
  EXPECT_EQ(repaired.report.integer_coverage, first.report.integer_coverage);
}

TEST(SelfCheckTest, NodesGoToFloatAtLast) {
  const Graph graph = masked_attention();
  const Noise samples(graph, 64);
  Recipe recipe = recipes::static_w8a8();
  recipe.target = Target::openvino;
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  const Quantized broken = quantize(graph, samples, recipe, unchecked);
  int made = 0;
  const auto remake = [&](const Recipe& changed) {
    return ++made == 1 ? broken /* the round before is in vain */ : quantize(graph, samples, changed, unchecked);
  };
  const Quantized repaired = check_and_repair(broken, samples, samples, remake, {.threads = 1});
  EXPECT_TRUE(repaired.report.self_check->sound) << to_text(repaired.report);
  EXPECT_EQ(made, 2);
  ASSERT_EQ(repaired.report.repairs.size(), 1U) << to_text(repaired.report);
  EXPECT_EQ(repaired.report.repairs[0].node, "add_mask");
  EXPECT_EQ(repaired.report.repairs[0].cause, "mask_value");
  EXPECT_EQ(repaired.report.repairs[0].action, "float");
}

TEST(SelfCheckTest, StatisticsAloneCannotBeChecked) {
  const Graph graph = fashion("fmnist_dscnn");
  const Quantized first = quantize(graph, Noise(graph, 8), recipes::static_w8a8(), kQuick);
  const Quantized again = quantize(graph, first.statistics);
  ASSERT_TRUE(again.report.self_check);
  EXPECT_EQ(again.report.self_check->samples, 0U);
  EXPECT_THAT(to_text(again.report), HasSubstr("self check: none, for want of samples"));
}

TEST(SelfCheckTest, WhatStaysPoorIsSaid) {
  const Graph graph = scaled_channel();
  const Noise samples(graph, 8);
  QuantizeOptions unchecked = kQuick;
  unchecked.verify = false;
  const Quantized broken = quantize(graph, samples, recipes::static_w8a8(), unchecked);
  int asked = 0;
  const auto in_vain = [&](const Recipe&) {
    ++asked;
    return broken;
  };
  const Report report = check_and_repair(broken, samples, samples, in_vain, {.threads = 1}).report;
  EXPECT_GT(asked, 0);
  EXPECT_FALSE(report.self_check->sound);
  EXPECT_THAT(report.self_check->reason, HasSubstr("the outputs have an SQNR of"));
  EXPECT_TRUE(report.repairs.empty());
  EXPECT_THAT(to_text(report), HasSubstr("not sound"));
}

TEST(SelfCheckTest, SamplesAside) {
  EXPECT_TRUE(samples_aside(0).empty());
  EXPECT_TRUE(samples_aside(39).empty());
  EXPECT_EQ(samples_aside(40).size(), 8U);
  for (const std::size_t n : {40UL, 64UL, 1000UL}) {
    const std::vector<std::size_t> aside = samples_aside(n);
    EXPECT_LE(aside.size(), kMostAside);
    EXPECT_GE(n - aside.size(), kLeastCalibrated);
    EXPECT_TRUE(std::is_sorted(aside.begin(), aside.end()));
    EXPECT_EQ(std::adjacent_find(aside.begin(), aside.end()), aside.end());
    EXPECT_LT(aside.back(), n);
  }
}

TEST(SensitivityTest, AddsUpToWhatTheModelLoses) {
  const Graph graph = fashion("fmnist_resnet8");
  const Noise samples(graph, 24);
  const Sensitivity found = sensitivity(graph, samples, recipes::static_w8a8(), {.threads = 1, .restored = 2});
  EXPECT_EQ(found.measured, found.sources);
  double noise = 0, share = 0, macs = 0;
  for (const NodeSensitivity& node : found.nodes) {
    noise += std::pow(10, -node.alone_db / 10);
    share += node.share;
    macs += node.macs_share;
    EXPECT_FALSE(node.cause.empty());
  }
  EXPECT_NEAR(-10 * std::log10(noise), found.sqnr_db, 3);  // errors that have little to do with each other
  EXPECT_NEAR(share, 1, 1e-9);
  EXPECT_NEAR(macs, 1, 1e-9);
  EXPECT_TRUE(std::is_sorted(found.nodes.begin(), found.nodes.end(),
                             [](const auto& a, const auto& b) { return a.alone_db < b.alone_db; }));
  EXPECT_TRUE(found.nodes[1].restored_measured);
  EXPECT_FALSE(found.nodes[2].restored_measured);
  const Statistics statistics = quantize(graph, samples, recipes::static_w8a8(), kQuick).statistics;
  EXPECT_EQ(to_json(sensitivity(graph, statistics, samples, recipes::static_w8a8(), {.threads = 1, .restored = 2})),
            to_json(found));
}

TEST(SensitivityTest, RecipesWithoutFixedRangesAreRefused) {
  const Graph graph = fashion("fmnist_resnet8");
  EXPECT_THROW(sensitivity(graph, Noise(graph, 2), recipes::dynamic_w8a8()), Error);
}

}  // namespace
}  // namespace zeropoint
