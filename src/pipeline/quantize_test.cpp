#include "zeropoint/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <string>

#include "ops/operator.h"
#include "zeropoint/error.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;

class Noise : public Samples {
 public:
  Noise(Dims dims, std::size_t count, float offset = 0.5F) : dims_(std::move(dims)), count_(count), offset_(offset) {}
  std::size_t size() const override { return count_; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + 7);
    std::normal_distribution<float> normal(offset_);
    Tensor x(DType::f32, dims_);
    for (float& value : x.mutable_values<float>()) value = normal(random);
    return {{"images", x}};
  }
  std::optional<std::int64_t> label(std::size_t index) const override { return static_cast<std::int64_t>(index % 10); }

 private:
  Dims dims_;
  std::size_t count_;
  float offset_;
};

Graph fashion(const std::string& name) { return load(std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/" + name + ".onnx"); }

// One thread: these networks are too small to gain from more, and tests share the machine.
const QuantizeOptions kQuick{.threads = 1};
const CompareOptions kQuickly{.threads = 1};

// The choice depends on the machine; what must hold for every choice is tested.
TEST(SpeedAwareTest, TheRecipeSaysWhatStaysInFloatAndMakesTheSameFileAgain) {
  const Graph model = fashion("fmnist_vit");
  const Noise samples({1, 1, 28, 28}, 8);
  QuantizeOptions options = kQuick;
  options.timed_on = samples.get(0);
  const Quantized quantized = quantize(model, samples, recipes::static_w8a8(), options);
  ASSERT_TRUE(quantized.report.speed);
  const SpeedReport& speed = *quantized.report.speed;
  EXPECT_GT(speed.seconds, 0);
  EXPECT_GT(speed.float_seconds, 0);
  const Recipe recipe = parse_recipe(quantized.model.metadata.at(kRecipeKey));
  EXPECT_EQ(recipe.rules.size(), recipes::static_w8a8().rules.size() + speed.kept_float.size());
  for (const NodeSpeed& node : speed.kept_float) {
    EXPECT_GT(node.integer_seconds, node.float_seconds) << node.node;
    EXPECT_TRUE(std::any_of(quantized.report.left_in_float.begin(), quantized.report.left_in_float.end(),
                            [&](const FloatNode& left) { return left.node == node.node; }))
        << node.node;
  }
  EXPECT_EQ(serialize(quantize(model, quantized.statistics, recipe).model), serialize(quantized.model));
  EXPECT_THAT(to_text(quantized.report), HasSubstr("ms in float"));
  EXPECT_THAT(to_json(quantized.report), HasSubstr("\"kept_float\""));
}

TEST(SpeedAwareTest, WithoutSamplesToo) {
  QuantizeOptions options = kQuick;
  options.timed_on = Noise({1, 1, 28, 28}, 1).get(0);
  const Quantized quantized = quantize(fashion("fmnist_vit"), recipes::dynamic_w8a8(), options);
  ASSERT_TRUE(quantized.report.speed);
  EXPECT_EQ(serialize(quantize(fashion("fmnist_vit"), parse_recipe(quantized.model.metadata.at(kRecipeKey))).model),
            serialize(quantized.model));
}

TEST(StepsTest, ReportWhatTheyGained) {
  const Quantized quantized = quantize(fashion("fmnist_dscnn"), Noise({1, 1, 28, 28}, 8), recipes::static_w8a8(), kQuick);
  ASSERT_EQ(quantized.report.steps.size(), 1U);
  const StepGain& gain = quantized.report.steps[0];
  EXPECT_EQ(gain.step, "bias_correction");
  EXPECT_GT(gain.before, 100 * gain.after);
  EXPECT_THAT(to_text(quantized.report), HasSubstr("step bias_correction: mean |shift|"));
  EXPECT_THAT(to_json(quantized.report), HasSubstr("\"step\": \"bias_correction\""));
}

// Weights that a step rounded come back as it chose them, and every way of running it gives the same file.
class RoundingStepTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RoundingStepTest, GainsTheSameWithAnyThreadsAndReplays) {
  const Graph model = fashion(GetParam());
  const Noise samples({1, 1, 28, 28}, 24), others({1, 1, 28, 28}, 40);
  const Recipe plain = recipes::static_w8a8();
  for (const char* name : {"gptq", "adaround", "empirical_bias_correction"}) {
    SCOPED_TRACE(name);
    Recipe recipe = plain;
    recipe.add_step({.name = name, .parameters = {{"rows", 256}}});
    if (name == std::string_view("adaround")) recipe.steps.back().parameters.emplace_back("iterations", 50);
    const Quantized one = quantize(model, samples, recipe, {.threads = 1});
    const auto gain =
        std::find_if(one.report.steps.begin(), one.report.steps.end(), [&](const StepGain& each) { return each.step == name; });
    ASSERT_NE(gain, one.report.steps.end());
    EXPECT_EQ(gain->unit, "dB");
    EXPECT_GT(gain->after, gain->before);
    EXPECT_EQ(serialize(quantize(model, samples, recipe, {.threads = 3}).model), serialize(one.model));
    const Recipe replayed = parse_recipe(one.model.metadata.at(kRecipeKey));
    EXPECT_EQ(serialize(quantize(model, samples, replayed, {.threads = 1}).model), serialize(one.model));
    try {
      quantize(model, one.statistics, recipe, kQuick);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kBadArgument);
      EXPECT_THAT(error.what(), HasSubstr(std::string("step '") + name));
    }
    const auto sqnr = [&](const Graph& quantized) {
      return compare(model, quantized, others, kQuickly).outputs[0].error.sqnr_db;
    };
    Recipe without = plain;
    without.steps.clear();
    EXPECT_GT(sqnr(one.model), sqnr(quantize(model, samples, without, kQuick).model));
  }
}
INSTANTIATE_TEST_SUITE_P(, RoundingStepTest, ::testing::Values("fmnist_dscnn", "fmnist_vit"));

