#include <gmock/gmock.h>

#include <functional>
#include <limits>

#include "ir/random_graph.h"
#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"

namespace zeropoint {
namespace {

constexpr char kExample[] = R"(ir_version 8
opset 17
opset com.microsoft 1
metadata "author" "nobody"
graph small(x: f32[N,2], "onnx::Conv_1": s64[?]) -> (y: f32[N,2]) {
  b = f32[2]{0.5, -inf}
  big = u8[100]{... 100 elements, 9b8f5d3c6ed7b2a1e7b1f5d3c2a19b8f}
  type x: f32[N,2]
  h: f32[N,2], "" = Op(x, "", b) "first" {alpha=1.0, axes=[0, -1], mode="a\"b", none=[], scales=floats[], w=s8[2]{-1, 2}}
  y = com.microsoft::Gelu(h)
  () = If(h) {then_branch=graph (a) -> (c) {
    c = Relu(a)
  }}
}
)";

TEST(Text, ReadsAndPrintsAnExample) {
  std::string text = kExample;
  const auto elided = text.find("  big");
  text.erase(elided, text.find('\n', elided) + 1 - elided);
  const Graph graph = parse_graph(text);
  EXPECT_EQ(to_text(graph), text);
  EXPECT_EQ(graph.opsets.at("com.microsoft"), 1);
  ASSERT_EQ(graph.nodes.size(), 3U);
  const Node& node = graph.nodes[0];
  EXPECT_EQ(node.name, "first");
  EXPECT_EQ(node.get_float("alpha", 0), 1.0F);
  EXPECT_EQ(node.get_string("mode", ""), "a\"b");
  EXPECT_EQ(graph.types.at("h"), (TensorType{DType::f32, Shape{Dim("N"), 2}}));
  EXPECT_EQ(graph.initializers.at("b").values<float>()[1], -std::numeric_limits<float>::infinity());
}

TEST(Text, LeavesLargeTensorsAndExtrasOut) {
  Graph graph;
  graph.initializers["w"] = Tensor(DType::f32, {65});
  graph.extra = "documentation";
  const std::string text = to_text(graph);
  EXPECT_THAT(text, testing::HasSubstr("w = f32[65]{... 65 elements, "));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("documentation")));
  EXPECT_THROW(parse_graph(text), Error);
  EXPECT_TRUE(parse_graph(to_text(graph, -1)) == graph);
}

TEST(Text, KeepsEveryFloat) {
  const float nan = std::bit_cast<float>(0x7fc00000U), odd_nan = std::bit_cast<float>(0xff800001U);
  Graph graph;
  graph.initializers["f"] =
      Tensor::of<float>({9}, std::vector<float>{nan, odd_nan, 0.1F, -0.0F, 1e-45F, 3.4028235e38F, 1.17549435e-38F, 16777217.0F,
                                                -std::numeric_limits<float>::infinity()});
  graph.initializers["d"] = Tensor::of<double>({4}, std::vector<double>{0.1, 5e-324, 1.7976931348623157e308, 1.0 / 3});
  Tensor every_half(DType::f16, {65536}), every_brain(DType::bf16, {65536});
  for (std::size_t i = 0; i < 65536; ++i) {
    every_half.mutable_values<Float16>()[i].bits = static_cast<std::uint16_t>(i);
    every_brain.mutable_values<BFloat16>()[i].bits = static_cast<std::uint16_t>(i);
  }
  graph.initializers["h"] = every_half;
  graph.initializers["b"] = every_brain;
  EXPECT_TRUE(parse_graph(to_text(graph, -1)) == graph);
}

TEST(Text, PacksSmallIntegersAsOnnxDoes) {
  const Graph graph = parse_graph("graph () -> () {\n a = s4[3]{-8, 7, -1}\n b = u2[5]{0, 1, 2, 3, 1}\n}");
  const auto a = graph.initializers.at("a").bytes(), b = graph.initializers.at("b").bytes();
  EXPECT_THAT(std::vector<std::byte>(a.begin(), a.end()), testing::ElementsAre(std::byte{0x78}, std::byte{0x0f}));
  EXPECT_THAT(std::vector<std::byte>(b.begin(), b.end()), testing::ElementsAre(std::byte{0xe4}, std::byte{0x01}));
}

// Property: what was printed whole reads back equal.
TEST(Text, RoundTripsRandomGraphs) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Graph graph = RandomGraph(seed).model(true);
    verify(graph);
    const std::string text = to_text(graph, -1);
    const Graph back = parse_graph(text);
    ASSERT_TRUE(back == graph) << "seed " << seed << "\n" << text << "\nread back:\n" << to_text(back, -1);
    ASSERT_EQ(to_text(back, -1), text) << "seed " << seed;
    ASSERT_EQ(graph_hash(back), graph_hash(graph)) << "seed " << seed;
  }
}

