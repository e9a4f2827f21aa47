#include "analyze/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/ceiling/ceiling.h"
#include "zeropoint/error.h"

namespace zeropoint::analyze {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

BenchReport example() {
  BenchReport report{.threads = 2,
                     .isas = "scalar avx2",
                     .runs = 40,
                     .min_seconds = 0.001,
                     .median_seconds = 0.002,
                     .p95_seconds = 0.003,
                     .gop_per_s = 100,
                     .ceiling_share = 0.25,
                     .integer_coverage = 0.75,
                     .int8 = {"ceiling_int8_avx2", 400e9},
                     .fp32 = {"ceiling_fp32_avx2", 200e9}};
  report.steps.push_back({.step = {.name = "relu", .op = "Relu", .kernel = "elementwise", .seconds = 0.0001}});
  report.steps.push_back(
      {.step = {.name = "conv", .op = "Conv", .kernel = "conv_q8", .integer = true, .macs = 40'000'000, .seconds = 0.0004},
       .gop_per_s = 200,
       .ceiling_share = 0.5});
  return report;
}

TEST(BenchTextTest, SlowestFirst) {
  const std::string text = to_text(example(), 1);
  EXPECT_THAT(text, HasSubstr("     400.0   80.0 %      200     50 %  Conv "));
  EXPECT_THAT(text, Not(HasSubstr("Relu")));
  EXPECT_THAT(text, HasSubstr("     100.0   20.0 %  1 more steps\n"));
  EXPECT_THAT(
      text, HasSubstr("ceilings of 2 threads: 400 GOP/s in integers (ceiling_int8_avx2), 200 in float (ceiling_fp32_avx2)\n"));
  EXPECT_THAT(text, HasSubstr("min 1.000 ms, median 2.000 ms, p95 3.000 ms of 40 runs; 100.0 GOP/s, 25.0 % of the ceiling; "
                              "75.0 % of the work in integers\n"));
}

TEST(BenchTextTest, AllInTheOrderOfThePlan) {
  const std::string text = to_text(example(), std::nullopt);
  EXPECT_LT(text.find("relu"), text.find("conv_q8"));
  EXPECT_THAT(text, Not(HasSubstr("more steps")));
}

TEST(BenchTextTest, Json) {
  const auto json = nlohmann::json::parse(to_json(example()));
  EXPECT_EQ(json["min_ms"], 1);
  EXPECT_EQ(json["ceiling_percent"], 25);
  EXPECT_EQ(json["ceilings"]["int8"]["loop"], "ceiling_int8_avx2");
  EXPECT_EQ(json["ceilings"]["fp32"]["gop_per_s"], 200);
  ASSERT_EQ(json["nodes"].size(), 2U);
  EXPECT_TRUE(json["nodes"][0]["gop_per_s"].is_null());
  EXPECT_EQ(json["nodes"][1]["ms"], 0.4);
  EXPECT_EQ(json["nodes"][1]["ceiling_percent"], 50);
}

// y = relu(x) * w for x [4,64], w [64,32].
Graph product() {
  Graph graph;
  graph.opsets[""] = 17;
  graph.inputs = {{"x", {DType::f32, {{Dim(4), Dim(64)}}}}};
  graph.outputs = {{"y", {DType::f32, {{Dim(4), Dim(32)}}}}};
  graph.initializers.emplace("w", Tensor::of<float>({64, 32}, std::vector<float>(64 * 32, 0.5F)));
  graph.nodes.push_back({.name = "relu", .op_type = "Relu", .inputs = {"x"}, .outputs = {"r"}});
  graph.nodes.push_back({.name = "product", .op_type = "MatMul", .inputs = {"r", "w"}, .outputs = {"y"}});
  return graph;
}

TEST(BenchTest, TimesStepsBesideTheCeilings) {
  const Feeds feeds = {{"x", Tensor::of<float>({4, 64}, std::vector<float>(256, 1))}};
  const BenchReport report = bench(product(), feeds, {.threads = 1, .max_isa = Isa::scalar}, 0.02);
  EXPECT_EQ(report.threads, 1);
  EXPECT_EQ(report.isas, "scalar");
  EXPECT_GE(report.runs, 10);
  EXPECT_GT(report.min_seconds, 0);
  EXPECT_LE(report.min_seconds, report.median_seconds);
  EXPECT_LE(report.median_seconds, report.p95_seconds);
  EXPECT_EQ(report.int8.loop, kernels::select_ceiling(kernels::Arithmetic::int8, IsaSet()).name);
  EXPECT_GT(report.fp32.operations_per_second, 0);
  EXPECT_EQ(report.integer_coverage, 0);
  std::int64_t macs = 0;
  for (const StepSpeed& speed : report.steps) {
    macs += speed.step.macs;
    EXPECT_EQ(speed.gop_per_s.has_value(), speed.step.macs > 0 && speed.step.seconds > 0) << speed.step.name;
    if (speed.gop_per_s) {
      EXPECT_NEAR(*speed.gop_per_s * 1e9 / report.fp32.operations_per_second, *speed.ceiling_share, 1e-9);
    }
  }
  EXPECT_EQ(macs, 4 * 64 * 32);
  EXPECT_NEAR(report.gop_per_s * 1e9 * report.min_seconds, 2 * 4 * 64 * 32, 1e-3);
}

TEST(BenchTest, StopsWhenInterrupted) {
  const Feeds feeds = {{"x", Tensor(DType::f32, {4, 64})}};
  const std::atomic<bool> interrupt{true};
  EXPECT_THROW(bench(product(), feeds, {.threads = 1}, 60, &interrupt), Error);
}

}  // namespace
}  // namespace zeropoint::analyze
