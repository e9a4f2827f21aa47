#include "zeropoint/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "analyze/related.h"
#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kGolden = fs::path(ZEROPOINT_SOURCE_DIR) / "tests" / "golden" / "inspect";

// tests/golden/inspect: NAME.graph -> NAME.txt (all lists) and NAME.json. ZEROPOINT_UPDATE_GOLDEN=1 writes the latter anew.
TEST(InspectTest, Golden) {
  int cases = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kGolden)) {
    if (entry.path().extension() != ".graph") continue;
    ++cases;
    SCOPED_TRACE(entry.path().filename().string());
    const Graph graph = parse_graph(read_file(entry.path()));
    verify(graph);
    const Inspection inspection = inspect(graph, {.recipe = recipes::static_w8a8()});
    for (const auto& [extension, text] :
         {std::pair(".txt", to_text(inspection, {.all = true})), {".json", to_json(inspection)}}) {
      fs::path expected = entry.path();
      expected.replace_extension(extension);
      if (std::getenv("ZEROPOINT_UPDATE_GOLDEN")) write_file(expected, text);
      EXPECT_EQ(text, read_file(expected));
    }
  }
  EXPECT_GE(cases, 2);
}

Graph product(std::int64_t k, std::int64_t n, DType dtype = DType::f32) {
  Graph graph = parse_graph(
      "ir_version 8\nopset 17\ngraph g(x: f32[M,8]) -> (y: f32[M,8]) {\n w = f32[1,1]{1}\n y = MatMul(x, w) \"product\"\n}");
  graph.inputs[0].type.shape = Shape{Dim("M"), Dim(k)};
  graph.outputs[0].type.shape = Shape{Dim("M"), Dim(n)};
  graph.initializers["w"] = Tensor(dtype, {k, n});
  return graph;
}

// A linear layer of 4096 x 11008: 45,088,768 weights, a scale of 4 bytes a column or a group of a column.
TEST(InspectTest, SizesAtEachWidth) {
  const Inspection inspection = inspect(product(4096, 11008));
  std::map<std::string, std::uint64_t> sizes;
  for (const SizeAt& size : inspection.sizes) sizes[size.format] = size.bytes;
  constexpr std::uint64_t kWeights = 4096 * 11008;
  EXPECT_EQ(sizes["fp32"], 4 * kWeights);
  EXPECT_EQ(sizes["fp16"], 2 * kWeights);
  EXPECT_EQ(sizes["int8"], kWeights + 4 * 11008);
  EXPECT_EQ(sizes["int8 g32"], kWeights + kWeights / 32 * 4);
  EXPECT_EQ(sizes["int4"], kWeights / 2 + 4 * 11008);
  EXPECT_EQ(sizes["int4 g128"], kWeights / 2 + kWeights / 128 * 4);
  EXPECT_EQ(sizes["int4 g64"], kWeights / 2 + kWeights / 64 * 4);
  EXPECT_EQ(sizes["int4 g32"], kWeights / 2 + kWeights / 32 * 4);
  EXPECT_EQ(sizes["int2 g32"], kWeights / 4 + kWeights / 32 * 4);
  EXPECT_EQ(inspection.quantizable_parameters, static_cast<std::int64_t>(kWeights));
}

TEST(InspectTest, MacsAtTheGivenShape) {
  const Graph graph = product(16, 8);
  const Inspection at_one = inspect(graph), given = inspect(graph, {.shapes = {{"x", {5, 16}}}});
  EXPECT_EQ(at_one.macs, 16 * 8);
  EXPECT_EQ(at_one.assumed.at("x"), (Dims{1, 16}));
  EXPECT_THAT(to_text(at_one), HasSubstr("at x = [1,16]"));
  EXPECT_EQ(given.macs, 5 * 16 * 8);
  EXPECT_TRUE(given.assumed.empty());
  EXPECT_THROW(inspect(graph, {.shapes = {{"x", {5, 17}}}}), Error);
}

TEST(InspectTest, WaysTheEngineTakes) {
  const Inspection inspection = inspect(product(16, 8), {.engine = true});
  ASSERT_TRUE(inspection.engine);
  EXPECT_EQ(inspection.engine->refused, "");
  EXPECT_EQ(inspection.engine->floating.macs, 16 * 8);
  EXPECT_EQ(inspection.engine->integer.steps, 0);
  Graph strange = product(16, 8);
  strange.nodes[0].op_type = "Frobnicate";
  const Inspection refused = inspect(strange, {.engine = true});
  EXPECT_THAT(refused.engine->refused, HasSubstr("Frobnicate"));
  EXPECT_THAT(to_text(refused), HasSubstr("unknown to this version"));
}

TEST(InspectTest, ModelsOfHalfPrecisionSayWhatToDo) {
  Graph graph = product(16, 8, DType::f16);
  graph.inputs[0].type.dtype = graph.outputs[0].type.dtype = DType::f16;
  const Inspection inspection = inspect(graph, {.recipe = recipes::static_w8a8()});
  ASSERT_TRUE(inspection.plan);
  EXPECT_THAT(inspection.plan->refused, HasSubstr("export the model in float32"));
}

TEST(RelatedTest, ModelsThatDoNotBelongTogether) {
  using analyze::why_unrelated;
  const Graph model = product(32, 16);
  EXPECT_EQ(why_unrelated(model, model), "");
  EXPECT_THAT(why_unrelated(model, product(64, 16)), HasSubstr("'x' of their inputs"));
  // The same edges, other weights behind them.
  Graph other = parse_graph(
      "ir_version 8\nopset 17\ngraph g(x: f32[M,32]) -> (y: f32[M,16]) {\n w = f32[1,1]{1}\n v = f32[1,1]{1}\n"
      " h = MatMul(x, w) \"first\"\n y = MatMul(h, v) \"second\"\n}");
  other.initializers["w"] = Tensor(DType::f32, {32, 100});
  other.initializers["v"] = Tensor(DType::f32, {100, 16});
  EXPECT_THAT(why_unrelated(model, other), HasSubstr("different networks"));
  Graph quantized = model;
  quantized.nodes.insert(quantized.nodes.begin(), Node{.op_type = "DequantizeLinear", .inputs = {"q", "s"}, .outputs = {"w"}});
  quantized.initializers["q"] = Tensor(DType::s8, {32, 16});
  quantized.initializers.erase("w");
  EXPECT_EQ(why_unrelated(model, quantized), "");
  EXPECT_THAT(why_unrelated(quantized, model), HasSubstr("swapped"));
}

}  // namespace
}  // namespace zeropoint
