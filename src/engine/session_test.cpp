#include "zeropoint/session.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "engine/tap.h"
#include "ops/operator.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;

// Small graphs by hand.
class Builder {
 public:
  explicit Builder(unsigned seed) : random_(seed) {
    graph_.opsets[""] = 17;
    graph_.ir_version = 8;
  }

  std::string input(const std::string& name, DType dtype, const Shape& shape) {
    graph_.inputs.push_back({.name = name, .type = {dtype, shape}});
    return name;
  }
  void output(const std::string& name, DType dtype) { graph_.outputs.push_back({.name = name, .type = {dtype, std::nullopt}}); }
  std::string constant(Tensor tensor) {
    const std::string name = fresh("c");
    graph_.initializers[name] = std::move(tensor);
    return name;
  }
  std::string node(const std::string& op, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes = {}) {
    const std::string name = fresh(op);
    graph_.nodes.push_back({.name = "node_" + name,
                            .op_type = op,
                            .inputs = std::move(inputs),
                            .outputs = {name},
                            .attributes = std::move(attributes)});
    return name;
  }
  std::string zero_point(DType dtype, int value) {
    return constant(dtype == DType::u8 ? Tensor::scalar(static_cast<std::uint8_t>(value))
                                       : Tensor::scalar(static_cast<std::int8_t>(value)));
  }
  std::string quantize(const std::string& x, DType dtype, float scale, int zero) {
    return node("QuantizeLinear", {x, constant(Tensor::scalar(scale)), zero_point(dtype, zero)});
  }
  std::string dequantize(const std::string& q, DType dtype, float scale, int zero) {
    return node("DequantizeLinear", {q, constant(Tensor::scalar(scale)), zero_point(dtype, zero)});
  }
  std::string fake(const std::string& x, DType dtype, float scale, int zero) {
    return dequantize(quantize(x, dtype, scale, zero), dtype, scale, zero);
  }
  // Weights behind DequantizeLinear along axis 0.
  std::string weights(const Dims& dims, std::vector<float>* scales = nullptr) {
    Tensor q(DType::s8, dims);
    for (auto& w : q.mutable_values<std::int8_t>()) w = static_cast<std::int8_t>(uniform(-127, 127));
    std::vector<float> scale;
    for (std::int64_t o = 0; o < dims[0]; ++o) scale.push_back(0.001F + 0.01F * static_cast<float>(uniform(0, 1000)) / 1000.0F);
    if (scales != nullptr) *scales = scale;
    return node("DequantizeLinear",
                {constant(q), constant(Tensor::of<float>({dims[0]}, scale)), constant(Tensor(DType::s8, {dims[0]}))},
                {{"axis", std::int64_t{0}}});
  }
  Tensor reals(const Dims& dims, float spread = 2) {
    Tensor x(DType::f32, dims);
    for (auto& v : x.mutable_values<float>())
      v = spread * (static_cast<float>(uniform(0, 1 << 20)) / static_cast<float>(1 << 19) - 1);
    return x;
  }
  int uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  Graph build() {
    ops::infer_shapes(graph_);
    for (auto& output : graph_.outputs) output.type = graph_.type_of(output.name);
    return graph_;
  }

 private:
  std::string fresh(const std::string& base) { return base + "_" + std::to_string(count_++); }
  Graph graph_;
  std::mt19937 random_;
  int count_ = 0;
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : seed(std::random_device{}()), builder(seed), trace_(__FILE__, __LINE__, "seed " + std::to_string(seed)) {}
  unsigned seed;
  Builder builder;

 private:
  ::testing::ScopedTrace trace_;
};

// The same bytes by every instruction set and thread count; returns them.
std::vector<Tensor> run_everywhere(const Graph& graph, const Feeds& feeds) {
  std::vector<Tensor> first;
  for (const Isa isa : members(detected_isas()))
    for (const int threads : {1, 3}) {
      Session session(graph, {.threads = threads, .max_isa = isa});
      auto out = session.run(feeds);
      if (first.empty()) first = out;
      for (std::size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], first[i]) << name(isa) << " with " << threads << " threads";
    }
  return first;
}

void expect_literal(const Graph& graph, const Feeds& feeds) {
  const auto out = run_everywhere(graph, feeds);
  const auto expected = ops::evaluate(graph, feeds);
  ASSERT_EQ(out.size(), expected.size());
  for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], expected[i]) << "output " << i;
}

