#include "zeropoint/insert_qdq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/file.h"
#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(ZEROPOINT_SOURCE_DIR) / "tests" / "golden" / "insert_qdq";

QParams u8(float scale, std::int32_t zero_point) { return {DType::u8, PerTensor{}, {scale}, {zero_point}}; }
QParams s8(std::vector<float> scale, int axis) {
  const std::size_t channels = scale.size();
  return {DType::s8, PerChannel{axis}, std::move(scale), std::vector<std::int32_t>(channels, 0)};
}

// tests/golden/insert_qdq: NAME.before with these parameters -> NAME.after. ZEROPOINT_UPDATE_GOLDEN=1 writes the latter anew.
void expect_golden(const std::string& name, const QParamsMap& qparams) {
  SCOPED_TRACE(name);
  const Graph before = parse_graph(read_file(kGolden / (name + ".before")));
  verify(before);
  const std::string after = to_text(insert_qdq(before, qparams), -1);
  const fs::path expected = kGolden / (name + ".after");
  if (std::getenv("ZEROPOINT_UPDATE_GOLDEN")) write_file(expected, after);
  EXPECT_EQ(after, read_file(expected));
}

TEST(InsertQdqTest, Convolution) {
  expect_golden("convolution", {{"x", u8(0.5F, 128)}, {"w", s8({0.25F, 0.5F}, 0)}, {"r", u8(0.125F, 0)}, {"y", u8(1, 3)}});
}
TEST(InsertQdqTest, MatrixProducts) {
  expect_golden("matrix_products", {{"x", u8(0.5F, 128)},
                                    {"w1", s8({0.25F, 0.5F, 1}, 1)},
                                    {"r", u8(0.125F, 0)},
                                    {"w2", {DType::u8, PerTensor{}, {0.5F}, {100}}}});
}

TEST(InsertQdqTest, EmptyMapChangesNothing) {
  const Graph graph = parse_graph(read_file(kGolden / "convolution.before"));
  EXPECT_TRUE(insert_qdq(graph, {}) == graph);
}

TEST(InsertQdqTest, Errors) {
  const Graph graph = parse_graph(read_file(kGolden / "convolution.before"));
  const auto code = [&](const QParamsMap& qparams) {
    try {
      insert_qdq(graph, qparams);
    } catch (const Error& error) {
      EXPECT_FALSE(error.where.empty());
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code({{"nobody", u8(1, 0)}}), ErrorCode::kBadArgument);
  EXPECT_EQ(code({{"x", s8({1, 1}, 0)}}), ErrorCode::kBadShape);
  EXPECT_EQ(code({{"shape", u8(1, 0)}}), ErrorCode::kBadArgument);  // s64
}

// The quantized graph computes what the float graph does, up to steps of its scales.
TEST(InsertQdqTest, MeaningStays) {
  const unsigned seed = 41;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto noise = [&](Dims dims) {
    Tensor tensor(DType::f32, std::move(dims));
    for (float& value : tensor.mutable_values<float>()) value = uniform(random);
    return tensor;
  };
  for (int trial = 0; trial < 20; ++trial) {
    Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[N,3,6,6]) -> (y: f32[N,4]) {
  a = Conv(x, w1, b1) {kernel_shape=[3, 3], pads=[1, 1, 1, 1]}
  r = Relu(a)
  c = Conv(r, w2) {group=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1]}
  s = Add(c, r)
  p = GlobalAveragePool(s)
  f = Flatten(p)
  y = Gemm(f, w3, b3)
}
)");
    graph.initializers["w1"] = noise({4, 3, 3, 3});
    graph.initializers["b1"] = noise({4});
    graph.initializers["w2"] = noise({4, 2, 3, 3});
    graph.initializers["w3"] = noise({4, 4});
    graph.initializers["b3"] = noise({4});
    const std::map<std::string, Tensor> feeds = {{"x", noise({2, 3, 6, 6})}};
    const std::vector<std::string> values = {"x", "r", "c", "s", "p"};
    const std::vector<Tensor> seen = ops::evaluate(graph, feeds, values);
    QParamsMap qparams;
    for (std::size_t i = 0; i < values.size(); ++i) {
      float low = 0, high = 0;
      for (const float value : seen[i].values<float>()) low = std::min(low, value), high = std::max(high, value);
      const float scale = (high - low) / 255;
      qparams[values[i]] = u8(scale, static_cast<std::int32_t>(std::nearbyint(-low / scale)));
    }
    qparams["f"] = qparams["p"];
    qparams["w1"] = s8(std::vector<float>(4, 1.0F / 127), 0);
    qparams["w2"] = s8(std::vector<float>(4, 1.0F / 127), 0);
    qparams["w3"] = s8(std::vector<float>(4, 1.0F / 127), 1);
    const Graph quantized = insert_qdq(graph, qparams);
    const Tensor expected = ops::evaluate(graph, feeds)[0], actual = ops::evaluate(quantized, feeds)[0];
    for (std::size_t i = 0; i < 8; ++i) ASSERT_NEAR(actual.values<float>()[i], expected.values<float>()[i], 0.06F);
    EXPECT_FALSE(actual == expected) << "nothing was quantized";
  }
}

