#include "analyze/distribution.h"

#include <gmock/gmock.h>

#include <numeric>

namespace zeropoint::analyze {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;
using testing::SizeIs;

QParams u8(float scale, std::int32_t zero_point) { return {.dtype = DType::u8, .scale = {scale}, .zero_point = {zero_point}}; }

HistogramView view(const std::vector<float>& values) {
  Histogram histogram;
  histogram.add(values);
  return {histogram, *std::min_element(values.begin(), values.end()), *std::max_element(values.begin(), values.end())};
}

TEST(Distribution, CountsEveryElementOnce) {
  std::vector<float> values;
  for (int i = 0; i < 6400; ++i) values.push_back(1.0f + static_cast<float>(i) / 6400);  // spread evenly over [1, 2)
  const ValueDistribution result = distribution(view(values), u8(0.01f, 0));
  ASSERT_THAT(result.histogram, SizeIs(ValueDistribution::kBins));
  EXPECT_EQ(std::accumulate(result.histogram.begin(), result.histogram.end(), std::uint64_t{0}), 6400u);
  EXPECT_THAT(result.histogram, Each(testing::AllOf(testing::Ge(95u), testing::Le(105u))));
  EXPECT_EQ(result.min, 1);
  EXPECT_EQ(result.max, values.back());
}

TEST(Distribution, RangeIsWhatTheIntegersHold) {
  const ValueDistribution result = distribution(view({-1, 3}), u8(0.5f, 16));
  EXPECT_EQ(result.low, -8);
  EXPECT_EQ(result.high, 119.5);
  EXPECT_EQ(result.clipped, 0);
}

TEST(Distribution, ClippedIsTheShareThatLosesMoreThanHalfAStep) {
  std::vector<float> values(900, 1.0f);
  values.insert(values.end(), 60, 400.0f);  // beyond 255.5
  values.insert(values.end(), 40, -3.0f);   // beyond -0.5
  EXPECT_THAT(distribution(view(values), u8(1, 0)).clipped, DoubleNear(0.1, 1e-9));
  EXPECT_THAT(distribution(view({-0.4f, 255.4f}), u8(1, 0)).clipped, 0);  // rounds to an end: an error like any other
}

TEST(Distribution, OfOneValueAndOfNone) {
  EXPECT_THAT(distribution(view({0, 0, 0}), u8(1, 0)).histogram, ElementsAre(3u));
  const ValueDistribution none = distribution(HistogramView(), u8(1, 0));
  EXPECT_THAT(none.histogram, testing::IsEmpty());
  EXPECT_EQ(none.clipped, 0);
}

TEST(Distribution, ReadsParametersOfActivationsNotOfWeights) {
  Graph graph;
  const auto constant = [&](const char* name, Tensor tensor) { graph.initializers.emplace(name, std::move(tensor)); };
  constant("scale", Tensor::of<float>({}, std::vector<float>{0.25f}));
  constant("zero", Tensor::of<std::int8_t>({}, std::vector<std::int8_t>{-3}));
  constant("w", Tensor::of<std::int8_t>({2}, std::vector<std::int8_t>{1, 2}));
  graph.nodes.push_back({.op_type = "QuantizeLinear", .inputs = {"x", "scale", "zero"}, .outputs = {"q"}});
  graph.nodes.push_back({.op_type = "DequantizeLinear", .inputs = {"q", "scale", "zero"}, .outputs = {"y"}});
  graph.nodes.push_back({.op_type = "DequantizeLinear", .inputs = {"w", "scale", "zero"}, .outputs = {"v"}});
  EXPECT_THAT(activation_qparams(graph),
              ElementsAre(testing::Pair(
                  "y", QParams{.dtype = DType::s8, .granularity = PerTensor{}, .scale = {0.25f}, .zero_point = {-3}})));
}

}  // namespace
}  // namespace zeropoint::analyze