class QuantizeTest : public ::testing::TestWithParam<const char*> {};

TEST_P(QuantizeTest, FashionNetworks) {
  const Graph model = fashion(GetParam());
  const Noise samples({1, 1, 28, 28}, 24);
  const Quantized quantized = quantize(model, samples, recipes::static_w8a8(), kQuick);
  EXPECT_EQ(quantized.report.integer_coverage, 1.0);
  EXPECT_TRUE(quantized.report.left_in_float.empty()) << to_text(quantized.report);
  EXPECT_EQ(quantized.report.recipe, "static_w8a8");
  EXPECT_EQ(parse_recipe(quantized.model.metadata.at(kRecipeKey)), recipes::static_w8a8());
  EXPECT_EQ(quantized.model.metadata.at(kStatisticsKey), statistics_hash(quantized.statistics));

  // The same statistics and recipe give the same file, whichever way they come.
  EXPECT_EQ(serialize(quantize(model, quantized.statistics).model), serialize(quantized.model));
  EXPECT_EQ(serialize(quantize(model, parse_statistics(serialize(quantized.statistics))).model), serialize(quantized.model));

  const Noise others({1, 1, 28, 28}, 40);
  const Report report = compare(model, quantized.model, others, {.threads = 1, .values = true});
  EXPECT_GT(report.outputs[0].error.sqnr_db, 28) << to_text(report);
  EXPECT_GE(*report.outputs[0].top1_agreement, 0.95);
  EXPECT_GE(*report.integer_coverage, 0.99);
  ASSERT_GE(report.values.size(), 10U);
  EXPECT_EQ(report.values[0].value, "images");
  for (const ValueMetrics& value : report.values) EXPECT_GT(value.error.sqnr_db, 20) << value.value;
  ASSERT_TRUE(report.float_accuracy);
  EXPECT_EQ(evaluate(model, others, kQuickly).top1, report.float_accuracy->top1);
  EXPECT_EQ(evaluate(quantized.model, others, kQuickly).top1, report.quantized_accuracy->top1);
  EXPECT_THAT(to_text(report), HasSubstr("top-1 agreement"));
  EXPECT_THAT(to_json(report), HasSubstr("\"top1_agreement\""));
}
INSTANTIATE_TEST_SUITE_P(, QuantizeTest, ::testing::Values("fmnist_resnet8", "fmnist_dscnn"));

