#include "zeropoint/calibrator.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "zeropoint/data.h"

namespace zeropoint {
namespace {

// y = relu(x * [2, -3])
Graph small_graph() {
  Graph graph;
  graph.opsets[""] = 17;
  graph.ir_version = 8;
  graph.inputs.push_back({"x", {DType::f32, Shape{Dim("N"), 2}}, {}});
  graph.outputs.push_back({"y", {DType::f32, Shape{Dim("N"), 2}}, {}});
  graph.initializers["factor"] = Tensor::of<float>({2}, {2, -3});
  Node scale, cut;
  scale.op_type = "Mul";
  scale.inputs = {"x", "factor"};
  scale.outputs = {"scaled"};
  cut.op_type = "Relu";
  cut.inputs = {"scaled"};
  cut.outputs = {"y"};
  graph.nodes = {scale, cut};
  return graph;
}

std::shared_ptr<const Samples> samples_of(std::vector<float> values) {
  std::vector<Feeds> feeds;
  for (const float value : values) feeds.push_back({{"x", Tensor::of<float>({1, 2}, {value, value + 1})}});
  return memory_samples(std::move(feeds), small_graph().inputs);
}

TEST(Calibrator, GivesWhatCalibrateGivesCallAfterCall) {
  const Graph graph = small_graph();
  Calibrator calibrator(graph, {.threads = 2});
  const auto first = samples_of({1, -2, 3}), second = samples_of({4, 0.5F});
  EXPECT_EQ(serialize(calibrator.calibrate(*first)), serialize(calibrate(graph, *first)));
  EXPECT_EQ(serialize(calibrator.calibrate(*second)), serialize(calibrate(graph, *second)));
  EXPECT_EQ(serialize(calibrator.calibrate(*first)), serialize(calibrate(graph, *first)));
  EXPECT_EQ(serialize(merge(calibrator.calibrate(*second), calibrator.calibrate(*first))),
            serialize(calibrate(graph, *samples_of({1, -2, 3, 4, 0.5F}))));
}

TEST(Calibrator, GoesOnAfterABadSet) {
  const Graph graph = small_graph();
  Calibrator calibrator(graph, {.threads = 1});
  const auto good = samples_of({1, 2});
  EXPECT_THROW(calibrator.calibrate(*samples_of({1, std::numeric_limits<float>::infinity()})), Error);
  EXPECT_EQ(calibrator.calibrate(*good), calibrate(graph, *good));
}

TEST(Calibrator, RefusesPartsOfASet) {
  EXPECT_THROW(Calibrator(small_graph(), {.shards = 2}), Error);
  EXPECT_THROW(Calibrator(small_graph(), {.checkpoint = "file"}), Error);
  EXPECT_THROW(Calibrator(small_graph(), {.max_memory = std::size_t{1} << 30U}), Error);
}

TEST(Merge, EqualSetsWhereTheCallerSaysSo) {
  const Graph graph = small_graph();
  const Statistics once = calibrate(graph, *samples_of({1, -2})), twice = calibrate(graph, *samples_of({1, -2, 1, -2}));
  EXPECT_THROW(merge(once, once), Error);
  EXPECT_EQ(serialize(merge(once, once, {.same_samples = true})), serialize(twice));
}

}  // namespace
}  // namespace zeropoint
