// Values of 16 bits against their definition in 64-bit integers, bit for bit: products with weights of 8 and 16 bits, products
// of two computed values, means.
#include <gtest/gtest.h>

#include <random>

#include "numerics/quantize.h"
#include "ops/operator.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

struct Kind {
  DType dtype;
  std::int32_t low, high;
};
constexpr Kind kU16{DType::u16, 0, 65535}, kS16{DType::s16, -32768, 32767}, kU8{DType::u8, 0, 255}, kS8{DType::s8, -128, 127};

// A quantized tensor: integers and what they mean.
struct Values {
  Kind kind;
  Dims dims;
  float scale = 1;
  std::int32_t zero_point = 0;
  std::vector<std::int64_t> q;
};

Tensor tensor_of(const Kind& kind, const Dims& dims, const std::vector<std::int64_t>& q) {
  Tensor tensor(kind.dtype, dims);
  for (std::size_t i = 0; i < q.size(); ++i) {
    if (bits(kind.dtype) == 16)
      reinterpret_cast<std::uint16_t*>(tensor.mutable_bytes().data())[i] = static_cast<std::uint16_t>(q[i]);
    else
      reinterpret_cast<std::uint8_t*>(tensor.mutable_bytes().data())[i] = static_cast<std::uint8_t>(q[i]);
  }
  return tensor;
}

class WideTest : public testing::Test {
 protected:
  WideTest() {
    graph_.opsets[""] = 21;
    graph_.ir_version = 10;
  }
  Values random(const Kind& kind, const Dims& dims, float scale, std::int32_t zero_point) {
    Values values{.kind = kind, .dims = dims, .scale = scale, .zero_point = zero_point, .q = {}};
    std::uniform_int_distribution<std::int64_t> any(kind.low, kind.high);
    for (std::int64_t i = 0; i < element_count(dims); ++i) values.q.push_back(any(random_));
    return values;
  }
  void node(const std::string& op, std::vector<std::string> inputs, const std::string& output,
            std::map<std::string, Attribute> attributes = {}) {
    graph_.nodes.push_back(
        {.name = output, .op_type = op, .inputs = std::move(inputs), .outputs = {output}, .attributes = std::move(attributes)});
  }
  std::vector<std::string> parameters(const std::string& name, const Values& values) {
    graph_.initializers[name + "_s"] = Tensor::scalar(values.scale);
    graph_.initializers[name + "_z"] = tensor_of(values.kind, {}, {values.zero_point});
    return {name + "_s", name + "_z"};
  }
  void dequantize(const std::string& name, const Values& values) {
    const auto p = parameters(name, values);
    node("DequantizeLinear", {name, p[0], p[1]}, name + "_real");
  }
  void input(const std::string& name, const Values& values) {
    graph_.inputs.push_back({.name = name, .type = {values.kind.dtype, to_shape(values.dims)}});
    feeds_[name] = tensor_of(values.kind, values.dims, values.q);
    dequantize(name, values);
  }
  void constant(const std::string& name, const Values& values) {
    graph_.initializers[name] = tensor_of(values.kind, values.dims, values.q);
    dequantize(name, values);
  }
  // Runs "result", quantized where y has a kind, and expects `sums` at x_scale * w_scale.
  void expect(const std::vector<std::int64_t>& sums, float x_scale, float w_scale, const std::optional<Values>& y) {
    std::string last = "result";
    if (y) {
      const auto p = parameters("y", *y);
      node("QuantizeLinear", {"result", p[0], p[1]}, last = "y");
    }
    graph_.outputs.push_back({.name = last, .type = {y ? y->kind.dtype : DType::f32, std::nullopt}});
    ops::infer_shapes(graph_);
    graph_.outputs[0].type = graph_.type_of(last);
    for (const int threads : {1, 3})
      for (const Isa isa : members(detected_isas())) {
        Session session(graph_, {.threads = threads, .max_isa = isa});
        const Tensor out = session.run(feeds_).front();
        EXPECT_EQ(session.integer_coverage(), 1.0) << session.explain();
        if (!y) {
          ASSERT_EQ(out.size(), static_cast<std::int64_t>(sums.size()));
          for (std::size_t i = 0; i < sums.size(); ++i)
            ASSERT_EQ(out.values<float>()[i], static_cast<float>(sums[i]) * (x_scale * w_scale)) << i;
          continue;
        }
        std::vector<std::int64_t> expected;
        const float scale = numerics::requantize_scale(x_scale, w_scale, y->scale);
        for (const std::int64_t sum : sums) {
          const float v = static_cast<float>(sum) * scale;
          const auto low = static_cast<float>(y->kind.low - y->zero_point),
                     high = static_cast<float>(y->kind.high - y->zero_point);
          expected.push_back(static_cast<std::int64_t>(numerics::round_half_even(v > low ? (v < high ? v : high) : low)) +
                             y->zero_point);
        }
        EXPECT_TRUE(out == tensor_of(y->kind, out.dims(), expected)) << session.explain();
      }
  }
  Graph graph_;
  Feeds feeds_;
  std::mt19937 random_{20};
};

