#include "zeropoint/smooth_quant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ops/operator.h"
#include "quant/scaling_test_graphs.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"
#include "zeropoint/recipe.h"

namespace zeropoint {
namespace {

// Pre-normalized: what LayerNormalization makes, only products read. Post-normalized: a residual sum reads it, too.
constexpr char kPre[] = R"(graph g(x: f32[1,9,8]) -> (y: f32[1,9,3], z: f32[1,9,4]) {
  n = LayerNormalization(x, g_8, h_8)
  y = MatMul(n, w_8x3)
  m = MatMul(n, u_8x4)
  z = Add(m, b_4)
})";
constexpr char kPost[] = R"(graph g(x: f32[1,9,8]) -> (y: f32[1,9,3], z: f32[1,9,8]) {
  n = LayerNormalization(x, g_8, h_8)
  y = MatMul(n, w_8x3)
  m = MatMul(n, u_8x8)
  z = Add(m, n)
})";

std::vector<double> largest_of(const Graph& graph, const std::string& value, const Samples& samples) {
  std::vector<double> result(8, 0.0);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::vector<std::string> values = {value};
    const Tensor x = ops::evaluate(graph, samples.get(i), values)[0];
    for (std::size_t e = 0; e < x.values<float>().size(); ++e)
      result[e % 8] = std::max(result[e % 8], std::abs(static_cast<double>(x.values<float>()[e])));
  }
  return result;
}
double largest_row(const Graph& graph, const std::vector<std::string>& weights, std::size_t row) {
  double result = 0;
  for (const std::string& name : weights) {
    const Tensor& weight = *graph.constant(name);
    const auto columns = static_cast<std::size_t>(weight.dim(1));
    for (std::size_t n = 0; n < columns; ++n)
      result = std::max(result, std::abs(static_cast<double>(weight.values<float>()[row * columns + n])));
  }
  return result;
}

TEST(SmoothQuantTest, IsEquation4) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = filled(kPre, seed, 5);
    const RandomSamples samples(graph, 6, seed);
    SmoothQuantOptions options;
    options.alpha = 0.3;
    StepLog log;
    const Graph smooth = smooth_quant(graph, samples, options, &log);
    verify(smooth);
    EXPECT_EQ(smooth.nodes.size(), graph.nodes.size());
    expect_same_floats(graph, smooth, seed);
    const std::vector<double> x = largest_of(graph, "n", samples), after = largest_of(smooth, "n", samples);
    for (std::size_t j = 0; j < 8; ++j) {
      const double s = std::pow(x[j], 0.3) / std::pow(largest_row(graph, {"w_8x3", "u_8x4"}, j), 0.7);
      EXPECT_NEAR(x[j] / after[j] / s, 1, 1e-4);
      for (const char* weight : {"w_8x3", "u_8x4"})
        EXPECT_NEAR(largest_row(smooth, {weight}, j) / largest_row(graph, {weight}, j) / s, 1, 1e-5);
    }
    ASSERT_EQ(log.gains.size(), 1U);
  }
}

TEST(SmoothQuantTest, LeavesWhatResidualSumsReadUnlessAskedForAMul) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    const Graph graph = filled(kPost, seed, 5);
    const RandomSamples samples(graph, 6, seed);
    StepLog log;
    EXPECT_EQ(smooth_quant(graph, samples, {}, &log), graph);
    EXPECT_THAT(log.notes, testing::ElementsAre(testing::HasSubstr("1 activations stay as they are")));
    EXPECT_TRUE(log.gains.empty());
    SmoothQuantOptions options;
    options.explicit_mul = true;
    options.alpha = 0.5;
    const Graph smooth = smooth_quant(graph, samples, options, &log);
    verify(smooth);
    ASSERT_EQ(smooth.nodes.size(), graph.nodes.size() + 1);
    EXPECT_EQ(smooth.nodes[1].op_type, "Mul");
    EXPECT_EQ(smooth.nodes[2].inputs[0], "n_smoothed");
    EXPECT_EQ(smooth.nodes[4].inputs[1], "n");  // the sum reads what it read
    expect_same_floats(graph, smooth, seed);
  }
}

// Per-tensor activations of wildly different channels: the search finds factors at which the quantized products come nearer.
TEST(SmoothQuantTest, SearchFindsWhatHelpsTheOutputs) {
  double told = 0, measured = 0;
  for (unsigned seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Graph graph = filled(R"(graph g(x: f32[1,32,8]) -> (y: f32[1,32,6]) {
  n = LayerNormalization(x, g_8, h_8)
  y = MatMul(n, w_8x6)
})",
                               seed, 5);
    const RandomSamples samples(graph, 8, seed);
    StepLog log;
    const Graph smooth = smooth_quant(graph, samples, {}, &log);
    expect_same_floats(graph, smooth, seed);
    if (log.gains.empty()) continue;  // nothing helps this one
    EXPECT_GT(log.gains[0].after, log.gains[0].before);
    told += log.gains[0].after - log.gains[0].before;
    const auto quantized_db = [&](const Graph& from) {
      double squares = 0, errors = 0;
      const Tensor& w = *from.constant("w_8x6");
      Graph coarse = from;
      const TensorScheme by_channel{.symmetric = true, .is_signed = true, .granularity = PerChannel{1}};
      coarse.initializers["w_8x6"] = dequantize_tensor(quantize_tensor(w, by_channel));
      const RandomSamples others(graph, 4, seed + 100);
      for (std::size_t i = 0; i < others.size(); ++i) {
        const std::vector<std::string> n = {"n"};
        const Tensor exact = ops::evaluate(graph, others.get(i))[0];
        const Tensor x = dequantize_tensor(quantize_tensor(ops::evaluate(from, others.get(i), n)[0], TensorScheme{}));
        const std::vector<Tensor> inputs = {x, *coarse.constant("w_8x6")};
        const Tensor y = ops::evaluate(coarse, coarse.nodes[1], inputs)[0];
        for (std::size_t e = 0; e < y.values<float>().size(); ++e) {
          const double a = exact.values<float>()[e], b = y.values<float>()[e];
          squares += a * a;
          errors += (a - b) * (a - b);
        }
      }
      return 10 * std::log10(squares / errors);
    };
    const double gain = quantized_db(smooth) - quantized_db(graph);
    EXPECT_GT(gain, -1);
    measured += gain;
  }
  EXPECT_GT(told / 5, 3);
  EXPECT_GT(measured / 5, 3);
}

TEST(SmoothQuantTest, TouchesOnlyWhatTheRecipeQuantizes) {
  const Graph graph = filled(kPre, 1);
  const RandomSamples samples(graph, 4, 1);
  Recipe recipe = recipes::static_w8a8();
  recipe.keep_float(".*");
  SmoothQuantOptions options;
  options.recipe = &recipe;
  options.alpha = 0.5;
  EXPECT_EQ(smooth_quant(graph, samples, options), graph);
  recipe.rules.pop_back();
  EXPECT_FALSE(smooth_quant(graph, samples, options) == graph);
  options.alpha = 1.5;
  EXPECT_THROW(smooth_quant(graph, samples, options), Error);
}

}  // namespace
}  // namespace zeropoint
