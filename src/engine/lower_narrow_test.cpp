// Activations and weights of fewer than 8 bits run on the integer kernels: the same bytes as in 8-bit types whose other levels
// a Clip leaves out, and as the literal graph.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "ops/operator.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

constexpr char kNet[] = R"(ir_version 8
opset 17
graph g(x: f32[2,3,8,8]) -> (y: f32[2,5], z: f32[2,4,2,2]) {
  a = Conv(x, w1, b1) {kernel_shape=[3, 3], pads=[1, 1, 1, 1]}
  r = Relu(a)
  d = Conv(r, w2, b2) {group=4, kernel_shape=[3, 3], pads=[1, 1, 1, 1]}
  s = Add(d, r)
  c = Clip(s, low, high)
  p = MaxPool(c) {kernel_shape=[2, 2], strides=[2, 2]}
  p2 = AveragePool(r) {kernel_shape=[2, 2], strides=[2, 2]}
  k = Concat(p, p2) {axis=1}
  t = ConvTranspose(p, w5) {kernel_shape=[2, 2], pads=[1, 1, 1, 1]}
  z = MaxPool(t) {kernel_shape=[2, 2], strides=[1, 1]}
  q = GlobalAveragePool(k)
  f = Flatten(q)
  g1 = Gemm(f, w3, b3) {transB=1}
  h = Relu(g1)
  y = MatMul(h, w4)
}
)";

struct Widths {
  DType activation, weight;
  bool symmetric;  // activations
  friend std::ostream& operator<<(std::ostream& out, const Widths& w) { return out << name(w.activation) << name(w.weight); }
};

class NarrowTest : public testing::TestWithParam<Widths> {
 protected:
  NarrowTest() {
    graph_ = parse_graph(kNet);
    graph_.initializers["w1"] = noise({4, 3, 3, 3});
    graph_.initializers["b1"] = noise({4});
    graph_.initializers["w2"] = noise({4, 1, 3, 3});
    graph_.initializers["b2"] = noise({4});
    graph_.initializers["w3"] = noise({6, 8});
    graph_.initializers["b3"] = noise({6});
    graph_.initializers["w4"] = noise({6, 5});
    graph_.initializers["w5"] = noise({4, 4, 2, 2});
    graph_.initializers["low"] = Tensor::scalar(-1.0F);
    graph_.initializers["high"] = Tensor::scalar(2.0F);
  }
  Tensor noise(Dims dims) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    Tensor tensor(DType::f32, std::move(dims));
    for (float& value : tensor.mutable_values<float>()) value = uniform(random_);
    return tensor;
  }
  // Parameters of all values; `wide`: the same levels in 8-bit types.
  QParamsMap parameters(bool wide) const {
    QParamsMap result;
    const auto put = [&](const std::string& value, QParams qparams) {
      if (wide) {
        qparams.bits = bits(qparams.dtype);
        qparams.dtype = lowest(qparams.dtype) < 0 ? DType::s8 : DType::u8;
      }
      result[value] = std::move(qparams);
    };
    const auto over = [](float low, float high, DType dtype, bool symmetric) {
      const IntegerLimits limits = limits_of(dtype);
      const float fit = symmetric ? std::max(-low, high) / static_cast<float>(limits.high)
                                  : (high - low) / static_cast<float>(limits.high - limits.low);
      const float scale = std::exp2(std::ceil(std::log2(fit)));  // then sums of floats are exact, too
      const auto zero_point = symmetric ? 0 : limits.low + static_cast<std::int32_t>(std::nearbyint(-low / scale));
      return std::pair(scale, zero_point);
    };
    const std::map<std::string, std::pair<float, float>> ranges = {
        {"x", {-1.0F, 1.0F}}, {"r", {0.0F, 2.0F}},  {"c", {-1.0F, 2.0F}}, {"p", {-1.0F, 2.0F}},
        {"p2", {0.0F, 2.0F}}, {"k", {-1.0F, 2.0F}}, {"q", {-0.5F, 1.0F}}, {"f", {-0.5F, 1.0F}},
        {"h", {0.0F, 3.0F}},  {"d", {-3.0F, 3.0F}}, {"t", {-3.0F, 3.0F}}};
    for (const auto& [value, range] : ranges) {
      const auto [scale, zero_point] = over(range.first, range.second, GetParam().activation, GetParam().symmetric);
      put(value, {GetParam().activation, PerTensor{}, {scale}, {zero_point}});
    }
    const std::map<std::string, int> axes = {{"w1", 0}, {"w2", 0}, {"w3", 0}, {"w4", 1}, {"w5", 1}};
    for (const auto& [weight, axis] : axes) {
      QParams qparams{GetParam().weight, PerChannel{axis}, {}, {}};
      for (std::int64_t c = 0; c < graph_.constant(weight)->dim(static_cast<std::size_t>(axis)); ++c) {
        const float span = 1 - 0.05F * static_cast<float>(c);
        const auto [scale, zero_point] = over(-span, span, GetParam().weight, lowest(GetParam().weight) < 0);
        qparams.scale.push_back(scale);
        qparams.zero_point.push_back(zero_point);
      }
      put(weight, std::move(qparams));
    }
    return result;
  }
  Graph graph_;
  std::mt19937 random_{44};
};
INSTANTIATE_TEST_SUITE_P(All, NarrowTest,
                         testing::Values(Widths{DType::u4, DType::s4, false}, Widths{DType::s4, DType::s4, true},
                                         Widths{DType::s4, DType::u4, false}, Widths{DType::u8, DType::s4, false},
                                         Widths{DType::u8, DType::s2, false}, Widths{DType::s8, DType::u4, false},
                                         Widths{DType::u2, DType::u2, false}),
                         [](const auto& each) { return testing::PrintToString(each.param); });

