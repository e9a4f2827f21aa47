#include "zeropoint/convert_floats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "ops/operator.h"
#include "zeropoint/error.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;

Recipe in(const char* type, const char* target = "onnxruntime") {
  return parse_recipe(std::string(R"({"rules": [{"float": ")") + type + R"("}], "target": ")" + target + R"("})");
}

Graph net() {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,4], n: s64[1]) -> (y: f32[1,3], z: f32[1,3]) {
  a = MatMul(x, w) "product"
  m = Add(a, mask) "masked"
  s = Softmax(m) "shares"
  v = Add(s, tiny) "stable"
  r = Relu(a) "rectify"
  y = Mul(v, r) "scale"
  f = Cast(n) {to=1}
  z = Add(r, f) "shift"
}
)");
  graph.initializers["w"] = Tensor(DType::f32, {4, 3});
  for (std::size_t i = 0; i < 12; ++i)
    graph.initializers["w"].mutable_values<float>()[i] = 0.1F * static_cast<float>(i) - 0.61F;
  graph.initializers["mask"] = Tensor::of<float>({3}, {0.0F, -FLT_MAX, 0.0F});
  graph.initializers["tiny"] = Tensor::of<float>({1}, {1e-12F});
  return graph;
}

std::string reason_of(const ConvertedFloats& converted, const std::string& node) {
  const auto found =
      std::find_if(converted.kept.begin(), converted.kept.end(), [&](const KeptNode& kept) { return kept.node == node; });
  return found == converted.kept.end() ? "" : found->reason;
}

TEST(ConvertFloatsTest, KeepsWhatF16CannotHold) {
  const ConvertedFloats converted = convert_floats(net(), in("f16"));
  EXPECT_THAT(reason_of(converted, "masked"), HasSubstr("'mask' holds 3.4"));
  EXPECT_THAT(reason_of(converted, "stable"), HasSubstr("too few bits of its constant 'tiny'"));
  EXPECT_EQ(converted.kept.size(), 2U);
  EXPECT_EQ(converted.converted, 5U);  // product, shares, rectify, scale, shift
  EXPECT_EQ(converted.graph.constant("w")->dtype(), DType::f16);
  EXPECT_EQ(converted.graph.constant("mask")->dtype(), DType::f32);
  EXPECT_EQ(converted.graph.inputs[0].type.dtype, DType::f32);
  EXPECT_EQ(converted.graph.outputs[0].type.dtype, DType::f32);

  const Feeds feeds = {{"x", Tensor::of<float>({1, 4}, {1.0F, -2.0F, 0.3F, 4.0F})}, {"n", Tensor::of<std::int64_t>({1}, {3})}};
  const std::vector<Tensor> real = ops::evaluate(net(), feeds), literal = ops::evaluate(converted.graph, feeds),
                            engine = Session(converted.graph, {.threads = 1}).run(feeds);
  double rounded = 0;
  for (std::size_t output = 0; output < 2; ++output)
    for (std::size_t i = 0; i < 3; ++i) {
      const float expected = real[output].values<float>()[i];
      EXPECT_NEAR(literal[output].values<float>()[i], expected, 2e-3F * std::abs(expected) + 1e-3F);
      EXPECT_NEAR(engine[output].values<float>()[i], expected, 2e-3F * std::abs(expected) + 1e-3F);
      rounded += std::abs(literal[output].values<float>()[i] - expected);
    }
  EXPECT_GT(rounded, 0) << "nothing was rounded";
}

// Values that leave the range on samples; bf16 has the range of f32.
TEST(ConvertFloatsTest, KeepsValuesBeyondTheRange) {
  Statistics statistics;
  statistics.values["r"].min = 0;
  statistics.values["r"].max = 70000;
  statistics.values["r"].histogram.add(70000);
  const ConvertedFloats converted = convert_floats(net(), in("f16"), &statistics);
  for (const char* node : {"rectify", "scale", "shift"})
    EXPECT_THAT(reason_of(converted, node), HasSubstr("'r' reached 70000 on the samples"));
  EXPECT_EQ(reason_of(converted, "product"), "");
  EXPECT_TRUE(convert_floats(net(), in("bf16", "zeropoint"), &statistics).kept.empty());
}

// ONNX Runtime has no bf16 kernels on CPUs: weights are stored in 16 bits, everything else stays.
TEST(ConvertFloatsTest, StoresWeightsForOthers) {
  Graph graph = net();
  graph.initializers["w"] = Tensor(DType::f32, {4, 8});
  std::fill_n(graph.initializers["w"].mutable_values<float>().begin(), 32, 1.00390625F);  // between two bf16: ties to even
  graph.initializers["mask"] = Tensor::of<float>({1}, {-FLT_MAX});
  graph.outputs[0].type = {DType::f32, Shape{Dim(1), Dim(8)}};
  graph.outputs[1].type = graph.outputs[0].type;
  const ConvertedFloats converted = convert_floats(graph, in("bf16"));
  EXPECT_EQ(converted.converted, 0U);
  EXPECT_EQ(converted.stored, 1U);
  EXPECT_THAT(reason_of(converted, "product"), HasSubstr("no bf16 kernels"));
  const Feeds feeds = {{"x", Tensor::of<float>({1, 4}, {1.0F, 0.0F, 0.0F, 0.0F})}, {"n", Tensor::of<std::int64_t>({1}, {0})}};
  EXPECT_EQ(ops::evaluate(converted.graph, feeds)[1].values<float>()[0], 1.0F);
  EXPECT_EQ(Session(converted.graph, {.threads = 1}).run(feeds)[1].values<float>()[0], 1.0F);
}

TEST(ConvertFloatsTest, RulesAndErrors) {
  Recipe recipe = in("f16");
  recipe.keep_float("product");
  const ConvertedFloats converted = convert_floats(net(), recipe);
  EXPECT_THAT(reason_of(converted, "product"), HasSubstr("keeps it in f32"));
  EXPECT_EQ(converted.graph.constant("w")->dtype(), DType::f32);
  recipe.keep_float(".*");
  EXPECT_THROW(convert_floats(net(), recipe), Error);
  recipe.rules[1].float_type = DType::bf16;
  EXPECT_THROW(convert_floats(net(), recipe), Error);
  EXPECT_THROW(parse_recipe(R"({"rules": [{"float": "f16"}, {"weight": {}}]})"), Error);
  EXPECT_THROW(parse_recipe(R"({"rules": [{"float": "f16", "weight": {}}]})"), Error);
  EXPECT_THROW(parse_recipe(R"({"rules": [{"float": "f8"}]})"), Error);
}

}  // namespace
}  // namespace zeropoint
