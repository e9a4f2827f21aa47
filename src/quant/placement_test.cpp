#include "quant/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kGolden = fs::path(ZEROPOINT_SOURCE_DIR) / "tests" / "golden" / "placement";

// tests/golden/placement: NAME.graph and, where it is not static_w8a8, NAME.recipe.json -> NAME.placement.
// ZEROPOINT_UPDATE_GOLDEN=1 writes the last anew.
TEST(PlacementTest, Golden) {
  int cases = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kGolden)) {
    if (entry.path().extension() != ".graph") continue;
    ++cases;
    SCOPED_TRACE(entry.path().filename().string());
    const Graph graph = parse_graph(read_file(entry.path()));
    verify(graph);
    fs::path recipe = entry.path(), expected = entry.path();
    recipe.replace_extension(".recipe.json");
    expected.replace_extension(".placement");
    const std::string text =
        to_text(place(graph, fs::exists(recipe) ? parse_recipe(read_file(recipe)) : recipes::static_w8a8()), graph);
    if (std::getenv("ZEROPOINT_UPDATE_GOLDEN")) write_file(expected, text);
    EXPECT_EQ(text, read_file(expected));
  }
  EXPECT_GE(cases, 8);
}

TEST(PlacementTest, RefusesQuantizedModels) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[2]) -> (y: u8[2]) {
  s = f32[]{1}
  z = u8[]{0}
  y = QuantizeLinear(x, s, z) "q"
}
)");
  try {
    place(graph, recipes::static_w8a8());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("node 'q'"));
  }
}

// Quantizers spread against the order of the nodes; each round over all of them would bring them one node further.
TEST(PlacementTest, LongChainBeforeAConvolution) {
  constexpr int kCount = 20000;
  std::string text = "ir_version 8\nopset 17\ngraph g(x: f32[1,1,4,4]) -> (y: f32[1,1,4,4]) {\n  w = f32[1,1,1,1]{2}\n";
  for (int i = 0; i < kCount; ++i)
    text += "  v" + std::to_string(i + 1) + " = Transpose(" + (i == 0 ? "x" : "v" + std::to_string(i)) + ") {perm=[0,1,3,2]}\n";
  const Graph graph = parse_graph(text + "  y = Conv(v" + std::to_string(kCount) + ", w)\n}\n");
  const Placement placement = place(graph, recipes::static_w8a8());
  EXPECT_EQ(placement.left_in_float.size(), 0U);
  std::size_t values = 0;
  for (const TieGroup& group : placement.groups) values += group.values.size();
  EXPECT_EQ(values, kCount + 2U);  // x and y, too
}

// The bounds of a join are found once, not once a path: 2^60 of them.
TEST(PlacementTest, JoinsOfJoins) {
  std::string text =
      "ir_version 8\nopset 17\ngraph g(x: f32[0,1,4,4]) -> (y: f32[0,1,4,4]) {\n  w = f32[1,1,1,1]{2}\n  c = Conv(x, w)\n"
      "  v0 = Relu(c)\n";
  for (int i = 0; i < 60; ++i) {
    const std::string from = "v" + std::to_string(i);
    text += "  v" + std::to_string(i + 1) + " = Concat(" + from + ", " + from + ") {axis=0}\n";
  }
  const Placement placement = place(parse_graph(text + "  y = Conv(v60, w)\n}\n"), recipes::static_w8a8());
  EXPECT_TRUE(std::ranges::any_of(placement.groups, [](const TieGroup& group) { return group.values.size() == 61; }));
}

TEST(PlacementTest, BadScope) {
  Recipe recipe = recipes::static_w8a8();
  recipe.keep_float("a(");
  try {
    place(parse_graph("ir_version 8\nopset 17\ngraph g(x: f32[2]) -> (y: f32[2]) {\n y = Relu(x)\n}"), recipe);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadRecipe);
    EXPECT_EQ(error.where, "/rules/1/scope");
  }
}

TEST(PlacementTest, ScopesMatchWholeNamesAndTheLastRuleWins) {
  const Graph graph = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1,1,4,4]) -> (z: f32[1,1,4,4]) {
  w = f32[1,1,1,1]{1}
  y = Conv(x, w) "conv1"
  z = Conv(y, w) "conv11"
}
)");
  Recipe recipe = recipes::static_w8a8();
  recipe.keep_float("conv1");
  // conv1 needs the shared weight in float, so conv11 cannot have it in integers.
  EXPECT_EQ(place(graph, recipe).integer_nodes.size(), 0U);
  recipe.rules.push_back(recipe.rules[0]);
  EXPECT_EQ(place(graph, recipe).integer_nodes.size(), 2U);
  recipe.keep_float("conv");
  EXPECT_EQ(place(graph, recipe).integer_nodes.size(), 2U);
}

}  // namespace
}  // namespace zeropoint::quant
