// Cases worked by hand, properties, and errors. tests/differential/operator_cases_test.cpp has the many.
#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <set>

#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint::ops {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Graph body(const std::string& text, std::int64_t opset = 21) {
  return parse_graph("ir_version 10\nopset " + std::to_string(opset) + "\nopset com.microsoft 1\n" + text);
}

// The first output of one node, written as in the text form without its results: "Conv(x, w) {pads=[1, 1, 1, 1]}".
Tensor run(const std::string& node, const std::map<std::string, Tensor>& feeds, std::int64_t opset = 21) {
  std::string inputs;
  for (const auto& [name, tensor] : feeds)
    inputs +=
        (inputs.empty() ? "" : ", ") + name + ": " + std::string(zeropoint::name(tensor.dtype())) + to_string(tensor.dims());
  return evaluate(body("graph g(" + inputs + ") -> (y) {\n y = " + node + "\n}\n", opset), feeds)[0];
}

Tensor f32(Dims dims, const std::vector<float>& values) { return Tensor::of<float>(std::move(dims), values); }
std::vector<float> floats(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}

std::string message_of(const std::function<void()>& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code), name(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Registry, HasNoOperatorTwiceAndRulesForAll) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const Operator& entry : all()) {
    EXPECT_TRUE(seen.emplace(entry.domain, entry.op_type).second) << entry.op_type;
    EXPECT_NE(entry.shape, nullptr) << entry.op_type;
    EXPECT_NE(entry.reference, nullptr) << entry.op_type;
    EXPECT_LE(entry.min_inputs, entry.max_inputs) << entry.op_type;
    EXPECT_EQ(find(entry.domain, entry.op_type)->op_type, entry.op_type);
  }
  EXPECT_EQ(find("", "NoSuchOperator"), nullptr);
  EXPECT_EQ(find("ai.onnx", "Conv"), find("", "Conv"));
}