TEST(QuantizeRecipeTest, BiasCorrectionPays) {
  const Graph model = fashion("fmnist_dscnn");
  const Noise samples({1, 1, 28, 28}, 24), others({1, 1, 28, 28}, 30);
  Recipe without = recipes::static_w8a8();
  without.steps.clear();
  const auto sqnr = [&](const Recipe& recipe) {
    return compare(model, quantize(model, samples, recipe, kQuick).model, others, kQuickly).outputs[0].error.sqnr_db;
  };
  EXPECT_GT(sqnr(recipes::static_w8a8()), sqnr(without));
}

TEST(QuantizeRecipeTest, KeptInFloat) {
  const Graph model = fashion("fmnist_resnet8");
  Recipe recipe = recipes::static_w8a8();
  recipe.keep_float("/5/Gemm");
  const Quantized quantized = quantize(model, Noise({1, 1, 28, 28}, 4), recipe, kQuick);
  EXPECT_LT(*quantized.report.integer_coverage, 1.0);
  ASSERT_EQ(quantized.report.left_in_float.size(), 1U) << to_text(quantized.report);
  EXPECT_EQ(quantized.report.left_in_float[0].node, "/5/Gemm");
  EXPECT_THAT(quantized.report.left_in_float[0].reason, HasSubstr("'/5/Gemm'"));
}

TEST(QuantizeRecipeTest, EveryRangeMethodWorks) {
  const Graph model = fashion("fmnist_resnet8");
  const Noise samples({1, 1, 28, 28}, 8);
  Statistics statistics;
  for (const std::string& method : range_methods()) {
    Recipe recipe = recipes::static_w8a8();
    recipe.set_range(method);
    const Quantized quantized =
        statistics.samples == 0 ? quantize(model, samples, recipe, kQuick) : quantize(model, statistics, recipe);
    if (statistics.samples == 0) statistics = quantized.statistics;
    EXPECT_GT(compare(model, quantized.model, samples, kQuickly).outputs[0].error.sqnr_db, 15) << method;
  }
}

// The first note with `part` in it.
std::string note_with(const Quantized& quantized, const std::string& part) {
  for (const std::string& note : quantized.report.notes)
    if (note.find(part) != std::string::npos) return note;
  return "";
}

TEST(QuantizeRecipeTest, TellsOfModelsThatTheTargetMayRefuse) {
  Graph model = fashion("fmnist_resnet8");
  const auto warning = [&] { return note_with(quantize(model, recipes::named("weight_only_w8")), "opset"); };
  EXPECT_EQ(warning(), "");
  model.opsets[""] = 27;
  EXPECT_THAT(warning(), HasSubstr("warning: the model has opset 27, onnxruntime is known to take opsets up to 26"));
}

TEST(QuantizeRecipeTest, WarnsWhereARecipeServesAModelBadly) {
  const Quantized recurrent = quantize(fashion("fmnist_lstm"), Noise({1, 1, 28, 28}, 2), recipes::static_w8a8(), kQuick);
  EXPECT_LT(*recurrent.report.integer_coverage, 0.01);
  const std::string little = note_with(recurrent, "of its multiply-accumulates become integers");
  EXPECT_THAT(little, HasSubstr("warning: only 0.0"));
  EXPECT_THAT(little, HasSubstr("What to do: the recipe dynamic_w8a8"));
  EXPECT_EQ(note_with(quantize(fashion("fmnist_lstm"), recipes::dynamic_w8a8()), "multiply-accumulates"), "");

  Recipe weights = recipes::named("weight_only_w8");
  EXPECT_THAT(
      note_with(quantize(fashion("fmnist_resnet8"), weights), "warning: onnxruntime makes the weights of 9 convolutions"),
      HasSubstr("static_w8a8"));
  EXPECT_EQ(note_with(quantize(fashion("fmnist_lstm"), weights), "convolutions"), "");
  weights.target = Target::zeropoint;
  EXPECT_EQ(note_with(quantize(fashion("fmnist_resnet8"), weights), "convolutions"), "");
}

