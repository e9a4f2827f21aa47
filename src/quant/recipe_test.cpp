#include "zeropoint/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "zeropoint/error.h"
#include "zeropoint/ranges.h"

namespace zeropoint {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

TEST(RecipeTest, BuiltInsRoundTrip) {
  EXPECT_THAT(recipes::names(), Contains("static_w8a8"));
  for (const std::string& name : recipes::names()) {
    const Recipe recipe = recipes::named(name);
    EXPECT_EQ(recipe.name, name);
    EXPECT_EQ(parse_recipe(to_json(recipe)), recipe);
  }
}

TEST(RecipeTest, StaticW8A8) {
  const Recipe recipe = recipes::static_w8a8();
  ASSERT_EQ(recipe.rules.size(), 1U);
  EXPECT_EQ(recipe.rules[0].activation->dtype, DType::u8);
  EXPECT_EQ(recipe.rules[0].weight->dtype, DType::s8);
  EXPECT_TRUE(recipe.rules[0].weight->symmetric);
  EXPECT_TRUE(std::holds_alternative<PerChannel>(recipe.rules[0].weight->granularity));
}

TEST(RecipeTest, EverythingRoundTrips) {
  Recipe recipe = recipes::static_w8a8();
  recipe.name = "mine \"quoted\" \\ /";
  recipe.target = Target::openvino;
  recipe.keep_float("/layer4/.*").set_range("percentile", 99.9);
  recipe.rules.push_back({.scope = "conv[0-9]+",
                          .op_type = "Conv",
                          .activation = Scheme{.dtype = DType::s8, .symmetric = true, .range = "kl_divergence"},
                          .weight = Scheme{.dtype = DType::u8, .range = "mse"}});
  EXPECT_EQ(parse_recipe(to_json(recipe)), recipe);
  EXPECT_EQ(to_json(parse_recipe(to_json(recipe))), to_json(recipe));
}

TEST(RecipeTest, DefaultsOfSchemes) {
  const Recipe recipe = parse_recipe(R"({"rules": [{"activation": {"range": "mse"}, "weight": {}}]})");
  EXPECT_EQ(recipe.rules, recipes::static_w8a8().rules);
}

// So many bits lie in the narrowest type that holds them, unless another is named; all bits of a type are the type.
TEST(RecipeTest, Bits) {
  const Recipe recipe = parse_recipe(
      R"({"rules": [{"activation": {"bits": 6}, "weight": {"bits": 3}}, {"activation": {"bits": 12}, "weight": {"bits": 2}},
                    {"activation": {"dtype": "s8", "bits": 7}, "weight": {"dtype": "s8", "bits": 4}},
                    {"activation": {"bits": 4, "scale": "power_of_two"}, "weight": {"bits": 8}}]})");
  const auto scheme = [&](std::size_t rule, bool weight) {
    const Scheme& found = weight ? *recipe.rules[rule].weight : *recipe.rules[rule].activation;
    return std::pair(found.dtype, found.bits);
  };
  EXPECT_EQ(scheme(0, false), std::pair(DType::u8, 6));
  EXPECT_EQ(scheme(0, true), std::pair(DType::s4, 3));
  EXPECT_EQ(scheme(1, false), std::pair(DType::u16, 12));
  EXPECT_EQ(scheme(1, true), std::pair(DType::s2, 0));
  EXPECT_EQ(scheme(2, false), std::pair(DType::s8, 7));
  EXPECT_EQ(scheme(2, true), std::pair(DType::s8, 4));
  EXPECT_EQ(scheme(3, false), std::pair(DType::u4, 0));
  EXPECT_EQ(scheme(3, true), std::pair(DType::s8, 0));
  EXPECT_TRUE(recipe.rules[3].activation->power_of_two);
  EXPECT_EQ(limits_of(*recipe.rules[0].activation), (IntegerLimits{0, 63}));
  EXPECT_EQ(limits_of(*recipe.rules[0].weight), (IntegerLimits{-3, 3}));
  EXPECT_EQ(limits_of(*recipe.rules[2].activation), (IntegerLimits{-64, 63}));
  EXPECT_EQ(parse_recipe(to_json(recipe)), recipe);
}