TEST(Conv, ByHand) {
  const Tensor x = f32({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), w = f32({1, 1, 2, 2}, {1, 10, 100, 1000});
  EXPECT_THAT(floats(run("Conv(x, w)", {{"x", x}, {"w", w}})), ElementsAre(5421, 6532, 8754, 9865));
  EXPECT_THAT(floats(run("Conv(x, w, b) {pads=[1, 1, 0, 0], strides=[2, 2]}", {{"x", x}, {"w", w}, {"b", f32({1}, {0.5F})}})),
              ElementsAre(1000.5F, 3200.5F, 7040.5F, 9865.5F));
  // Two groups of one channel, each seen through its own weight.
  EXPECT_THAT(
      floats(run("Conv(x, w) {group=2}", {{"x", f32({1, 2, 1, 2}, {1, 2, 3, 4})}, {"w", f32({2, 1, 1, 1}, {10, 100})}})),
      ElementsAre(10, 20, 300, 400));
}

TEST(Conv, IsLinearInItsInput) {
  constexpr std::uint32_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  std::uniform_int_distribution<int> small(-4, 4);
  const auto tensor = [&](const Dims& dims) {
    Tensor result(DType::f32, dims);
    for (float& value : result.mutable_values<float>()) value = static_cast<float>(small(random));
    return result;
  };
  const Tensor a = tensor({2, 4, 7, 6}), b = tensor({2, 4, 7, 6}), w = tensor({6, 2, 3, 2});
  const std::string node = "Conv(x, w) {group=2, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1]}";
  const Tensor sum = run("Add(a, b)", {{"a", a}, {"b", b}});
  const Tensor left = run(node, {{"x", sum}, {"w", w}});
  const Tensor right = run("Add(a, b)", {{"a", run(node, {{"x", a}, {"w", w}})}, {"b", run(node, {{"x", b}, {"w", w}})}});
  EXPECT_TRUE(left == right);  // small integers: exact
}

TEST(Broadcasting, AgreesWithAnExplicitExpand) {
  constexpr std::uint32_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  for (int trial = 0; trial < 200; ++trial) {
    Dims full, a_dims, b_dims;
    for (std::size_t i = 0; i < random() % 5; ++i) full.push_back(static_cast<std::int64_t>(random() % 4));
    for (const std::int64_t dim : full) {
      a_dims.push_back(random() % 3 == 0 ? 1 : dim);
      b_dims.push_back(a_dims.back() == dim && random() % 2 == 0 ? 1 : dim);
    }
    if (!b_dims.empty() && full.front() == 1) b_dims.erase(b_dims.begin());
    const auto tensor = [&](const Dims& dims) {
      Tensor result(DType::f32, dims);
      for (float& value : result.mutable_values<float>()) value = static_cast<float>(random() % 100);
      return result;
    };
    const Tensor a = tensor(a_dims), b = tensor(b_dims), shape = Tensor::of_ints(full);
    const Tensor wide_a = run("Expand(x, s)", {{"x", a}, {"s", shape}}), wide_b = run("Expand(x, s)", {{"x", b}, {"s", shape}});
    for (const char* type : {"Add", "Sub", "Mul", "Max", "PRelu"}) {
      if (std::string(type) == "PRelu" && a_dims != full) continue;
      const std::string node = std::string(type) + "(a, b)";
      EXPECT_TRUE(run(node, {{"a", a}, {"b", b}}) == run(node, {{"a", wide_a}, {"b", wide_b}}))
          << node << to_string(a_dims) << to_string(b_dims);
    }
  }
}

TEST(Arithmetic, IntegersWrapAndDivideTowardsZero) {
  const auto s32 = [](std::vector<std::int32_t> values) {
    return Tensor::of<std::int32_t>({static_cast<std::int64_t>(values.size())}, values);
  };
  EXPECT_TRUE(run("Add(a, b)", {{"a", s32({INT32_MAX})}, {"b", s32({1})}}) == s32({INT32_MIN}));
  EXPECT_TRUE(run("Div(a, b)", {{"a", s32({-7, 7, INT32_MIN})}, {"b", s32({2, -2, -1})}}) == s32({-3, -3, INT32_MIN}));
  EXPECT_THAT(message_of([&] { run("Div(a, b)", {{"a", s32({1})}, {"b", s32({0})}}); }, ErrorCode::kBadArgument),
              HasSubstr("divided by zero"));
}

TEST(Softmax, BothMeanings) {
  const Tensor x = f32({1, 2, 2}, {0, 0, 0, 0});
  EXPECT_THAT(floats(run("Softmax(x)", {{"x", x}}, 13)), ElementsAre(0.5F, 0.5F, 0.5F, 0.5F));
  EXPECT_THAT(floats(run("Softmax(x)", {{"x", x}}, 11)), ElementsAre(0.25F, 0.25F, 0.25F, 0.25F));
}

TEST(AveragePool, CountsPaddingWhenTold) {
  const Tensor x = f32({1, 1, 1, 2}, {2, 4});
  EXPECT_THAT(floats(run("AveragePool(x) {kernel_shape=[1, 2], pads=[0, 1, 0, 0]}", {{"x", x}})), ElementsAre(2, 3));
  EXPECT_THAT(floats(run("AveragePool(x) {kernel_shape=[1, 2], pads=[0, 1, 0, 0], count_include_pad=1}", {{"x", x}})),
              ElementsAre(1, 3));
}

TEST(Reshape, CopiesZerosAndFillsTheRest) {
  const Tensor x(DType::f32, {2, 3, 4});
  EXPECT_EQ(run("Reshape(x, s)", {{"x", x}, {"s", Tensor::of_ints({0, -1})}}).dims(), (Dims{2, 12}));
  const Tensor none(DType::f32, {0, 3});
  EXPECT_EQ(run("Reshape(x, s) {allowzero=1}", {{"x", none}, {"s", Tensor::of_ints({3, 0})}}).dims(), (Dims{3, 0}));
}

TEST(Quantize, RoundsTiesToEvenAndNanToTheLowest) {
  const Tensor x = f32({6}, {0.5F, 1.5F, -0.5F, 300, NAN, -300}), scale = Tensor::scalar(1.0F);
  const Tensor q = run("QuantizeLinear(x, s, z)", {{"x", x}, {"s", scale}, {"z", Tensor::scalar<std::int8_t>(1)}});
  EXPECT_THAT(q.values<std::int8_t>(), ElementsAre(1, 3, 1, 127, -128, -128));
}

TEST(Quantize, PerAxisAndBlocked) {
  const Tensor x = f32({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  const Tensor zero = Tensor::of<std::uint8_t>({2}, std::vector<std::uint8_t>{0, 10});
  EXPECT_THAT(run("QuantizeLinear(x, s, z) {axis=0}", {{"x", x}, {"s", f32({2}, {1, 2})}, {"z", zero}}).values<std::uint8_t>(),
              ElementsAre(1, 2, 3, 4, 12, 13, 14, 14));
  EXPECT_THAT(
      run("QuantizeLinear(x, s) {axis=1, block_size=2}", {{"x", x}, {"s", f32({2, 2}, {1, 2, 1, 4})}}).values<std::uint8_t>(),
      ElementsAre(1, 2, 2, 2, 5, 6, 2, 2));
}

TEST(Macs, OfTheProducts) {
  Graph graph = body(R"(graph g(x: f32[2,8,10,10], a: f32[5,7]) -> (y, z, t) {
  w = f32[4,4,1,2]{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}
  b = f32[7,3]{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}
  y = Conv(x, w) {group=2}
  z = MatMul(a, b)
  t = Relu(z)
})");
  infer_shapes(graph);
  const ValueIndex values(graph);
  EXPECT_EQ(macs(values, graph.nodes[0]), 2 * 4 * 10 * 9 * (4 * 1 * 2));
  EXPECT_EQ(macs(values, graph.nodes[1]), 5 * 7 * 3);
  EXPECT_EQ(macs(values, graph.nodes[2]), 0);
}

// ---- errors name the node and the way out

TEST(Errors, NameTheNode) {
  const Tensor x(DType::f32, {1, 3, 4, 4}), w(DType::f32, {2, 4, 3, 3});
  EXPECT_THAT(message_of([&] { run("Conv(x, w) \"conv1\"", {{"x", x}, {"w", w}}); }, ErrorCode::kBadShape),
              testing::AllOf(HasSubstr("conv1"), HasSubstr("3 channels"), HasSubstr("[2,4,3,3]")));
  EXPECT_THAT(
      message_of([&] { run("MatMul(x, w) \"mm\"", {{"x", Tensor(DType::f32, {2, 3})}, {"w", Tensor(DType::f32, {4, 5})}}); },
                 ErrorCode::kBadShape),
      testing::AllOf(HasSubstr("mm"), HasSubstr("3 columns meet 4 rows")));
  EXPECT_THAT(message_of([&] { run("Relu(x) \"r\"", {{"x", Tensor(DType::b8, {2})}}); }, ErrorCode::kBadType),
              HasSubstr("'r'"));
  EXPECT_THAT(message_of([&] { run("Add(x) \"one operand\"", {{"x", x}}); }, ErrorCode::kBadModel),
              HasSubstr("takes 2 inputs, has 1"));
  EXPECT_THAT(message_of([&] { run("Unheard(x) \"u\"", {{"x", x}}); }, ErrorCode::kUnsupported),
              testing::AllOf(HasSubstr("'u'"), HasSubstr("Unheard")));
  EXPECT_THAT(message_of([&] { run("Transpose(x) \"t\" {perm=[0, 1, 1, 2]}", {{"x", x}}); }, ErrorCode::kBadAttribute),
              HasSubstr("'t'"));
  EXPECT_THAT(message_of([&] { run("Concat(x, w) \"c\" {axis=1}", {{"x", x}, {"w", w}}); }, ErrorCode::kBadShape),
              HasSubstr("'c'"));
  EXPECT_THAT(message_of([&] { run("MaxPool(x) \"p\"", {{"x", x}}); }, ErrorCode::kBadAttribute), HasSubstr("kernel_shape"));
  EXPECT_THAT(message_of([&] { run("Gather(x, i) \"g\"", {{"x", x}, {"i", Tensor::of_ints({1})}}); }, ErrorCode::kBadShape),
              HasSubstr("index 1"));
  EXPECT_THAT(
      message_of([&] { run("Reshape(x, s) \"r\"", {{"x", x}, {"s", Tensor::of_ints({7, -1})}}); }, ErrorCode::kBadShape),
      HasSubstr("[1,3,4,4]"));
}

TEST(Errors, FeedsAreChecked) {
  const Graph graph = body("graph g(x: f32[2]) -> (y) {\n y = Relu(x)\n}\n");
  EXPECT_THAT(message_of([&] { evaluate(graph, {}); }, ErrorCode::kBadSample), HasSubstr("'x'"));
  EXPECT_THAT(message_of([&] { evaluate(graph, {{"x", Tensor(DType::s64, {2})}}); }, ErrorCode::kBadSample),
              HasSubstr("takes f32, not s64"));
  EXPECT_THAT(message_of([&] { evaluate(graph, {{"x", f32({2}, {1, 2})}, {"more", f32({}, {1})}}); }, ErrorCode::kBadSample),
              HasSubstr("'more'"));
}

TEST(Evaluate, GivesInnerValuesAndFreesOthers) {
  const Graph graph = body("graph g(x: f32[2]) -> (z) {\n a = Neg(x)\n y = Relu(a)\n z = Add(y, a)\n}\n");
  const std::vector<std::string> wanted = {"a", "z", "x"};
  const auto values = evaluate(graph, {{"x", f32({2}, {1, -2})}}, wanted);
  EXPECT_THAT(floats(values[0]), ElementsAre(-1, 2));
  EXPECT_THAT(floats(values[1]), ElementsAre(-1, 4));
  EXPECT_THAT(floats(values[2]), ElementsAre(1, -2));
}

}  // namespace
}  // namespace zeropoint::ops