// No text crashes the parser: it reads it or says where it stopped.
TEST(Text, MutationsNeverCrash) {
  std::mt19937_64 random(7);
  int errors = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 ? kExample : to_text(RandomGraph(random() % 100).model(true), -1);
    for (auto k = random() % 4; k <= 4; ++k) {
      const auto at = random() % text.size();
      if (random() % 2) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, random() % 8);
        if (text.empty()) text = " ";
      }
    }
    try {
      parse_graph(text);
    } catch (const Error& error) {
      ++errors;
      ASSERT_EQ(error.code, ErrorCode::kBadFile) << "iteration " << i << ": " << error.what();
      ASSERT_THAT(error.where, testing::StartsWith("line ")) << "iteration " << i << ": " << error.what();
    }
  }
  EXPECT_GT(errors, 10000);
}

struct BadText {
  const char* text;
  const char* what;
};
class TextErrors : public testing::TestWithParam<BadText> {};

TEST_P(TextErrors, GiveLineAndColumn) {
  try {
    parse_graph(GetParam().text);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadFile);
    EXPECT_STREQ(error.what(), GetParam().what);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TextErrors,
    testing::Values(BadText{"", "line 1, column 1: a name should be here"},
                    BadText{"opset 17\nfoo", "line 2, column 1: 'foo' where ir_version, opset, metadata or graph should be"},
                    BadText{"graph (x) -> (y) {", "line 1, column 19: the graph has no end: '}' is missing"},
                    BadText{"graph (x) -> (y) {\n  y = Relu(x\n}", "line 3, column 1: ')' should be here"},
                    BadText{"graph (x) -> (y) {\n  y = Relu(x) z = Relu(y)\n}",
                            "line 2, column 15: a statement ends with its line"},
                    BadText{"graph (x: f33) -> () {}", "line 1, column 11: 'f33' is not an element type"},
                    BadText{"graph () -> () {\n w = f32[3]{1, 2}\n}", "line 2, column 6: 2 numbers for f32[3]"},
                    BadText{"graph () -> () {\n w = f32[99999999999]{}\n}", "line 2, column 6: 0 numbers for f32[99999999999]"},
                    BadText{"graph () -> () {\n w = f32[-1]{1}\n}", "line 2, column 6: a dimension is negative: [-1]"},
                    BadText{"graph () -> () {\n w = u8[1]{256}\n}", "line 2, column 12: 256 is not between 0 and 255"},
                    BadText{"graph () -> () {\n w = f32[1]{1x}\n}", "line 2, column 13: '1x' is not a number of its type"},
                    BadText{"graph () -> () {\n w = f32[99]{... 99 elements, abc}\n}",
                            "line 2, column 6: the numbers of this tensor were left out when it was printed"},
                    BadText{"graph () -> () {\n w = f32[]{1}\n w = f32[]{1}\n}",
                            "line 3, column 2: this initializer is defined a second time"},
                    BadText{"graph () -> () {\n y = Op() {a=1, a=2}\n}", "line 2, column 17: this attribute is given twice"},
                    BadText{"graph () -> () {\n y = Op() \"conv\n}", "line 2, column 11: this string has no end"},
                    BadText{"graph () -> () {\n y = Op() \"\\q\"\n}",
                            "line 2, column 13: this escape does not exist: use \\n \\r \\t \\\" \\\\ or \\xHH"},
                    BadText{"graph () -> () {}\nmore", "line 2, column 1: the text goes on after the graph"}));

TEST(Text, RefusesDeepNesting) {
  std::string text = "graph () -> () {\n";
  for (int i = 0; i < 100000; ++i) text += "y = Op() {a=graph () -> () {\n";
  EXPECT_THROW(parse_graph(text), Error);
}

TEST(Text, PrintsQParams) {
  const QParamsMap qparams = {{"x", {DType::u8, PerTensor{}, {0.5F}, {128}}},
                              {"w 1", {DType::s8, PerChannel{0}, {0.1F, 0.25F}, {0, 0}}},
                              {"z", {DType::s4, PerGroup{0, 32}, {1}, {0}}}};
  EXPECT_EQ(to_text(qparams),
            "\"w 1\": s8 per_channel axis 0 scale {0.1, 0.25} zero_point {0, 0}\n"
            "x: u8 scale {0.5} zero_point {128}\n"
            "z: s4 per_group axis 0 size 32 scale {1} zero_point {0}\n");
}

}  // namespace
}  // namespace zeropoint