struct Kinds {
  Kind x, w;
  std::int32_t x_zero, w_zero;
  std::optional<Kind> y;
};
const Kinds kAll[] = {
    {kU16, kS16, 30001, 0, kU16}, {kS16, kS16, -7, 0, kS16},        {kS16, kU16, 300, 40000, kU8},
    {kU16, kS8, 0, 0, kS16},      {kU8, kS16, 131, -5, kS16},       {kS8, kU16, -3, 32768, kS8},
    {kU8, kU8, 10, 100, kU16},    {kS16, kS16, 0, 1, std::nullopt}, {kU16, kU16, 65535, 0, kU16},
};

class KindsTest : public WideTest, public testing::WithParamInterface<Kinds> {
 protected:
  std::optional<Values> result(float scale) const {
    if (!GetParam().y) return std::nullopt;
    return Values{.kind = *GetParam().y, .dims = {}, .scale = scale, .zero_point = GetParam().y->low / 2 + 5, .q = {}};
  }
  // So that results spread over the range of y, some beyond.
  float step(std::int64_t terms, float x_scale, float w_scale) const {
    if (!GetParam().y) return 1;
    const auto span = [](const Kind& kind) { return static_cast<float>(kind.high - kind.low); };
    return span(GetParam().x) * x_scale * span(GetParam().w) * w_scale * static_cast<float>(terms) / 4 / span(*GetParam().y);
  }
};
INSTANTIATE_TEST_SUITE_P(All, KindsTest, testing::ValuesIn(kAll));

TEST_P(KindsTest, GroupedConvolution) {
  const Kinds& k = GetParam();
  const Values x = random(k.x, {2, 4, 5, 6}, 0.0037F, k.x_zero), w = random(k.w, {6, 2, 3, 2}, 0.0021F, k.w_zero);
  input("x", x);
  constant("w", w);
  node("Conv", {"x_real", "w_real"}, "result",
       {{"group", std::int64_t{2}}, {"pads", Dims{1, 0, 1, 1}}, {"strides", Dims{1, 2}}, {"dilations", Dims{2, 1}}});
  constexpr std::int64_t kOh = 3, kOw = 3;
  std::vector<std::int64_t> sums;
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t o = 0; o < 6; ++o)
      for (std::int64_t p = 0; p < kOh * kOw; ++p) {
        std::int64_t sum = 0;
        for (std::int64_t c = 0; c < 2; ++c)
          for (std::int64_t i = 0; i < 3; ++i)
            for (std::int64_t j = 0; j < 2; ++j) {
              const std::int64_t row = p / kOw + 2 * i - 1, column = p % kOw * 2 + j;
              if (row < 0 || row >= 5 || column >= 6) continue;
              sum += (x.q[static_cast<std::size_t>(((n * 4 + o / 3 * 2 + c) * 5 + row) * 6 + column)] - k.x_zero) *
                     (w.q[static_cast<std::size_t>(((o * 2 + c) * 3 + i) * 2 + j)] - k.w_zero);
            }
        sums.push_back(sum);
      }
  expect(sums, x.scale, w.scale, result(step(12, x.scale, w.scale)));
}

TEST_P(KindsTest, ConvTranspose) {
  const Kinds& k = GetParam();
  const Values x = random(k.x, {1, 3, 4, 5}, 0.0037F, k.x_zero), w = random(k.w, {3, 2, 3, 2}, 0.0021F, k.w_zero);
  input("x", x);
  constant("w", w);
  node("ConvTranspose", {"x_real", "w_real"}, "result", {{"strides", Dims{2, 3}}});
  constexpr std::int64_t kOh = 9, kOw = 14;
  std::vector<std::int64_t> sums(2 * kOh * kOw);
  for (std::int64_t c = 0; c < 3; ++c)
    for (std::int64_t p = 0; p < 20; ++p)
      for (std::int64_t o = 0; o < 2; ++o)
        for (std::int64_t t = 0; t < 6; ++t)
          sums[static_cast<std::size_t>((o * kOh + p / 5 * 2 + t / 2) * kOw + p % 5 * 3 + t % 2)] +=
              (x.q[static_cast<std::size_t>(c * 20 + p)] - k.x_zero) *
              (w.q[static_cast<std::size_t>((c * 2 + o) * 6 + t)] - k.w_zero);
  expect(sums, x.scale, w.scale, result(step(6, x.scale, w.scale)));
}

