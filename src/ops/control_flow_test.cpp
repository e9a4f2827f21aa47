#include <gmock/gmock.h>

#include <atomic>

#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint::ops {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Graph parse(const std::string& text, std::int64_t opset = 21) {
  return parse_graph("ir_version 10\nopset " + std::to_string(opset) + "\n" + text);
}
Tensor f32(Dims dims, const std::vector<float>& values) { return Tensor::of<float>(std::move(dims), values); }
std::vector<float> floats(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}
std::string type(const Graph& graph, const std::string& value) { return to_string(graph.type_of(value)); }
const Graph& body_of(const Graph& graph, std::size_t node, const std::string& attribute) {
  return **std::get_if<std::shared_ptr<const Graph>>(graph.nodes[node].find(attribute));
}

constexpr const char* kIf = R"(graph g(c: b8[], x: f32[2,3]) -> (y) {
  h = Neg(x)
  y = If(c) {then_branch=graph t() -> (a) {
    one = f32[1]{1}
    a = Add(h, one)
  }, else_branch=graph e() -> (b) {
    shape = s64[2]{2, 1}
    axes = s64[1]{1}
    b = ReduceSum(h, axes)
  }}
})";

TEST(If, RunsOneBranchWithOuterValuesInScope) {
  const Graph graph = parse(kIf);
  const Tensor x = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(floats(evaluate(graph, {{"c", Tensor::scalar(true)}, {"x", x}})[0]), ElementsAre(0, -1, -2, -3, -4, -5));
  const Tensor y = evaluate(graph, {{"c", Tensor::scalar(false)}, {"x", x}})[0];
  EXPECT_THAT(floats(y), ElementsAre(-6, -15));
  EXPECT_THAT(y.dims(), ElementsAre(2, 1));
}

TEST(If, MergesWhatItsBranchesAgreeOn) {
  Graph graph = parse(kIf);
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "y"), "f32[2,?]");
  EXPECT_EQ(type(body_of(graph, 1, "then_branch"), "a"), "f32[2,3]");
  EXPECT_EQ(type(body_of(graph, 1, "else_branch"), "b"), "f32[2,1]");
  // The graph that was copied keeps its own.
  const Graph before = parse(kIf);
  Graph copy = before;
  infer_shapes(copy);
  EXPECT_EQ(type(body_of(before, 1, "then_branch"), "a"), to_string(TensorType{}));
}

TEST(If, AKnownConditionDecidesTypesAndValues) {
  // The branch that is not taken does not fit the input: exporters write such for Squeeze.
  Graph graph = parse(R"(graph g(x: f32[N,3]) -> (y) {
  one = s64[]{1}
  shape = Shape(x)
  d = Gather(shape, one)
  c = Equal(d, one)
  n = If(c) {then_branch=graph t() -> (a) {
    axes = s64[1]{1}
    s = Squeeze(x, axes)
    a = Shape(s)
  }, else_branch=graph e() -> (b) {
    b = Shape(x)
  }}
  y = ConstantOfShape(n)
})");
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "n"), "s64[2]");
  EXPECT_EQ(type(graph, "y"), "f32[N,3]");
}

// 1, 2, 4, ... while below a limit, with the powers stacked; `step` comes from outside.
constexpr const char* kLoop = R"(graph g(x: f32[], limit: f32[]) -> (last, all) {
  step = f32[]{2}
  last, all = Loop("", "", x) {body=graph b(i: s64[], c: b8[], v: f32[]) -> (go, w, seen) {
    w = Mul(v, step)
    seen = Identity(v)
    go = Less(w, limit)
  }}
})";

TEST(Loop, RunsWhileItsConditionHolds) {
  const Graph graph = parse(kLoop);
  const auto out = evaluate(graph, {{"x", Tensor::scalar(1.0F)}, {"limit", Tensor::scalar(20.0F)}});
  EXPECT_THAT(floats(out[0]), ElementsAre(32));
  EXPECT_THAT(floats(out[1]), ElementsAre(1, 2, 4, 8, 16));
}

