// Graphs whose shapes depend on data: the session must give what the references give, whatever is fed.
#include "engine/stage.h"

#include <gmock/gmock.h>

#include <random>

#include "engine/split.h"
#include "ops/operator.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

using engine::Split;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Graph text_graph(const std::string& body) {
  Graph graph = parse_graph("ir_version 8\nopset 17\n" + body);
  ops::infer_shapes(graph);
  return graph;
}

Tensor reals(const Dims& dims, unsigned seed = 1) {
  std::mt19937 random(seed);
  Tensor tensor(DType::f32, dims);
  for (float& x : tensor.mutable_values<float>()) x = std::uniform_real_distribution<float>(-2, 2)(random);
  return tensor;
}

void expect_like_references(const Graph& graph, const Feeds& feeds, Session& session) {
  std::map<std::string, Tensor> by_name(feeds.begin(), feeds.end());
  const auto expected = ops::evaluate(graph, by_name);
  const auto results = session.run(feeds);
  ASSERT_EQ(results.size(), expected.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    ASSERT_EQ(results[i].dtype(), expected[i].dtype()) << graph.outputs[i].name;
    ASSERT_EQ(results[i].dims(), expected[i].dims()) << graph.outputs[i].name;
    if (results[i].dtype() != DType::f32) {
      EXPECT_EQ(results[i], expected[i]) << graph.outputs[i].name;
      continue;
    }
    for (std::int64_t k = 0; k < results[i].size(); ++k)
      EXPECT_NEAR(results[i].values<float>()[k], expected[i].values<float>()[k], 1e-4) << graph.outputs[i].name;
  }
}

void expect_like_references(const Graph& graph, const Feeds& feeds) {
  Session session(graph, {.threads = 2});
  expect_like_references(graph, feeds, session);
}

constexpr const char* kReshapes = R"(graph reshapes(x: f32[N,C], s: s64[2]) -> (y: f32, size: s64) {
  a = Relu(x)
  b = Reshape(a, s)
  c = Add(b, b)
  t = Shape(c)
  u = Add(s, s)
  v = Div(u, s)
  w = Expand(x, u)
  y = Mul(c, c)
  size = Concat(t, v) {axis=0}
}
)";

TEST(Stage, ShapesThatAnInputGives) {
  const Graph graph = text_graph(kReshapes);
  Session session(graph);
  for (const auto& target : {std::vector<std::int64_t>{2, 6}, {12, 1}, {3, 4}, {2, 6}, {-1, 3}})
    expect_like_references(graph, {{"x", reals({3, 4})}, {"s", Tensor::of_ints(target)}}, session);
  EXPECT_THAT(session.explain(), HasSubstr("depends on data"));
}

TEST(Stage, SplitPutsDequantizersBesideTheirReaders) {
  Graph graph = text_graph(R"(graph g(q: u8[1,2,3,3], x: f32[1,2,3,3], s: s64[4]) -> (y: f32, z: f32) {
  scale = f32[]{0.5}
  zero = u8[]{3}
  w = f32[4,2,1,1]{1, 2, 3, 4, 5, 6, 7, 8}
  d = DequantizeLinear(q, scale, zero)
  r = Reshape(x, s)
  y = Add(d, r)
  z = Conv(x, w)
}
)");
  const Split parts = engine::split(graph);
  ASSERT_FALSE(parts.whole());
  ASSERT_EQ(parts.edges.size(), 1U);
  EXPECT_EQ(parts.edges[0].op_type, "Reshape");
  ASSERT_EQ(parts.head.nodes.size(), 1U);
  EXPECT_EQ(parts.head.nodes[0].op_type, "Conv");
  EXPECT_EQ(parts.rest.nodes.size(), 2U);
  EXPECT_EQ(parts.rest.initializers.size(), 2U);
  std::vector<std::string> inputs;
  for (const auto& input : parts.rest.inputs) inputs.push_back(input.name);
  EXPECT_THAT(inputs, ::testing::UnorderedElementsAre("q", "r", "z"));
  Tensor q(DType::u8, {1, 2, 3, 3});
  for (std::size_t i = 0; i < 18; ++i) q.mutable_values<std::uint8_t>()[i] = static_cast<std::uint8_t>(7 * i);
  expect_like_references(graph, {{"q", q}, {"x", reals({1, 2, 3, 3})}, {"s", Tensor::of_ints({1, 2, 3, 3})}});
}

TEST(Stage, AnEdgeMayBeAnOutputAndItsInputsToo) {
  const Graph graph = text_graph(R"(graph g(x: f32[N], s: s64[1]) -> (x2: f32, r: f32, e: f32) {
  x2 = Add(x, x)
  r = Reshape(x2, s)
  e = Expand(x2, s)
}
)");
  expect_like_references(graph, {{"x", reals({1})}, {"s", Tensor::of_ints({1})}});
  Session session(graph);
  EXPECT_THROW(session.run({{"x", reals({3})}, {"s", Tensor::of_ints({4})}}), Error);
  expect_like_references(graph, {{"x", reals({4})}, {"s", Tensor::of_ints({4})}}, session);  // usable afterwards
}

