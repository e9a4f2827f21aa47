#include "quant/without_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "ops/operator.h"
#include "quant/quantize_weight.h"
#include "zeropoint/cpu.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"
#include "zeropoint/session.h"

namespace zeropoint::quant {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Small float networks, by hand and by chance.
class Network {
 public:
  explicit Network(unsigned seed, std::int64_t opset = 17) : random_(seed) {
    graph_.opsets[""] = opset;
    graph_.ir_version = 8;
  }
  Tensor reals(const Dims& dims, float spread = 1) {
    Tensor x(DType::f32, dims);
    std::normal_distribution<float> normal(0, spread);
    for (float& value : x.mutable_values<float>()) value = normal(random_);
    return x;
  }
  std::string input(const std::string& name, const Dims& dims) {
    graph_.inputs.push_back({.name = name, .type = {DType::f32, to_shape(dims)}});
    feeds_[name] = reals(dims, 2);
    return name;
  }
  std::string constant(const std::string& name, Tensor tensor) {
    graph_.initializers[name] = std::move(tensor);
    return name;
  }
  std::string node(const std::string& op, const std::string& name, std::vector<std::string> inputs,
                   std::map<std::string, Attribute> attributes = {}) {
    graph_.nodes.push_back(
        {.name = name, .op_type = op, .inputs = std::move(inputs), .outputs = {name}, .attributes = std::move(attributes)});
    return name;
  }
  void output(const std::string& name) { graph_.outputs.push_back({.name = name, .type = {DType::f32, std::nullopt}}); }
  Graph build() {
    ops::infer_shapes(graph_);
    for (ValueInfo& output : graph_.outputs) output.type = graph_.type_of(output.name);
    return graph_;
  }
  const Feeds& feeds() const { return feeds_; }

 private:
  Graph graph_;
  Feeds feeds_;
  std::mt19937 random_;
};

Recipe dynamic(const std::string& granularity = "per_tensor", const std::string& weight = R"({"dtype": "s8"})") {
  return parse_recipe(R"({"rules": [{"activation": {"dynamic": true, "granularity": ")" + granularity + R"("}, "weight": )" +
                      weight + R"(}, {"op_type": "Conv", "activation": {"dynamic": true}, "weight": )" + weight + "}]}");
}
Recipe weights(const std::string& scheme) { return parse_recipe(R"({"rules": [{"weight": )" + scheme + "}]}"); }

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) result.push_back(node.op_type);
  return result;
}
std::int64_t count(const Graph& graph, const std::string& op_type) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.op_type == op_type; });
}
const Node& find(const Graph& graph, const std::string& op_type) {
  return *std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.op_type == op_type; });
}

double sqnr_db(const Tensor& x, const Tensor& y) {
  double signal = 0, error = 0;
  for (std::size_t i = 0; i < x.values<float>().size(); ++i) {
    const double a = static_cast<double>(x.values<float>()[i]), b = static_cast<double>(y.values<float>()[i]);
    signal += a * a;
    error += (a - b) * (a - b);
  }
  return 10 * std::log10(signal / error);
}

// The engine gives the bytes of the literal graph, on every instruction set and with any number of threads.
void expect_literal(const Graph& graph, const Feeds& feeds) {
  const std::vector<Tensor> expected = ops::evaluate(graph, feeds);
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx2vnni, Isa::avx512vnni, Isa::amxint8, Isa::neon})
    if (detected_isas().contains(isa))
      for (const int threads : {1, 3}) {
        Session session(graph, {.threads = threads, .max_isa = isa});
        const std::vector<Tensor> actual = session.run(feeds);
        for (std::size_t i = 0; i < expected.size(); ++i)
          EXPECT_EQ(actual[i], expected[i]) << "output " << i << ", " << name(isa) << ", " << threads << " threads";
        EXPECT_THAT(session.explain(), ::testing::Not(HasSubstr("no fast kernel")));
      }
}

class WithoutDataTest : public ::testing::Test {
 protected:
  WithoutDataTest() : seed(std::random_device{}()), trace_(__FILE__, __LINE__, "seed " + std::to_string(seed)) {}
  unsigned seed;

 private:
  ::testing::ScopedTrace trace_;
};