TEST(Loop, StopsWhenInterrupted) {
  const Graph graph = parse(kLoop);
  const std::atomic<bool> stop = true;
  try {
    evaluate(graph, {{"x", Tensor::scalar(0.0F)}, {"limit", Tensor::scalar(20.0F)}}, {}, &stop);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInterrupted);
  }
}

std::string counted(const std::string& trips, const std::string& state) {
  return "graph g(x: f32[" + state + "]) -> (last, all) {\n trips = s64[]{" + trips + R"(}
  last, all = Loop(trips, "", x) {body=graph b(i: s64[], c: b8[], v) -> (c2, w, seen) {
    c2 = Identity(c)
    w = Concat(v, v) {axis=0}
    seen = ReduceSum(v) {keepdims=0}
  }}
})";
}

TEST(Loop, CarriedValuesMayGrow) {
  Graph graph = parse(counted("3", "2,5"));
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "last"), "f32[?,5]");
  EXPECT_EQ(type(graph, "all"), "f32[3]");
  EXPECT_EQ(type(body_of(graph, 0, "body"), "v"), "f32[?,5]");
  const auto out = evaluate(graph, {{"x", Tensor::of<float>({2, 5}, std::vector<float>(10, 1.0F))}});
  EXPECT_THAT(out[0].dims(), ElementsAre(16, 5));
  EXPECT_THAT(floats(out[1]), ElementsAre(10, 20, 40));
}

TEST(Loop, ZeroIterationsGiveTheStateAndEmptyStacks) {
  const Tensor x = f32({2, 1}, {7, 8});
  for (const bool inferred : {false, true}) {
    Graph graph = parse(counted("0", "2,1"));
    if (inferred) infer_shapes(graph);
    const auto out = evaluate(graph, {{"x", x}});
    EXPECT_TRUE(out[0] == x);
    EXPECT_EQ(out[1].dtype(), DType::f32);
    EXPECT_THAT(out[1].dims(), ElementsAre(0));
  }
}

TEST(Loop, OneNodeRunsWithAScopeOfItsOwn) {
  const Graph graph = parse(kLoop);
  const Tensor limit = Tensor::scalar(5.0F);
  Scope scope;
  scope.value = [&](const std::string& name) { return name == "limit" ? &limit : nullptr; };
  const std::vector<Tensor> inputs = {Tensor(), Tensor(), Tensor::scalar(1.0F)};
  EXPECT_THAT(floats(evaluate(graph, graph.nodes[0], inputs, scope)[0]), ElementsAre(8));
}

TEST(Loop, NodesOfItsBodyHaveTheOpsetOfTheModel) {
  // Softmax of opset 11 takes all axes from 1 on as one row.
  Graph graph = parse(R"(graph g(x: f32[1,2,2]) -> (y) {
  trips = s64[]{1}
  y = Loop(trips, "", x) {body=graph b(i: s64[], c: b8[], v) -> (c2, w) {
    c2 = Identity(c)
    w = Softmax(v)
  }}
})",
                      11);
  infer_shapes(graph);
  EXPECT_THAT(floats(evaluate(graph, {{"x", f32({1, 2, 2}, {0, 0, 0, 0})}})[0]), ElementsAre(0.25F, 0.25F, 0.25F, 0.25F));
}

TEST(Scan, RunsForwardsAndBackwardsAlongAnyAxis) {
  const std::string text = R"(graph g(s: f32[2], x: f32[2,3]) -> (last, sums) {
  last, sums = Scan(s, x) {num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1]DIRECTIONS, body=graph b(a, e) -> (t, u) {
    t = Add(a, e)
    u = Identity(t)
  }}
})";
  const auto run = [&](const std::string& directions) {
    std::string own = text;
    own.replace(own.find("DIRECTIONS"), 10, directions);
    Graph graph = parse(own);
    infer_shapes(graph);
    EXPECT_EQ(type(graph, "last"), "f32[2]");
    EXPECT_EQ(type(graph, "sums"), "f32[2,3]");
    return evaluate(graph, {{"s", f32({2}, {100, 200})}, {"x", f32({2, 3}, {1, 2, 3, 4, 5, 6})}});
  };
  EXPECT_THAT(floats(run("")[1]), ElementsAre(101, 103, 106, 204, 209, 215));
  EXPECT_THAT(floats(run(", scan_input_directions=[1]")[1]), ElementsAre(103, 105, 106, 206, 211, 215));
  EXPECT_THAT(floats(run(", scan_output_directions=[1]")[1]), ElementsAre(106, 103, 101, 215, 209, 204));
  EXPECT_THAT(floats(run(", scan_input_directions=[1], scan_output_directions=[1]")[0]), ElementsAre(106, 215));
}

