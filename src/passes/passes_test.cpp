// What the golden files do not show: names that must stay, shared constants, large graphs.
#include "passes/passes.h"

#include <gmock/gmock.h>

#include <random>

#include "ops/operator.h"
#include "zeropoint/error.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

Graph parse(const std::string& text, int opset = 17) {
  Graph graph = parse_graph("ir_version 8\nopset " + std::to_string(opset) + "\n" + text);
  verify(graph);
  ops::infer_shapes(graph);
  return graph;
}

std::vector<std::string> kinds(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) result.push_back(node.op_type);
  return result;
}

TEST(Passes, KeepNamesThatSubgraphsRead) {
  const Graph graph = parse(R"(graph g(x: f32[1,1,2,2], flag: b8[]) -> (y: f32[1,1,2,2]) {
  w = f32[1,1,1,1]{2}
  p = f32[1]{1}
  four = Constant() {value_float=4.0}
  i = Identity(x)
  c = Conv(i, w)
  n = BatchNormalization(c, p, p, p, p)
  r = Relu(n)
  y = If(flag) {then_branch=graph () -> (a) {
    a = Mul(c, four)
  }, else_branch=graph () -> (b) {
    b = Add(r, i)
  }}
})");
  const Graph fused = fuse(graph);
  verify(fused);
  // The If reads x by the name i, the convolution by the name c: neither may go.
  EXPECT_THAT(kinds(fused), testing::ElementsAre("Identity", "Conv", "BatchNormalization", "Relu", "If"));
  EXPECT_TRUE(fused.initializers.contains("four"));
}

// `count` nodes, each reading what the one before made; `%` in the text stands for the number, `<` and `>` for input and
// output.
std::string chain(int count, const std::string& first, const std::string& last, const std::string& node) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (const char c : node) {
      if (c == '<')
        text += i == 0 ? first : "v" + std::to_string(i);
      else if (c == '>')
        text += i + 1 == count ? last : "v" + std::to_string(i + 1);
      else
        text += c;
    }
    text += '\n';
  }
  return text;
}

std::size_t constant_bytes(const Graph& graph) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : graph.initializers) bytes += tensor.byte_size();
  return bytes;
}

TEST(Passes, FoldLongChainsOfConstantsInPart) {
  const Graph graph = parse("graph g(x: f32[1]) -> (y) {\n  s = s64[1]{262144}\n  c = ConstantOfShape(s)\n" +
                            chain(1000, "c", "t", "  > = Neg(<)") + "  y = Add(t, x)\n}");
  const Graph fused = fuse(graph);
  verify(fused);
  EXPECT_LT(fused.nodes.size(), graph.nodes.size() - 50);
  EXPECT_GT(fused.nodes.size(), graph.nodes.size() / 2);
  EXPECT_LE(constant_bytes(fused), std::size_t{2} << 20);  // what the rest of the chain reads
}

TEST(Passes, CopySharedWeightsInPart) {
  // 300 convolutions share 4 MB; each would have 4 MB of its own behind its normalization.
  std::string nodes, names;
  for (int i = 0; i < 300; ++i) {
    const std::string k = std::to_string(i);
    nodes += "  c" + k + " = Conv(x, w)\n  n" + k + " = BatchNormalization(c" + k + ", p, p, p, p)\n";
    names += (i == 0 ? "n" : ", n") + k;
  }
  Graph graph = parse_graph("ir_version 8\nopset 17\ngraph g(x: f32[1,1024,1,1]) -> (y) {\n  w = f32[1]{1}\n" + nodes +
                            "  y = Sum(" + names + ")\n}");
  graph.initializers["w"] = Tensor(DType::f32, {1024, 1024, 1, 1});
  graph.initializers["p"] = Tensor::of<float>({1024}, std::vector<float>(1024, 1.0F));
  const Graph fused = fuse(graph);
  verify(fused);
  EXPECT_LT(fused.nodes.size(), graph.nodes.size());
  EXPECT_LE(constant_bytes(fused), std::size_t{520} << 20);
}

TEST(Passes, ChainsOfPadsAndTransposesTakeOneTurn) {
  const Graph pads = fuse(parse("graph g(x: f32[1,1,4,4]) -> (y) {\n  p = s64[8]{0,0,0,0,0,0,0,1}\n  w = f32[1,1,1,1]{2}\n" +
                                chain(20000, "x", "t", "  > = Pad(<, p)") + "  y = Conv(t, w)\n}"));
  EXPECT_THAT(kinds(pads), testing::ElementsAre("Conv"));
  EXPECT_THAT(pads.nodes[0].get_ints("pads"), testing::ElementsAre(0, 0, 0, 20000));
  const Graph products = fuse(parse("graph g(x: f32[2,2]) -> (y) {\n  w = f32[2,2]{1,2,3,4}\n" +
                                    chain(20000, "x", "y", "  > = Gemm(<, w) {transA=1}") + "}"));
  ASSERT_EQ(products.nodes.size(), 40000U);
  for (std::size_t i = 0; i < products.nodes.size(); ++i) ASSERT_EQ(products.nodes[i].op_type, i % 2 ? "Gemm" : "Transpose");
}

