#include "zeropoint/budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "zeropoint/error.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Noise : public Samples {
 public:
  explicit Noise(std::size_t count, unsigned seed = 7) : count_(count), seed_(seed) {}
  std::size_t size() const override { return count_; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + seed_);
    std::normal_distribution<float> normal;
    Tensor x(DType::f32, {4, 16});
    for (float& value : x.mutable_values<float>()) value = normal(random);
    return {{"x", x}};
  }

 private:
  std::size_t count_;
  unsigned seed_;
};

Graph four_products() {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[4,16]) -> (y: f32[4,16]) {
  p = MatMul(x, w1) "first"
  q = Relu(p) "relu1"
  r = MatMul(q, w2) "second"
  s = Relu(r) "relu2"
  t = MatMul(s, w3) "third"
  u = Relu(t) "relu3"
  y = MatMul(u, w4) "fourth"
}
)");
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.3F);
  for (const char* name : {"w1", "w2", "w3", "w4"}) {
    Tensor w(DType::f32, {16, 16});
    for (float& value : w.mutable_values<float>()) value = normal(random);
    graph.initializers[name] = w;
  }
  return graph;
}

// Not a MatMul of float weights: those of integers stand behind a DequantizeLinear, or are MatMulInteger's.
bool is_integer(const Graph& model, const std::string& node) {
  return std::ranges::none_of(
      model.nodes, [&](const Node& each) { return each.name == node && each.is("MatMul") && model.constant(each.input(1)); });
}

// 100 for the float model; what each node takes off in integers is given.
Metric given(std::vector<std::pair<std::string, double>> losses, int* calls = nullptr) {
  return {.name = "given", .value = [=](const Graph& model) {
            if (calls) ++*calls;
            double value = 100;
            for (const auto& [node, loss] : losses)
              if (is_integer(model, node)) value -= loss;
            return value;
          }};
}

BudgetOptions quick() {
  BudgetOptions options;
  options.quantize.threads = 1;
  return options;
}

TEST(BudgetTest, TakesTheWholeRecipeWhereItMeetsTheBudget) {
  const Quantized result = quantize_within(four_products(), Noise(8), given({{"first", 0.1}, {"second", 0.2}}),
                                           {.max_drop = 0.5}, recipes::static_w8a8(), quick());
  ASSERT_TRUE(result.report.budget);
  EXPECT_TRUE(result.report.budget->met);
  EXPECT_EQ(result.report.budget->limit, 99.5);
  for (const char* node : {"first", "second", "third", "fourth"}) EXPECT_TRUE(is_integer(result.model, node)) << node;
}

// The weights of one layer hold an outlier that, per tensor, leaves the others no steps.
Graph with_an_outlier(const std::string& weights) {
  Graph graph = four_products();
  graph.initializers[weights].mutable_values<float>()[5] = 60;
  return graph;
}

Recipe per_tensor() {
  Recipe recipe = recipes::static_w8a8();
  recipe.rules[0].weight->granularity = PerTensor{};
  recipe.steps.clear();
  return recipe;
}

TEST(BudgetTest, LeavesInFloatWhatCausesTheErrorAndNoMore) {
  const Graph model = with_an_outlier("w3");
  const Noise judged(16, 1000);
  const Metric sqnr = named_metric("sqnr", model, judged, {.threads = 1});
  const double whole = sqnr.value(quantize(model, Noise(8), per_tensor(), {.threads = 1}).model);
  Recipe without = per_tensor();
  without.keep_float("third");
  const double best = sqnr.value(quantize(model, Noise(8), without, {.threads = 1}).model);
  ASSERT_GT(best, whole + 6);
  const Quantized result = quantize_within(model, Noise(8), sqnr, {.limit = best - 1}, per_tensor(), quick());
  EXPECT_TRUE(result.report.budget->met);
  const auto& tried = result.report.budget->tried;
  const auto found = std::ranges::find(tried, "static_w8a8, 1 node in float", &TriedModel::label);
  ASSERT_NE(found, tried.end());
  EXPECT_TRUE(found->within);
  const Graph one = quantize(model, Noise(8), parse_recipe(found->recipe), {.threads = 1}).model;
  EXPECT_FALSE(is_integer(one, "third"));
  for (const char* node : {"first", "second", "fourth"}) EXPECT_TRUE(is_integer(one, node)) << node;
  EXPECT_GE(sqnr.value(result.model), best - 1);
}