TEST(QuantizeRecipeTest, BodiesOfControlFlowAreListed) {
  const Graph model = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,4], c: b8[]) -> (y: f32[1,2]) {
  w = f32[4,4]{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
  h = MatMul(x, w) # first
  y = If(c) {else_branch=graph e() -> (b: f32[1,2]) {
    v = f32[4,2]{1, 2, 3, 4, 5, 6, 7, 8}
    b = MatMul(h, v) # second
  }, then_branch=graph t() -> (a: f32[1,2]) {
    u = f32[4,2]{1, 2, 3, 4, 5, 6, 7, 8}
    a = MatMul(h, u) # third
  }} # choose
}
)");
  for (const char* recipe : {"dynamic_w8a8", "weight_only_w8"}) {
    const Report report = quantize(model, recipes::named(recipe)).report;
    std::set<std::string> nodes;
    for (const FloatNode& node : report.left_in_float) nodes.insert(node.op_type + ": " + node.reason);
    EXPECT_THAT(nodes, ::testing::Contains(HasSubstr("MatMul: inside a body of")));
    EXPECT_THAT(nodes, ::testing::Contains("If: control flow: bodies stay in float"));
    EXPECT_DOUBLE_EQ(*report.integer_coverage, std::string(recipe) == "dynamic_w8a8" ? 16.0 / 24 : 0);
  }
}

TEST(QuantizeRecipeTest, ModelsOfHalfPrecisionAreToldHowToGoOn) {
  const Graph model = parse_graph(R"(ir_version 8
opset 17
graph g(x: f16[1,4]) -> (y: f16[1,2]) {
  w = f16[4,2]{1, 2, 3, 4, 5, 6, 7, 8}
  y = MatMul(x, w)
}
)");
  for (const char* recipe : {"dynamic_w8a8", "weight_only_w8", "weight_only_w4_g32"}) {
    try {
      quantize(model, recipes::named(recipe));
      ADD_FAILURE() << recipe;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("its weights are f16"));
      EXPECT_THAT(error.what(), HasSubstr("export the model in float32"));
    }
  }
}

TEST(QuantizeRecipeTest, Errors) {
  const Graph model = fashion("fmnist_resnet8");
  const Noise samples({1, 1, 28, 28}, 2);
  const auto code = [](const auto& act) {
    try {
      act();
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code([&] { quantize(model, Noise({1, 1, 28, 28}, 0)); }), ErrorCode::kBadSample);
  const Quantized quantized = quantize(model, samples, recipes::static_w8a8(), kQuick);
  EXPECT_EQ(code([&] { quantize(quantized.model, samples); }), ErrorCode::kUnsupported) << "quantized already";
  EXPECT_EQ(code([&] { quantize(fashion("fmnist_dscnn"), quantized.statistics); }), ErrorCode::kMismatch);
  EXPECT_EQ(code([&] { compare(model, quantized.model, Noise({1, 1, 28, 28}, 0)); }), ErrorCode::kBadSample);
  Recipe nothing = recipes::static_w8a8();
  nothing.rules.clear();
  EXPECT_EQ(code([&] { quantize(model, samples, nothing); }), ErrorCode::kUnsupported);
  Statistics bare = quantized.statistics;
  for (auto& [name, value] : bare.values) {
    value.channel_max.clear();
    value.channel_mean_sum.clear();
  }
  EXPECT_EQ(code([&] { quantize(model, bare); }), ErrorCode::kMismatch) << "no means for bias_correction";
}

}  // namespace
}  // namespace zeropoint
