// Integer operators in another shape against their definitions in 64-bit integers, bit for bit.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>

#include "engine/test_graphs.h"
#include "numerics/quantize.h"
#include "ops/operator.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

constexpr float kX = 0.0371F, kY = 0.113F;
constexpr std::int32_t kXZero = 131, kYZero = 120;

struct Case {
  Dims x, w;  // x [N,C,...], w as the operator takes it
  std::int64_t group = 1;
  std::vector<std::int64_t> strides, dilations, pads, output_padding;
  bool per_channel = true, bias = true, relu = false, quantized = true;
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {
    graph_.opsets[""] = 17;
    graph_.ir_version = 8;
  }
  int uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  std::string constant(const std::string& name, Tensor tensor) {
    graph_.initializers[name] = std::move(tensor);
    return name;
  }
  void node(const std::string& op, std::vector<std::string> inputs, const std::string& output,
            std::map<std::string, Attribute> attributes = {}) {
    graph_.nodes.push_back(
        {.name = output, .op_type = op, .inputs = std::move(inputs), .outputs = {output}, .attributes = std::move(attributes)});
  }
  // An input of bytes, dequantized.
  void input(const std::string& name, const Dims& dims, float scale, std::int32_t zero_point) {
    graph_.inputs.push_back({.name = name, .type = {DType::u8, to_shape(dims)}});
    node("DequantizeLinear",
         {name, constant(name + "_s", Tensor::scalar(scale)),
          constant(name + "_z", Tensor::scalar(static_cast<std::uint8_t>(zero_point)))},
         name + "_real");
  }
  Tensor bytes(const Dims& dims) {
    Tensor tensor(DType::u8, dims);
    for (auto& value : tensor.mutable_values<std::uint8_t>()) value = static_cast<std::uint8_t>(uniform(0, 255));
    return tensor;
  }
  void finish(const std::string& real, bool relu, bool quantized) {
    std::string last = real;
    if (relu) node("Relu", {last}, "relu"), last = "relu";
    if (quantized)
      node("QuantizeLinear",
           {last, constant("y_s", Tensor::scalar(kY)), constant("y_z", Tensor::scalar(static_cast<std::uint8_t>(kYZero)))},
           "y"),
          last = "y";
    graph_.outputs.push_back({.name = last, .type = {quantized ? DType::u8 : DType::f32, std::nullopt}});
    ops::infer_shapes(graph_);
    graph_.outputs[0].type = graph_.type_of(last);
  }
  Graph graph_;

 private:
  std::mt19937 random_;
};

// The operator's text: what an output element of real value (acc * scale) becomes.
void expect_element(const Tensor& y, std::size_t i, std::int64_t sum, float x_scale, float w_scale, const Case& c) {
  const auto acc = static_cast<std::int32_t>(sum);
  if (c.quantized) {
    const numerics::Limits limits{c.relu ? kYZero : 0, 255};
    EXPECT_EQ(y.values<std::uint8_t>()[i],
              numerics::requantize(acc, numerics::requantize_scale(x_scale, w_scale, kY), kYZero, limits))
        << i;
  } else {
    const float real = static_cast<float>(acc) * (x_scale * w_scale);
    EXPECT_EQ(y.values<float>()[i], c.relu && !(real > 0) ? 0.0F : real) << i;
  }
}

// Weights with a scale per entry of `axis` and a bias per output channel; both as insert_qdq writes them.
struct Parts {
  Tensor w, bias;
  std::vector<float> scale;
};
Parts weights(Model& model, const Case& c, std::int64_t axis, std::int64_t outputs,
              const std::function<std::size_t(std::int64_t)>& entry) {
  Parts parts{.w = Tensor(DType::s8, c.w), .bias = Tensor(DType::s32, {outputs})};
  for (auto& value : parts.w.mutable_values<std::int8_t>()) value = static_cast<std::int8_t>(model.uniform(-127, 127));
  const std::int64_t entries = c.per_channel ? c.w[static_cast<std::size_t>(axis)] : 1;
  for (std::int64_t e = 0; e < entries; ++e) parts.scale.push_back(0.001F * static_cast<float>(model.uniform(1, 20)));
  const Dims dims = c.per_channel ? Dims{entries} : Dims{};
  model.constant("w_q", parts.w);
  model.constant("w_s", Tensor::of<float>(dims, parts.scale));
  model.node("DequantizeLinear", {"w_q", "w_s"}, "w", {{"axis", axis}});
  std::vector<float> bias_scale;
  for (std::int64_t o = 0; o < outputs; ++o) {
    parts.bias.mutable_values<std::int32_t>()[static_cast<std::size_t>(o)] = model.uniform(-5000, 5000);
    bias_scale.push_back(kX * parts.scale[c.per_channel ? entry(o) : 0]);
  }
  model.constant("b_q", parts.bias);
  model.constant("b_s", Tensor::of<float>({outputs}, bias_scale));
  if (c.bias) model.node("DequantizeLinear", {"b_q", "b_s"}, "b", {{"axis", std::int64_t{0}}});
  return parts;
}