TEST(BudgetTest, WhatTheCallerKeepsInFloatStaysThereAtEveryLevel) {
  Recipe recipe = recipes::static_w8a8();
  recipe.keep_float("second");
  BudgetOptions options = quick();
  options.objective = Objective::smallest;
  const Graph model = with_an_outlier("w3");
  const Noise judged(16, 1000);
  const Quantized result =
      quantize_within(model, Noise(8), named_metric("sqnr", model, judged, {.threads = 1}), {.limit = 20}, recipe, options);
  ASSERT_GT(result.report.budget->tried.size(), 2U);
  for (const TriedModel& tried : result.report.budget->tried) {
    const Quantized made = quantize(model, Noise(8), parse_recipe(tried.recipe), {.threads = 1, .verify = false});
    EXPECT_FALSE(is_integer(made.model, "second")) << tried.label;
  }
}

TEST(BudgetTest, ReplayingTheRecipeMakesTheSameFile) {
  const Graph model = with_an_outlier("w2");
  const Noise judged(16, 1000);
  const Quantized result = quantize_within(model, Noise(8), named_metric("sqnr", model, judged, {.threads = 1}), {.limit = 25},
                                           per_tensor(), quick());
  const Recipe recipe = parse_recipe(result.model.metadata.at(kRecipeKey));
  EXPECT_EQ(serialize(quantize(model, Noise(8), recipe, {.threads = 1}).model), serialize(result.model));
}

TEST(BudgetTest, GivesTheBestWhereNothingMeetsIt) {
  // Any integer node is too much, 16-bit floats are, and the float model is no result.
  Metric metric = given({{"first", 5}, {"second", 4}, {"third", 3}, {"fourth", 2}});
  metric.value = [of_integers = metric.value](const Graph& model) {
    const bool halves = std::any_of(model.initializers.begin(), model.initializers.end(),
                                    [](const auto& each) { return each.second.dtype() == DType::f16; });
    return of_integers(model) - (halves ? 1 : 0);
  };
  const Quantized result =
      quantize_within(four_products(), Noise(8), metric, {.max_drop = 0.5}, recipes::static_w8a8(), quick());
  const BudgetReport& budget = *result.report.budget;
  EXPECT_FALSE(budget.met);
  double best = 0;
  for (const TriedModel& tried : budget.tried) {
    EXPECT_FALSE(tried.within) << tried.label;
    best = std::max(best, tried.value);
  }
  for (const TriedModel& tried : budget.tried) EXPECT_TRUE(!tried.chosen || tried.value == best) << tried.label;
}

TEST(BudgetTest, LessIsBetterForMse) {
  const Graph model = with_an_outlier("w1");
  const Noise judged(16, 1000);
  const Metric mse = named_metric("mse", model, judged, {.threads = 1});
  EXPECT_EQ(mse.value(model), 0);
  const double whole = mse.value(quantize(model, Noise(8), per_tensor(), {.threads = 1}).model);
  const Quantized result = quantize_within(model, Noise(8), mse, {.max_drop = whole / 4}, per_tensor(), quick());
  EXPECT_TRUE(result.report.budget->met);
  EXPECT_LE(mse.value(result.model), whole / 4);
}

