#include "engine/autotune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "base/file.h"
#include "kernels/conv_q8/conv_q8.h"
#include "ops/operator.h"
#include "zeropoint/passes.h"
#include "zeropoint/session.h"

namespace zeropoint::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

Graph quantized(const std::string& name) {
  return load(fs::path(ZEROPOINT_SOURCE_DIR) / "tests/data/quantized" / (name + ".onnx"));
}

Tensor pictures() {
  Tensor images(DType::f32, {2, 1, 28, 28});
  float next = -0.8F;
  for (float& value : images.mutable_values<float>()) value = next = next > 1.9F ? -0.81F : next + 0.037F;
  return images;
}

class KernelChoiceTest : public ::testing::TestWithParam<const char*> {};

// Whatever is chosen, the bytes are the same.
TEST_P(KernelChoiceTest, NeverChangesAResult) {
  const Graph graph = quantized(GetParam());
  const Tensor images = pictures();
  std::optional<Tensor> expected;
  std::set<std::string, std::less<>> kernels;
  for (const int threads : {1, 2})
    for (const bool all_other_sharing : {false, true})
      for (const std::size_t alternative : {0, 1, 2, 3, 9}) {
        ThreadPool pool(threads);
        const Tuning tuning{.alternative = alternative, .all_other_sharing = all_other_sharing};
        const LowerOptions lower{.threads = threads, .isas = allowed_isas(), .tuning = std::make_shared<const Tuning>(tuning)};
        Stage stage(graph, {.lower = lower}, pool, std::make_shared<PackCache>());
        const Tensor result = stage.run(std::vector{images}).front();
        if (!expected) expected = result;
        EXPECT_EQ(result, *expected) << alternative << ", " << threads << " threads";
        for (const StepInfo& step : stage.summary().steps) kernels.insert(step.kernel);
      }
  const auto usable = std::ranges::count_if(kernels::conv_q8_kernels(), [](const kernels::ConvKernel& kernel) {
    return kernel.needs != Isa::scalar && allowed_isas().contains(kernel.needs) &&
           kernel.supports({.w = 64, .c = 64, .ow = 64, .o = 64, .src_stride = 64, .dst_stride = 64});
  });
  const auto used = std::ranges::count_if(kernels::conv_q8_kernels(), [&](const kernels::ConvKernel& kernel) {
    return kernel.needs != Isa::scalar && kernels.contains(kernel.name) && kernel.name.starts_with("conv");
  });
  EXPECT_GE(used, std::min<std::ptrdiff_t>(usable, 2)) << "the alternatives were other kernels";
}
INSTANTIATE_TEST_SUITE_P(Networks, KernelChoiceTest,
                         ::testing::Values("fmnist_dscnn.static", "fmnist_resnet8.static", "fmnist_vit.static",
                                           "fmnist_lstm.dynamic"),  // vit.dynamic is all fused products
                         [](const auto& network) {
                           std::string name = network.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

class AutotuneTest : public ::testing::Test {
 protected:
  AutotuneTest() : folder_(fs::temp_directory_path() / ("autotune_test_" + std::to_string(::getpid()))) {}
  ~AutotuneTest() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Session session(const Graph& graph) const {
    return Session(graph, {.threads = 1, .shapes = {{"images", {2, 1, 28, 28}}}, .autotune = true, .tuning_folder = folder_});
  }
  fs::path only_file() const {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) files.push_back(entry.path());
    EXPECT_EQ(files.size(), 1U);
    return files.at(0);
  }
  const fs::path folder_;
};

TEST_F(AutotuneTest, MeasuresOnceAndKeepsTheResult) {
  const Graph graph = quantized("fmnist_resnet8.static");
  const std::vector<Tensor> expected = Session(graph, {.threads = 1}).run({{"images", pictures()}});
  Session first = session(graph);
  EXPECT_EQ(first.run({{"images", pictures()}}), expected);
  EXPECT_THAT(first.explain(), HasSubstr("autotuned: "));
  const std::string kept = read_file(only_file());
  Session second = session(graph);
  EXPECT_EQ(read_file(only_file()), kept);
  EXPECT_EQ(second.explain(), first.explain());
}

TEST_F(AutotuneTest, ADamagedFileIsMeasuredAnew) {
  const Graph graph = quantized("fmnist_dscnn.static");
  session(graph);
  const fs::path file = only_file();
  write_file(file, std::string("{\"version\": 1, \"ker"));
  Session again = session(graph);
  EXPECT_THAT(read_file(file), HasSubstr("\"kernels\""));
  EXPECT_EQ(again.run({{"images", pictures()}}), Session(graph, {.threads = 1}).run({{"images", pictures()}}));
}

TEST_F(AutotuneTest, WhatTheFileSaysIsDone) {
  const Graph graph = quantized("fmnist_resnet8.static");
  const auto by_table = session(graph).steps();
  const auto convolution =
      std::ranges::find_if(by_table, [](const StepInfo& step) { return step.kernel.starts_with("conv_u8s8"); });
  ASSERT_NE(convolution, by_table.end());
  // The last vectorized kernel of the table takes every shape; the reference is not for choice.
  const kernels::ConvKernel* last = nullptr;
  for (const kernels::ConvKernel& kernel : kernels::conv_q8_kernels())
    if (kernel.needs != Isa::scalar && allowed_isas().contains(kernel.needs)) last = &kernel;
  if (last == nullptr) GTEST_SKIP() << "this machine has one kernel alone";
  std::string text = read_file(only_file());
  const std::string choice = "\"" + convolution->name + "\": \"" + std::string(last->name) + "\"";
  const std::size_t start = text.find("\"kernels\": {") + 12;
  text.replace(start, text.find('}', start) - start, choice);
  write_file(only_file(), text);
  Session tuned = session(graph);
  const auto steps = tuned.steps();
  EXPECT_EQ(std::ranges::find(steps, convolution->name, &StepInfo::name)->kernel, last->name);
  EXPECT_THAT(tuned.explain(), HasSubstr("autotuned: 1 steps by another kernel"));
  EXPECT_EQ(tuned.run({{"images", pictures()}}), Session(graph, {.threads = 1}).run({{"images", pictures()}}));
}

// From the slowest kernels, an order of magnitude behind, the search must find its way.
TEST_F(AutotuneTest, FindsFasterKernels) {
  if (!allowed_isas().contains(Isa::avx512vnni)) GTEST_SKIP() << "needs kernels that differ by far";
  const Graph graph = quantized("fmnist_resnet8.static");
  ThreadPool pool(1);
  const auto slow = std::make_shared<const Tuning>(Tuning{.alternative = 2});
  const LowerOptions lower{.isas = allowed_isas(), .tuning = slow};
  const std::optional<Tuning> tuning = autotune(graph, {{8, 1, 28, 28}}, {.lower = lower}, pool);
  ASSERT_TRUE(tuning);
  EXPECT_FALSE(tuning->kernels.empty());
  for (const auto& [step, kernel] : tuning->kernels) EXPECT_THAT(kernel, ::testing::StartsWith("conv_u8s8s32_")) << step;
  EXPECT_EQ(autotune(graph, {{8, 1, 28, 28}}, {.lower = lower}, pool, 0), Tuning{}) << "no time, nothing tried";
}

// Attention has one kernel: what its steps gain beside another contender is chance.
TEST_F(AutotuneTest, NamesOnlyStepsWhoseKernelIsAnother) {
  const Graph graph = quantized("fmnist_vit.dynamic");
  ThreadPool pool(1);
  const LowerOptions lower{.isas = allowed_isas(), .tuning = std::make_shared<const Tuning>(Tuning{.alternative = 2})};
  Stage stage(graph, {.lower = lower}, pool, std::make_shared<PackCache>());
  stage.run(std::vector{pictures()});
  const std::vector<StepInfo> steps = stage.summary().steps;
  const std::optional<Tuning> tuning = autotune(graph, {{2, 1, 28, 28}}, {.lower = lower}, pool);
  ASSERT_TRUE(tuning);
  for (const auto& [step, kernel] : tuning->kernels) {
    const auto before = std::ranges::find(steps, step, &StepInfo::name);
    ASSERT_NE(before, steps.end()) << step;
    EXPECT_NE(kernel, before->kernel) << step;
  }
}

TEST_F(AutotuneTest, AFailedSearchLeavesNoFile) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,1,H,W]) -> (y: f32[?,?,?,?]) {
  y = MaxPool(x) {kernel_shape=[3, 3]}
}
)");
  Session session(graph, {.threads = 1, .autotune = true, .tuning_folder = folder_});  // 1 x 1 pixels stand in
  EXPECT_FALSE(fs::exists(folder_));
  EXPECT_EQ(session.run({{"x", Tensor(DType::f32, {1, 1, 3, 3})}}).front().dims(), (Dims{1, 1, 1, 1}));
}