// Q/DQ around Conv is QLinearConv, bit for bit.
TEST_F(SessionTest, ConvolutionBetweenQuantizersIsQLinearConv) {
  for (const DType dtype : {DType::u8, DType::s8}) {
    for (int trial = 0; trial < 12; ++trial) {
      Builder b(seed + static_cast<unsigned>(trial));
      const std::int64_t groups = trial % 3 == 2 ? 8 : 1, c = groups == 1 ? b.uniform(1, 40) : 8,
                         o = groups == 1 ? b.uniform(1, 40) : 8;
      const std::int64_t k = b.uniform(1, 3), h = b.uniform(5, 12), w = b.uniform(5, 12), stride = b.uniform(1, 2);
      const int zx = dtype == DType::u8 ? b.uniform(0, 255) : b.uniform(-128, 127),
                zy = dtype == DType::u8 ? b.uniform(0, 255) : b.uniform(-128, 127);
      const float sx = 0.02F, sy = 0.05F;
      const std::map<std::string, Attribute> attributes = {{"group", groups},
                                                           {"pads", std::vector<std::int64_t>{1, 0, 1, 1}},
                                                           {"strides", std::vector<std::int64_t>{stride, stride}}};
      std::vector<float> sw;
      b.input("x", DType::f32, to_shape({2, c, h, w}));
      const std::string weights = b.weights({o, c / groups, k, k}, &sw);
      std::vector<std::int32_t> bias;
      std::vector<float> bias_scale;
      for (std::int64_t i = 0; i < o; ++i) {
        bias.push_back(b.uniform(-3000, 3000));
        bias_scale.push_back(sx * sw[static_cast<std::size_t>(i)]);
      }
      const std::string bias_q = b.constant(Tensor::of<std::int32_t>({o}, bias));
      const std::string bias_real =
          b.node("DequantizeLinear", {bias_q, b.constant(Tensor::of<float>({o}, bias_scale))}, {{"axis", std::int64_t{0}}});
      const std::string y = b.node("Conv", {b.fake("x", dtype, sx, zx), weights, bias_real}, attributes);
      b.output(b.quantize(trial % 2 ? b.node("Relu", {y}) : y, dtype, sy, zy), dtype);
      const Graph graph = b.build();
      const Feeds feeds = {{"x", b.reals({2, c, h, w})}};

      Builder l(0);  // the same by the operator's reference
      Graph literal = graph;
      literal.nodes.clear();
      const Node& dq =
          *std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.outputs[0] == weights; });
      const Node& qx =
          *std::find_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& n) { return n.op_type == "QuantizeLinear"; });
      const Node& qy = graph.nodes.back();
      literal.nodes.push_back(qx);
      literal.nodes.push_back({.name = "q",
                               .op_type = "QLinearConv",
                               .inputs = {qx.outputs[0], qx.inputs[1], qx.inputs[2], dq.inputs[0], dq.inputs[1], dq.inputs[2],
                                          qy.inputs[1], qy.inputs[2], bias_q},
                               .outputs = {qy.outputs[0]},
                               .attributes = attributes});
      auto expected = ops::evaluate(literal, feeds).front();
      if (trial % 2) {  // ReLU on reals is a limit at the zero point
        if (dtype == DType::u8)
          for (auto& q : expected.mutable_values<std::uint8_t>()) q = std::max(q, static_cast<std::uint8_t>(zy));
        else
          for (auto& q : expected.mutable_values<std::int8_t>()) q = std::max(q, static_cast<std::int8_t>(zy));
      }
      EXPECT_EQ(run_everywhere(graph, feeds).front(), expected) << "trial " << trial;
      Session session(graph);
      EXPECT_EQ(session.integer_coverage(), 1.0) << session.explain();
      EXPECT_EQ(run_everywhere(literal, feeds).front(), ops::evaluate(literal, feeds).front())
          << "QLinearConv, trial " << trial;
    }
  }
}

TEST_F(SessionTest, GemmWithoutQuantizerBehindIsRuleB) {
  const std::int64_t m = 5, k = 37, n = 19;
  std::vector<float> sw;
  builder.input("x", DType::f32, to_shape({m, k}));
  const std::string w = builder.weights({n, k}, &sw);
  builder.output(builder.node("Gemm", {builder.fake("x", DType::u8, 0.02F, 111), w}, {{"transB", std::int64_t{1}}}),
                 DType::f32);
  const Graph graph = builder.build();
  const Feeds feeds = {{"x", builder.reals({m, k})}};
  const Tensor out = run_everywhere(graph, feeds).front();
  const auto weights = graph.initializers.at(graph.nodes[0].inputs[0]).values<std::int8_t>();
  const Graph& g = graph;
  const auto q = ops::evaluate(g, feeds, std::vector<std::string>{g.nodes[1].outputs[0]}).front();
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      std::int32_t sum = 0;
      for (std::int64_t t = 0; t < k; ++t)
        sum += (q.values<std::uint8_t>()[static_cast<std::size_t>(i * k + t)] - 111) *
               weights[static_cast<std::size_t>(j * k + t)];
      EXPECT_EQ(out.values<float>()[static_cast<std::size_t>(i * n + j)],
                static_cast<float>(sum) * (0.02F * sw[static_cast<std::size_t>(j)]));
    }
}

