// Convolutions that read the same weights in different ways, and sessions that share packed weights.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
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

Graph quantized(const std::string& name) {
  return load(std::filesystem::path(ZEROPOINT_SOURCE_DIR) / "tests/data/quantized" / (name + ".onnx"));
}

Tensor pictures(std::int64_t count) {
  Tensor images(DType::f32, {count, 1, 28, 28});
  float next = -0.8F;
  for (float& value : images.mutable_values<float>()) value = next = next > 1.9F ? -0.81F : next + 0.043F;
  return images;
}

TEST(SharedSessionsTest, WeightsAreInMemoryOnceAndOutliveTheFirst) {
  const Graph graph = quantized("fmnist_resnet8.static");
  auto first = std::make_unique<Session>(graph, SessionOptions{.threads = 1});
  const std::vector<Tensor> expected = first->run({{"images", pictures(2)}});
  const std::size_t bytes = first->weight_bytes();
  ASSERT_GT(bytes, 0U);
  Session second(graph, {.threads = 1, .share_weights_with = first.get()});
  EXPECT_EQ(second.run({{"images", pictures(2)}}), expected);
  EXPECT_EQ(second.weight_bytes(), bytes) << "nothing was packed anew";
  first.reset();
  EXPECT_EQ(second.run({{"images", pictures(2)}}), expected);
  Session third(graph, {.threads = 1, .share_weights_with = &second});
  EXPECT_EQ(third.weight_bytes(), bytes);
}

TEST(SharedSessionsTest, OtherKernelsAndModelsPackTheirOwn) {
  const Graph graph = quantized("fmnist_resnet8.static"), other = quantized("fmnist_dscnn.static");
  Session first(graph, {.threads = 1});
  Session scalar(graph, {.threads = 1, .max_isa = Isa::scalar, .share_weights_with = &first});
  Session another(other, {.threads = 1, .share_weights_with = &first});
  EXPECT_EQ(scalar.run({{"images", pictures(2)}}), first.run({{"images", pictures(2)}}));
  EXPECT_EQ(another.run({{"images", pictures(2)}}), Session(other, {.threads = 1}).run({{"images", pictures(2)}}));
}

// Each makes plans, and so packs, while the others do.
TEST(SharedSessionsTest, InSeveralThreadsAtOnce) {
  const Graph graph = quantized("fmnist_vit.dynamic");
  Session first(graph, {.threads = 1});
  std::vector<Tensor> expected;
  for (std::int64_t count = 1; count <= 4; ++count)
    expected.push_back(Session(graph, {.threads = 1}).run({{"images", pictures(count)}}).front());
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      Session own(graph, {.threads = 1, .share_weights_with = &first});
      for (std::int64_t count = 1; count <= 4; ++count)
        right += own.run({{"images", pictures(count)}}).front() == expected[static_cast<std::size_t>(count - 1)];
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 3 * 4);
}

}  // namespace
}  // namespace zeropoint
