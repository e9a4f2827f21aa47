#include "analyze/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "analyze/value_pairs.h"
#include "zeropoint/error.h"

namespace zeropoint::analyze {
namespace {

using ::testing::HasSubstr;

Tensor row(const std::vector<float>& values) {
  return Tensor::of<float>({1, static_cast<std::int64_t>(values.size())}, values);
}

TEST(ErrorSumsTest, KnownNumbers) {
  ErrorSums sums;
  sums.add(std::vector<float>{3, 4}, std::vector<float>{3, 3});
  sums.add(std::vector<float>{0}, std::vector<float>{0});
  const ErrorMetrics metrics = sums.metrics();
  EXPECT_EQ(metrics.count, 3U);
  EXPECT_DOUBLE_EQ(metrics.sqnr_db, 10 * std::log10(25.0));
  EXPECT_DOUBLE_EQ(metrics.cosine, 21 / std::sqrt(25.0 * 18.0));
  EXPECT_DOUBLE_EQ(metrics.mean_abs, 1.0 / 3);
  EXPECT_EQ(metrics.max_abs, 1);
}

TEST(ErrorSumsTest, Extremes) {
  ErrorSums equal, silent;
  equal.add(std::vector<float>{1, 2}, std::vector<float>{1, 2});
  EXPECT_EQ(equal.metrics().sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_DOUBLE_EQ(equal.metrics().cosine, 1);
  silent.add(std::vector<float>{0, 0}, std::vector<float>{1, 2});
  EXPECT_EQ(silent.metrics().sqnr_db, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(silent.metrics().cosine, 0);
  EXPECT_EQ(ErrorSums().metrics().cosine, 1);
}

TEST(LargestTest, FirstOfEqualsAndNan) {
  EXPECT_EQ(largest(std::vector<float>{1, 3, 3}), 1U);
  EXPECT_EQ(largest(std::vector<float>{std::nanf(""), 3, 4}), 2U);
  const std::vector<float> values = {5, 4, 4, 3};
  EXPECT_TRUE(is_among_largest(values, 1, 2));
  EXPECT_FALSE(is_among_largest(values, 2, 2));
}

TEST(AgreementTest, Shares) {
  AgreementSums sums;
  sums.add(row({0, 9, 1, 2, 3, 4}), row({0, 9, 1, 2, 3, 4}));
  sums.add(row({0, 9, 1, 2, 3, 4}), row({0, 2, 1, 3, 4, 5}));  // the winner fell to place 4
  sums.add(row({0, 9, 1, 2, 3, 4}), row({1, 0, 2, 3, 4, 5}));  // and to the last
  sums.add(row({1, 1, 1, 1, 1, 1}), row({1, 1, 1, 1, 1, 1}));
  OutputMetrics metrics;
  sums.fill(metrics);
  EXPECT_EQ(metrics.rows, 4U);
  EXPECT_DOUBLE_EQ(*metrics.top1_agreement, 0.5);
  EXPECT_DOUBLE_EQ(*metrics.top5_agreement, 0.75);
}

TEST(AgreementTest, OnlyRowsOfClasses) {
  AgreementSums sums;
  sums.add(Tensor(DType::f32, {1, 3, 4, 4}), Tensor(DType::f32, {1, 3, 4, 4}));
  OutputMetrics metrics;
  sums.fill(metrics);
  EXPECT_EQ(metrics.rows, 0U);
  EXPECT_FALSE(metrics.top1_agreement);
}

TEST(AccuracyTest, SharesAndErrors) {
  AccuracySums sums;
  sums.add(row({0, 9, 1, 2, 3, 4}), 1, "a");
  sums.add(row({0, 9, 1, 2, 3, 4}), 5, "b");
  sums.add(row({0, 9, 1, 2, 3, 4}), 0, "c");
  EXPECT_DOUBLE_EQ(sums.accuracy().top1, 1.0 / 3);
  EXPECT_DOUBLE_EQ(*sums.accuracy().top5, 2.0 / 3);
  EXPECT_THROW(sums.add(row({0, 9}), 2, "d"), Error);
  EXPECT_THROW(sums.add(Tensor(DType::f32, {2, 3}), 0, "e"), Error);
}

TEST(ValuePairsTest, ByName) {
  const Graph original = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1]) -> (y: f32[1]) {
  a = Relu(x)
  y = Relu(a)
}
)");
  const Graph quantized = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1]) -> (y: f32[1]) {
  s = f32[]{1}
  z = u8[]{0}
  w = u8[1]{3}
  y_float = Relu(a_dequantized)
  yq = QuantizeLinear(y_float, s, z)
  y = DequantizeLinear(yq, s, z)
  xq = QuantizeLinear(x, s, z)
  x_dequantized = DequantizeLinear(xq, s, z)
  w_dequantized = DequantizeLinear(w, s, z)
  b = QuantizeLinear(other, s, z)
  other_dequantized = DequantizeLinear(b, s, z)
}
)");
  const std::vector<ValuePair> pairs = pair_values(original, quantized);
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].in_float, "x");
  EXPECT_EQ(pairs[0].in_quantized, "x_dequantized");
  EXPECT_EQ(pairs[1].in_float, "y");
  EXPECT_EQ(pairs[1].in_quantized, "y");
}