std::map<std::string, Attribute> window(const Case& c) {
  std::map<std::string, Attribute> attributes = {{"group", c.group}};
  if (!c.strides.empty()) attributes["strides"] = c.strides;
  if (!c.dilations.empty()) attributes["dilations"] = c.dilations;
  if (!c.pads.empty()) attributes["pads"] = c.pads;
  if (!c.output_padding.empty()) attributes["output_padding"] = c.output_padding;
  return attributes;
}

Tensor run_in_integers(const Model& model, const Feeds& feeds, const std::string& op, int threads) {
  Session session(model.graph_, {.threads = threads});
  const Tensor y = session.run(feeds).front();
  EXPECT_EQ(session.integer_coverage(), 1.0) << session.explain();
  bool found = false;
  for (const StepInfo& step : session.steps()) {
    found = found || (step.op.starts_with(op) && step.integer && step.macs > 0);
    EXPECT_NE(step.kernel, "reference") << session.explain();
  }
  EXPECT_TRUE(found) << session.explain();
  return y;
}

void check_transposed(const Case& c, unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Model model(seed);
  model.input("x", c.x, kX, kXZero);
  const std::int64_t each = c.w[1], inputs = c.w[0], per_group = inputs / c.group, outputs = each * c.group;
  const std::int64_t axis = c.group == inputs && each == 1 && c.group > 1 ? 0 : 1;
  const auto entry = [&](std::int64_t o) { return static_cast<std::size_t>(axis == 1 ? o % each : o); };
  const Parts parts = weights(model, c, axis, outputs, entry);
  std::vector<std::string> in = {"x_real", "w"};
  if (c.bias) in.emplace_back("b");
  model.node("ConvTranspose", in, "conv", window(c));
  model.finish("conv", c.relu, c.quantized);
  const Tensor x = model.bytes(c.x);
  const Tensor y = run_in_integers(model, {{"x", x}}, "ConvTranspose", 1 + static_cast<int>(seed % 2));

  // Each input element spreads over the output through its weights.
  const std::size_t spatial = c.x.size() - 2;
  const auto at = [&](const std::vector<std::int64_t>& values, std::size_t i, std::int64_t otherwise) {
    return values.empty() ? otherwise : values[i];
  };
  const Dims dims = y.dims();
  const auto size = [&](const Dims& d, std::size_t i) { return spatial == 2 ? d[2 + i] : (i == 0 ? 1 : d[2]); };
  const std::size_t skip = 2 - spatial;  // a picture of one row
  std::vector<std::int64_t> sums(static_cast<std::size_t>(y.size()));
  const std::int64_t oh = size(dims, 0), ow = size(dims, 1), h = size(c.x, 0), w = size(c.x, 1), kh = size(c.w, 0),
                     kw = size(c.w, 1);
  const auto move = [&](std::size_t axis2, std::int64_t i, std::int64_t k) {
    if (axis2 < skip) return std::int64_t{0};
    return i * at(c.strides, axis2 - skip, 1) + k * at(c.dilations, axis2 - skip, 1) - at(c.pads, axis2 - skip, 0);
  };
  for (std::int64_t n = 0; n < c.x[0]; ++n)
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t j = 0; j < each; ++j)
        for (std::int64_t r = 0; r < h * w; ++r)
          for (std::int64_t k = 0; k < kh * kw; ++k) {
            const std::int64_t row = move(0, r / w, k / kw), column = move(1, r % w, k % kw);
            if (row < 0 || row >= oh || column < 0 || column >= ow) continue;
            const std::int64_t o = i / per_group * each + j;
            sums[static_cast<std::size_t>(((n * outputs + o) * oh + row) * ow + column)] +=
                (x.values<std::uint8_t>()[static_cast<std::size_t>((n * inputs + i) * h * w + r)] - std::int64_t{kXZero}) *
                parts.w.values<std::int8_t>()[static_cast<std::size_t>((i * each + j) * kh * kw + k)];
          }
  for (std::size_t e = 0; e < sums.size(); ++e) {
    const auto o = static_cast<std::int64_t>(e) / (oh * ow) % outputs;
    if (c.bias) sums[e] += parts.bias.values<std::int32_t>()[static_cast<std::size_t>(o)];
    expect_element(y, e, sums[e], kX, parts.scale[c.per_channel ? entry(o) : 0], c);
  }
}

