// Random chains of operators that move elements, with products, sums and joins between them: the session, which walks views
// where it can, must give what the references give, for any number of threads.
#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "ops/operator.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

class Chain {
 public:
  explicit Chain(unsigned seed) : random_(seed) { graph_.opsets[""] = 17; }

  Graph make() {
    graph_.name = "chain";
    graph_.ir_version = 8;
    std::string x = "x";
    Dims dims = {2, 3, 4, 6};
    graph_.inputs.push_back({.name = x, .type = {DType::f32, to_shape(dims)}});
    for (int i = 0; i < 7; ++i) step(x, dims);
    graph_.outputs.push_back({.name = x, .type = {DType::f32, std::nullopt}});
    ops::infer_shapes(graph_);
    verify(graph_);
    return graph_;
  }
  std::int64_t uniform(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }

 private:
  std::string constant(Tensor tensor) {
    const std::string name = "c" + std::to_string(count_++);
    graph_.initializers.emplace(name, std::move(tensor));
    return name;
  }
  std::string ints(const Dims& values) {
    return constant(Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
  }
  std::string node(const std::string& op, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes = {},
                   std::size_t outputs = 1) {
    Node node{.name = "n" + std::to_string(count_), .op_type = op, .inputs = std::move(inputs)};
    for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back("v" + std::to_string(count_++));
    for (auto& [name, value] : attributes) node.attributes[name] = value;
    graph_.nodes.push_back(node);
    return graph_.nodes.back().outputs.front();
  }
  Tensor reals(const Dims& dims) {
    Tensor tensor(DType::f32, dims);
    for (float& v : tensor.mutable_values<float>()) v = std::uniform_real_distribution<float>(-1, 1)(random_);
    return tensor;
  }

  void step(std::string& x, Dims& dims) {
    const auto rank = static_cast<std::int64_t>(dims.size());
    const std::int64_t axis = uniform(0, rank - 1);
    std::int64_t& dim = dims[static_cast<std::size_t>(axis)];
    switch (uniform(0, 11)) {
      case 0: {
        Dims perm(dims.size()), moved;
        for (std::size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<std::int64_t>(i);
        std::shuffle(perm.begin(), perm.end(), random_);
        for (const std::int64_t i : perm) moved.push_back(dims[static_cast<std::size_t>(i)]);
        x = node("Transpose", {x}, {{"perm", perm}});
        dims = moved;
        break;
      }
      case 1: {  // two axes become one, or one two
        Dims shaped = dims;
        if (rank >= 3) {
          const auto at = static_cast<std::size_t>(uniform(0, rank - 2));
          shaped[at] *= shaped[at + 1];
          shaped.erase(shaped.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        } else if (dim % 2 == 0) {
          shaped[static_cast<std::size_t>(axis)] /= 2;
          shaped.insert(shaped.begin() + axis, 2);
        }
        x = node("Reshape", {x, ints(shaped)});
        dims = shaped;
        break;
      }
      case 2:
        if (dim > 1) {
          const bool backwards = uniform(0, 1) == 1;
          x = backwards ? node("Slice", {x, ints({-1}), ints({-dim - 1}), ints({axis}), ints({-1})})
                        : node("Slice", {x, ints({1}), ints({dim}), ints({axis})});
          if (!backwards) --dim;
        }
        break;
      case 3:
        if (dim % 2 == 0) {
          dim /= 2;
          const std::string first = node("Split", {x}, {{"axis", axis}}, 2);
          const std::string second = graph_.nodes.back().outputs.back();
          x = uniform(0, 1) == 1 ? node("Sub", {second, first}) : second;
        }
        break;
      case 4: {
        x = node("Gather", {x, constant(Tensor::of<std::int64_t>({2}, std::vector<std::int64_t>{dim - 1, 0}))},
                 {{"axis", axis}});
        dim = 2;
        break;
      }
      case 5:
        x = node("Concat", {x, x}, {{"axis", axis}});
        dim *= 2;
        break;
      case 6: {
        x = node("Unsqueeze", {x, ints({axis})});
        dims.insert(dims.begin() + axis, 1);
        Dims wide = dims;
        wide[static_cast<std::size_t>(axis)] = 2;
        x = node("Expand", {x, ints(wide)});
        dims = wide;
        break;
      }
      case 7: {  // x times a transpose of itself: both operands are views
        if (rank < 2) break;
        Dims perm(dims.size());
        for (std::size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<std::int64_t>(i);
        std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
        x = node("MatMul", {x, node("Transpose", {x}, {{"perm", perm}})});
        const bool divide = uniform(0, 1) == 1;
        x = node(divide ? "Div" : "Mul", {x, constant(Tensor::scalar(divide ? 5.0F : 0.2F))});
        dims.back() = dims[dims.size() - 2];
        break;
      }
      case 8: {  // with a row or a column
        Dims row(dims.size(), 1);
        row[static_cast<std::size_t>(axis)] = dim;
        x = node(uniform(0, 1) == 1 ? "Add" : "Mul", {x, constant(reals(row))});
        break;
      }
      case 9:
        x = node("Softmax", {x}, {{"axis", axis}});
        break;
      case 10:
        x = node("ReduceMean", {x}, {{"axes", Dims{axis}}, {"keepdims", std::int64_t{1}}});
        dim = 1;
        break;
      default: {
        Dims pads(2 * dims.size(), 0);
        pads[static_cast<std::size_t>(axis)] = 1;
        pads[static_cast<std::size_t>(axis) + dims.size()] = 2;
        x = node("Pad", {x, ints(pads)}, {{"mode", std::string("edge")}});
        dim += 3;
        break;
      }
    }
    if (element_count(dims) > 20000) {  // small enough for the references
      x = node("Slice", {x, ints({0}), ints({1}), ints({0})});
      dims[0] = 1;
    }
    if (dims.size() > 6) {
      x = node("Reshape", {x, ints({-1, dims.back()})});
      dims = {element_count(dims) / dims.back(), dims.back()};
    }
  }

  Graph graph_;
  std::mt19937 random_;
  int count_ = 0;
};

TEST(Views, RandomChainsGiveWhatTheReferencesGive) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (unsigned i = 0; i < 300; ++i) {
    Chain chain(seed + i);
    const Graph graph = chain.make();
    Tensor x(DType::f32, {2, 3, 4, 6});
    std::mt19937 random(seed + i);
    for (float& v : x.mutable_values<float>()) v = std::uniform_real_distribution<float>(-1, 1)(random);
    const Tensor expected = ops::evaluate(graph, std::map<std::string, Tensor>{{"x", x}}).front();
    for (const int threads : {1, 3}) {
      Session session(graph, {.threads = threads});
      const Tensor actual = session.run({{"x", x}}).front();
      ASSERT_EQ(actual.dims(), expected.dims()) << to_text(graph);
      float largest = 1;
      for (const float v : expected.values<float>()) largest = std::max(largest, std::fabs(v));
      for (std::int64_t k = 0; k < actual.size(); ++k) {
        const float want = expected.values<float>()[static_cast<std::size_t>(k)];
        ASSERT_NEAR(actual.values<float>()[static_cast<std::size_t>(k)], want, 1e-4F * largest)  // fma, order
            << "graph " << i << ", element " << k << "\n"
            << to_text(graph);
      }
    }
  }
}

// Written as several nodes or as one: the same bytes as the references of the nodes.
TEST(Chains, GeluAndSwishKeepEveryBit) {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[3,50]) -> (g: f32, s: f32, kept: f32, t: f32) {
  root = f32[]{1.41421354}
  one = f32[]{1}
  half = f32[]{0.5}
  d = Div(x, root)
  e = Erf(d)
  a = Add(one, e)
  m = Mul(x, a)
  g = Mul(m, half)
  q = Sigmoid(x)
  s = Mul(q, x)
  kept = Sigmoid(s)
  t = Mul(kept, s)
}
)");
  ops::infer_shapes(graph);
  Tensor x(DType::f32, {3, 50});
  std::mt19937 random(3);
  for (float& v : x.mutable_values<float>()) v = std::normal_distribution<float>(0, 3)(random);
  Session session(graph, {.threads = 2});
  const auto actual = session.run({{"x", x}});
  const auto expected = ops::evaluate(graph, std::map<std::string, Tensor>{{"x", x}});
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(actual[i], expected[i]) << graph.outputs[i].name;
  EXPECT_THAT(session.explain(), testing::HasSubstr("Div+Erf+Add+Mul+Mul"));
  EXPECT_THAT(session.explain(), testing::HasSubstr("Sigmoid+Mul"));
}

TEST(Chains, PReluInFloatNeedsNoReference) {
  Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[2,3,7]) -> (y: f32) {
  slope = f32[3,1]{0.1, -0.5, 2}
  y = PRelu(x, slope)
}
)");
  ops::infer_shapes(graph);
  Tensor x(DType::f32, {2, 3, 7});
  std::mt19937 random(4);
  for (float& v : x.mutable_values<float>()) v = std::normal_distribution<float>(0, 3)(random);
  Session session(graph, {.threads = 2});
  EXPECT_EQ(session.run({{"x", x}}).front(), ops::evaluate(graph, std::map<std::string, Tensor>{{"x", x}}).front());
  for (const StepInfo& step : session.steps()) EXPECT_EQ(step.kernel, "typed_elementwise");
}

}  // namespace
}  // namespace zeropoint