TEST(Passes, LeaveQuantizedGraphsQuantized) {
  const Graph graph = parse(R"(graph g(x: f32[N,2,4,4]) -> (y: f32[N,2,4,4]) {
  qw = s8[2,2,1,1]{1, 2, 3, 4}
  qb = s32[2]{10, 20}
  ws = f32[2]{0.5, 0.25}
  bs = f32[2]{0.25, 0.125}
  s = f32[]{0.5}
  z = u8[]{3}
  q = QuantizeLinear(x, s, z)
  d = DequantizeLinear(q, s, z)
  w = DequantizeLinear(qw, ws) {axis=0}
  b = DequantizeLinear(qb, bs) {axis=0}
  c = Conv(d, w, b)
  q2 = QuantizeLinear(c, s, z)
  y = DequantizeLinear(q2, s, z)
})");
  EXPECT_TRUE(fuse(graph) == graph);
}

TEST(Passes, ReadAttributesOfOldOpsets) {
  const Graph graph = parse(R"(graph g(x: f32[N,1,4,4]) -> (y: f32[N,1,4,4]) {
  w = f32[1,1,3,3]{1, 2, 3, 4, 5, 6, 7, 8, 9}
  p = Pad(x) {pads=[0, 0, 1, 1, 0, 0, 1, 1]}
  c = Conv(p, w)
  y = Clip(c) {max=3.4028235e+38, min=0.0}
})",
                            9);
  const Graph fused = fuse(graph);
  EXPECT_THAT(kinds(fused), testing::ElementsAre("Conv", "Relu"));
  EXPECT_EQ(fused.nodes[0].get_ints("pads"), (std::vector<std::int64_t>{1, 1, 1, 1}));
}

TEST(FoldPad, LeavesOnePadForItsOtherReaders) {
  Graph graph = parse(R"(graph g(x: f32[1,1,2,2]) -> (y: f32[1,1,2,2], z: f32[1,1,4,4]) {
  w = f32[1,1,3,3]{1, 2, 3, 4, 5, 6, 7, 8, 9}
  pads = s64[8]{0, 0, 1, 1, 0, 0, 1, 1}
  p = Pad(x, pads)
  q = Pad(p, pads)
  y = Conv(p, w)
  z = Conv(q, w)
})");
  const auto before = ops::evaluate(graph, {{"x", Tensor::of<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4})}});
  const Graph fused = fuse(graph);
  verify(fused);
  EXPECT_THAT(kinds(fused), testing::ElementsAre("Conv", "Conv"));
  EXPECT_TRUE(ops::evaluate(fused, {{"x", Tensor::of<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4})}}) == before);
}

TEST(FoldBatchnorm, FindsTheChannelsOfGroupedTransposedConvolutions) {
  Graph graph = parse(R"(graph g(x: f32[1,4,2,2]) -> (y: f32[1,6,3,3]) {
  w = f32[4,3,2,2]{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48}
  scale = f32[6]{1, 2, 4, 8, 16, 32}
  bias = f32[6]{1, 2, 3, 4, 5, 6}
  mean = f32[6]{6, 5, 4, 3, 2, 1}
  variance = f32[6]{1, 4, 1, 4, 1, 4}
  c = ConvTranspose(x, w) {group=2}
  y = BatchNormalization(c, scale, bias, mean, variance) {epsilon=0.0}
})");
  std::vector<float> values;
  for (int i = 0; i < 16; ++i) values.push_back(static_cast<float>(i % 5));
  const std::map<std::string, Tensor> feeds = {{"x", Tensor::of<float>({1, 4, 2, 2}, values)}};
  const auto before = ops::evaluate(graph, feeds);
  EXPECT_TRUE(passes::fold_batchnorm(graph));
  EXPECT_THAT(kinds(graph), testing::ElementsAre("ConvTranspose"));
  EXPECT_TRUE(ops::evaluate(graph, feeds) == before);  // powers of two: exact
}