// x -> three products that share one quantizer; each written as ONNX Runtime fuses it.
TEST_F(WithoutDataTest, ProductsShareTheQuantizerOfTheirInput) {
  Network n(seed);
  n.input("x", {2, 7, 24});
  for (const std::string name : {"q", "k", "v"}) {
    n.constant("w_" + name, n.reals({24, 40}));
    n.constant("b_" + name, n.reals({40}));
    n.output(n.node("Add", name, {"b_" + name, n.node("MatMul", name + "_product", {"x", "w_" + name})}));
  }
  const Graph graph = n.build();
  const WithoutData made = quantize_without_data(graph, dynamic());
  EXPECT_EQ(count(made.graph, "DynamicQuantizeLinear"), 1);
  EXPECT_EQ(count(made.graph, "MatMulInteger"), 3);
  EXPECT_EQ(count(made.graph, "MatMul"), 0);
  EXPECT_THAT(made.integer_names, ElementsAre("k_product", "q_product", "v_product"));
  EXPECT_EQ(made.graph.initializers.at("w_q_quantized").dtype(), DType::s8);
  EXPECT_EQ(made.graph.initializers.at("w_q_scale").dims(), Dims{40});
  expect_literal(made.graph, n.feeds());
  const auto before = ops::evaluate(graph, n.feeds()), after = ops::evaluate(made.graph, n.feeds());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_GT(sqnr_db(before[i], after[i]), 33);
}

TEST_F(WithoutDataTest, EveryFormOfGemm) {
  for (int trial = 0; trial < 12; ++trial) {
    Network n(seed + static_cast<unsigned>(trial));
    const bool transposed = (trial & 1) != 0, computed = trial % 3 == 2;
    n.input("x", {trial % 4 + 1, 20 + trial});
    n.constant("w", n.reals(transposed ? Dims{33, 20 + trial} : Dims{20 + trial, 33}));
    if (computed)
      n.input("c", {1, 33});
    else
      n.constant("c", n.reals({33}));
    n.node("Gemm", "y", {"x", "w", "c"},
           {{"transB", std::int64_t{transposed}}, {"alpha", trial % 2 ? 0.5F : 1.0F}, {"beta", trial % 5 ? 1.0F : 0.25F}});
    n.output(n.node("Relu", "r", {"y"}));
    const Graph graph = n.build();
    for (const char* granularity : {"per_tensor", "per_row"}) {
      const WithoutData made = quantize_without_data(graph, dynamic(granularity));
      EXPECT_THAT(made.integer_names, ElementsAre("y"));
      expect_literal(made.graph, n.feeds());
      EXPECT_GT(sqnr_db(ops::evaluate(graph, n.feeds()).front(), ops::evaluate(made.graph, n.feeds()).front()), 30);
    }
  }
}

TEST_F(WithoutDataTest, UnsignedWeightsHaveZeroPoints) {
  Network n(seed);
  n.input("x", {5, 30});
  n.constant("w", n.reals({30, 17}));
  n.output(n.node("MatMul", "y", {"x", "w"}));
  for (const char* granularity : {"per_channel", "per_tensor"}) {
    const Graph made = quantize_without_data(n.build(), dynamic("per_tensor", R"({"dtype": "u8", "granularity": ")" +
                                                                                  std::string(granularity) + "\"}"))
                           .graph;
    EXPECT_EQ(find(made, "MatMulInteger").inputs.size(), 4U);
    expect_literal(made, n.feeds());
  }
}

// Rows of very different size: a scale for each keeps the small ones.
TEST_F(WithoutDataTest, RowsKeepTheirOwnScale) {
  Network n(seed);
  n.input("x", {1, 6, 32});
  n.constant("w", n.reals({32, 16}));
  n.output(n.node("MatMul", "y", {"x", "w"}));
  Feeds feeds = n.feeds();
  for (std::size_t i = 0; i < 32; ++i) feeds["x"].mutable_values<float>()[i] *= 1000;
  const Graph graph = n.build();
  const auto rest = [](const Tensor& y) { return Tensor::of<float>({5 * 16}, y.values<float>().subspan(16)); };
  const Graph rows = quantize_without_data(graph, dynamic("per_row")).graph;
  const Graph tensor = quantize_without_data(graph, dynamic("per_tensor")).graph;
  const Tensor exact = rest(ops::evaluate(graph, feeds).front());
  EXPECT_GT(sqnr_db(exact, rest(ops::evaluate(rows, feeds).front())), 30);
  EXPECT_LT(sqnr_db(exact, rest(ops::evaluate(tensor, feeds).front())), 10);
  expect_literal(rows, feeds);
  feeds["x"] = Tensor(DType::f32, {1, 6, 32});  // zeros have a scale too
  expect_literal(rows, feeds);
  expect_literal(tensor, feeds);
}