TEST(InsertQdqTest, RaisesTheOpset) {
  Graph graph = parse_graph(R"(ir_version 6
opset 11
graph g(x: f32[1,2,4]) -> (y: f32[1,2,1,3], z: f32[1,2,3]) {
  w = f32[4,3]{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
  m = MatMul(x, w)
  y = Unsqueeze(m) {axes=[2]}
  z = Softmax(m) {axis=2}
}
)");
  const Graph quantized = insert_qdq(graph, {{"x", u8(0.01F, 100)}, {"w", s8({1, 1, 1}, 1)}});
  EXPECT_EQ(quantized.opset(), 13);
  EXPECT_GE(quantized.ir_version, 7);
  const Tensor x = Tensor::of<float>({1, 2, 4}, std::vector<float>{0.5F, -0.25F, 0.125F, 0, 1, -0.5F, 0.25F, 1.5F});
  const std::vector<Tensor> expected = ops::evaluate(graph, {{"x", x}}), actual = ops::evaluate(quantized, {{"x", x}});
  for (std::size_t output = 0; output < 2; ++output) {
    ASSERT_EQ(actual[output].dims(), expected[output].dims());
    for (std::size_t i = 0; i < 6; ++i)
      EXPECT_NEAR(actual[output].values<float>()[i], expected[output].values<float>()[i], 0.3F);
  }
  graph.nodes[2].attributes["axis"] = std::int64_t{1};  // over the last two axes together, which no newer form does by itself
  const Graph flat = insert_qdq(graph, {{"x", u8(0.01F, 100)}, {"w", s8({1, 1, 1}, 1)}});
  float sum = 0;
  const Tensor shares = ops::evaluate(flat, {{"x", x}})[1];
  for (const float share : shares.values<float>()) sum += share;
  EXPECT_NEAR(sum, 1, 1e-5F);
  EXPECT_EQ(insert_qdq(graph, {{"x", u8(0.01F, 100)}}).opset(), 11) << "per tensor, opset 11 will do";
}

// What a limit does with parameters that need a newer opset.
void expect_refused(const Graph& graph, const QParamsMap& qparams, std::int64_t newest, const std::string& what,
                    const std::string& instead) {
  try {
    insert_qdq(graph, qparams, {newest, "oldruntime"});
    ADD_FAILURE() << "opset raised above " << newest;
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    const std::string text = error.what();
    for (const std::string& part : {std::string("value 'w'"), what, std::string("target oldruntime takes opsets up to "),
                                    instead, std::string("another target")})
      EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
  }
}

TEST(InsertQdqTest, NeverRaisesTheOpsetAboveWhatTheTargetTakes) {
  Graph graph = parse_graph(R"(ir_version 6
opset 11
graph g(x: f32[1,4]) -> (m: f32[1,3]) {
  w = f32[4,3]{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
  m = MatMul(x, w)
}
)");
  const QParams channels = s8({1, 1, 1}, 1);
  expect_refused(graph, {{"w", channels}}, 12, "its scales of channels need opset 13", "per tensor");
  EXPECT_EQ(insert_qdq(graph, {{"w", channels}}, {13, "oldruntime"}).opset(), 13);
  QParams groups = channels;
  groups.granularity = PerGroup{0, 2};
  expect_refused(graph, {{"w", groups}}, 20, "its scales of groups need opset 21", "per channel");
  for (const auto& [dtype, opset, instead] :
       {std::tuple(DType::u16, 21, "8 bits"), std::tuple(DType::s4, 21, "8 bits"), std::tuple(DType::u2, 25, "4 or 8 bits")}) {
    QParams narrow = channels;
    narrow.dtype = dtype;
    expect_refused(graph, {{"w", narrow}}, opset - 1,
                   std::to_string(bits(dtype)) + "-bit integers need opset " + std::to_string(opset), instead);
  }
  graph.opsets[""] = 13;  // the model's own is none of ours
  EXPECT_EQ(insert_qdq(graph, {{"w", channels}}, {12, "oldruntime"}).opset(), 13);
}

}  // namespace
}  // namespace zeropoint