TEST(Scan, OfOpset8HasABatchAndLengths) {
  Graph graph = parse(R"(graph g(n: s64[2], s: f32[2,1], x: f32[2,3,1]) -> (last, sums) {
  last, sums = Scan(n, s, x) {num_scan_inputs=1, body=graph b(a, e) -> (t, u) {
    t = Add(a, e)
    u = Identity(t)
  }}
})",
                      8);
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "sums"), "f32[2,3,1]");
  const auto out = evaluate(
      graph, {{"n", Tensor::of_ints({3, 2})}, {"s", f32({2, 1}, {0, 100})}, {"x", f32({2, 3, 1}, {1, 2, 3, 4, 5, 6})}});
  EXPECT_THAT(floats(out[0]), ElementsAre(6, 109));
  EXPECT_THAT(floats(out[1]), ElementsAre(1, 3, 6, 104, 109, 0));
}

std::shared_ptr<const Graph> leaf(const std::string& output) {
  auto graph = std::make_shared<Graph>();
  Node identity;
  identity.op_type = "Identity";
  identity.inputs = {"x"};
  identity.outputs = {output};
  graph->nodes.push_back(identity);
  graph->outputs.push_back({output, {}, ""});
  return graph;
}

// `depth` times If in If.
Graph nested(int depth) {
  std::shared_ptr<const Graph> inner = leaf("x0");
  std::shared_ptr<Graph> outer;
  for (int i = 1; i <= depth; ++i) {
    outer = std::make_shared<Graph>();
    Node node;
    node.op_type = "If";
    node.inputs = {"c"};
    node.outputs = {"x" + std::to_string(i)};
    node.attributes["then_branch"] = inner;
    node.attributes["else_branch"] = leaf("y" + std::to_string(i));
    outer->nodes.push_back(node);
    outer->outputs.push_back({node.outputs[0], {}, ""});
    inner = outer;
  }
  outer->opsets[""] = 21;
  outer->inputs.resize(2);
  outer->inputs[0].name = "c";
  outer->inputs[0].type.dtype = DType::b8;
  outer->inputs[1].name = "x";
  outer->inputs[1].type.dtype = DType::f32;
  return *outer;
}

TEST(ControlFlow, RefusesWhatBreaksItsRules) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      Graph graph = parse(text);
      infer_shapes(graph);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_THAT(message("graph g(c: b8[]) -> (y) {\n y = If(c) \"n\" {else_branch=3}\n}\n"),
              HasSubstr("node 'n' (If): its attribute 'then_branch' must be a graph"));
  EXPECT_THAT(message("graph g(c: b8[]) -> (y) {\n y = Loop(\"\", c, c) \"n\" {body=graph b(i) -> (i) {\n }}\n}\n"),
              HasSubstr("node 'n' (Loop): its body takes 1 inputs, the loop gives 3"));
  EXPECT_THAT(message("graph g(x: f32[2]) -> (y) {\n y = Scan(x) \"n\" {num_scan_inputs=7, body=graph b(i) -> (i) {\n }}\n}\n"),
              HasSubstr("node 'n' (Scan): num_scan_inputs is 7, of 1 inputs"));
}

TEST(ControlFlow, LimitsNesting) {
  const std::map<std::string, Tensor> feeds = {{"c", Tensor::scalar(true)}, {"x", f32({1}, {3})}};
  Graph fits = nested(60);
  infer_shapes(fits);
  EXPECT_THAT(floats(evaluate(fits, feeds)[0]), ElementsAre(3));
  Graph deep = nested(70);
  for (const bool infer : {false, true}) {
    try {
      if (infer)
        infer_shapes(deep);
      else
        evaluate(deep, feeds);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kLimit) << error.what();
    }
  }
}

}  // namespace
}  // namespace zeropoint::ops