// `auto`: rows for what a product of two activations made, the tensor for the rest.
TEST_F(WithoutDataTest, GatedValuesAreQuantizedByRows) {
  Network n(seed);
  n.input("x", {4, 16});
  n.constant("w1", n.reals({16, 24}));
  n.constant("w2", n.reals({24, 8}));
  n.node("MatMul", "h", {"x", "w1"});
  n.node("Sigmoid", "s", {"h"});
  n.node("Mul", "gate", {"h", "s"});
  n.output(n.node("MatMul", "y", {"gate", "w2"}));
  const Graph made = quantize_without_data(n.build(), dynamic("auto")).graph;
  EXPECT_EQ(count(made, "DynamicQuantizeLinear"), 1);
  EXPECT_EQ(count(made, "ReduceMax"), 1);
  EXPECT_EQ(find(made, "Abs").input(0), "gate");
}

TEST_F(WithoutDataTest, Convolutions) {
  for (int trial = 0; trial < 12; ++trial) {
    Network n(seed + static_cast<unsigned>(trial));
    const std::int64_t groups = trial % 4 == 3 ? 8 : 1, c = groups == 1 ? 3 + trial : 8, o = groups == 1 ? 10 + trial : 8;
    n.input("x", {2, c, 9, 11});
    n.constant("w", n.reals({o, c / groups, 3, 3}));
    n.constant("b", n.reals({o}));
    std::vector<std::string> inputs = {"x", "w"};
    if (trial % 2) inputs.push_back("b");
    n.node("Conv", "y", std::move(inputs),
           {{"group", groups},
            {"pads", std::vector<std::int64_t>{1, 1, 1, 1}},
            {"strides", std::vector<std::int64_t>{1 + trial % 2, 1}}});
    n.output(n.node("Relu", "r", {"y"}));
    const Graph graph = n.build();
    const WithoutData made = quantize_without_data(graph, dynamic());
    EXPECT_THAT(made.integer_names, ElementsAre("y"));
    expect_literal(made.graph, n.feeds());
    EXPECT_GT(sqnr_db(ops::evaluate(graph, n.feeds()).front(), ops::evaluate(made.graph, n.feeds()).front()), 28);
  }
}

TEST_F(WithoutDataTest, GeneralRulesLeaveConvolutionsInFloatElsewhere) {
  Network n(seed);
  n.input("x", {1, 8, 6, 6});
  n.constant("w", n.reals({8, 1, 3, 3}));
  n.constant("v", n.reals({16, 8, 1, 1}));
  n.node("Conv", "depthwise", {"x", "w"}, {{"group", std::int64_t{8}}});
  n.output(n.node("Conv", "dense", {"depthwise", "v"}));
  Recipe recipe = recipes::dynamic_w8a8();
  WithoutData made = quantize_without_data(n.build(), recipe);
  EXPECT_THAT(made.integer_names, IsEmpty());
  ASSERT_EQ(made.notes.size(), 1U);
  EXPECT_THAT(made.notes[0], HasSubstr("warning: 2 of 2 convolutions stay in float"));
  EXPECT_THAT(made.notes[0], HasSubstr("static_w8a8"));
  recipe.target = Target::zeropoint;
  made = quantize_without_data(n.build(), recipe);
  EXPECT_THAT(made.integer_names, ElementsAre("dense"));
  ASSERT_EQ(made.left_in_float.size(), 1U);
  EXPECT_THAT(made.left_in_float[0].reason, HasSubstr("depthwise"));
  // Asked for by name, it is done; the warning stays.
  made = quantize_without_data(n.build(), dynamic());
  EXPECT_THAT(made.integer_names, ElementsAre("dense", "depthwise"));
  EXPECT_THAT(made.notes, Contains(HasSubstr("1 depthwise convolutions")));
}

TEST_F(WithoutDataTest, ReasonsAreGiven) {
  Network n(seed);
  n.input("x", {4, 16});
  n.input("z", {16, 4});
  n.constant("w", n.reals({16, 16}));
  n.node("MatMul", "two", {"x", "z"});
  n.node("MatMul", "kept", {"x", "w"});
  n.node("Softmax", "soft", {"two"});
  n.output("soft");
  n.output("kept");
  Recipe recipe = dynamic();
  recipe.keep_float("kept");
  const WithoutData made = quantize_without_data(n.build(), recipe);
  std::map<std::string, std::string> reasons;
  for (const LeftInFloat& node : made.left_in_float) reasons[node.node] = node.reason;
  EXPECT_THAT(reasons["two"], HasSubstr("two activations"));
  EXPECT_THAT(reasons["kept"], HasSubstr("keeps it in float"));
  EXPECT_FALSE(reasons["soft"].empty());
  EXPECT_THAT(operators(made.graph), ElementsAre("MatMul", "MatMul", "Softmax"));
}

