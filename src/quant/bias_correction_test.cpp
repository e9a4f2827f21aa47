#include "zeropoint/bias_correction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "numerics/exact_sum.h"
#include "ops/operator.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"

namespace zeropoint {
namespace {

constexpr char kNetwork[] = R"(ir_version 8
opset 17
graph g(x: f32[1,4,3,3], m: f32[2,3]) -> (a: f32[1,6,2,2], b: f32[1,6,2,2], c: f32[2,5], d: f32[2,5], e: f32[2,5]) {
  a = Conv(x, w_grouped, bias6) "grouped" {group=2}
  b = Conv(x, w_plain) "without_bias"
  c = Gemm(m, w_rows, bias5) "rows" {transB=1}
  d = Gemm(m, w_columns, bias5) "columns"
  p = MatMul(m, w_columns) "product"
  e = Add(bias5, p) "product_bias"
}
)";

std::array<std::uint64_t, 6> sum_of(float x) {
  numerics::ExactSum sum;
  sum.add(x);
  return sum.words();
}

// Where every input element is its channel's mean, the corrected graph with quantized weights gives exactly the float result.
TEST(BiasCorrectionTest, TakesOffWhatTheWeightsMakeOnAverage) {
  const unsigned seed = 23;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Graph graph = parse_graph(kNetwork);
  const std::map<std::string, Dims> constants = {{"w_grouped", {6, 2, 2, 2}},
                                                 {"w_plain", {6, 4, 2, 2}},
                                                 {"w_rows", {5, 3}},
                                                 {"w_columns", {3, 5}},
                                                 {"bias6", {6}},
                                                 {"bias5", {5}}};
  for (const auto& [name, dims] : constants) {
    Tensor tensor(DType::f32, dims);
    for (float& value : tensor.mutable_values<float>()) value = uniform(random);
    graph.initializers[name] = tensor;
  }
  verify(graph);

  const std::vector<float> x_means = {0.5F, -0.25F, 2, 0}, m_means = {1, -0.5F, 0.75F};
  Statistics statistics;
  statistics.values["x"].samples = statistics.values["m"].samples = 1;
  statistics.values["x"].channel_axis = 1;
  statistics.values["m"].channel_axis = -1;
  for (const float mean : x_means) statistics.values["x"].channel_mean_sum.push_back(sum_of(mean));
  for (const float mean : m_means) statistics.values["m"].channel_mean_sum.push_back(sum_of(mean));
  Tensor x(DType::f32, {1, 4, 3, 3}), m(DType::f32, {2, 3});
  for (std::size_t i = 0; i < 36; ++i) x.mutable_values<float>()[i] = x_means[i / 9];
  for (std::size_t i = 0; i < 6; ++i) m.mutable_values<float>()[i] = m_means[i % 3];

  // Three bits: errors that nobody overlooks.
  const auto coarse = [&](const std::string& name, int axis) {
    const std::size_t channels = static_cast<std::size_t>(graph.constant(name)->dim(static_cast<std::size_t>(axis)));
    return QParams{DType::s8, PerChannel{axis}, std::vector<float>(channels, 0.3F), std::vector<std::int32_t>(channels, 0)};
  };
  QParamsMap qparams = {{"x", {DType::u8, PerTensor{}, {0.1F}, {3}}}, {"m", {DType::u8, PerTensor{}, {0.1F}, {3}}}};
  for (const char* weight : {"w_grouped", "w_plain", "w_rows"}) qparams[weight] = coarse(weight, 0);
  qparams["w_columns"] = coarse("w_columns", 1);

  Graph corrected = correct_biases(graph, qparams, statistics);
  verify(corrected);
  EXPECT_FALSE(corrected.constant("bias5")) << "nothing reads it any more";
  const auto with_quantized_weights = [&](Graph result) {
    for (const char* weight : {"w_grouped", "w_plain", "w_rows", "w_columns"})
      result.initializers[weight] =
          dequantize_tensor(quantize_tensor(*graph.constant(weight), qparams.at(weight)), qparams.at(weight));
    return ops::evaluate(result, {{"x", x}, {"m", m}});
  };
  const std::vector<Tensor> exact = ops::evaluate(graph, {{"x", x}, {"m", m}}), plain = with_quantized_weights(graph),
                            better = with_quantized_weights(corrected);
  for (std::size_t output = 0; output < exact.size(); ++output) {
    double worst = 0;
    for (std::size_t i = 0; i < exact[output].values<float>().size(); ++i) {
      EXPECT_NEAR(better[output].values<float>()[i], exact[output].values<float>()[i], 2e-6F) << "output " << output;
      worst =
          std::max(worst, std::abs(static_cast<double>(plain[output].values<float>()[i] - exact[output].values<float>()[i])));
    }
    EXPECT_GT(worst, 0.02) << "output " << output << " shows no error to correct";
  }
}

TEST(BiasCorrectionTest, NeedsMeans) {
  Graph graph = parse_graph(kNetwork);
  graph.initializers["w_rows"] = Tensor(DType::f32, {5, 3});
  graph.initializers["bias5"] = Tensor(DType::f32, {5});
  const QParams u8{DType::u8, PerTensor{}, {1.0F}, {0}};
  const QParams s8{DType::s8, PerTensor{}, {1.0F}, {0}};
  Statistics statistics;
  statistics.values["m"].samples = 1;
  try {
    correct_biases(graph, {{"m", u8}, {"w_rows", s8}}, statistics);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kMismatch);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("node 'rows' (Gemm)"));
  }
}

}  // namespace
}  // namespace zeropoint