TEST(LowerIntegerTest, ConvTransposeEqualsItsDefinition) {
  const std::vector<Case> cases = {
      {.x = {1, 5, 4, 6}, .w = {5, 7, 2, 2}, .strides = {2, 2}},
      {.x = {2, 8, 5, 3}, .w = {8, 6, 4, 4}, .strides = {2, 2}, .pads = {1, 1, 1, 1}, .relu = true},
      {.x = {1, 3, 4, 4}, .w = {3, 5, 3, 3}},
      {.x = {1, 4, 5, 4}, .w = {4, 3, 3, 2}, .strides = {2, 3}, .dilations = {2, 1}, .output_padding = {1, 0}},
      {.x = {1, 4, 5, 4}, .w = {4, 3, 3, 3}, .strides = {1, 2}, .pads = {2, 0, 1, 2}, .bias = false},
      {.x = {2, 8, 3, 4}, .w = {8, 3, 3, 3}, .group = 4, .strides = {2, 1}},
      {.x = {1, 6, 4, 4}, .w = {6, 1, 3, 3}, .group = 6, .strides = {2, 2}, .pads = {1, 1, 1, 1}},
      {.x = {1, 6, 4, 4}, .w = {6, 1, 3, 3}, .group = 6, .strides = {2, 2}, .per_channel = false},
      {.x = {1, 6, 9}, .w = {6, 4, 5}, .strides = {3}, .pads = {2, 1}},
      {.x = {1, 3, 1, 5}, .w = {3, 4, 1, 2}, .strides = {1, 4}},  // gaps between the taps
      {.x = {1, 5, 4, 6}, .w = {5, 7, 2, 2}, .strides = {2, 2}, .quantized = false},
      {.x = {1, 5, 4, 6}, .w = {5, 7, 3, 3}, .relu = true, .quantized = false},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    check_transposed(cases[i], static_cast<unsigned>(300 + i));
  }
}

void check_3d(const Case& c, unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Model model(seed);
  model.input("x", c.x, kX, kXZero);
  const std::int64_t outputs = c.w[0], each = c.w[1], inputs = each * c.group;
  const auto entry = [](std::int64_t o) { return static_cast<std::size_t>(o); };
  const Parts parts = weights(model, c, 0, outputs, entry);
  model.node("Conv", {"x_real", "w", "b"}, "conv", window(c));
  model.finish("conv", c.relu, c.quantized);
  const Tensor x = model.bytes(c.x);
  const Tensor y = run_in_integers(model, {{"x", x}}, "Conv", 1 + static_cast<int>(seed % 2));
  const Dims& d = y.dims();
  const auto setting = [](const std::vector<std::int64_t>& values, std::size_t i, std::int64_t otherwise) {
    return values.empty() ? otherwise : values[i];
  };
  std::size_t e = 0;
  for (std::int64_t n = 0; n < d[0]; ++n)
    for (std::int64_t o = 0; o < outputs; ++o)
      for (std::int64_t p = 0; p < d[2] * d[3] * d[4]; ++p, ++e) {
        const std::int64_t place[3] = {p / (d[3] * d[4]), p / d[4] % d[3], p % d[4]};
        std::int64_t sum = parts.bias.values<std::int32_t>()[static_cast<std::size_t>(o)];
        for (std::int64_t i = 0; i < each; ++i)
          for (std::int64_t k = 0; k < c.w[2] * c.w[3] * c.w[4]; ++k) {
            const std::int64_t tap[3] = {k / (c.w[3] * c.w[4]), k / c.w[4] % c.w[3], k % c.w[4]};
            std::int64_t at = n * inputs + o / (outputs / c.group) * each + i;
            bool inside = true;
            for (std::size_t a = 0; a < 3; ++a) {
              const std::int64_t q =
                  place[a] * setting(c.strides, a, 1) + tap[a] * setting(c.dilations, a, 1) - setting(c.pads, a, 0);
              inside = inside && q >= 0 && q < c.x[a + 2];
              at = at * c.x[a + 2] + q;
            }
            if (inside)
              sum += (x.values<std::uint8_t>()[static_cast<std::size_t>(at)] - std::int64_t{kXZero}) *
                     parts.w.values<std::int8_t>()[static_cast<std::size_t>((o * each + i) * c.w[2] * c.w[3] * c.w[4] + k)];
          }
        expect_element(y, e, sum, kX, parts.scale[c.per_channel ? entry(o) : 0], c);
      }
}

