#include "zeropoint/graph.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "ir/names.h"
#include "ir/naming.h"

namespace zeropoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kOk, "", "no error"};
}

ValueInfo value(std::string name, TensorType type = {}) {
  ValueInfo info;
  info.name = std::move(name);
  info.type = std::move(type);
  return info;
}

// x -> Relu -> a -> Relu -> y
Graph chain(int length) {
  Graph graph;
  graph.ir_version = 8;
  graph.opsets[""] = 17;
  graph.inputs.push_back(value("v0", TensorType{DType::f32, Shape{Dim("N")}}));
  for (int i = 0; i < length; ++i) {
    Node node;
    node.op_type = "Relu";
    node.inputs = {"v" + std::to_string(i)};
    node.outputs = {"v" + std::to_string(i + 1)};
    graph.nodes.push_back(std::move(node));
  }
  graph.outputs.clear();
  graph.outputs.push_back(value("v" + std::to_string(length)));
  return graph;
}

// A subgraph that adds the outer value `outer` to itself.
std::shared_ptr<const Graph> branch(const std::string& outer) {
  Graph graph;
  Node add;
  add.op_type = "Add";
  add.inputs = {outer, outer};
  add.outputs = {"sum"};
  graph.nodes = {add};
  graph.outputs.clear();
  graph.outputs.push_back(value("sum"));
  return std::make_shared<const Graph>(graph);
}

Graph with_if() {
  Graph graph = chain(1);
  Node node;
  node.op_type = "If";
  node.name = "choose";
  node.inputs = {"condition"};
  node.outputs = {"y"};
  node.attributes["then_branch"] = branch("v1");
  node.attributes["else_branch"] = branch("v0");
  graph.initializers["condition"] = Tensor::scalar(true);
  graph.nodes.push_back(node);
  graph.outputs.clear();
  graph.outputs.push_back(value("y"));
  return graph;
}

TEST(Shape, PrintsNumbersSymbolsAndUnknowns) {
  EXPECT_EQ(to_string(TensorType{DType::f32, Shape{Dim("N"), 3, Dim()}}), "f32[N,3,?]");
  EXPECT_EQ(to_string(TensorType{DType::s8, Shape{}}), "s8[]");
  EXPECT_EQ(to_string(TensorType{DType::s8, std::nullopt}), "s8");
  EXPECT_EQ(to_string(TensorType{}), "?");
  EXPECT_EQ(to_string(Shape{Dim("a b"), Dim("12")}), R"(["a b","12"])");
  EXPECT_EQ(fixed_dims(Shape{2, 3}), (Dims{2, 3}));
  EXPECT_EQ(fixed_dims(Shape{2, Dim("N")}), std::nullopt);
  EXPECT_EQ(to_shape({2, 3}), (Shape{2, 3}));
}

TEST(Node, GettersGiveDefaultsAndNameWrongKinds) {
  Node node;
  node.name = "conv1";
  node.op_type = "Conv";
  node.attributes["group"] = std::int64_t{4};
  node.attributes["pads"] = std::vector<std::int64_t>{1, 2};
  node.attributes["mode"] = std::string("same");
  node.attributes["alpha"] = 0.5F;
  EXPECT_EQ(node.get_int("group", 1), 4);
  EXPECT_EQ(node.get_int("other", 1), 1);
  EXPECT_EQ(node.get_float("alpha", 1), 0.5F);
  EXPECT_EQ(node.get_string("mode", ""), "same");
  EXPECT_THAT(node.get_ints("pads"), ElementsAre(1, 2));
  EXPECT_THAT(node.get_ints("strides", {1, 1}), ElementsAre(1, 1));
  EXPECT_TRUE(node.get_floats("none").empty());
  EXPECT_EQ(node.input(7), "");
  const Error error = error_of([&] { node.get_ints("group"); });
  EXPECT_EQ(error.code, ErrorCode::kBadAttribute);
  EXPECT_STREQ(error.what(), "node 'conv1' (Conv): attribute 'group' is an integer, but must be a list of integers");
}

TEST(Node, IsDescribedByItsFirstOutputWhenItHasNoName) {
  Node node;
  node.op_type = "Relu";
  EXPECT_EQ(describe(node), "a nameless node (Relu)");
  node.outputs = {"", "y"};
  EXPECT_EQ(describe(node), "node of 'y' (Relu)");
}

