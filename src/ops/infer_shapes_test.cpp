#include <gmock/gmock.h>

#include <functional>

#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint::ops {
namespace {

using testing::HasSubstr;

Graph parse(const std::string& text) { return parse_graph("ir_version 10\nopset 17\n" + text); }

std::string type(const Graph& graph, const std::string& value) { return to_string(graph.type_of(value)); }

TEST(InferShapes, FollowsASymbolicBatchThroughAConvNet) {
  Graph graph = parse(R"(graph g(x: f32[N,3,9,9]) -> (y: f32[?,?]) {
  w = f32[2,3,1,1]{1,2,3,4,5,6}
  f = f32[50,1]{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}
  c = Conv(x, w) {strides=[2, 2]}
  r = Relu(c)
  flat = Flatten(r)
  y = Gemm(flat, f)
})");
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "c"), "f32[N,2,5,5]");
  EXPECT_EQ(type(graph, "flat"), "f32[N,50]");
  EXPECT_EQ(to_string(graph.outputs[0].type), "f32[N,1]");
}

// As exporters write view(x.shape[0], -1).
TEST(InferShapes, ResolvesShapeArithmetic) {
  Graph graph = parse(R"(graph g(x: f32[N,8,2,4]) -> (y) {
  zero = s64[]{0}
  first = s64[1]{0}
  rest = s64[1]{-1}
  two = s64[]{2}
  three = s64[]{3}
  shape = Shape(x)
  n = Gather(shape, zero)
  n1 = Unsqueeze(n, first)
  h = Gather(shape, two)
  w = Gather(shape, three)
  area = Mul(h, w)
  area1 = Unsqueeze(area, first)
  target = Concat(n1, rest, area1) {axis=0}
  y = Reshape(x, target)
  end = s64[1]{1}
  head = Slice(shape, first, end)
  zeros = ConstantOfShape(head)
  negative = Equal(shape, rest)
  ones = ConstantOfShape(end) {value=s64[1]{1}}
  chosen = Where(negative, ones, shape)
  wide = Expand(x, chosen)
})");
  const auto values = infer_values(graph);
  EXPECT_EQ(type(graph, "y"), "f32[N,8,8]");
  EXPECT_EQ(type(graph, "zeros"), "f32[N]");
  EXPECT_EQ(type(graph, "wide"), "f32[N,8,2,4]");
  EXPECT_TRUE(values.at("area") == Tensor::scalar<std::int64_t>(8));
  EXPECT_FALSE(values.contains("n"));
  EXPECT_FALSE(values.contains("target"));
}

TEST(InferShapes, KeepsQuantizedConstants) {
  Graph graph = parse(R"(graph g(x: f32[1,2]) -> (y) {
  q = s8[2,2]{1, 2, 3, 4}
  scale = f32[]{0.5}
  w = DequantizeLinear(q, scale)
  t = Transpose(w)
  y = MatMul(x, t)
})");
  EXPECT_TRUE(infer_values(graph).empty());
  EXPECT_EQ(type(graph, "y"), "f32[1,2]");
}

TEST(InferShapes, InputShapesFixEveryDimensionOfThatName) {
  const std::string text = "graph g(a: f32[N,4], b: f32[N,4]) -> (y: f32[N,8]) {\n y = Concat(a, b) {axis=1}\n}\n";
  Graph graph = parse(text);
  infer_shapes(graph, {{"a", {3, 4}}});
  EXPECT_EQ(to_string(graph.inputs[1].type), "f32[3,4]");
  EXPECT_EQ(to_string(graph.outputs[0].type), "f32[3,8]");

  const auto code = [&](const std::map<std::string, Dims>& shapes) {
    Graph copy = parse(text);
    try {
      infer_shapes(copy, shapes);
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code({{"a", {3, 4}}, {"b", {2, 4}}}), ErrorCode::kBadShape);
  EXPECT_EQ(code({{"a", {3, 5}}}), ErrorCode::kBadShape);
  EXPECT_EQ(code({{"a", {3}}}), ErrorCode::kBadShape);
  EXPECT_EQ(code({{"c", {3, 4}}}), ErrorCode::kBadArgument);
}

TEST(InferShapes, DeclaredTypesStandWhereRulesKnowNothingAndAreCheckedElsewhere) {
  Graph unknown = parse("graph g(x: f32[2]) -> (y) {\n h: f32[2,7] = Unheard(x)\n y = Relu(h)\n}\n");
  infer_shapes(unknown);
  EXPECT_EQ(type(unknown, "y"), "f32[2,7]");
  for (const char* declared : {"f32[3]", "f32[2,1]", "s64[2]"}) {
    Graph wrong = parse("graph g(x: f32[2]) -> (y: " + std::string(declared) + ") {\n y = Relu(x)\n}\n");
    try {
      infer_shapes(wrong);
      ADD_FAILURE() << declared;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("value 'y'"), HasSubstr(declared), HasSubstr("f32[2]")));
    }
  }
}