TEST(LowerIntegerTest, ConvolutionsOverThreeDimensionsEqualTheirDefinition) {
  const std::vector<Case> cases = {
      {.x = {1, 3, 4, 5, 6}, .w = {7, 3, 3, 3, 3}, .pads = {1, 1, 1, 1, 1, 1}},
      {.x = {2, 4, 5, 4, 3}, .w = {6, 2, 2, 1, 3}, .group = 2, .strides = {2, 1, 1}, .relu = true},
      {.x = {1, 6, 5, 4, 4}, .w = {6, 1, 3, 2, 2}, .group = 6, .dilations = {2, 1, 1}, .pads = {2, 0, 1, 1, 0, 0}},
      {.x = {1, 3, 4, 5, 6}, .w = {4, 3, 1, 1, 1}, .per_channel = false, .quantized = false},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    check_3d(cases[i], static_cast<unsigned>(400 + i));
  }
}

void check_product(const Dims& a_dims, const Dims& b_dims, bool quantized, unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr float kB = 0.021F;
  constexpr std::int32_t kBZero = 77;
  Model model(seed);
  model.input("a", a_dims, kX, kXZero);
  model.input("b", b_dims, kB, kBZero);
  model.node("MatMul", {"a_real", "b_real"}, "product");
  model.finish("product", false, quantized);
  const Tensor a = model.bytes(a_dims), b = model.bytes(b_dims);
  const Tensor y = run_in_integers(model, {{"a", a}, {"b", b}}, "MatMul", 1 + static_cast<int>(seed % 3));
  const Dims& d = y.dims();
  const std::int64_t rows = d[d.size() - 2], columns = d.back(), inner = a_dims.back();
  // Which matrix of an operand meets in product i of the output.
  const auto matrix = [&](const Dims& dims, std::int64_t i) {
    std::int64_t result = 0, step = 1;
    for (std::size_t axis = d.size() - 2; axis-- > 0;) {
      const std::int64_t at = i % d[axis];
      i /= d[axis];
      const std::size_t missing = d.size() - dims.size();
      if (axis < missing) continue;
      if (dims[axis - missing] != 1) result += at * step;
      step *= dims[axis - missing];
    }
    return result;
  };
  const Case c{.quantized = quantized};
  for (std::size_t e = 0; e < static_cast<std::size_t>(y.size()); ++e) {
    const auto element = static_cast<std::int64_t>(e);
    const std::int64_t product = element / (rows * columns), row = element / columns % rows, column = element % columns;
    std::int64_t sum = 0;
    for (std::int64_t k = 0; k < inner; ++k)
      sum += (a.values<std::uint8_t>()[static_cast<std::size_t>((matrix(a_dims, product) * rows + row) * inner + k)] -
              std::int64_t{kXZero}) *
             (b.values<std::uint8_t>()[static_cast<std::size_t>((matrix(b_dims, product) * inner + k) * columns + column)] -
              std::int64_t{kBZero});
    expect_element(y, e, sum, kX, kB, c);
  }
}

TEST(LowerIntegerTest, ProductsOfTwoActivationsEqualTheirDefinition) {
  const std::pair<Dims, Dims> cases[] = {{{5, 17}, {17, 9}},  {{2, 3, 7, 33}, {2, 3, 33, 20}},
                                         {{4, 6, 8}, {8, 5}}, {{1, 3, 4, 6}, {2, 1, 6, 10}},
                                         {{6, 8}, {3, 8, 4}}, {{1, 64}, {64, 1}}};
  unsigned seed = 500;
  for (const auto& [a, b] : cases)
    for (const bool quantized : {true, false}) check_product(a, b, quantized, seed++);
}

