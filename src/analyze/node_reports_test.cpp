#include "analyze/node_reports.h"

#include <gmock/gmock.h>

namespace zeropoint::analyze {
namespace {

// q(x) -> Conv -> Clip -> q; beside it skip -> Add -> q, which the engine may run as one step with the Conv in front of it.
Graph quantized_graph() {
  Graph graph;
  const auto node = [&](const char* name, const char* type, std::vector<std::string> inputs, const char* output) {
    graph.nodes.push_back({.name = name, .op_type = type, .inputs = std::move(inputs), .outputs = {output}});
  };
  graph.inputs.push_back({.name = "x"});
  node("x_quantize", "QuantizeLinear", {"x", "s", "z"}, "x_q");
  node("x_dequantize", "DequantizeLinear", {"x_q", "s", "z"}, "x_d");
  node("first", "Conv", {"x_d", "w"}, "a");
  node("clip", "Clip", {"a"}, "b");
  node("b_quantize", "QuantizeLinear", {"b", "s", "z"}, "b_q");
  node("b_dequantize", "DequantizeLinear", {"b_q", "s", "z"}, "b_d");
  node("second", "Conv", {"b_d", "w"}, "c");
  node("add", "Add", {"a", "c"}, "d");
  node("d_quantize", "QuantizeLinear", {"d", "s", "z"}, "d_q");
  return graph;
}

TEST(NodeReports, StepsKnowTheValueThatTheyQuantize) {
  const std::vector<StepInfo> steps = {{.name = "x_quantize", .op = "QuantizeLinear", .integer = true},
                                       {.name = "first", .op = "Conv+Clip", .integer = true, .macs = 7},
                                       {.name = "second", .op = "Conv+Add", .integer = false, .macs = 9}};
  const std::vector<NodeReport> nodes = node_reports(quantized_graph(), steps);
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].value, "x");
  EXPECT_EQ(nodes[1].value, "b");
  EXPECT_EQ(nodes[1].op_type, "Conv+Clip");
  EXPECT_EQ(nodes[1].macs, 7);
  EXPECT_TRUE(nodes[1].integer);
  EXPECT_EQ(nodes[2].value, "d");  // not of `first`, on which the Add waits, too
  EXPECT_FALSE(nodes[2].integer);
}

TEST(NodeReports, ASumInAConvolutionHasARowOfItsOwn) {
  const std::vector<StepInfo> steps = {
      {.name = "first", .op = "Conv+Clip", .integer = true, .macs = 7},
      {.name = "second", .op = "Conv+Add+Relu", .integer = true, .macs = 9, .sum_node = "add", .sum_op = "Add+Relu"}};
  const std::vector<NodeReport> nodes = node_reports(quantized_graph(), steps);
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[1].node, "second");
  EXPECT_EQ(nodes[1].op_type, "Conv");
  EXPECT_EQ(nodes[1].macs, 9);
  EXPECT_EQ(nodes[2].node, "add");
  EXPECT_EQ(nodes[2].op_type, "Add+Relu");
  EXPECT_EQ(nodes[2].macs, 0);
  EXPECT_TRUE(nodes[2].integer);
  EXPECT_EQ(nodes[2].value, "d");
}

TEST(NodeReports, AnActivationsValueIsThatOfTheNodeInFront) {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs.push_back({.name = "x", .type = {DType::f32, Shape{Dim("N"), Dim(3)}}});
  graph.initializers.emplace("w", Tensor(DType::f32, {3, 5}));
  graph.nodes.push_back({.name = "product", .op_type = "MatMul", .inputs = {"x", "w"}, .outputs = {"a"}});
  graph.nodes.push_back({.name = "relu", .op_type = "Relu", .inputs = {"a"}, .outputs = {"b"}});
  graph.nodes.push_back({.name = "sum", .op_type = "ReduceSum", .inputs = {"b"}, .outputs = {"y"}});
  graph.outputs.push_back({.name = "y"});
  const std::vector<FloatNode> left = {{"sum", "ReduceSum", "sums"}};
  const std::vector<NodeReport> nodes = node_reports(graph, {"product"}, left, {{"b", {}}});
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].value, "b");
  EXPECT_EQ(nodes[0].macs, 15);
  EXPECT_TRUE(nodes[0].integer);
  EXPECT_EQ(nodes[1].value, "");
  EXPECT_TRUE(nodes[1].integer);
  EXPECT_FALSE(nodes[2].integer);
}

}  // namespace
}  // namespace zeropoint::analyze
