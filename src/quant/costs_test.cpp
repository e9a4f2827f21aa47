#include "quant/costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "ops/operator.h"
#include "quant/cost_table.h"
#include "zeropoint/recipe.h"

namespace zeropoint::quant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(InterpolateTest, AtPointsBetweenAndBeyondThem) {
  constexpr std::array<double, 3> m = {1, 10, 1000};
  constexpr std::array<double, 2> n = {8, 32};
  constexpr std::array<double, 1> k = {9};
  constexpr std::array<Cost, 6> costs = {Cost{1, 2}, {4, 8}, {10, 20}, {40, 80}, {1000, 500}, {4000, 2000}};
  const CostGrid grid{m, n, k, costs};
  EXPECT_NEAR(interpolate(grid, 1, 8, 9).in_float, 1, 1e-12);
  EXPECT_NEAR(interpolate(grid, 10, 32, 9).in_integers, 80, 1e-9);
  EXPECT_NEAR(interpolate(grid, 1000, 8, 9).in_float, 1000, 1e-9);
  EXPECT_NEAR(interpolate(grid, 100, 8, 9).in_float, 100, 1e-9) << "half way in logarithms";
  EXPECT_NEAR(interpolate(grid, 100, 8, 9).in_integers, 100, 1e-9);
  EXPECT_NEAR(interpolate(grid, 10, 16, 9).in_float, 20, 1e-9);
  EXPECT_NEAR(interpolate(grid, 0.1, 4, 1).in_float, 1, 1e-12) << "an overhead remains";
  EXPECT_NEAR(interpolate(grid, 3000, 64, 18).in_float, 4000.0 * 3 * 2 * 2, 1e-6) << "in proportion";
}

TEST(CostTableTest, EveryGridIsComplete) {
  for (const CostGrid* grid : {&kMatrixByWeights, &kMatrixByMatrix, &kPointwiseConv, &kSpatialConv, &kDepthwiseConv, &kSumOfTwo,
                               &kAveragePool, &kCheapFunction, &kExponential, &kQuantize, &kDequantize}) {
    EXPECT_EQ(grid->costs.size(), grid->m.size() * grid->n.size() * grid->k.size());
    for (const auto& axis : {grid->m, grid->n, grid->k}) EXPECT_TRUE(std::is_sorted(axis.begin(), axis.end()));
    for (const Cost& cost : grid->costs) {
      EXPECT_GT(cost.in_float, 0);
      EXPECT_GT(cost.in_integers, 0);
    }
  }
}

// y = relu(x w + b) w2, where relu and bias are part of the first product.
Graph two_products(const std::string& batch = "4") {
  Graph graph = parse_graph("ir_version 8\nopset 17\ngraph g(x: f32[" + batch + R"(,64]) -> (y: f32[)" + batch + R"(,32]) {
  p = MatMul(x, w) "first"
  s = Add(p, b) "bias"
  r = Relu(s) "relu"
  y = MatMul(r, w2) "second"
}
)");
  graph.initializers["w"] = Tensor(DType::f32, {64, 128});
  graph.initializers["b"] = Tensor(DType::f32, {128});
  graph.initializers["w2"] = Tensor(DType::f32, {128, 32});
  ops::infer_shapes(graph);
  return graph;
}

double us(const NodeTimes& times, const std::string& node) { return 1e6 * times.seconds.at(node); }

TEST(NodeCostsTest, ConversionsBelongToThoseWhoNeedThem) {
  const Graph graph = two_products();
  const NodeCosts costs(graph);
  const Cost first = interpolate(kMatrixByWeights, 4, 128, 64), second = interpolate(kMatrixByWeights, 4, 32, 128);
  const NodeTimes in_float = costs.in_float();
  EXPECT_DOUBLE_EQ(us(in_float, "first"), first.in_float);
  EXPECT_DOUBLE_EQ(us(in_float, "bias"), 0) << "part of the product";

  Recipe recipe = recipes::static_w8a8();
  const NodeTimes both = costs.quantized(place(graph, recipe));
  EXPECT_EQ(both.in_integers, (NodeNames{"first", "second"}));
  EXPECT_NEAR(us(both, "first"), first.in_integers + interpolate(kQuantize, 4 * 64).in_integers, 1e-9);
  EXPECT_NEAR(us(both, "second"), second.in_integers, 1e-9) << "its input comes quantized out of the first product";

  recipe.keep_float("first");
  const NodeTimes one = costs.quantized(place(graph, recipe));
  EXPECT_EQ(one.in_integers, (NodeNames{"second"}));
  EXPECT_DOUBLE_EQ(us(one, "first"), first.in_float);
  EXPECT_NEAR(us(one, "second"), second.in_integers + interpolate(kQuantize, 4 * 128).in_integers, 1e-9);
}