// What other quantizers write around depthwise convolutions: a scale for each channel of the activations.
TEST(LowerIntegerTest, ActivationsWithAScalePerChannelAreComputedInFloatWithAReason) {
  Model model(650);
  const Dims dims = {1, 4, 5, 5};
  model.graph_.inputs.push_back({.name = "x", .type = {DType::f32, to_shape(dims)}});
  const std::vector<float> scale = {0.01F, 0.03F, 0.02F, 0.5F};
  model.constant("x_s", Tensor::of<float>({4}, scale));
  model.constant("x_z", Tensor::of<std::uint8_t>({4}, std::vector<std::uint8_t>{0, 128, 77, 255}));
  model.node("QuantizeLinear", {"x", "x_s", "x_z"}, "x_q", {{"axis", std::int64_t{1}}});
  model.node("DequantizeLinear", {"x_q", "x_s", "x_z"}, "x_real", {{"axis", std::int64_t{1}}});
  const Case c{.x = dims, .w = {4, 1, 3, 3}, .group = 4};
  weights(model, c, 0, 4, [](std::int64_t o) { return static_cast<std::size_t>(o); });
  model.node("Conv", {"x_real", "w"}, "conv", window(c));
  model.finish("conv", false, false);
  std::vector<float> values;
  for (int i = 0; i < 100; ++i) values.push_back(0.01F * static_cast<float>(model.uniform(-300, 300)));
  const Feeds feeds = {{"x", Tensor::of<float>(dims, values)}};
  const Tensor expected = ops::evaluate(model.graph_, feeds).front();
  Session session(model.graph_, {.threads = 1});
  const Tensor y = session.run(feeds).front();
  for (std::size_t i = 0; i < static_cast<std::size_t>(y.size()); ++i)
    EXPECT_NEAR(y.values<float>()[i], expected.values<float>()[i], 1e-5F);
  bool told = false;
  for (const StepInfo& step : session.steps()) {
    if (step.op.starts_with("Conv")) told = step.reason.find("a scale for each channel") != std::string::npos;
    EXPECT_TRUE(step.integer || !step.reason.empty()) << session.explain();
  }
  EXPECT_TRUE(told) << session.explain();
}

TEST(LowerIntegerTest, PReluByChannelIsATable) {
  Model model(600);
  const Dims dims = {2, 3, 4, 5};
  model.input("x", dims, kX, kXZero);
  model.constant("slope", Tensor::of<float>({3, 1, 1}, std::vector<float>{0.1F, -0.5F, 2.0F}));
  model.node("PRelu", {"x_real", "slope"}, "prelu");
  model.finish("prelu", false, true);
  const Tensor x = model.bytes(dims);
  const std::vector<Tensor> expected = ops::evaluate(model.graph_, {{"x", x}});
  Session session(model.graph_, {.threads = 2});
  EXPECT_TRUE(session.run({{"x", x}}).front() == expected.front());
  for (const StepInfo& step : session.steps()) EXPECT_NE(step.kernel, "reference");
}

