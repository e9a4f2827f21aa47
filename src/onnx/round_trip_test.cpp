// What is read is written back: saved models mean what the loaded ones meant.
#include <gmock/gmock.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "ir/random_graph.h"
#include "onnx/temporary_folder.h"
#include "onnx/test_models.h"
#include "onnx/wire.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;

Graph parse_bytes(const std::string& bytes) { return parse(std::as_bytes(std::span(bytes))); }

// The first thing in which two models of one form differ, or "".
std::string difference(const ::onnx::ModelProto& a, const ::onnx::ModelProto& b) {
  if (a.SerializeAsString() == b.SerializeAsString()) return "";
  const auto& x = a.graph();
  const auto& y = b.graph();
  const auto lists = [](const char* what, const auto& left, const auto& right) -> std::string {
    if (left.size() != right.size())
      return std::string(what) + ": " + std::to_string(left.size()) + " and " + std::to_string(right.size());
    for (int i = 0; i < left.size(); ++i)
      if (left[i].SerializeAsString() != right[i].SerializeAsString())
        return std::string(what) + " " + std::to_string(i) + ": " + left[i].name() + " and " + right[i].name();
    return "";
  };
  for (const std::string& found : {lists("node", x.node(), y.node()), lists("initializer", x.initializer(), y.initializer()),
                                   lists("input", x.input(), y.input()), lists("output", x.output(), y.output()),
                                   lists("value_info", x.value_info(), y.value_info())})
    if (!found.empty()) return found;
  return "other fields";
}

void expect_round_trip(const std::string& bytes) {
  const Graph graph = parse_bytes(bytes);
  verify(graph);
  const std::string written = serialize(graph);
  EXPECT_TRUE(parse_bytes(written) == graph);
  ::onnx::ModelProto before, after;
  ASSERT_TRUE(before.ParseFromString(bytes));
  ASSERT_TRUE(after.ParseFromString(written));
  normalize(before);
  normalize(after);
  EXPECT_EQ(difference(before, after), "");
  if (bytes.size() < 2'000'000) {
    EXPECT_TRUE(parse_graph(to_text(graph, -1)) == graph);
  }
}

std::vector<fs::path> models() {
  std::vector<fs::path> found;
  for (const char* folder : {"tests/data", "build/models"}) {
    const fs::path path = fs::path(ZEROPOINT_SOURCE_DIR) / folder;
    if (!fs::is_directory(path)) continue;
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".onnx") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(RoundTrip, OfRealModels) {
  ASSERT_GE(models().size(), 4U) << "tests/data has the four small networks";
  for (const fs::path& path : models()) {
    SCOPED_TRACE(path.string());
    const Graph graph = load(path);
    EXPECT_FALSE(graph.nodes.empty());
    const std::string bytes = read_file(path);
    EXPECT_TRUE(parse_bytes(bytes) == graph);
    expect_round_trip(bytes);
  }
}

TEST(RoundTrip, OfEveryFieldOfTheSchemaAndUnknownOnes) { expect_round_trip(rich_model().SerializeAsString()); }

TEST(RoundTrip, OfRandomGraphs) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Graph graph = RandomGraph(seed).model(false);
    const Graph back = parse_bytes(serialize(graph));
    EXPECT_TRUE(back == graph) << "seed " << seed << "\n" << to_text(graph, -1) << "\nread back:\n" << to_text(back, -1);
  }
}

TEST(Read, UnderstandsTheRichModel) {
  const Graph graph = parse_bytes(rich_model().SerializeAsString());
  std::vector<std::string> inputs;
  for (const ValueInfo& input : graph.inputs) inputs.push_back(input.name);
  EXPECT_THAT(inputs, testing::ElementsAre("x", "text", "sequence", "old", "untyped"));  // w is a constant
  EXPECT_EQ(to_string(graph.inputs[0].type), "f32[N,3]");
  EXPECT_EQ(to_string(graph.inputs[1].type), "opaque[2]");
  EXPECT_EQ(to_string(graph.inputs[2].type), "?");
  EXPECT_EQ(to_string(graph.inputs[3].type), "f32[?]");
  EXPECT_EQ(to_string(graph.type_of("inner")), "f32[N,3]");
  EXPECT_EQ(to_string(graph.type_of("w")), "f32[10,30]");
  EXPECT_EQ(graph.initializers.at("w").values<float>()[299], 149.5F);
  EXPECT_EQ(to_string(graph.type_of("sparse")), "opaque[10,10]");
  EXPECT_EQ(graph.metadata.at("key"), "value");
  EXPECT_EQ(graph.opset(), 17);
  const Node& node = graph.nodes[0];
  EXPECT_EQ(node.domain, "com.example");
  EXPECT_EQ(node.get_int("int", 0), -3);
  EXPECT_EQ(std::get<Tensor>(*node.find("tensor")).values<float>()[79], 39.5F);
  EXPECT_TRUE(std::holds_alternative<OpaqueAttribute>(*node.find("newer kind")));
  const auto& branch = std::get<std::shared_ptr<const Graph>>(*graph.nodes[1].find("then_branch"));
  EXPECT_EQ(branch->initializers.at("bias").values<float>()[2], 1.0F);
  EXPECT_THAT(outer_names(*branch), testing::ElementsAre("inner"));
}

