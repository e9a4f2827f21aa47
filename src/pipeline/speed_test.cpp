#include "pipeline/speed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace zeropoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Graph three_products() {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[4,16]) -> (y: f32[4,16]) {
  p = MatMul(x, w1) "first"
  r = Tanh(p) "tanh1"
  q = MatMul(r, w2) "second"
  s = Tanh(q) "tanh2"
  y = MatMul(s, w3) "third"
}
)");
  for (const char* name : {"w1", "w2", "w3"}) {
    Tensor w(DType::f32, {16, 16});
    float next = 0.25F;
    for (float& value : w.mutable_values<float>()) value = next = -next + 0.001F;
    graph.initializers[name] = w;
  }
  return fuse(graph);
}

class Lines : public Samples {
 public:
  std::size_t size() const override { return 2; }
  Feeds get(std::size_t index) const override {
    Tensor x(DType::f32, {4, 16});
    for (float& value : x.mutable_values<float>()) value = static_cast<float>(index) - 0.5F;
    return {{"x", x}};
  }
};

// Given times, in seconds: a node's in float and in integers; each conversion takes `conversion`.
struct GivenTimes {
  std::map<std::string, std::pair<double, double>> nodes;
  double conversion = 0;

  std::vector<StepInfo> steps(const Graph& graph) const {
    std::vector<StepInfo> steps = Session(graph, {.threads = 1}).steps();
    for (StepInfo& step : steps) {
      const auto own = nodes.find(step.name);
      step.seconds = own == nodes.end() ? conversion : (step.integer ? own->second.second : own->second.first);
    }
    return steps;
  }
  double total(const Graph& graph) const {
    double sum = 0;
    for (const StepInfo& step : steps(graph)) sum += step.seconds;
    return sum;
  }
  SpeedChoice choose() const {
    const Graph fused = three_products();
    const Timing timing{.steps = [&](const Graph& graph) { return steps(graph); },
                        .compare = [&](const Graph& a, const Graph& b) { return std::pair(total(a), total(b)); }};
    return choose_by_times(
        fused, recipes::static_w8a8(),
        [&](const Recipe& recipe) { return quantize(fused, Lines(), recipe, {.threads = 1, .verify = false}).model; }, timing);
  }
};

std::vector<std::string> kept(const SpeedChoice& choice) {
  std::vector<std::string> names;
  for (const NodeSpeed& node : choice.report.kept_float) names.push_back(node.node);
  return names;
}

TEST(ChooseByTimesTest, WhatIntegersMakeSlowerStaysInFloat) {
  const GivenTimes times{
      .nodes = {{"first", {5, 1}}, {"second", {2, 4}}, {"third", {5, 1}}, {"tanh1", {1, 1}}, {"tanh2", {1, 1}}}};
  const SpeedChoice choice = times.choose();
  ASSERT_THAT(kept(choice), ElementsAre("second"));
  EXPECT_EQ(choice.report.kept_float[0].op_type, "MatMul");
  EXPECT_EQ(choice.report.kept_float[0].float_seconds, 2);
  EXPECT_EQ(choice.report.kept_float[0].integer_seconds, 4);
  EXPECT_EQ(choice.report.float_seconds, 5 + 2 + 5 + 1 + 1);
  EXPECT_EQ(choice.report.seconds, 1 + 2 + 1 + 1 + 1);
  Recipe expected = recipes::static_w8a8();
  EXPECT_EQ(choice.recipe, expected.keep_float("second"));
}

// All are faster by themselves, but quantizing what the functions between them make takes longer than is gained.
TEST(ChooseByTimesTest, ConversionsCountForTheNodeThatNeedsThem) {
  const GivenTimes times{
      .nodes = {{"first", {9, 1}}, {"second", {2, 1}}, {"third", {9, 1}}, {"tanh1", {1, 1}}, {"tanh2", {1, 1}}},
      .conversion = 3};
  const SpeedChoice choice = times.choose();
  ASSERT_THAT(kept(choice), ElementsAre("second"));
  EXPECT_EQ(choice.report.kept_float[0].integer_seconds, 1 + 3);
}

TEST(ChooseByTimesTest, NothingStaysInFloatWhereNothingIsSlower) {
  const GivenTimes times{
      .nodes = {{"first", {2, 1}}, {"second", {2, 2}}, {"third", {2, 1}}, {"tanh1", {1, 1}}, {"tanh2", {1, 1}}}};
  const SpeedChoice choice = times.choose();
  EXPECT_THAT(kept(choice), IsEmpty());
  EXPECT_EQ(choice.recipe, recipes::static_w8a8());
}

TEST(ChooseByTimesTest, SomethingIsQuantizedEvenWhereFloatIsFaster) {
  const GivenTimes times{
      .nodes = {{"first", {1, 9}}, {"second", {1, 3}}, {"third", {1, 2}}, {"tanh1", {1, 1}}, {"tanh2", {1, 1}}}};
  EXPECT_THAT(kept(times.choose()), ElementsAre("first", "second"));
}

}  // namespace
}  // namespace zeropoint