TEST_P(KindsTest, ProductWithConstantAndComputedMatrix) {
  const Kinds& k = GetParam();
  for (const bool computed : {false, true}) {
    graph_ = Graph();
    graph_.opsets[""] = 21;
    graph_.ir_version = 10;
    feeds_.clear();
    const std::int64_t inner = 300;
    const Values a = random(k.x, {3, 1, 7, inner}, 0.0037F, k.x_zero);
    const Values b = random(k.w, computed ? Dims{2, inner, 9} : Dims{inner, 9}, 0.0021F, k.w_zero);
    input("a", a);
    if (computed)
      input("b", b);
    else
      constant("b", b);
    node("MatMul", {"a_real", "b_real"}, "result");
    std::vector<std::int64_t> sums;
    for (std::int64_t i = 0; i < 3; ++i)
      for (std::int64_t j = 0; j < (computed ? 2 : 1); ++j)
        for (std::int64_t e = 0; e < 7 * 9; ++e) {
          std::int64_t sum = 0;
          for (std::int64_t t = 0; t < inner; ++t)
            sum += (a.q[static_cast<std::size_t>((i * 7 + e / 9) * inner + t)] - k.x_zero) *
                   (b.q[static_cast<std::size_t>((j * inner + t) * 9 + e % 9)] - k.w_zero);
          sums.push_back(sum);
        }
    expect(sums, a.scale, b.scale, result(step(20, a.scale, b.scale)));
  }
}

TEST_F(WideTest, AveragesAreSumsConvertedOnce) {
  for (const Kind& kind : {kU16, kS16})
    for (const std::optional<Kind>& to : {std::optional<Kind>(kS16), std::optional<Kind>(kU8), std::optional<Kind>()})
      for (const bool include : {false, true}) {
        graph_ = Graph();
        graph_.opsets[""] = 21;
        graph_.ir_version = 10;
        feeds_.clear();
        const Values x = random(kind, {2, 5, 6, 7}, 0.0037F, kind.low / 2 + 77);
        input("x", x);
        node("AveragePool", {"x_real"}, "result",
             {{"kernel_shape", Dims{3, 3}}, {"pads", Dims{1, 1, 0, 1}}, {"count_include_pad", std::int64_t{include}}});
        const Values y{.kind = to.value_or(kU8), .dims = {}, .scale = 0.31F, .zero_point = 12, .q = {}};
        if (to) {
          const auto p = parameters("y", y);
          node("QuantizeLinear", {"result", p[0], p[1]}, "y");
        }
        const std::string last = to ? "y" : "result";
        graph_.outputs.push_back({.name = last, .type = {to ? to->dtype : DType::f32, std::nullopt}});
        ops::infer_shapes(graph_);
        graph_.outputs[0].type = graph_.type_of(last);
        Session session(graph_, {.threads = 2});
        const Tensor out = session.run(feeds_).front();
        for (const StepInfo& info : session.steps())
          EXPECT_TRUE(info.integer || info.op == "copy" || info.op == "layout") << session.explain();
        std::vector<float> reals;
        for (std::int64_t plane = 0; plane < 10; ++plane)
          for (std::int64_t p = 0; p < 5 * 7; ++p) {
            std::int64_t sum = 0, count = 0;
            for (std::int64_t t = 0; t < 9; ++t) {
              const std::int64_t row = p / 7 + t / 3 - 1, column = p % 7 + t % 3 - 1;
              const bool inside = row >= 0 && row < 6 && column >= 0 && column < 7;
              count += inside || include ? 1 : 0;
              if (inside) sum += x.q[static_cast<std::size_t>((plane * 6 + row) * 7 + column)] - x.zero_point;
            }
            reals.push_back(static_cast<float>(sum) * x.scale / static_cast<float>(count));
          }
        if (!to) {
          EXPECT_TRUE(out == Tensor::of<float>({2, 5, 5, 7}, reals));
          continue;
        }
        std::vector<std::int64_t> expected;
        for (const float real : reals) expected.push_back(numerics::quantize(real, y.scale, y.zero_point, {to->low, to->high}));
        EXPECT_TRUE(out == tensor_of(*to, {2, 5, 5, 7}, expected));
      }
}

}  // namespace
}  // namespace zeropoint