TEST(NodeCostsTest, ReadersBehindNodesThatMoveIntegersShareTheConversion) {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[64,64]) -> (a: f32[64,32], b: f32[64,32], c: f32[64,32], d: f32[64,64]) {
  t = Transpose(x) "move" {perm=[1, 0]}
  u = Transpose(t) "back" {perm=[1, 0]}
  a = MatMul(x, w) "a"
  b = MatMul(u, w) "b"
  c = MatMul(u, w) "c"
  d = Tanh(t) "d"
}
)");
  graph.initializers["w"] = Tensor(DType::f32, {64, 32});
  ops::infer_shapes(graph);
  const NodeTimes times = NodeCosts(graph).quantized(place(graph, recipes::static_w8a8().keep_float("d")));
  const double product = interpolate(kMatrixByWeights, 64, 32, 64).in_integers;
  const double quantize = interpolate(kQuantize, 64 * 64).in_integers,
               dequantize = interpolate(kDequantize, 64 * 64).in_integers;
  EXPECT_NEAR(us(times, "a"), product + quantize / 3, 1e-9);
  EXPECT_NEAR(us(times, "b"), product + quantize / 3 + dequantize / 2, 1e-9) << "for the float reader of what moved";
  EXPECT_NEAR(us(times, "c"), us(times, "b"), 1e-12);
}

TEST(NodeCostsTest, OpenBatchesCountAsOneOtherOpenShapesAreNotJudged) {
  EXPECT_DOUBLE_EQ(us(NodeCosts(two_products("N")).in_float(), "first"), interpolate(kMatrixByWeights, 1, 128, 64).in_float);
  Graph open = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[N,T,64]) -> (y: f32[N,T,8]) {
  y = MatMul(x, w) "product"
}
)");
  open.initializers["w"] = Tensor(DType::f32, {64, 8});
  ops::infer_shapes(open);
  EXPECT_DOUBLE_EQ(us(NodeCosts(open).in_float(), "product"), 0);
  Recipe recipe = recipes::static_w8a8();
  recipe.target = Target::zeropoint;
  EXPECT_THAT(place(open, recipe).slower_in_integers, IsEmpty());
}

TEST(NodeCostsTest, WhatHasNoFastFloatKernelIsNotJudged) {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,8,64,64]) -> (y: f32[1,1,64,64]) {
  y = ConvTranspose(x, w) "up"
}
)");
  graph.initializers["w"] = Tensor(DType::f32, {8, 1, 1, 1});
  ops::infer_shapes(graph);
  Recipe recipe = recipes::static_w8a8();
  recipe.target = Target::zeropoint;
  const Placement placement = place(graph, recipe);
  EXPECT_EQ(placement.integer_nodes.size(), 1U);
  EXPECT_THAT(placement.slower_in_integers, IsEmpty());
  EXPECT_THAT(NodeCosts(graph).quantized(placement).in_integers, IsEmpty());
}

// Quantizing a large value for a product with few results is slower by any sane table; the convolution gains.
Graph small_product_of_a_large_value() {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,64,8,8], z: f32[1024,8]) -> (y: f32[1,64,8,8], s: f32[1024,1]) {
  y = Conv(x, w) "conv" {pads=[1, 1, 1, 1]}
  s = MatMul(z, v) "tiny"
}
)");
  graph.initializers["w"] = Tensor(DType::f32, {64, 64, 3, 3});
  graph.initializers["v"] = Tensor(DType::f32, {8, 1});
  ops::infer_shapes(graph);
  return graph;
}

TEST(PlacementByCostsTest, TargetZeropointLeavesInFloatWhatIsSlowerInIntegersAndSaysSo) {
  const Graph graph = small_product_of_a_large_value();
  Recipe recipe = recipes::static_w8a8();
  EXPECT_EQ(place(graph, recipe).integer_nodes.size(), 2U) << "the table is of our engine";
  recipe.target = Target::zeropoint;
  const Placement placement = place(graph, recipe);
  EXPECT_THAT(placement.slower_in_integers, ElementsAre("tiny"));
  ASSERT_EQ(placement.left_in_float.size(), 1U);
  EXPECT_EQ(placement.left_in_float[0].node, "tiny");
  EXPECT_THAT(placement.left_in_float[0].reason, HasSubstr("slower in integers by the table of costs: "));
  recipe.all_integers = true;
  EXPECT_EQ(place(graph, recipe).integer_nodes.size(), 2U);
  EXPECT_THAT(place(graph, recipe).slower_in_integers, IsEmpty());
}

}  // namespace
}  // namespace zeropoint::quant