// Biases near 2^31 in channels that the weights still move: their sums need 64 bits.
TEST(LowerIntegerTest, ChannelsWhoseSumsDoNotFitAreSummedIn64Bits) {
  for (const bool quantized : {true, false})
    for (const std::int64_t group : {1, 2}) {
      SCOPED_TRACE(group);
      constexpr std::int64_t kChannels = 4, kPixels = 5 * 6;
      const std::int64_t per_group = 6 / group, taps = per_group * 9;
      Model model(700);
      const Dims dims = {2, 6, 5, 6};
      model.input("x", dims, kX, kXZero);
      Tensor w(DType::s8, {kChannels, per_group, 3, 3});
      for (auto& value : w.mutable_values<std::int8_t>()) value = static_cast<std::int8_t>(model.uniform(-127, 127));
      // Channels 1 and 2 pass 2^31 for some inputs, in either direction.
      const std::vector<std::int32_t> bias = {77, 2147483647 - 1000, -2147483647 + 1000, -50};
      const float w_scale = 0.5F / 127;
      const float unit = kX * w_scale;
      model.constant("w_q", w);
      model.constant("w_s", Tensor::scalar(w_scale));
      model.node("DequantizeLinear", {"w_q", "w_s"}, "w");
      model.constant("b_q", Tensor::of<std::int32_t>({kChannels}, bias));
      model.constant("b_s", Tensor::scalar(unit));
      model.node("DequantizeLinear", {"b_q", "b_s"}, "b");
      model.node("Conv", {"x_real", "w", "b"}, "conv", {{"group", group}, {"pads", Dims{1, 1, 1, 1}}});
      // The bias of channel 1 lies in the middle between two steps, that of channel 2 below the lowest: a constant.
      const float y_scale = unit * (2147483647.0F - 1000) / 126.5F;
      std::string last = "conv";
      if (quantized) {
        model.constant("y_s", Tensor::scalar(y_scale));
        model.constant("y_z", Tensor::scalar(static_cast<std::uint8_t>(kYZero)));
        model.node("QuantizeLinear", {"conv", "y_s", "y_z"}, last = "y");
      }
      model.graph_.outputs.push_back({.name = last, .type = {quantized ? DType::u8 : DType::f32, std::nullopt}});
      ops::infer_shapes(model.graph_);
      model.graph_.outputs[0].type = model.graph_.type_of(last);
      const Tensor x = model.bytes(dims);
      for (const int threads : {1, 3}) {
        Session session(model.graph_, {.threads = threads});
        const Tensor y = session.run({{"x", x}}).front();
        EXPECT_NE(session.explain().find("sums in 64 bits"), std::string::npos) << session.explain();
        std::set<int> seen;  // of channel 1
        std::size_t e = 0;
        for (std::int64_t n = 0; n < 2; ++n)
          for (std::int64_t o = 0; o < kChannels; ++o)
            for (std::int64_t p = 0; p < kPixels; ++p, ++e) {
              std::int64_t sum = bias[static_cast<std::size_t>(o)];
              for (std::int64_t t = 0; t < taps; ++t) {
                const std::int64_t row = p / 6 + t % 9 / 3 - 1, column = p % 6 + t % 3 - 1;
                if (row < 0 || row >= 5 || column < 0 || column >= 6) continue;
                const std::int64_t c = o / (kChannels / group) * per_group + t / 9;
                sum += (x.values<std::uint8_t>()[static_cast<std::size_t>(((n * 6 + c) * 5 + row) * 6 + column)] -
                        std::int64_t{kXZero}) *
                       w.values<std::int8_t>()[static_cast<std::size_t>(o * taps + t)];
              }
              if (quantized) {
                const float v = static_cast<float>(sum) * numerics::requantize_scale(kX, w_scale, y_scale);
                const float t = std::min(std::max(v, static_cast<float>(-kYZero)), static_cast<float>(255 - kYZero));
                if (o == 1) seen.insert(y.values<std::uint8_t>()[e]);
                ASSERT_EQ(y.values<std::uint8_t>()[e], static_cast<std::int32_t>(numerics::round_half_even(t)) + kYZero) << e;
              } else {
                ASSERT_EQ(y.values<float>()[e], static_cast<float>(sum) * unit) << e;
              }
            }
        if (quantized) {
          EXPECT_EQ(seen, (std::set<int>{126 + kYZero, 127 + kYZero}));
        }
      }
    }
}

// The QOperator format: sums beyond 32 bits saturate, in the engine and in the reference alike.
TEST(LowerIntegerTest, QLinearOperatorsDoNotWrapAround) {
  for (const char* op : {"QLinearConv", "QGemm"}) {
    SCOPED_TRACE(op);
    Model model(720);
    const bool conv = std::string(op) == "QLinearConv";
    const Dims dims = conv ? Dims{1, 8, 1, 5} : Dims{5, 8};
    model.graph_.opsets["com.microsoft"] = 1;
    model.graph_.inputs.push_back({.name = "x", .type = {DType::u8, to_shape(dims)}});
    model.constant("x_s", Tensor::scalar(kX));
    model.constant("x_z", Tensor::scalar(std::uint8_t{3}));
    model.constant("w", Tensor::of<std::int8_t>(conv ? Dims{2, 8, 1, 1} : Dims{8, 2}, std::vector<std::int8_t>(16, 100)));
    model.constant("w_s", Tensor::scalar(0.004F));
    model.constant("w_z", Tensor::scalar(std::int8_t{0}));
    model.constant("b", Tensor::of<std::int32_t>({2}, std::vector<std::int32_t>{2147483647 - 500, 77}));
    const float y_scale = kX * 0.004F * 2147483647.0F / 100.5F;  // the bias alone gives 100 or 101
    model.constant("y_s", Tensor::scalar(y_scale));
    model.constant("y_z", Tensor::scalar(std::uint8_t{20}));
    if (conv)
      model.node(op, {"x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z", "b"}, "y");
    else
      model.node(op, {"x", "x_s", "x_z", "w", "w_s", "w_z", "b", "y_s", "y_z"}, "y");
    if (!conv) model.graph_.nodes.back().domain = "com.microsoft";
    model.graph_.outputs.push_back({.name = "y", .type = {DType::u8, std::nullopt}});
    ops::infer_shapes(model.graph_);
    model.graph_.outputs[0].type = model.graph_.type_of("y");
    const Feeds feeds = {{"x", model.bytes(dims)}};
    const Tensor expected = ops::evaluate(model.graph_, feeds).front();
    EXPECT_TRUE(Session(model.graph_, {.threads = 1}).run(feeds).front() == expected);
    for (std::size_t i = 0; i < 5; ++i) {
      const std::uint8_t first = expected.values<std::uint8_t>()[conv ? i : 2 * i];
      EXPECT_TRUE(first == 120 || first == 121) << "a sum that wraps around gives 0, not " << int{first};
    }
  }
}