TEST(BudgetTest, GoesOnFromWhatWasTriedBeforeAnInterruption) {
  const std::filesystem::path cache = std::filesystem::path(::testing::TempDir()) / "budget_test.search";
  std::filesystem::remove(cache);
  const Graph model = with_an_outlier("w3");
  const Noise judged(16, 1000);
  const Metric sqnr = named_metric("sqnr", model, judged, {.threads = 1});
  int calls = 0, allowed = 2;
  const Metric counted{.name = "counted", .value = [&](const Graph& graph) {
                         if (calls++ == allowed) throw Error(ErrorCode::kInterrupted, "test", "stopped");
                         return sqnr.value(graph);
                       }};
  BudgetOptions options = quick();
  options.cache = cache;
  const Budget budget{.limit = sqnr.value(quantize(model, Noise(8), per_tensor(), {.threads = 1}).model) + 6};
  EXPECT_THROW(quantize_within(model, Noise(8), counted, budget, per_tensor(), options), Error);
  ASSERT_TRUE(std::filesystem::exists(cache));
  allowed = 1000, calls = 0;
  const Quantized whole = quantize_within(model, Noise(8), counted, budget, per_tensor(), quick());
  const int all = std::exchange(calls, 0);
  options.resume = true;
  const Quantized resumed = quantize_within(model, Noise(8), counted, budget, per_tensor(), options);
  EXPECT_EQ(calls, all - 2);
  EXPECT_EQ(serialize(resumed.model), serialize(whole.model));
  EXPECT_FALSE(std::filesystem::exists(cache));
}

TEST(BudgetTest, RefusesTheRecordOfAnotherSearchAndDamagedOnes) {
  const std::filesystem::path cache = std::filesystem::path(::testing::TempDir()) / "budget_other.search";
  BudgetOptions options = quick();
  options.cache = cache;
  options.resume = true;
  const auto code_for = [&](const std::string& text) {
    write_file(cache, text);
    try {
      quantize_within(four_products(), Noise(8), given({}), {.max_drop = 1}, recipes::static_w8a8(), options);
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code_for(R"({"search": "of something else", "tried": []})"), ErrorCode::kMismatch);
  for (const char* text : {"", "{", "[]", "{}", R"({"search": 1})", R"({"search": "x"})"})
    EXPECT_EQ(code_for(text), text == std::string(R"({"search": "x"})") ? ErrorCode::kMismatch : ErrorCode::kBadFile) << text;
}

TEST(BudgetTest, AsksForOneBudgetThatMeansSomething) {
  const Graph model = four_products();
  const Noise judged(4);
  const auto message = [&](const Metric& metric, const Budget& budget) -> std::string {
    try {
      quantize_within(model, Noise(8), metric, budget, recipes::static_w8a8(), quick());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(given({}), {}), HasSubstr("one of the two"));
  EXPECT_THAT(message(given({}), {.max_drop = 1, .limit = 2}), HasSubstr("one of the two"));
  EXPECT_THAT(message(named_metric("sqnr", model, judged, {.threads = 1}), {.max_drop = 1}), HasSubstr("give a limit"));
  EXPECT_THAT(message({.name = "odd", .value = [](const Graph&) { return std::nan(""); }}, {.limit = 1}), HasSubstr("NaN"));
  EXPECT_THROW(named_metric("bleu", model, judged), Error);
  EXPECT_NE(named_metric("sqnr", model, judged).identity, named_metric("sqnr", model, Noise(4, 8)).identity);
}

TEST(BudgetTest, ParetoMarksWhatNothingTriedSurpasses) {
  const Graph model = with_an_outlier("w3");
  const Noise judged(16, 1000);
  const Quantized result = quantize_within(model, Noise(8), named_metric("sqnr", model, judged, {.threads = 1}), {.limit = 30},
                                           per_tensor(), quick());
  const std::vector<TriedModel>& tried = result.report.budget->tried;
  ASSERT_GT(tried.size(), 1U);
  for (const TriedModel& one : tried) {
    bool surpassed = false;
    for (const TriedModel& other : tried)
      surpassed |= other.bytes <= one.bytes && other.value >= one.value && (other.bytes < one.bytes || other.value > one.value);
    EXPECT_EQ(one.pareto, !surpassed) << one.label;
  }
}

}  // namespace
}  // namespace zeropoint