// Everything but products is literal ONNX arithmetic.
TEST_F(SessionTest, FunctionsOfOneValueAreLiteral) {
  for (const DType dtype : {DType::u8, DType::s8})
    for (const char* op : {"Sigmoid", "HardSwish", "Relu", "LeakyRelu", "Tanh", "Exp", "Abs", "Neg"}) {
      Builder b(seed);
      b.input("x", DType::f32, to_shape({2, 3, 5, 7}));
      const int zero = dtype == DType::u8 ? 120 : -9;
      b.output(b.quantize(b.node(op, {b.fake("x", dtype, 0.03F, zero)}), dtype, 0.011F, zero + 3), dtype);
      SCOPED_TRACE(op);
      expect_literal(b.build(), {{"x", b.reals({2, 3, 5, 7}, 4)}});
    }
}

TEST_F(SessionTest, ResidualAddAndChannelMulAreLiteral) {
  for (const char* op : {"Add", "Mul"})
    for (const bool channel : {false, true})
      for (const DType dtype : {DType::u8, DType::s8}) {
        Builder b(seed);
        b.input("x", DType::f32, to_shape({2, 9, 5, 6}));
        b.input("y", DType::f32, to_shape(channel ? Dims{2, 9, 1, 1} : Dims{2, 9, 5, 6}));
        const std::string sum = b.node(op, {b.fake("x", dtype, 0.03F, 12), b.fake("y", dtype, 0.021F, 99)});
        b.output(b.quantize(b.node("Relu", {sum}), dtype, 0.04F, 7), dtype);
        SCOPED_TRACE(std::string(op) + (channel ? " per channel" : ""));
        expect_literal(b.build(),
                       {{"x", b.reals({2, 9, 5, 6}, 3)}, {"y", b.reals(channel ? Dims{2, 9, 1, 1} : Dims{2, 9, 5, 6}, 3)}});
      }
}

TEST_F(SessionTest, MovementKeepsIntegersAndIsLiteral) {
  for (const DType dtype : {DType::u8, DType::s8}) {
    Builder b(seed);
    b.input("x", DType::f32, to_shape({2, 6, 8, 8}));
    const int zero = dtype == DType::u8 ? 128 : 0;
    const std::string x = b.fake("x", dtype, 0.02F, zero);
    const std::string pooled = b.node("MaxPool", {x},
                                      {{"kernel_shape", std::vector<std::int64_t>{3, 3}},
                                       {"strides", std::vector<std::int64_t>{2, 2}},
                                       {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
    const std::string turned = b.node("Transpose", {pooled}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}});
    const std::string flat = b.node("Reshape", {turned, b.constant(Tensor::of_ints({2, -1}))});
    const std::string joined = b.node("Concat", {flat, flat}, {{"axis", std::int64_t{1}}});
    b.output(b.quantize(joined, dtype, 0.02F, zero), dtype);
    b.output(joined, DType::f32);
    b.output(b.quantize(pooled, dtype, 0.05F, zero - 5), dtype);
    expect_literal(b.build(), {{"x", b.reals({2, 6, 8, 8}, 3)}});
  }
}

TEST_F(SessionTest, ConcatOfDifferentParametersIsLiteral) {
  builder.input("x", DType::f32, to_shape({1, 5, 4, 4}));
  builder.input("y", DType::f32, to_shape({1, 3, 4, 4}));
  const std::string x = builder.fake("x", DType::u8, 0.02F, 100), y = builder.fake("y", DType::u8, 0.03F, 20);
  builder.output(builder.quantize(builder.node("Concat", {x, y}, {{"axis", std::int64_t{1}}}), DType::u8, 0.025F, 64),
                 DType::u8);
  expect_literal(builder.build(), {{"x", builder.reals({1, 5, 4, 4})}, {"y", builder.reals({1, 3, 4, 4})}});
}

TEST_F(SessionTest, FloatNetworkMatchesReferences) {
  Builder& b = builder;
  b.input("x", DType::f32, {Dim("N"), Dim(3), Dim(16), Dim(16)});
  const std::string a = b.node("Clip", {b.node("Conv", {"x", b.constant(b.reals({8, 3, 3, 3})), b.constant(b.reals({8}))},
                                               {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}}),
                                        b.constant(Tensor::scalar(0.0F)), b.constant(Tensor::scalar(6.0F))});
  const std::string d = b.node("Conv", {a, b.constant(b.reals({8, 1, 3, 3}))},
                               {{"group", std::int64_t{8}}, {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
  const std::string r = b.node("Add", {d, a});
  const std::string m = b.node("Mul", {r, b.constant(b.reals({8, 1, 1}))});
  const std::string p = b.node(
      "AveragePool", {m}, {{"kernel_shape", std::vector<std::int64_t>{2, 2}}, {"strides", std::vector<std::int64_t>{2, 2}}});
  const std::string g = b.node("Flatten", {b.node("GlobalAveragePool", {p})});
  b.output(b.node("Gemm", {g, b.constant(b.reals({8, 10})), b.constant(b.reals({10}))}), DType::f32);
  b.output(b.node("Sigmoid", {m}), DType::f32);
  const Graph graph = b.build();
  for (const std::int64_t batch : {1, 3}) {
    const Feeds feeds = {{"x", b.reals({batch, 3, 16, 16})}};
    Session session(graph, {.threads = 2});
    const auto out = session.run(feeds), expected = ops::evaluate(graph, feeds);
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i].dims(), expected[i].dims());
      for (std::size_t j = 0; j < static_cast<std::size_t>(out[i].size()); ++j)
        ASSERT_NEAR(out[i].values<float>()[j], expected[i].values<float>()[j],
                    1e-4 * (1 + std::abs(expected[i].values<float>()[j])));
    }
  }
}