TEST(LowerInteger, ProductsOfTwoActivationsTakeConstantZeroPoints) {
  for (const char* a : {"u8", "s8"})
    for (const char* b : {"u8", "s8"})
      for (const char* zeros : {", a_zero, b_zero", ", a_zero", ""}) {
        SCOPED_TRACE(fmt::format("{} x {}{}", a, b, zeros));
        engine::expect_literal(
            engine::text_graph(fmt::format("a: {}[2,3,5,40], b: {}[3,40,21]", a, b), "y: s32",
                               fmt::format("a_zero = {}[]{{{}}}\nb_zero = {}[1]{{{}}}\ny = MatMulInteger(a, b{})\n", a,
                                           a[0] == 'u' ? 131 : -7, b, b[0] == 'u' ? 255 : -128, zeros)),
            {}, [](const std::string& steps, IsaSet) {
              EXPECT_EQ(engine::count(steps, "integer coverage: 100.00 %"), 1) << steps;
            });
      }
}

// conv -> Q/DQ -> Add -> Q; `before` or `other`, behind the convolution, make the second operand.
std::string residual_block(int kernel, const std::string& before, const std::string& other, const std::string& behind) {
  const int pad = kernel / 2;
  return before +
         fmt::format(
             "x_real = DequantizeLinear(x, x_s, x_z)\nw_real = DequantizeLinear(w, w_s)\n"
             "c = Conv(x_real, w_real) {{kernel_shape=[{0}, {0}], pads=[{1}, {1}, {1}, {1}]}}\n"
             "c_q = QuantizeLinear(c, c_s, c_z)\nc_real = DequantizeLinear(c_q, c_s, c_z)\n",
             kernel, pad) +
         other + behind;
}

// Every instruction set gives the bytes of the scalar kernels, which are tested above.
template <class Look>
void expect_scalar_bytes(const Graph& graph, const Look& look) {
  Feeds feeds;
  for (const ValueInfo& input : graph.inputs)
    feeds[input.name] =
        engine::random_tensor(DType::u8, *fixed_dims(*input.type.shape), static_cast<unsigned>(feeds.size() + 1));
  const std::vector<Tensor> expected = Session(graph, {.threads = 1, .max_isa = Isa::scalar}).run(feeds);
  for (const Isa isa : members(detected_isas()))
    for (const int threads : {1, 3}) {
      Session session(graph, {.threads = threads, .max_isa = isa});
      EXPECT_TRUE(session.run(feeds) == expected) << name(isa) << ", " << threads << " threads\n" << session.explain();
      look(session.explain(), allowed_isas(isa));
    }
}