// A convolution in a branch.
constexpr const char* kBranch = R"(ir_version 8
opset 17
graph g(x: f32[1,32,8,8], flag: b8[]) -> (y: f32[?,?,?,?]) {
  s = f32[]{0.02}
  z = u8[]{7}
  t = f32[]{0.03}
  v = s8[]{0}
  y = If(flag) "if" {then_branch=graph () -> (a) {
    xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear(w, t, v)
    a = Conv(xd, wd) "conv"
  }, else_branch=graph () -> (b) {
    b = Neg(x)
  }}
}
)";

Graph branch() {
  Graph graph = parse_graph(kBranch);
  Tensor w(DType::s8, {32, 32, 3, 3});
  int next = 1;
  for (std::int8_t& value : w.mutable_values<std::int8_t>()) value = static_cast<std::int8_t>((next = next * 75 % 251) - 125);
  graph.initializers["w"] = w;
  ops::infer_shapes(graph);
  return graph;
}

TEST_F(AutotuneTest, ReachesStepsOfSubgraphs) {
  const std::vector<Tensor> inputs = {Tensor(DType::f32, {1, 32, 8, 8}), Tensor::scalar(true)};
  const auto step_of = [&](const Tuning& tuning) {
    ThreadPool pool(1);
    const LowerOptions lower{.isas = allowed_isas(), .tuning = std::make_shared<const Tuning>(tuning)};
    Stage stage(fuse(branch()), {.lower = lower}, pool, std::make_shared<PackCache>());
    stage.run(inputs);
    for (const StepInfo& step : stage.summary().steps)
      if (step.kernel.starts_with("conv_u8s8")) return step;
    return StepInfo{};
  };
  const StepInfo by_table = step_of({});
  EXPECT_THAT(by_table.name, ::testing::StartsWith("if/"));
  const StepInfo next = step_of({.alternative = 1});
  if (next.kernel == by_table.kernel) GTEST_SKIP() << "this machine has one kernel alone";
  EXPECT_EQ(step_of({.kernels = {{by_table.name, next.kernel}}}).kernel, next.kernel);
  EXPECT_EQ(step_of({.kernels = {{by_table.name.substr(3), next.kernel}}}).kernel, by_table.kernel)
      << "a step of the main graph";
}