TEST(Stage, TapsSeeEachValueOnce) {
  const Graph graph = text_graph(R"(graph g(x: f32[2,6], s: s64[2]) -> (y: f32) {
  a = Relu(x)
  b = Reshape(a, s)
  y = Add(b, b)
}
)");
  Graph named = graph;
  named.types["b"] = {DType::f32, std::nullopt};
  TapSession session(named, {"x", "a", "b", "y"});
  std::vector<std::size_t> seen;
  session.run({{"x", reals({2, 6})}, {"s", Tensor::of_ints({3, 4})}}, [&](const TapView& view) { seen.push_back(view.index); });
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3));
}

TEST(Stage, TapsSeeTheEndsOfFusedChains) {
  const Graph graph = text_graph(R"(graph g(x: f32[2,3,4], b: f32[2,4,5]) -> (out: f32) {
  half = f32[]{0.5}
  root = f32[]{1.4142135}
  one = f32[]{1}
  s = Sigmoid(x)
  swish = Mul(x, s)
  product = MatMul(swish, b)
  scaled = Mul(product, half)
  moved = Transpose(scaled) {perm=[1, 0, 2]}
  d = Div(moved, root)
  e = Erf(d)
  f = Add(e, one)
  g = Mul(moved, f)
  gelu = Mul(g, half)
  out = Relu(gelu)
}
)");
  for (const char* value : {"swish", "scaled", "moved", "gelu"}) {
    TapSession session(graph, {value});
    int seen = 0;
    session.run({{"x", reals({2, 3, 4})}, {"b", reals({2, 4, 5})}}, [&](const TapView&) { ++seen; });
    EXPECT_EQ(seen, 1) << value;
  }
}

TEST(Stage, PreallocatedOutputsMustFitWhatDataDecide) {
  const Graph graph = text_graph(kReshapes);
  Session session(graph);
  const std::vector<Tensor> in = {reals({3, 4}), Tensor::of_ints({2, 6})};
  std::vector<Tensor> out = {Tensor(DType::f32, {2, 6}), Tensor(DType::s64, {4})};
  EXPECT_EQ(session.run(in, out), ErrorCode::kOk);
  EXPECT_EQ(out[1], Tensor::of_ints({2, 6, 2, 2}));
  out[0] = Tensor(DType::f32, {6, 2});
  EXPECT_EQ(session.run(in, out), ErrorCode::kBadArgument);
}

// A convolution in each branch, a captured constant, a captured value, an If within.
constexpr const char* kBranches = R"(graph branches(x: f32[N,2,4,4], flag: b8[], inner: b8[]) -> (y: f32, z: f32) {
  w = f32[2,2,1,1]{1, 2, 3, 4}
  a = Mul(x, x)
  y, z = If(flag) {else_branch=graph () -> (e, f) {
    v = f32[2,2,3,3]{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3}
    e = Conv(a, v)
    f = Add(x, a)
  }, then_branch=graph () -> (t, f) {
    c = Conv(x, w)
    t = If(inner) {else_branch=graph () -> (o) {
      o = Conv(c, w)
    }, then_branch=graph () -> (o) {
      o = Add(c, a)
    }}
    f = Identity(c)
  }}
}
)";

TEST(Stage, BranchesRunAsPlansOfTheirOwn) {
  const Graph graph = text_graph(kBranches);
  Session session(graph, {.threads = 2});
  for (const bool flag : {true, false, true})
    for (const bool inner : {true, false})
      for (const std::int64_t batch : {1, 2})
        expect_like_references(
            graph, {{"x", reals({batch, 2, 4, 4})}, {"flag", Tensor::scalar(flag)}, {"inner", Tensor::scalar(inner)}}, session);
  EXPECT_THAT(session.explain(), HasSubstr("y/"));
}

TEST(Stage, LoopsCarryShapesThatGrow) {
  const Graph graph = text_graph(R"(graph loops(x: f32[N], n: s64) -> (y: f32, all: f32, sizes: s64) {
  yes = b8[]{1}
  two = f32[]{2}
  seed = Relu(x)
  y, all, sizes = Loop(n, yes, seed) {body=graph (i: s64[], go: b8[], s: f32) -> (go_on, grown, first, size) {
    go_on = Identity(go)
    m = Mul(s, two)
    grown = Concat(m, x) {axis=0}
    first = Mul(x, two)
    size = Shape(grown)
  }}
}
)");
  Session session(graph);
  for (const std::int64_t count : {3, 0, 12, 1})
    expect_like_references(graph, {{"x", reals({4})}, {"n", Tensor::scalar(count)}}, session);
}

}  // namespace
}  // namespace zeropoint