// Exporters of symbolic shapes write whole expressions.
TEST(Read, ADimensionWithALongNameIsUnknown) {
  for (const std::size_t letters : {std::size_t{1024}, std::size_t{1025}, std::size_t{100'000}}) {
    ::onnx::ModelProto model = rich_model();
    const std::string expression(letters, 'N');
    model.mutable_graph()
        ->mutable_input(0)
        ->mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(0)
        ->set_dim_param(expression);
    const std::string bytes = model.SerializeAsString();
    EXPECT_EQ(to_string(parse_bytes(bytes).inputs[0].type), letters > 1024 ? "f32[?,3]" : "f32[" + expression + ",3]");
    expect_round_trip(bytes);
  }
}

TEST(Read, DecodesTypedData) {
  const Graph graph = parse_bytes(rich_model().SerializeAsString());
  const auto text = [&](std::int32_t type) {
    Graph one;
    one.initializers["t"] = graph.initializers.at("typed" + std::to_string(type));
    const std::string whole = to_text(one);
    const auto begin = whole.find("t = ") + 4;
    return whole.substr(begin, whole.find('\n', begin) - begin);
  };
  using T = ::onnx::TensorProto;
  EXPECT_EQ(text(T::FLOAT), "f32[3]{0, 0.1, 0.2}");
  EXPECT_EQ(text(T::DOUBLE), "f64[3]{0, 0.1, 0.2}");
  EXPECT_EQ(text(T::INT64), "s64[3]{-1, 0, 1}");
  EXPECT_EQ(text(T::INT32), "s32[3]{-1, 0, 1}");
  EXPECT_EQ(text(T::INT16), "s16[3]{-1, 0, 1}");
  EXPECT_EQ(text(T::INT8), "s8[3]{-1, 0, 1}");
  EXPECT_EQ(text(T::UINT64), "u64[3]{4000000000, 4000000001, 4000000002}");
  EXPECT_EQ(text(T::UINT32), "u32[3]{4000000000, 4000000001, 4000000002}");
  EXPECT_EQ(text(T::UINT16), "u16[3]{1, 2, 3}");
  EXPECT_EQ(text(T::UINT8), "u8[3]{1, 2, 3}");
  EXPECT_EQ(text(T::BOOL), "b8[3]{0, 1, 0}");
  EXPECT_EQ(text(T::FLOAT16), "f16[3]{5.9604645e-08, 1.1920929e-07, 1.7881393e-07}");
  EXPECT_EQ(text(T::UINT4), "u4[3]{1, 0, 2}");
  EXPECT_EQ(text(T::INT4), "s4[3]{1, 0, 2}");
  EXPECT_EQ(text(T::UINT2), "u2[3]{1, 0, 0}");
}

TEST(Read, SortsNodesAndSubgraphs) {
  auto proto = rich_model();
  auto& graph = *proto.mutable_graph();
  graph.mutable_node()->SwapElements(0, 1);
  auto& branch = *graph.mutable_node(0)->mutable_attribute(0)->mutable_g();
  add_node(branch, "Neg", {"unsorted"}, {"late"});
  add_node(branch, "Neg", {"sum"}, {"unsorted"});
  const Graph read = parse_bytes(proto.SerializeAsString());
  EXPECT_EQ(read.nodes[0].op_type, "Everything");
  const auto& sorted = std::get<std::shared_ptr<const Graph>>(*read.nodes[1].find("then_branch"));
  EXPECT_EQ(sorted->nodes[2].outputs[0], "late");
}

TEST(Read, TreatsTheStandardDomainsLongNameAsTheShortOne) {
  auto proto = small_model();
  proto.mutable_opset_import(0)->set_domain("ai.onnx");
  proto.mutable_graph()->mutable_node(0)->set_domain("ai.onnx");
  const Graph graph = parse_bytes(proto.SerializeAsString());
  EXPECT_EQ(graph.opset(), 17);
  EXPECT_TRUE(graph.nodes[0].is("Relu"));
}

TEST(Read, MakesBoolsOfOddBytes) {
  auto proto = small_model();
  auto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("flags");
  tensor.set_data_type(::onnx::TensorProto::BOOL);
  tensor.add_dims(3);
  tensor.set_raw_data(std::string("\x00\x01\x80", 3));
  const Graph graph = parse_bytes(proto.SerializeAsString());
  const auto values = graph.initializers.at("flags").values<bool>();
  EXPECT_THAT(std::vector<bool>(values.begin(), values.end()), testing::ElementsAre(false, true, true));
}

TEST(Read, ClearsTheBitsBehindTheLastSmallElement) {
  auto proto = small_model();
  auto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("w");
  tensor.set_data_type(::onnx::TensorProto::INT4);
  tensor.add_dims(3);
  tensor.set_raw_data("\x21\xf3");
  const Graph graph = parse_bytes(proto.SerializeAsString());
  EXPECT_EQ(graph.initializers.at("w").bytes()[1], std::byte{3});
}

TEST(Read, LeavesWeightsInTheFile) {
  auto proto = small_model();
  *proto.mutable_graph()->add_initializer() = f32_tensor("w", {1000, 1000});
  const std::string bytes = proto.SerializeAsString();
  const auto thin = onnx_file::thin_copy(std::as_bytes(std::span(bytes)), "test");
  EXPECT_LT(thin.bytes.size(), 1000U);
  ASSERT_EQ(thin.raw_data.size(), 1U);
  EXPECT_EQ(thin.raw_data[0].size(), 4000000U);
  EXPECT_GE(reinterpret_cast<const char*>(thin.raw_data[0].data()), bytes.data());
}

TEST(Write, GivesOldFilesTheirInputsBack) {
  auto proto = small_model();
  proto.set_ir_version(3);
  *proto.mutable_graph()->add_initializer() = f32_tensor("w", {2});
  set_tensor(*proto.mutable_graph()->add_input(), "w", 1, {2});
  proto.mutable_graph()->mutable_input()->SwapElements(0, 1);  // w, x
  Graph graph = parse_bytes(proto.SerializeAsString());
  ASSERT_EQ(graph.inputs.size(), 1U);
  graph.initializers["added"] = Tensor::scalar(1.0F);
  const auto written = [&] {
    ::onnx::ModelProto out;
    EXPECT_TRUE(out.ParseFromString(serialize(graph)));
    std::vector<std::string> names;
    for (const auto& input : out.graph().input()) names.push_back(input.name());
    return names;
  };
  EXPECT_THAT(written(), testing::ElementsAre("w", "x", "added"));
  graph.ir_version = 8;  // lets a runtime know that nobody replaces w
  EXPECT_THAT(written(), testing::ElementsAre("x"));
  graph.ir_version = 3;
  graph.initializers.erase("w");
  EXPECT_THAT(written(), testing::ElementsAre("x", "added"));
}

TEST(Write, KeepsSymbolsOfReplaceableInitializersWhileTheyFit) {
  auto proto = small_model();
  *proto.mutable_graph()->add_initializer() = f32_tensor("w", {2, 3});
  set_tensor(*proto.mutable_graph()->add_input(), "w", 1, {-1, 3});
  Graph graph = parse_bytes(proto.SerializeAsString());
  const auto declared = [&] {
    ::onnx::ModelProto out;
    EXPECT_TRUE(out.ParseFromString(serialize(graph)));
    return out.graph().input(1).type().tensor_type().shape().dim(0);
  };
  EXPECT_EQ(declared().dim_param(), "N");
  graph.initializers["w"] = Tensor(DType::f32, {5, 4});
  EXPECT_EQ(declared().dim_value(), 5);
}

TEST(Write, FollowsEditsAndDropsWhatTheyMadeStale) {
  Graph graph = parse_bytes(rich_model().SerializeAsString());
  graph.inputs[0].type.shape = Shape{1, 3};
  graph.nodes[0].attributes["tensor"] = std::int64_t{1};  // had a name and documentation
  graph.nodes[0].attributes.erase("graphs");
  graph.nodes[0].attributes["named tensors"] = std::vector<Tensor>{};
  graph.initializers["w"] = Tensor(DType::s8, {4});
  const Graph back = parse_bytes(serialize(graph));
  EXPECT_EQ(to_string(back.inputs[0].type), "f32[1,3]");
  EXPECT_EQ(back.nodes[0].get_int("tensor", 0), 1);
  EXPECT_EQ(back.nodes[0].find("graphs"), nullptr);
  EXPECT_EQ(to_string(back.type_of("w")), "s8[4]");
}

TEST(Save, ReplacesTheFileWhileItIsMapped) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.onnx";
  auto proto = small_model();
  *proto.mutable_graph()->add_initializer() = f32_tensor("w", {1000});
  write_file(path, proto.SerializeAsString());
  const Graph graph = load(path);
  save(graph, path);
  EXPECT_TRUE(load(path) == graph);
  EXPECT_EQ(graph.initializers.at("w").values<float>()[999], 499.5F);
  fs::remove(path);
  EXPECT_EQ(graph.initializers.at("w").values<float>()[999], 499.5F);  // the mapping lives on
}

TEST(Read, TakesAChainOfAMillionNodes) {
  ::onnx::ModelProto proto = small_model();
  auto& graph = *proto.mutable_graph();
  graph.clear_node();
  graph.mutable_output(0)->set_name("v1000000");
  for (int i = 0; i < 1'000'000; ++i)
    add_node(graph, "Relu", {i == 0 ? "x" : "v" + std::to_string(i)}, {"v" + std::to_string(i + 1)});
  const std::string bytes = proto.SerializeAsString();
  proto.Clear();
  const std::clock_t start = std::clock();
  const Graph read = parse_bytes(bytes);
  const std::clock_t end = std::clock();
  EXPECT_EQ(read.nodes.size(), 1'000'000U);
  std::printf("a million nodes, %zu MB: read and verified in %.2f s of processor time\n", bytes.size() >> 20,
              static_cast<double>(end - start) / CLOCKS_PER_SEC);
}

}  // namespace
}  // namespace zeropoint