// Numbers that files may hold: an error or a quick result, never overflow or an endless loop.
TEST(InferShapes, WithstandsExtremeNumbers) {
  const auto code = [](const std::string& nodes) {
    try {
      Graph graph = parse(
          "graph g(x: f32[1,1,4,4], h: f32[1,1,4611686018427387904,4]) -> (y) {\n w = f32[1,1,1,1]{1}\n one = f32[1,1,2,2]{1, "
          "2, 3, 4}\n " +
          nodes + "\n}\n");
      infer_shapes(graph);
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code("y = Conv(h, w)"), ErrorCode::kLimit);
  EXPECT_EQ(code("y = Flatten(h)"), ErrorCode::kLimit);
  EXPECT_EQ(code("y = MaxPool(x) {kernel_shape=[9223372036854775807, 2]}"), ErrorCode::kBadAttribute);
  EXPECT_EQ(code("y = Conv(x, w) {strides=[0, 1]}"), ErrorCode::kBadAttribute);
  EXPECT_EQ(code("y = Conv(x, w) {pads=[-1, 0, 0, 0]}"), ErrorCode::kBadAttribute);
  EXPECT_EQ(code("y = Conv(x, w) {group=9223372036854775807}"), ErrorCode::kBadShape);
  EXPECT_EQ(code("y = ConvTranspose(x, w) {output_padding=[9223372036854775807, 0]}"), ErrorCode::kLimit);
  EXPECT_EQ(code("y = Slice(x) {starts=[-9223372036854775808], ends=[9223372036854775807]}"), ErrorCode::kOk);
  EXPECT_EQ(code("y = Transpose(x) {perm=[4611686018427387904, 1, 2, 3]}"), ErrorCode::kBadAttribute);
  // Small enough to be computed on the way, with windows that reach far into padding.
  EXPECT_EQ(code("y = AveragePool(one) {kernel_shape=[2147483647, 2147483647], pads=[2147483646, 2147483646, 0, 0]}"),
            ErrorCode::kOk);
  EXPECT_EQ(code("a = s64[1]{4611686018427387904}\n y = Tile(x, a)"), ErrorCode::kBadShape);
  EXPECT_EQ(code("a = s64[4]{1, 1, 4611686018427387904, 1}\n y = Tile(x, a)"), ErrorCode::kBadShape);
  EXPECT_EQ(code("a = s64[2]{-1, 4611686018427387904}\n y = Reshape(x, a)"), ErrorCode::kBadShape);
  // Small tensors, and 2^60 products of them.
  EXPECT_EQ(code("s = s64[2]{32, 32}\n a = ConstantOfShape(s)\n b = Einsum(a, a, a, a, a, a) "
                 "{equation=\"ab,cd,ef,gh,ij,kl->\"}\n y = Add(x, b)"),
            ErrorCode::kOk);
  std::string ones = "1";
  for (int i = 1; i < 65; ++i) ones += ", 1";
  EXPECT_EQ(code("a = s64[65]{" + ones + "}\n b = Expand(x, a)\n y = Relu(b)"), ErrorCode::kLimit);
}

// A million million and no elements: loops over the long axis would never end.
TEST(InferShapes, LongAxesWithoutElements) {
  Graph graph = parse(
      "graph g(x: f32[1]) -> (y) {\n z = s64[2]{1099511627776, 0}\n axis = s64[]{1}\n none = s64[1]{0}\n"
      " a = ConstantOfShape(z)\n b = CumSum(a, axis)\n c, i = TopK(b, none) {axis=1}\n"
      " p = s64[4]{0, 0, 1099511627776, 0}\n d = Pad(c, p)\n y = ReduceMax(d) {keepdims=0}\n}\n");
  infer_shapes(graph);
  EXPECT_EQ(type(graph, "d"), "f32[2199023255552,0]");
  const auto evaluated = evaluate(graph, {{"x", Tensor::scalar(0.0F).reshaped({1})}});
  EXPECT_EQ(evaluated[0].size(), 1);
}

// Each round of a loop's inference tells of one more carried value that its shape changes; each round of an inner loop, too.
TEST(InferShapes, NestedLoopsThatSettleSlowly) {
  constexpr int kCarried = 60;
  const auto list = [](const std::string& prefix) {
    std::string text;
    for (int i = 0; i < kCarried; ++i) text += (i == 0 ? "" : ", ") + prefix + std::to_string(i);
    return text;
  };
  std::string body;
  for (int depth = 0; depth < 4; ++depth) {
    const std::string d(1, static_cast<char>('a' + depth)), around(1, static_cast<char>('a' + depth + 1));
    std::string text = "graph (" + d + "_i, " + d + "_go, " + list(d) + ") -> (" + d + "_on, " + list(d + "_out") + ") {\n" +
                       d + "_on = Identity(" + d + "_go)\n" + d + "_out0 = Concat(" + d + "0, " + d + "0) {axis=0}\n";
    for (int i = 1; i < kCarried; ++i)
      text += d + "_out" + std::to_string(i) + " = Identity(" + d + std::to_string(i - 1) + ")\n";
    if (depth > 0) {
      const std::string inner(1, static_cast<char>('a' + depth - 1));
      text += list(inner + "_last") + " = Loop(trips, go, " + list(d) + ") {body=" + body + "}\n";
    }
    body = text + "}";
  }
  Graph graph =
      parse("graph g(x: f32[1,4]) -> (y0) {\n trips = s64[]{2}\n go = b8[]{1}\n " + list("y") + " = Loop(trips, go, " +
            [&] {
              std::string text;
              for (int i = 0; i < kCarried; ++i) text += i == 0 ? "x" : ", x";
              return text;
            }() +
            ") {body=" + body + "}\n}\n");
  infer_shapes(graph);
  EXPECT_EQ(graph.type_of("y0").dtype, DType::f32);
}

// Operators newer than the graph's opset pass through: no rule has looked at their shapes.
TEST(InferShapes, WorkOfNodesThatNoRuleHasSeen) {
  Graph graph = parse_graph(
      "ir_version 10\nopset 2\ngraph g(q: f32[2,4,72], k: f32[2], v: f32[2,6,24], w: f32[], x: f32[1099511627776,4194304,0], "
      "m: f32[1099511627776,8,4]) -> (a: f32[2,4,72], c: f32[2,4,72], t: f32[2,4,72], p: f32[1099511627776,8,4]) {\n"
      " a = Attention(q, k, v) {q_num_heads=9, kv_num_heads=3}\n c = Conv(q, w)\n t = ConvTranspose(q, w)\n"
      " p = MatMul(m, m)\n}\n");
  const ValueIndex values(graph);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(macs(values, graph.nodes[i]), 0);
  EXPECT_EQ(macs(values, graph.nodes[3]), std::int64_t{1} << 42);  // at most, so that sums of a million stay numbers
}

TEST(InferShapes, LeavesWhatCannotRunAsItIs) {
  Graph graph = parse("graph g(x: f32[2]) -> (y) {\n a = Cast(x) {to=8}\n b = Unheard(a)\n y = Relu(b)\n}\n");
  infer_shapes(graph);
  EXPECT_FALSE(graph.type_of("y").shape.has_value());
}

}  // namespace
}  // namespace zeropoint::ops