TEST_F(WithoutDataTest, EmbeddingsLookUpRowsOfIntegers) {
  for (const char* scheme : {R"({"dtype": "s8"})", R"({"dtype": "u8"})", R"({"dtype": "s8", "granularity": "per_tensor"})"}) {
    Network n(seed);
    n.constant("table", n.reals({300, 16}));
    n.constant("ids", Tensor::of_ints({0, 299, 7, 7}));
    n.input("x", {4, 16});
    n.output(n.node("Add", "y", {"x", n.node("Gather", "rows", {"table", "ids"})}));
    const Graph graph = n.build();
    const WithoutData made = quantize_without_data(graph, weights(scheme));
    EXPECT_THAT(made.weight_names, ElementsAre("rows"));
    EXPECT_FALSE(made.graph.initializers.contains("table"));
    EXPECT_GT(sqnr_db(ops::evaluate(graph, n.feeds()).front(), ops::evaluate(made.graph, n.feeds()).front()), 35);
  }
}

TEST_F(WithoutDataTest, WeightsBehindDequantizeLinear) {
  Network n(seed);
  n.input("x", {3, 70});
  n.constant("w", n.reals({70, 12}));
  n.constant("v", n.reals({9, 12}));
  n.node("MatMul", "h", {"x", "w"});
  n.output(n.node("Gemm", "y", {"h", "v"}, {{"transB", std::int64_t{1}}}));
  const Graph graph = n.build();
  const Graph made = quantize_without_data(graph, weights(R"({"dtype": "s8", "range": "mse"})")).graph;
  EXPECT_EQ(count(made, "DequantizeLinear"), 2);
  EXPECT_EQ(made.initializers.at("w_scale").dims(), Dims{12});
  EXPECT_EQ(made.initializers.at("v_scale").dims(), Dims{9});
  EXPECT_GT(sqnr_db(ops::evaluate(graph, n.feeds()).front(), ops::evaluate(made, n.feeds()).front()), 38);
}

// What quantize_weight computes in blocks is what choose_qparams and quantize_tensor compute at leisure.
TEST_F(WithoutDataTest, BlocksOfWeightsEqualTheWhole) {
  Network n(seed);
  for (const Dims& dims : {Dims{70, 130}, Dims{16, 8, 3, 3}, Dims{2, 5, 33}, Dims{1, 1}})
    for (const DType dtype : {DType::s8, DType::u8, DType::s4, DType::u4})
      for (const char* range : {"min_max", "mse"})
        for (int axis = 0; axis < static_cast<int>(dims.size()); ++axis)
          for (const Granularity& granularity :
               {Granularity(PerTensor{}), Granularity(PerChannel{axis}), Granularity(PerGroup{axis, 16})}) {
            const Tensor w = n.reals(dims);
            Scheme scheme{.dtype = dtype,
                          .granularity = granularity,
                          .symmetric = dtype == DType::s8 || dtype == DType::s4,
                          .range = range};
            if (auto* group = std::get_if<PerGroup>(&scheme.granularity))
              group->size = std::min(group->size, dims[static_cast<std::size_t>(axis)]);
            const QParams expected = choose_qparams(w, scheme);
            const IntegerWeight actual = quantize_weight(w, scheme, axis, 1, 2);
            EXPECT_THAT(actual.scale.values<float>(), ::testing::ElementsAreArray(expected.scale));
            EXPECT_EQ(actual.q, quantize_tensor(w, expected, limits_of(scheme)));
            EXPECT_EQ(actual.zero_point.defined(), !scheme.symmetric);
            EXPECT_EQ(actual.scale.dims(), scale_dims(dims, scheme.granularity));
          }
}

TEST_F(WithoutDataTest, BadWeightsAreNamed) {
  Network n(seed);
  n.input("x", {1, 4});
  Tensor w = n.reals({4, 4});
  w.mutable_values<float>()[5] = std::nanf("");
  n.constant("weights", w);
  n.output(n.node("MatMul", "y", {"x", "weights"}));
  for (const Recipe& recipe : {dynamic(), weights(R"({"dtype": "s8"})")}) try {
      quantize_without_data(n.build(), recipe);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kNonFinite);
      EXPECT_THAT(error.where, HasSubstr("weights"));
    }
}

}  // namespace
}  // namespace zeropoint::quant