TEST(Graph, TypesComeFromInitializersDeclarationsAndEdges) {
  Graph graph = with_if();
  graph.types["v1"] = {DType::f32, Shape{Dim("N")}};
  graph.outputs[0].type = {DType::f32, std::nullopt};
  EXPECT_EQ(to_string(graph.type_of("condition")), "b8[]");
  EXPECT_EQ(to_string(graph.type_of("v1")), "f32[N]");
  EXPECT_EQ(to_string(graph.type_of("v0")), "f32[N]");
  EXPECT_EQ(to_string(graph.type_of("y")), "f32");
  EXPECT_EQ(graph.type_of("nobody"), TensorType{});
  EXPECT_EQ(graph.opset(), 17);
  EXPECT_EQ(Graph().opset(), 0);
  EXPECT_TRUE(graph.is_output("y"));
  EXPECT_FALSE(graph.is_output("v1"));
  EXPECT_NE(graph.constant("condition"), nullptr);
  EXPECT_EQ(graph.constant("v0"), nullptr);
}

TEST(ValueIndex, SaysWhatTheGraphSays) {
  Graph graph = parse_graph(R"(
ir_version 8
opset 17
graph g(x: f32[2,3]) -> (y: f32[2,3], z: ?, w: ?) {
  w = s64[1]{7}
  a: f32[?,?] = Relu(x)
  y = Neg(a)
  z = Neg(y)
}
)");
  const ValueIndex values(graph);
  for (const char* name : {"x", "a", "y", "z", "w", "nobody", ""}) {
    EXPECT_EQ(values.type_of(name), graph.type_of(name)) << name;
    EXPECT_EQ(values.is_output(name), graph.is_output(name)) << name;
  }
  EXPECT_EQ(values.type_of("w").dtype, DType::s64);
  EXPECT_EQ(values.output("z"), 1U);
  EXPECT_EQ(values.output("a"), std::nullopt);
  graph.types["a"] = {DType::f64, std::nullopt};
  graph.outputs[1].type = {DType::s8, std::nullopt};
  EXPECT_EQ(values.type_of("a").dtype, DType::f64) << "types may change behind it";
  EXPECT_EQ(values.type_of("z").dtype, DType::s8);
}

TEST(Naming, PutsTheFileInFrontOnceAndOnlyWhereTheModelIsToBlame) {
  Graph graph;
  graph.source = "folder/m.onnx";
  const auto thrown = [&](ErrorCode code, const std::string& where) {
    return error_of(
        [&] { naming_source(graph, [&] { naming_source(graph, [&]() -> int { throw Error(code, where, "too: much"); }); }); });
  };
  EXPECT_STREQ(thrown(ErrorCode::kBadShape, "node 'n'").what(), "folder/m.onnx, node 'n': too: much");
  EXPECT_EQ(thrown(ErrorCode::kBadShape, "node 'n'").code, ErrorCode::kBadShape);
  EXPECT_STREQ(thrown(ErrorCode::kLimit, "").what(), "folder/m.onnx: too: much");
  EXPECT_STREQ(thrown(ErrorCode::kBadSample, "a.npy").what(), "a.npy: too: much");
  graph.source.clear();
  EXPECT_STREQ(thrown(ErrorCode::kBadShape, "node 'n'").what(), "node 'n': too: much");
  EXPECT_EQ(naming_source(graph, [] { return 3; }), 3);
}

TEST(Graph, EqualityComparesFloatsByBitsAndSubgraphsByValue) {
  Graph a = with_if(), b = with_if();
  EXPECT_TRUE(a == b);
  a.nodes[0].attributes["alpha"] = std::numeric_limits<float>::quiet_NaN();
  b.nodes[0].attributes["alpha"] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(a == b);
  a.nodes[0].attributes["alpha"] = 0.0F;
  b.nodes[0].attributes["alpha"] = -0.0F;
  EXPECT_FALSE(a == b);
  b = a;
  b.nodes[1].attributes["then_branch"] = branch("v0");
  EXPECT_FALSE(a == b);
  EXPECT_NE(graph_hash(a), graph_hash(b));
}

TEST(Uses, CountSubgraphsAsReadersOfOuterValues) {
  const Graph graph = with_if();
  const Uses uses = find_uses(graph);
  EXPECT_EQ(uses.producer.at("v1"), 0U);
  EXPECT_EQ(uses.producer.at("y"), 1U);
  EXPECT_THAT(uses.consumers.at("v0"), ElementsAre(0, 1));
  EXPECT_THAT(uses.consumers.at("v1"), ElementsAre(1));
  EXPECT_FALSE(uses.consumers.contains("sum"));
  EXPECT_THAT(outer_names(*branch("v1")), ElementsAre("v1"));
}

