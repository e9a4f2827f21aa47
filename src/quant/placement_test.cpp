#include "quant/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