TEST(ValuePairsTest, BehindAClipToFewLevels) {
  const Graph original = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1]) -> (y: f32[1]) {
  low = f32[]{0}
  high = f32[]{6}
  a = Neg(x)
  b = Clip(a, low, high)
  y = Neg(b)
}
)");
  const Graph quantized = parse_graph(R"(ir_version 8
opset 17
graph g(x: f32[1]) -> (y: f32[1]) {
  s = f32[]{0.4}
  z = u8[]{0}
  low = f32[]{0}
  high = f32[]{6}
  x_clipped = Clip(x, low, high)
  xq = QuantizeLinear(x_clipped, s, z)
  x_dequantized = DequantizeLinear(xq, s, z)
  a = Neg(x_dequantized)
  b = Clip(a, low, high)
  bq = QuantizeLinear(b, s, z)
  b_dequantized = DequantizeLinear(bq, s, z)
  y = Neg(b_dequantized)
}
)");
  const std::vector<ValuePair> pairs = pair_values(original, quantized);
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].in_float, "x");
  EXPECT_EQ(pairs[0].in_quantized, "x_dequantized");
  EXPECT_EQ(pairs[1].in_float, "b");
  EXPECT_EQ(pairs[1].in_quantized, "b_dequantized");
  const std::vector<ValuePair> others = pair_float_values(original, quantized);  // `a` leads to a quantizer
  EXPECT_TRUE(others.empty());
}

TEST(ReportTextTest, SaysWhatIsThere) {
  Report report;
  report.recipe = "static_w8a8";
  report.float_bytes = 4000000;
  report.quantized_bytes = 1000000;
  report.integer_coverage = 0.999;
  report.samples = 3;
  report.outputs.push_back({.name = "logits", .error = {.count = 1, .sqnr_db = std::numeric_limits<double>::infinity()}});
  for (const char* node : {"softmax", "softmax_1", "softmax_2", "softmax_3"})
    report.left_in_float.push_back({node, "Softmax", "no integer form"});
  report.left_in_float.push_back({"add", "Add", "no integer form"});
  report.notes.push_back("a note");
  const std::string text = to_text(report), json = to_json(report);
  EXPECT_THAT(text, HasSubstr("4.00 MB -> 1.00 MB (25.0 %)"));
  EXPECT_THAT(text, HasSubstr("99.90 %"));
  EXPECT_THAT(text, HasSubstr("logits: SQNR equal"));
  EXPECT_THAT(
      text,
      HasSubstr("  4 Softmax: no integer form (softmax, softmax_1, softmax_2 and 1 more)\n  1 Add: no integer form (add)\n"));
  EXPECT_THAT(text, HasSubstr("a note"));
  EXPECT_THAT(json, HasSubstr("\"sqnr_db\": null"));
  EXPECT_THAT(json, HasSubstr("\"reason\": \"no integer form\""));
}

}  // namespace
}  // namespace zeropoint::analyze