TEST_P(NarrowTest, SameBytesAsLevelsOfEightBits) {
  const Graph narrow = insert_qdq(graph_, parameters(false)), wide = insert_qdq(graph_, parameters(true));
  const Feeds feeds = {{"x", noise({2, 3, 8, 8})}};
  const std::vector<Tensor> literal = ops::evaluate(narrow, feeds);
  for (const int threads : {1, 2})
    for (const Isa isa : members(detected_isas())) {
      Session a(narrow, {.threads = threads, .max_isa = isa}), b(wide, {.threads = threads, .max_isa = isa});
      EXPECT_EQ(a.integer_coverage(), 1.0) << a.explain();
      const std::vector<Tensor> one = a.run(feeds), other = b.run(feeds);
      EXPECT_TRUE(one[0] == other[0] && one[1] == other[1]) << a.explain() << b.explain();
      EXPECT_TRUE(one[0] == literal[0] && one[1] == literal[1]) << a.explain();
    }
}

// Integers that somebody else reads stay what the file says.
TEST(NarrowOutputTest, OutputOfFourBits) {
  Graph graph = parse_graph(R"(ir_version 10
opset 21
graph g(x: f32[1,3,4,4]) -> (q: u4[1,3,4,4], y: f32[1,3,4,4]) {
  q = QuantizeLinear(x, s, z)
  y = DequantizeLinear(q, s, z)
}
)");
  graph.initializers["s"] = Tensor::scalar(0.125F);
  graph.initializers["z"] = quantize_tensor(Tensor::scalar(7.0F), {DType::u4, PerTensor{}, {1.0F}, {0}});
  Tensor x(DType::f32, {1, 3, 4, 4});
  for (std::size_t i = 0; i < 48; ++i) x.mutable_values<float>()[i] = 0.06F * static_cast<float>(i) - 1.3F;
  const Feeds feeds = {{"x", x}};
  const std::vector<Tensor> expected = ops::evaluate(graph, feeds), actual = Session(graph, {.threads = 1}).run(feeds);
  EXPECT_TRUE(actual[0] == expected[0]);
  EXPECT_TRUE(actual[1] == expected[1]);
}

}  // namespace
}  // namespace zeropoint