TEST_F(AutotuneTest, SubgraphsShareWeightsWithAnotherSession) {
  const Graph graph = branch();
  const Feeds feeds = {{"x", Tensor(DType::f32, {1, 32, 8, 8})}, {"flag", Tensor::scalar(true)}};
  Session first(graph, {.threads = 1});
  const std::vector<Tensor> expected = first.run(feeds);
  const std::size_t bytes = first.weight_bytes();
  ASSERT_GE(bytes, 32U * 32 * 3 * 3);
  Session second(graph, {.threads = 1, .share_weights_with = &first});
  EXPECT_EQ(second.run(feeds), expected);
  EXPECT_EQ(second.weight_bytes(), bytes) << "nothing was packed anew";
  EXPECT_EQ(first.weight_bytes(), bytes);
}

TEST_F(AutotuneTest, ANameThatIsNoKernelFallsBackToTheTable) {
  const Graph graph = quantized("fmnist_resnet8.static");
  ThreadPool pool(1);
  Tuning tuning;
  for (const StepInfo& step : Session(graph, {.threads = 1}).steps()) tuning.kernels[step.name] = "conv_that_was_removed";
  const LowerOptions lower{.isas = allowed_isas(), .tuning = std::make_shared<const Tuning>(tuning)};
  Stage stage(graph, {.lower = lower}, pool, std::make_shared<PackCache>());
  EXPECT_EQ(stage.run(std::vector{pictures()}), Session(graph, {.threads = 1}).run({{"images", pictures()}}));
}

}  // namespace
}  // namespace zeropoint::engine
