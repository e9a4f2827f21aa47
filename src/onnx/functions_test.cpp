#include <gmock/gmock.h>

#include "onnx/test_models.h"
#include "ops/operator.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using testing::ElementsAre;
using testing::HasSubstr;

Graph parse_bytes(const std::string& bytes) { return parse(std::as_bytes(std::span(bytes))); }
Graph read(const ModelProto& model) { return parse_bytes(model.SerializeAsString()); }

FunctionProto& add_function(ModelProto& model, const std::string& name, const std::vector<std::string>& inputs,
                            const std::vector<std::string>& outputs, std::int64_t opset = 17) {
  auto& function = *model.add_functions();
  function.set_name(name);
  function.set_domain("my");
  for (const auto& input : inputs) function.add_input(input);
  for (const auto& output : outputs) function.add_output(output);
  function.add_opset_import()->set_version(opset);
  auto& own = *function.add_opset_import();
  own.set_domain("my");
  own.set_version(1);
  return function;
}

NodeProto& add(FunctionProto& function, const std::string& op, const std::vector<std::string>& inputs,
               const std::vector<std::string>& outputs, const std::string& domain = "") {
  auto& node = *function.add_node();
  node.set_op_type(op);
  node.set_domain(domain);
  for (const auto& input : inputs) node.add_input(input);
  for (const auto& output : outputs) node.add_output(output);
  return node;
}

void refer(NodeProto& node, const std::string& attribute, AttributeProto::AttributeType type, const std::string& to) {
  auto& reference = *node.add_attribute();
  reference.set_name(attribute);
  reference.set_type(type);
  reference.set_ref_attr_name(to);
}

// x -> Relu -> y, where Relu's place is taken by calls.
ModelProto empty_model() {
  ModelProto model = small_model();
  auto& import = *model.add_opset_import();
  import.set_domain("my");
  import.set_version(1);
  model.mutable_graph()->clear_node();
  return model;
}

std::vector<float> run(const Graph& graph, const std::vector<float>& x) {
  const Tensor feed = Tensor::of<float>({1, static_cast<std::int64_t>(x.size())}, x);
  const std::vector<Tensor> results = ops::evaluate(graph, {{"x", feed}});
  const auto values = results[0].values<float>();
  return {values.begin(), values.end()};
}

TEST(Functions, AreInlinedWithAttributesDefaultsAndAbsentInputs) {
  ModelProto model = empty_model();
  auto& leaky = add_function(model, "Leaky", {"a", "bias"}, {"b"});
  auto& with_default = *leaky.add_attribute_proto();
  with_default.set_name("slope");
  with_default.set_type(AttributeProto::FLOAT);
  with_default.set_f(0.25F);
  leaky.add_attribute("absent");
  refer(add(leaky, "LeakyRelu", {"a"}, {"t"}), "alpha", AttributeProto::FLOAT, "slope");
  refer(add(leaky, "LeakyRelu", {"t"}, {"u"}), "alpha", AttributeProto::FLOAT, "absent");  // 0.01 then
  add(leaky, "Clip", {"u", "", "bias"}, {"b"});  // an absent bound, where the call gives none
  auto& twice = add_function(model, "Twice", {"p"}, {"q"});
  add(twice, "Leaky", {"p"}, {"t"}, "my");
  auto& inner = add(twice, "Leaky", {"t"}, {"q"}, "my");
  auto& slope = *inner.add_attribute();
  slope.set_name("slope");
  slope.set_type(AttributeProto::FLOAT);
  slope.set_f(0.5F);
  auto& graph = *model.mutable_graph();
  auto& call = add_node(graph, "Twice", {"x"}, {"t"});
  call.set_domain("my");
  call.set_name("call");
  add_node(graph, "Twice", {"t"}, {"y"}).set_domain("my");

  const Graph read_back = read(model);
  verify(read_back);
  EXPECT_EQ(read_back.nodes.size(), 12U);
  EXPECT_EQ(read_back.opsets, (std::map<std::string, std::int64_t>{{"", 17}}));
  EXPECT_EQ(read_back.nodes[0].name, "call/Leaky/LeakyRelu");
  const float factor = 0.25F * 0.01F * 0.5F * 0.01F;
  EXPECT_THAT(run(read_back, {-1e6F, 2, 0}), ElementsAre(testing::FloatNear(-1e6F * factor * factor, 1e-8F), 2, 0));
  EXPECT_TRUE(parse_bytes(serialize(read_back)) == read_back);
}

TEST(Functions, OverloadsOutputsThatAreInputsAndUnusedOnes) {
  ModelProto model = empty_model();
  for (const char* overload : {"", "neg"}) {
    auto& function = add_function(model, "F", {"a"}, {"b", "c", "d"});
    function.set_overload(overload);
    add(function, *overload ? "Neg" : "Relu", {"a"}, {"b"});
    add(function, "Sqrt", {"b"}, {"d"});
    function.set_output(1, "a");
  }
  auto& graph = *model.mutable_graph();
  auto& first = add_node(graph, "F", {"x"}, {"t"});
  first.set_domain("my");
  first.set_overload("neg");
  add_node(graph, "F", {"t"}, {"", "y"}).set_domain("my");
  EXPECT_THAT(run(read(model), {1, -2, 3}), ElementsAre(-1, 2, -3));
}