TEST_F(SessionTest, BatchesSplitWithoutTrace) {
  std::vector<float> sw;
  builder.input("x", DType::f32, {Dim("N"), Dim(3), Dim(9), Dim(9)});
  const std::string y = builder.node("Conv", {builder.fake("x", DType::u8, 0.02F, 128), builder.weights({20, 3, 3, 3}, &sw)});
  builder.output(builder.dequantize(builder.quantize(y, DType::u8, 0.3F, 99), DType::u8, 0.3F, 99), DType::f32);
  const Graph graph = builder.build();
  const Tensor x = builder.reals({4, 3, 9, 9});
  Session session(graph, {.threads = 2});
  const Tensor all = session.run({{"x", x}}).front();
  for (std::int64_t i = 0; i < 4; ++i) {
    const auto part = x.values<float>().subspan(static_cast<std::size_t>(i) * 243, 243);
    const Tensor one = session.run({{"x", Tensor::of<float>({1, 3, 9, 9}, part)}}).front();
    const auto expected =
        all.values<float>().subspan(static_cast<std::size_t>(i * one.size()), static_cast<std::size_t>(one.size()));
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), one.values<float>().begin()));
  }
}

// Weights that depend on the shape of the input: the second plan must not take the first one's packed bytes.
TEST_F(SessionTest, WeightsThatFoldToOtherNumbersAtOtherShapes) {
  Builder& b = builder;
  b.input("x", DType::f32, {Dim("N"), Dim(4), Dim(6), Dim(6)});
  const std::string n = b.node("Gather", {b.node("Shape", {"x"}), b.constant(Tensor::scalar(std::int64_t{0}))});
  const std::string w =
      b.node("Expand", {b.node("Cast", {n}, {{"to", std::int64_t{3}}}), b.constant(Tensor::of_ints({5, 4, 3, 3}))});
  const std::string weights =
      b.node("DequantizeLinear", {w, b.constant(Tensor::scalar(0.01F)), b.constant(Tensor::scalar(std::int8_t{0}))});
  b.output(b.node("Conv", {b.fake("x", DType::u8, 0.02F, 128), weights}), DType::f32);
  const Graph graph = b.build();
  Session session(graph, {.threads = 1});
  for (const std::int64_t batch : {1, 3, 2}) {
    const Feeds feeds = {{"x", b.reals({batch, 4, 6, 6})}};
    const Tensor out = session.run(feeds).front(), expected = ops::evaluate(graph, feeds).front();
    for (std::size_t i = 0; i < static_cast<std::size_t>(out.size()); ++i)
      ASSERT_NEAR(out.values<float>()[i], expected.values<float>()[i], 1e-4) << "batch " << batch;
  }
}