TEST(RecipeTest, WithoutSamples) {
  const Recipe dynamic = recipes::dynamic_w8a8();
  EXPECT_TRUE(dynamic.rules[0].activation->dynamic);
  EXPECT_EQ(dynamic.rules[0].activation->rows, Rows::gated);
  EXPECT_FALSE(dynamic.needs_samples());
  EXPECT_TRUE(recipes::static_w8a8().needs_samples());
  EXPECT_FALSE(recipes::static_w8a8().has_data_free_rules());
  for (const char* name : {"weight_only_w8", "weight_only_w4_g32", "weight_only_w4_g128"}) {
    const Recipe recipe = recipes::named(name);
    EXPECT_FALSE(recipe.needs_samples());
    EXPECT_TRUE(recipe.has_data_free_rules());
  }
  EXPECT_EQ(recipes::named("weight_only_w4_g128").rules[1].weight->granularity, Granularity(PerGroup{0, 128}));
  const Recipe rows = parse_recipe(
      R"({"rules": [{"activation": {"dynamic": true, "granularity": "per_row"}, "weight": {}},
                    {"op_type": "MatMul", "weight": {"dtype": "s4", "granularity": "per_group", "group": 64}}]})");
  EXPECT_EQ(rows.rules[0].activation->rows, Rows::all);
  EXPECT_TRUE(rows.rules[1].weight->symmetric);
  EXPECT_EQ(parse_recipe(to_json(rows)), rows);
}

struct BadRecipe {
  const char* name;
  const char* json;
  const char* pointer;
  const char* message;
};
class BadRecipeTest : public ::testing::TestWithParam<BadRecipe> {};