TEST(Uses, ListAReaderOnceEvenIfItReadsTwice) {
  Graph graph = chain(1);
  graph.nodes[0].inputs = {"v0", "v0"};
  EXPECT_THAT(find_uses(graph).consumers.at("v0"), ElementsAre(0));
}

TEST(Names, AreUnusedInSubgraphsToo) {
  const Graph graph = with_if();
  EXPECT_EQ(unused_name(graph, "new"), "new");
  EXPECT_EQ(unused_name(graph, "v0"), "v0_1");
  EXPECT_EQ(unused_name(graph, "sum"), "sum_1");
  NamePool pool(graph);
  EXPECT_EQ(pool.take("v0"), "v0_1");
  EXPECT_EQ(pool.take("v0"), "v0_2");
  EXPECT_EQ(pool.take("v0_1"), "v0_1_1");
}

TEST(Names, KnowUtf8) {
  for (const char* good : {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"})
    EXPECT_TRUE(valid_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82"})
    EXPECT_FALSE(valid_utf8(bad)) << in_quotes(bad);
}

TEST(SortNodes, KeepsAnOrderThatIsRight) {
  Graph graph = with_if();
  const Graph before = graph;
  sort_nodes(graph);
  EXPECT_TRUE(graph == before);
}

TEST(SortNodes, MovesALateProducerRightBeforeItsReader) {
  Graph graph = chain(4);
  std::rotate(graph.nodes.begin() + 1, graph.nodes.begin() + 2, graph.nodes.end());  // 0 2 3 1
  sort_nodes(graph);
  EXPECT_TRUE(graph == chain(4));
}

TEST(SortNodes, SeesTheNeedsOfSubgraphs) {
  Graph graph = with_if();
  std::swap(graph.nodes[0], graph.nodes[1]);
  sort_nodes(graph);
  EXPECT_TRUE(graph == with_if());
}

TEST(SortNodes, NamesANodeOfTheCycle) {
  Graph graph = chain(3);
  graph.nodes[0].inputs = {"v3"};
  graph.nodes[0].name = "first";
  const Error error = error_of([&] { sort_nodes(graph); });
  EXPECT_EQ(error.code, ErrorCode::kBadModel);
  EXPECT_STREQ(error.what(), "node 'first' (Relu): needs its own output: the graph has a cycle");
}

TEST(SortNodes, NamesADanglingInput) {
  Graph graph = chain(2);
  graph.nodes[1].inputs = {"nobody"};
  const Error error = error_of([&] { sort_nodes(graph); });
  EXPECT_EQ(error.code, ErrorCode::kBadModel);
  EXPECT_STREQ(error.what(), "node of 'v2' (Relu): its input 'nobody' is defined nowhere");
}

TEST(SortNodes, TakesAChainOfAMillionNodesInReverse) {
  Graph graph = chain(1'000'000);
  std::reverse(graph.nodes.begin(), graph.nodes.end());
  sort_nodes(graph);
  EXPECT_EQ(graph.nodes[0].inputs[0], "v0");
  verify(graph);
  EXPECT_EQ(find_uses(graph).producer.size(), 1'000'000U);
}

TEST(RemoveUnusedValues, KeepsWhatSubgraphsAndOutputsName) {
  Graph graph = with_if();
  graph.initializers["inner"] = Tensor::scalar(1.0F);
  graph.initializers["given"] = Tensor::scalar(1.0F);
  graph.initializers["idle"] = Tensor::scalar(1.0F);
  graph.initializer_extras["idle"] = "documentation";
  graph.types["v1"] = graph.types["gone"] = {DType::f32, Shape{}};
  graph.type_extras["gone"] = "documentation";
  graph.nodes[1].attributes["then_branch"] = branch("inner");
  graph.outputs.push_back(value("given"));
  remove_unused_values(graph);
  EXPECT_EQ(graph.initializers.size(), 3U);  // condition, inner, given
  EXPECT_FALSE(graph.initializers.contains("idle"));
  EXPECT_TRUE(graph.initializer_extras.empty());
  EXPECT_EQ(graph.types.size(), 1U);
  EXPECT_TRUE(graph.type_extras.empty());
}

TEST(Verify, AcceptsGoodGraphs) {
  verify(chain(3));
  verify(with_if());
}

struct Broken {
  const char* what;
  void (*breaks)(Graph& graph);
};
class VerifyBroken : public testing::TestWithParam<Broken> {};

TEST_P(VerifyBroken, IsRefusedWithItsCause) {
  Graph graph = with_if();
  GetParam().breaks(graph);
  const Error error = error_of([&] { verify(graph); });
  EXPECT_EQ(error.code, ErrorCode::kBadModel);
  EXPECT_THAT(error.what(), HasSubstr(GetParam().what));
}

INSTANTIATE_TEST_SUITE_P(
    All, VerifyBroken,
    testing::Values(
        Broken{"node of 'v1' (Relu), input 0: 'y' is not defined before it", [](Graph& g) { g.nodes[0].inputs = {"y"}; }},
        Broken{"'nobody' is not defined before it", [](Graph& g) { g.nodes[1].attributes["then_branch"] = branch("nobody"); }},
        Broken{"node 'choose' (If), then_branch: ", [](Graph& g) { g.nodes[1].attributes["then_branch"] = branch("nobody"); }},
        Broken{"'y' is not defined before it", [](Graph& g) { g.nodes[1].attributes["then_branch"] = branch("y"); }},
        Broken{"attribute 'then_branch' holds no graph",
               [](Graph& g) { g.nodes[1].attributes["then_branch"] = std::shared_ptr<const Graph>(); }},
        Broken{"its output 'v1' is defined a second time", [](Graph& g) { g.nodes[1].outputs = {"v1"}; }},
        Broken{"its output 'v0' is defined a second time", [](Graph& g) { g.nodes[0].outputs = {"v0"}; }},
        Broken{"two inputs are called 'v0'", [](Graph& g) { g.inputs.push_back(g.inputs[0]); }},
        Broken{"'v0' is an input and an initializer at once", [](Graph& g) { g.initializers["v0"] = Tensor::scalar(1.0F); }},
        Broken{"input 0 has no name", [](Graph& g) { g.inputs[0].name = ""; }},
        Broken{"output 0 has no name", [](Graph& g) { g.outputs[0].name = ""; }},
        Broken{"two outputs are called 'y'", [](Graph& g) { g.outputs.push_back(g.outputs[0]); }},
        Broken{"nothing produces the output 'z'", [](Graph& g) { g.outputs[0].name = "z"; }},
        Broken{"has no outputs", [](Graph& g) { g.outputs.clear(); }},
        Broken{"names no operator", [](Graph& g) { g.nodes[0].op_type = ""; }},
        Broken{"no opset_import", [](Graph& g) { g.opsets.clear(); }},
        Broken{"initializer 'condition': has no element type", [](Graph& g) { g.initializers["condition"] = Tensor(); }},
        Broken{"value 'condition': its declarations disagree: it is b8 here and f32 there",
               [](Graph& g) { g.types["condition"] = {DType::f32, Shape{}}; }},
        Broken{"value 'y': its declarations disagree: it has the shape [2] here and [3] there", [](Graph& g) {
                 g.types["y"] = {DType::f32, Shape{2}};
                 g.outputs[0].type = {DType::f32, Shape{3}};
               }}));

TEST(GraphHash, SeesWhatIsComputedAndNothingElse) {
  const Graph graph = with_if();
  const std::string hash = graph_hash(graph);
  EXPECT_EQ(hash.size(), 32U);
  Graph same = graph;
  same.name = "other";
  same.nodes[0].name = "other";
  same.nodes[0].extra = same.extra = same.model_extra = "documentation";
  same.metadata["author"] = "somebody";
  same.types["v1"] = {DType::f32, Shape{}};
  EXPECT_EQ(graph_hash(same), hash);

  const auto differs = [&](const char* what, const std::function<void(Graph&)>& change) {
    Graph changed = graph;
    change(changed);
    EXPECT_NE(graph_hash(changed), hash) << what;
  };
  differs("weight", [](Graph& g) { g.initializers["condition"] = Tensor::scalar(false); });
  differs("weight's type", [](Graph& g) { g.initializers["condition"] = Tensor::scalar(std::int8_t{1}); });
  differs("operator", [](Graph& g) { g.nodes[0].op_type = "Sigmoid"; });
  differs("attribute", [](Graph& g) { g.nodes[0].attributes["alpha"] = 1.0F; });
  differs("opset", [](Graph& g) { g.opsets[""] = 18; });
  differs("input's shape", [](Graph& g) { g.inputs[0].type.shape = Shape{5}; });
  differs("output", [](Graph& g) { g.outputs[0].name = "v1"; });
  differs("subgraph", [](Graph& g) { g.nodes[1].attributes["else_branch"] = branch("v1"); });
}

TEST(GraphHash, StaysTheSameAcrossVersions) {
  // Statistics of a model are found by its hash: a change here makes old statistics useless, and needs a reason.
  EXPECT_EQ(graph_hash(chain(2)), "eedb4c91f082e68fbcdaefce81d1ff6b");
}

}  // namespace
}  // namespace zeropoint