TEST(Functions, InSubgraphsKeepTheirNamesApart) {
  ModelProto model = empty_model();
  auto& graph = *model.mutable_graph();
  set_tensor(*graph.add_input(), "flag", ::onnx::TensorProto::BOOL, {});
  // A function with an If whose branches read the function's values, called inside the branches of an If.
  auto& choose = add_function(model, "Choose", {"c", "v"}, {"r"});
  add(choose, "Neg", {"v"}, {"t"});
  auto& inner = add(choose, "If", {"c"}, {"r"});
  const auto branch = [](NodeProto& node, const std::string& key, const std::string& op, const std::string& input,
                         const std::string& output, const std::string& domain) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(key);
    attribute.set_type(AttributeProto::GRAPH);
    auto& body = *attribute.mutable_g();
    body.set_name(key);
    auto& made = add_node(body, op, {input}, {output});
    made.set_domain(domain);
    if (op == "Choose") {
      made.clear_input();
      made.add_input("flag");
      made.add_input(input);
    }
    set_tensor(*body.add_output(), output, 1, {-1, 3});
  };
  branch(inner, "then_branch", "Abs", "t", "x", "");  // 'x' is a name of the model, too
  branch(inner, "else_branch", "Neg", "v", "t2", "");
  auto& outer = add_node(graph, "If", {"flag"}, {"y"});
  branch(outer, "then_branch", "Choose", "x", "t", "my");
  branch(outer, "else_branch", "Choose", "x", "u", "my");
  const Graph graph_read = read(model);
  for (const bool flag : {true, false}) {
    const Tensor x = Tensor::of<float>({1, 3}, std::vector<float>{1, -2, 3});
    const auto result = ops::evaluate(graph_read, {{"x", x}, {"flag", Tensor::scalar(flag)}})[0];
    EXPECT_THAT(result.values<float>(), flag ? ElementsAre(1, 2, 3) : ElementsAre(-1, 2, -3));
  }
}

TEST(Functions, OfOtherOpsetsAreConverted) {
  for (const std::int64_t opset : {11, 18}) {
    ModelProto model = empty_model();
    model.mutable_opset_import(0)->set_version(13);
    auto& function = add_function(model, "F", {"a"}, {"b"}, opset);
    if (opset == 11) {
      auto& axes = *add(function, "Unsqueeze", {"a"}, {"t"}).add_attribute();
      axes.set_name("axes");
      axes.set_type(AttributeProto::INTS);
      axes.add_ints(0);
      auto& squeeze = *add(function, "Squeeze", {"t"}, {"b"}).add_attribute();
      squeeze = axes;
    } else {
      auto& split = add(function, "Split", {"a"}, {"b"});
      auto& parts = *split.add_attribute();
      parts.set_name("num_outputs");
      parts.set_type(AttributeProto::INT);
      parts.set_i(1);
    }
    add_node(*model.mutable_graph(), "F", {"x"}, {"y"}).set_domain("my");
    const Graph graph = read(model);
    EXPECT_EQ(graph.opset(), std::max<std::int64_t>(13, opset));
    EXPECT_THAT(run(graph, {1, -2, 3}), ElementsAre(1, -2, 3));
  }
}

std::string error_of(const ModelProto& model) {
  try {
    read(model);
  } catch (const Error& error) {
    return std::string(name(error.code)) + " " + error.what();
  }
  return "";
}

TEST(Functions, ThatAreWrongAreRefused) {
  const auto called = [](const std::function<void(ModelProto&)>& make) {
    ModelProto model = empty_model();
    make(model);
    add_node(*model.mutable_graph(), "F0", {"x"}, {"y"}).set_domain("my");
    return error_of(model);
  };
  EXPECT_THAT(called([](ModelProto& m) { add(add_function(m, "F0", {"a"}, {"b"}), "F0", {"a"}, {"b"}, "my"); }),
              HasSubstr("bad_model model, function \"my.F0\": calls itself"));
  EXPECT_THAT(called([](ModelProto& m) {
                add(add_function(m, "F0", {"a"}, {"b"}), "F1", {"a"}, {"b"}, "my");
                add(add_function(m, "F1", {"a"}, {"b"}), "F0", {"a"}, {"b"}, "my");
              }),
              HasSubstr("calls itself"));
  EXPECT_THAT(called([](ModelProto& m) {  // 2^30 nodes
                for (int i = 0; i < 30; ++i) {
                  auto& function = add_function(m, "F" + std::to_string(i), {"a"}, {"b"});
                  const std::string next = i < 29 ? "F" + std::to_string(i + 1) : "Relu";
                  add(function, next, {"a"}, {"t"}, i < 29 ? "my" : "");
                  add(function, next, {"t"}, {"b"}, i < 29 ? "my" : "");
                }
              }),
              HasSubstr("limit model, function"));
  EXPECT_THAT(called([](ModelProto& m) {
                for (int i = 0; i < 200; ++i)
                  add(add_function(m, "F" + std::to_string(i), {"a"}, {"b"}), i < 199 ? "F" + std::to_string(i + 1) : "Relu",
                      {"a"}, {"b"}, i < 199 ? "my" : "");
              }),
              HasSubstr("more than 100 deep"));
  EXPECT_THAT(called([](ModelProto& m) { add(add_function(m, "F0", {"a"}, {"b"}), "Relu", {"x"}, {"b"}); }),
              HasSubstr("'x' is defined nowhere"));  // not even though the model has an x
  EXPECT_THAT(called([](ModelProto& m) { add(add_function(m, "F0", {"a"}, {"b"}), "Relu", {"a"}, {"c"}); }),
              HasSubstr("nothing produces the output 'b'"));
  EXPECT_THAT(called([](ModelProto& m) {
                for (int i = 0; i < 2; ++i) add(add_function(m, "F0", {"a"}, {"b"}), "Relu", {"a"}, {"b"});
              }),
              HasSubstr("is defined a second time"));
  EXPECT_THAT(called([](ModelProto& m) { add(add_function(m, "F0", {}, {"b"}), "Constant", {}, {"b"}); }),
              HasSubstr("has 1 inputs and 1 outputs, but its function 0 and 1"));
}

}  // namespace
}  // namespace zeropoint