TEST(LowerInteger, SumsRideInTheConvolution) {
  const std::string convolution =
      "d_real = DequantizeLinear(r, r_s, r_z)\nv_real = DequantizeLinear(v, w_s)\n"
      "d = Conv(d_real, v_real)\nd_q = QuantizeLinear(d, c_s, c_z)\n"
      "r_real = DequantizeLinear(d_q, c_s, c_z)\n";
  const std::string plain = "s = Add(c_real, r_real)\ny = QuantizeLinear(s, y_s, y_z)\n",
                    turned = "s = Add(r_real, c_real)\nt = Relu(s)\ny = QuantizeLinear(t, y_s, y_z)\n";
  unsigned seed = 1;
  for (const auto& [channels, outputs, height, width, kernel] :
       {std::array{16, 17, 5, 9, 1}, std::array{64, 64, 7, 7, 3}, std::array{40, 40, 9, 4, 3}, std::array{8, 96, 1, 33, 1},
        std::array{130, 12, 6, 6, 1}, std::array{3, 33, 13, 11, 3}})
    for (const bool first : {false, true})
      for (const std::string& behind : {plain, turned})
        for (const int c_zero : {0, 131}) {
          SCOPED_TRACE(fmt::format("{} -> {} channels, {} x {}, {}x{}, zero point {}\n{}", channels, outputs, height, width,
                                   kernel, kernel, c_zero, behind));
          const auto s8 = [&](const Dims& dims) { return engine::random_tensor(DType::s8, dims, seed++); };
          const Graph graph = engine::text_graph(
              fmt::format("x: u8[2,{},{},{}], r: u8[2,{},{},{}]", channels, height, width, outputs, height, width), "y: u8",
              fmt::format(
                  "x_s = f32[]{{0.02}}\nx_z = u8[]{{117}}\nw_s = f32[]{{0.003}}\nc_s = f32[]{{0.05}}\nc_z = u8[]{{{}}}\n"
                  "r_s = f32[]{{0.031}}\nr_z = u8[]{{99}}\ny_s = f32[]{{0.07}}\ny_z = u8[]{{{}}}\n",
                  c_zero, behind == turned ? 0 : 120) +
                  residual_block(kernel, first ? convolution : "", first ? "" : convolution, behind),
              {{"w", s8({outputs, channels, kernel, kernel})}, {"v", s8({outputs, outputs, 1, 1})}});
          expect_scalar_bytes(graph, [&](const std::string& steps, IsaSet isas) {
            EXPECT_EQ(engine::count(steps, "QuantizeLinear+Add"), isas.contains(Isa::amxint8) ? 1 : 0) << steps;
          });
        }
}

// An operand that has another shape on the way is no step's output by that name.
TEST(LowerInteger, SumsWaitForReshapedOperands) {
  for (const std::string moved : {"Reshape(b_real, shape)", "Unsqueeze(b_real, axes)"})
    for (const std::string sum : {"Add(a_real, b_r)", "Add(b_r, a_real)"}) {
      SCOPED_TRACE(moved + ", " + sum);
      const Graph graph = engine::text_graph(
          "x: u8[1,32,64], z: u8[32,64]", "y: u8",
          "x_s = f32[]{0.02}\nx_z = u8[]{117}\nw_s = f32[]{0.003}\nc_s = f32[]{0.05}\nc_z = u8[]{3}\ny_s = f32[]{0.07}\n"
          "y_z = u8[]{120}\nshape = s64[3]{1, 32, 48}\naxes = s64[1]{0}\n"
          "x_real = DequantizeLinear(x, x_s, x_z)\nz_real = DequantizeLinear(z, x_s, x_z)\n"
          "w_real = DequantizeLinear(w, w_s)\nv_real = DequantizeLinear(v, w_s)\n"
          "a = MatMul(x_real, w_real)\na_q = QuantizeLinear(a, c_s, c_z)\na_real = DequantizeLinear(a_q, c_s, c_z)\n"
          "b = MatMul(z_real, v_real)\nb_q = QuantizeLinear(b, c_s, c_z)\nb_real = DequantizeLinear(b_q, c_s, c_z)\n"
          "b_r = " +
              moved + "\nt = " + sum + "\ny = QuantizeLinear(t, y_s, y_z)\n",
          {{"w", engine::random_tensor(DType::s8, {64, 48}, 1)}, {"v", engine::random_tensor(DType::s8, {64, 48}, 2)}});
      expect_scalar_bytes(graph, [](const std::string&, IsaSet) {});
    }
}

// What somebody else reads is made.
TEST(LowerInteger, ReadResultsDoNotTakeSumsAlong) {
  const Graph graph = engine::text_graph(
      "x: u8[1,64,8,8], r: u8[1,64,8,8]", "y: u8, other: f32",
      "x_s = f32[]{0.02}\nx_z = u8[]{117}\nw_s = f32[]{0.003}\nc_s = f32[]{0.05}\nc_z = u8[]{3}\nr_s = f32[]{0.031}\n"
      "r_z = u8[]{99}\ny_s = f32[]{0.07}\ny_z = u8[]{0}\n" +
          residual_block(3, "", "r_real = DequantizeLinear(r, r_s, r_z)\n",
                         "s = Add(c_real, r_real)\ny = QuantizeLinear(s, y_s, y_z)\nother = Neg(c_real)\n"),
      {{"w", engine::random_tensor(DType::s8, {64, 64, 3, 3}, 1)}});
  expect_scalar_bytes(
      graph, [](const std::string& steps, IsaSet) { EXPECT_EQ(engine::count(steps, "QuantizeLinear+Add"), 0) << steps; });
}

}  // namespace
}  // namespace zeropoint