// What is skipped takes nothing of the budget for replaced weights: they are shared here, and many nodes cannot be folded.
TEST(Folding, NodesThatAreSkippedCostNothing) {
  for (const bool norm : {false, true}) {
    std::string inputs, outputs, nodes;
    constexpr int kSkipped = 40;
    for (int i = 0; i <= kSkipped; ++i) {
      const std::string n = std::to_string(i), parameters = i < kSkipped ? "p, one, one, one" : "one, one, one, one";
      outputs += (i == 0 ? "y" : ", y") + n + ": f32[1,1024,2,2]";
      nodes += " c" + n + " = Conv(x, w)\n y" + n + " = ";
      nodes += norm ? "BatchNormalization(c" + n + ", " + parameters + ")\n"
                    : "Mul(c" + n + ", " + (i < kSkipped ? "pixels" : "two") + ")\n";
    }
    Graph graph = parse_graph("ir_version 8\nopset 17\ngraph g(x: f32[1,1024,2,2], p: f32[1024]) -> (" + outputs + ") {\n" +
                              nodes + "}\n");
    graph.initializers.emplace("w", Tensor(DType::f32, {1024, 1024, 1, 1}));
    graph.initializers.emplace("one", Tensor::of<float>({1024}, std::vector<float>(1024, 1)));
    graph.initializers.emplace("two", Tensor::of<float>({1, 1024, 1, 1}, std::vector<float>(1024, 2)));
    graph.initializers.emplace("pixels", Tensor::of<float>({1, 1, 2, 2}, std::vector<float>(4, 2)));
    verify(graph);
    ops::infer_shapes(graph);
    EXPECT_TRUE(norm ? passes::fold_batchnorm(graph) : passes::fold_scale(graph))
        << (norm ? "the last norm" : "the last scale");
    EXPECT_EQ(graph.nodes.size(), 2U * kSkipped + 1);
  }
}

TEST(FuseActivation, NeverChangesWhatClipsGive) {
  constexpr std::uint32_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const float limits[] = {-6, -1, 0, 1, 3, 6, std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
  std::vector<float> values;
  for (int i = -32; i <= 32; ++i) values.push_back(static_cast<float>(i) / 4);
  const std::map<std::string, Tensor> feeds = {{"x", Tensor::of<float>({65}, values)}};
  for (int trial = 0; trial < 300; ++trial) {
    std::string nodes, last = "x";
    Graph graph = parse("graph g(x: f32[65]) -> (y: f32[65]) {\n y = Neg(x)\n}\n");
    graph.nodes.clear();
    const int count = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < count; ++i) {
      Node node{.op_type = std::string(std::array{"Relu", "Clip", "Max", "Min", "Sigmoid"}[random() % 5]), .inputs = {last}};
      const auto limit = [&] {
        const std::string name = "l" + std::to_string(graph.initializers.size());
        graph.initializers.emplace(name, Tensor::scalar(limits[random() % 8]));
        return name;
      };
      if (node.op_type == "Max" || node.op_type == "Min") node.inputs.insert(node.inputs.begin() + random() % 2, limit());
      if (node.op_type == "Clip") node.inputs.insert(node.inputs.end(), {random() % 3 ? limit() : "", limit()});
      last = i + 1 == count ? "y" : "v" + std::to_string(i);
      node.outputs = {last};
      graph.nodes.push_back(node);
    }
    const auto before = ops::evaluate(graph, feeds);
    const Graph fused = fuse(graph);
    verify(fused);
    ASSERT_TRUE(ops::evaluate(fused, feeds) == before) << to_text(graph) << to_text(fused);
  }
}

// 100,000 nodes: a quadratic scan would take minutes.
TEST(Fuse, TakesLargeGraphs) {
  Graph graph = parse("graph g(x: f32[1,1,4,4]) -> (y: f32[1,1,4,4]) {\n y = Relu(x)\n}\n");
  graph.nodes.clear();
  graph.types.clear();
  graph.initializers["w"] = Tensor::of<float>({1, 1, 1, 1}, std::vector<float>{0.5F});
  graph.initializers["p"] = Tensor::of<float>({1}, std::vector<float>{1});
  std::string last = "x";
  const auto add = [&](const std::string& type, std::vector<std::string> inputs) {
    inputs.insert(inputs.begin(), last);
    last = type + std::to_string(graph.nodes.size());
    graph.nodes.push_back({.op_type = type, .inputs = inputs, .outputs = {last}});
  };
  for (int i = 0; i < 20'000; ++i) {
    add("Conv", {"w"});
    add("BatchNormalization", {"p", "p", "p", "p"});
    add("Identity", {});
    add("Relu", {});
    add("Relu", {});
  }
  graph.nodes.back().outputs = {"y"};
  const Graph fused = fuse(graph);
  verify(fused);
  EXPECT_EQ(fused.nodes.size(), 40'000U);
}

}  // namespace
}  // namespace zeropoint
