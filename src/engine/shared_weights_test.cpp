// Convolutions that read the same weights in different ways.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "zeropoint/session.h"

namespace zeropoint {
namespace {

struct Case {
  const char* name;
  int channels, kernel;
  std::vector<const char*> attributes;  // of each convolution
};

// y0, y1, ...: one convolution each; with `only`, that one alone.
Graph network(const Case& c, int only = -1) {
  std::string outputs, nodes;
  for (int i = 0; i < static_cast<int>(c.attributes.size()); ++i) {
    if (only >= 0 && i != only) continue;
    outputs += fmt::format("{}y{}: f32[?,?,?,?]", outputs.empty() ? "" : ", ", i);
    nodes += fmt::format("  y{0} = Conv(xd, wd) \"conv{0}\" {{{1}}}\n", i, c.attributes[static_cast<std::size_t>(i)]);
  }
  Graph graph = parse_graph(fmt::format(R"(ir_version 8
opset 17
graph g(x: f32[1,{},24,24]) -> ({}) {{
  s = f32[]{{0.02}}
  z = u8[]{{7}}
  t = f32[]{{0.03}}
  v = s8[]{{0}}
  xq = QuantizeLinear(x, s, z)
  xd = DequantizeLinear(xq, s, z)
  wd = DequantizeLinear(w, t, v)
{}}}
)",
                                        c.channels, outputs, nodes));
  Tensor w(DType::s8, {32, c.channels, c.kernel, c.kernel});
  int next = 1;
  for (std::int8_t& value : w.mutable_values<std::int8_t>()) value = static_cast<std::int8_t>((next = next * 75 % 251) - 125);
  graph.initializers["w"] = w;
  return graph;
}

class SharedWeightsTest : public ::testing::TestWithParam<Case> {};

TEST_P(SharedWeightsTest, EachConvolutionHasThemAsItNeedsThem) {
  const Case& c = GetParam();
  Tensor x(DType::f32, {1, c.channels, 24, 24});
  int next = 1;
  for (float& value : x.mutable_values<float>()) value = static_cast<float>((next = next * 82 % 257) - 90) / 50.0F;
  for (const Isa isa :
       {Isa::scalar, Isa::avx2, Isa::avx2vnni, Isa::avx512vnni, Isa::amxint8, Isa::neon, Isa::neondot, Isa::neoni8mm}) {
    if (!detected_isas().contains(isa)) continue;
    const SessionOptions options{.threads = 1, .max_isa = isa};
    const std::vector<Tensor> together = Session(network(c), options).run({{"x", x}});
    for (std::size_t i = 0; i < together.size(); ++i)
      EXPECT_EQ(together[i], Session(network(c, static_cast<int>(i)), options).run({{"x", x}}).front())
          << c.attributes[i] << " on " << name(isa);
  }
}

INSTANTIATE_TEST_SUITE_P(, SharedWeightsTest,
                         ::testing::Values(Case{"dilated", 32, 3, {"dilations=[1, 1]", "dilations=[2, 2]"}},
                                           Case{"first_dilated", 3, 3, {"strides=[1, 1]", "dilations=[2, 2]"}},
                                           Case{"first_strided", 3, 5, {"strides=[1, 1]", "strides=[2, 2]"}},
                                           Case{"along_one_axis", 8, 3, {"dilations=[2, 1]", "dilations=[1, 2]"}}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace zeropoint