TEST_F(SessionTest, TapsShowTheValuesOfTheReferences) {
  builder.input("x", DType::f32, to_shape({1, 3, 6, 6}));
  const std::string conv = builder.node("Conv", {"x", builder.constant(builder.reals({4, 3, 1, 1}))});
  const std::string relu = builder.node("Relu", {conv});
  const std::string flat = builder.node("Flatten", {relu});
  builder.output(flat, DType::f32);
  const Graph graph = builder.build();
  const Feeds feeds = {{"x", builder.reals({1, 3, 6, 6})}};
  const std::vector<std::string> names = {"x", conv, relu, flat};
  const auto expected = ops::evaluate(graph, feeds, names);
  TapSession session(graph, names, {.threads = 1});
  std::size_t seen = 0;
  session.run(feeds, [&](const TapView& view) {
    ++seen;
    ASSERT_EQ(Dims(view.dims.begin(), view.dims.end()), expected[view.index].dims());
    double sum = 0, expected_sum = 0;  // layouts differ; sums don't
    for (const float v : view.values) sum += static_cast<double>(v);
    for (const float v : expected[view.index].values<float>()) expected_sum += static_cast<double>(v);
    EXPECT_NEAR(sum, expected_sum, 1e-4 * (1 + std::abs(expected_sum)));
  });
  EXPECT_EQ(seen, names.size());
}

TEST_F(SessionTest, OutputsMayBeInputsConstantsAndTwins) {
  builder.input("x", DType::f32, to_shape({2, 2}));
  const std::string same = builder.node("Identity", {"x"});
  const std::string twice = builder.node("Add", {"x", "x"});
  builder.output(same, DType::f32);
  builder.output(twice, DType::f32);
  builder.output(builder.node("Reshape", {twice, builder.constant(Tensor::of_ints({4}))}), DType::f32);
  expect_literal(builder.build(), {{"x", builder.reals({2, 2})}});
}

TEST_F(SessionTest, WrongFeedsAreNamed) {
  builder.input("images", DType::f32, {Dim("N"), Dim(3)});
  builder.input("other", DType::f32, {Dim("N"), Dim(2)});
  builder.output(builder.node("Concat", {"images", "other"}, {{"axis", std::int64_t{1}}}), DType::f32);
  Session session(builder.build());
  const Tensor a(DType::f32, {2, 3}), b(DType::f32, {2, 2});
  const auto expect = [&](const Feeds& feeds, const std::string& text) {
    try {
      session.run(feeds);
      ADD_FAILURE() << "accepted; wanted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kBadSample);
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  EXPECT_EQ(session.run({{"images", a}, {"other", b}}).size(), 1U);
  expect({{"images", a}}, "input 'other': is missing");
  expect({{"images", a}, {"other", b}, {"extra", b}}, "input 'extra': the model has no such input");
  expect({{"images", b}, {"other", b}}, "input 'images': has shape [2,2], the model wants f32[N,3]");
  expect({{"images", Tensor(DType::f64, {2, 3})}, {"other", b}}, "input 'images': is f64, the model wants f32");
  expect({{"images", a}, {"other", Tensor(DType::f32, {1, 2})}}, "'N' is 2 in input 'images'");
  std::vector<Tensor> in = {a, b}, out = {Tensor(DType::f32, {2, 5})};
  EXPECT_EQ(session.run(in, out), ErrorCode::kOk);
  out[0] = Tensor(DType::f32, {2, 4});
  EXPECT_EQ(session.run(in, out), ErrorCode::kBadArgument);
}

TEST_F(SessionTest, UnknownOperatorIsNamedWhenItMustRun) {
  builder.input("x", DType::f32, to_shape({2}));
  builder.output(builder.node("Frobnicate", {"x"}), DType::f32);
  Graph graph = builder.build();
  graph.outputs[0].type = {DType::f32, to_shape({2})};
  try {
    Session session(graph);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("Frobnicate"));
  }
}

TEST(SessionOptions, CapsOfUnknownInstructionSetsAreErrors) {
  Builder b(1);
  b.input("x", DType::f32, to_shape({2}));
  b.output(b.node("Relu", {"x"}), DType::f32);
  const Graph graph = b.build();
#if defined(__x86_64__)
  EXPECT_THROW(Session(graph, {.max_isa = Isa::neon}), Error);
#endif
  EXPECT_NO_THROW(Session(graph, {.max_isa = Isa::scalar}));
}

}  // namespace
}  // namespace zeropoint