TEST_P(BadRecipeTest, NamesThePlace) {
  try {
    parse_recipe(GetParam().json, "mine.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadRecipe);
    EXPECT_EQ(error.where, GetParam().pointer);
    EXPECT_THAT(error.what(), HasSubstr("mine.json"));
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  }
}
INSTANTIATE_TEST_SUITE_P(
    , BadRecipeTest,
    ::testing::Values(
        BadRecipe{"empty", "", "", "not JSON"}, BadRecipe{"truncated", R"({"rules": [)", "", "line 1"},
        BadRecipe{"array", "[]", "", "object"}, BadRecipe{"no_rules", "{}", "", "needs rules"},
        BadRecipe{"unknown_key", R"({"rules": [], "rule": 1})", "/rule", "unknown key"},
        BadRecipe{"escaped_key", R"({"rules": [], "a/b~c": 1})", "/a~1b~0c", "unknown key"},
        BadRecipe{"rules_object", R"({"rules": {}})", "/rules", "array"},
        BadRecipe{"rule_number", R"({"rules": [3]})", "/rules/0", "object"},
        BadRecipe{"scope_number", R"({"rules": [{"scope": 3}]})", "/rules/0/scope", "string"},
        BadRecipe{"regex", R"({"rules": [{}, {"scope": "a("}]})", "/rules/1/scope", "regular expression"},
        BadRecipe{"dtype", R"({"rules": [{"activation": {"dtype": "f32"}}]})", "/rules/0/activation/dtype", "u8, s8"},
        BadRecipe{"range", R"({"rules": [{"activation": {"range": "best"}}]})", "/rules/0/activation/range", "kl_divergence"},
        BadRecipe{"weight_range", R"({"rules": [{"weight": {"range": "percentile"}}]})", "/rules/0/weight/range",
                  "min_max, mse"},
        BadRecipe{"granularity", R"({"rules": [{"activation": {"granularity": "per_channel"}}]})",
                  "/rules/0/activation/granularity", "per_tensor"},
        BadRecipe{"symmetric", R"({"rules": [{"activation": {"symmetric": true}}]})", "/rules/0/activation/symmetric",
                  "signed"},
        BadRecipe{"symmetric_type", R"({"rules": [{"activation": {"symmetric": "yes"}}]})", "/rules/0/activation/symmetric",
                  "true or false"},
        BadRecipe{"parameter", R"({"rules": [{"activation": {"parameter": 99}}]})", "/rules/0/activation/parameter",
                  "no parameter"},
        BadRecipe{"percentile", R"({"rules": [{"activation": {"range": "percentile", "parameter": 101}}]})",
                  "/rules/0/activation/parameter", "at most 100"},
        BadRecipe{"dynamic_range", R"({"rules": [{"activation": {"dynamic": true, "range": "mse"}, "weight": {}}]})",
                  "/rules/0/activation/range", "unknown key"},
        BadRecipe{"dynamic_alone", R"({"rules": [{"activation": {"dynamic": true}}]})", "/rules/0/activation",
                  "needs a scheme"},
        BadRecipe{"dynamic_type", R"({"rules": [{"activation": {"dynamic": true, "dtype": "s8"}, "weight": {}}]})",
                  "/rules/0/activation/dtype", "u8"},
        BadRecipe{"four_bits", R"({"rules": [{"activation": {"dynamic": true}, "weight": {"dtype": "s4"}}]})",
                  "/rules/0/weight", "weights of 8 bits"},
        BadRecipe{"static_groups", R"({"rules": [{"activation": {}, "weight": {"granularity": "per_group"}}]})",
                  "/rules/0/weight", "one scale a channel"},
        BadRecipe{"bits", R"({"rules": [{"weight": {"bits": 1}}]})", "/rules/0/weight/bits", "2 ... 16"},
        BadRecipe{"many_bits", R"({"rules": [{"weight": {"bits": 17}}]})", "/rules/0/weight/bits", "2 ... 16"},
        BadRecipe{"half_bits", R"({"rules": [{"weight": {"bits": 4.5}}]})", "/rules/0/weight/bits", "2 ... 16"},
        BadRecipe{"bits_of_type", R"({"rules": [{"activation": {"dtype": "u8", "bits": 9}}]})", "/rules/0/activation/bits",
                  "u8 has 8 bits"},
        BadRecipe{"scale", R"({"rules": [{"weight": {"scale": "round"}}]})", "/rules/0/weight/scale", "power_of_two"},
        BadRecipe{"group", R"({"rules": [{"weight": {"granularity": "per_group", "group": 1}}]})", "/rules/0/weight/group",
                  "a group has"},
        BadRecipe{"group_of_channel", R"({"rules": [{"weight": {"group": 32}}]})", "/rules/0/weight/group", "per_group"},
        BadRecipe{"target", R"({"rules": [], "target": "toaster"})", "/target", "openvino"},
        BadRecipe{"step", R"({"rules": [], "steps": [{"name": "magic"}]})", "/steps/0/name", "magic"},
        BadRecipe{"step_parameter", R"({"rules": [], "steps": [{"name": "bias_correction", "parameters": {"rate": 1}}]})",
                  "/steps/0/parameters/rate", "no parameters"},
        BadRecipe{"step_name", R"({"rules": [], "steps": [{}]})", "/steps/0", "needs a name"}),
    [](const auto& each) { return each.param.name; });

TEST(RecipeTest, StepsAreCheckedWhereTheyAreAdded) {
  Recipe recipe = recipes::dynamic_w8a8();
  EXPECT_FALSE(recipe.has_step("bias_correction"));
  EXPECT_TRUE(recipe.add_step({.name = "bias_correction"}).has_step("bias_correction"));
  EXPECT_FALSE(recipe.steps_need_samples());
  EXPECT_EQ(parse_recipe(to_json(recipe)), recipe);
  const Recipe before = recipe;
  try {
    recipe.add_step({.name = "magic"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadRecipe);
    EXPECT_THAT(error.what(), HasSubstr("bias_correction"));
  }
  EXPECT_THROW(recipe.add_step({.name = "bias_correction", .parameters = {{"rate", 1}}}), Error);
  EXPECT_EQ(recipe, before);
}

TEST(RecipeTest, HostileNesting) {
  EXPECT_THROW(parse_recipe(std::string(100000, '[')), Error);
  EXPECT_THROW(parse_recipe("{\"rules\": [" + std::string(1000, '[') + std::string(1000, ']') + "]}"), Error);
}

TEST(RecipeTest, UnknownNames) {
  try {
    recipes::named("int8");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("static_w8a8"));
  }
  EXPECT_THROW(recipes::static_w8a8().set_range("best"), Error);
  EXPECT_THROW(recipes::static_w8a8().set_range("percentile", 101), Error);
  EXPECT_THROW(recipes::static_w8a8().set_range("mse", 99), Error);
}

}  // namespace
}  // namespace zeropoint
