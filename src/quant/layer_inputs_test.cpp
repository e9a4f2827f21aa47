#include "quant/layer_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>
#include <string>

#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

// Convolutions with pads, strides, dilations and groups; products with and without transposition; a branch; an open batch.
constexpr char kNetwork[] = R"(ir_version 8
opset 17
graph g(x: f32[N,4,9,11]) -> (y: f32[N,5], z: f32[N,6,5,6]) {
  a = Conv(x, w1, b1) "first" {pads=[1, 0, 2, 1], strides=[2, 2]}
  ar = Relu(a)
  b = Conv(ar, w2) "depthwise" {group=6, pads=[1, 1, 1, 1]}
  c = Conv(ar, w3) "grouped" {auto_pad="SAME_UPPER", group=2, dilations=[2, 1]}
  z = Add(b, c)
  m = GlobalAveragePool(z)
  f = Flatten(m)
  p = MatMul(f, w4) "product"
  pb = Add(p, b4)
  y = Gemm(pb, w5, b5) "last" {transB=1}
}
)";

struct Weight {
  const char* name;
  Dims dims;
};
const Weight kWeights[] = {{"w1", {6, 4, 3, 2}}, {"b1", {6}}, {"w2", {6, 1, 3, 3}}, {"w3", {6, 3, 2, 3}},
                           {"w4", {6, 7}},       {"b4", {7}}, {"w5", {5, 7}},       {"b5", {5}}};

class Batches : public Samples {
 public:
  std::size_t size() const override { return 9; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(static_cast<unsigned>(index) + 1);
    std::normal_distribution<float> normal;
    Tensor x(DType::f32, {index % 3 == 0 ? 2 : 1, 4, 9, 11});
    for (float& value : x.mutable_values<float>()) value = normal(random);
    return {{"x", x}};
  }
};

Graph network() {
  Graph graph = parse_graph(kNetwork);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const Weight& weight : kWeights) {
    Tensor tensor(DType::f32, weight.dims);
    for (float& value : tensor.mutable_values<float>()) value = normal(random);
    graph.initializers[weight.name] = tensor;
  }
  verify(graph);
  return graph;
}

// Activations in 8 bits, weights too: what is left between x * w and the target is the activations' error.
QParamsMap fine_qparams(const Graph& graph) {
  QParamsMap qparams;
  for (const auto& [value, scale] : std::map<std::string, float>{{"x", 0.04F}, {"ar", 0.2F}, {"f", 0.3F}, {"pb", 1.5F}})
    qparams[value] = {DType::s8, PerTensor{}, {scale}, {0}};
  for (const char* weight : {"w1", "w2", "w3", "w4", "w5"})
    if (graph.constant(weight)) qparams[weight] = {DType::s8, PerTensor{}, {4.0F / 127}, {0}};
  return qparams;
}

TEST(LayerInputsTest, RowsTimesWeightsAreTheTargets) {
  const Graph graph = network();
  const QParamsMap qparams = fine_qparams(graph);
  const Batches samples;
  for (const std::int64_t most : {100000, 40}) {
    const StepOptions options{.threads = 1};
    LayerInputs inputs(graph, find_layers(graph, qparams), samples, options, {.rows = most});
    ASSERT_EQ(inputs.layers().size(), 5U);
    std::vector<std::size_t> waves;
    for (std::size_t i = 0; i < inputs.layers().size(); ++i) {
      const Layer& layer = inputs.layers()[i];
      waves.push_back(layer.wave);
      const LayerRows rows = inputs.rows_of({i}, graph, qparams).front();
      const std::int64_t batch = 12, places = graph.nodes[layer.node].is("Conv") ? 30 : 1;
      EXPECT_LE(rows.rows, most > 1000 ? batch * places : 45);
      EXPECT_GE(rows.rows, most > 1000 ? batch * places : 12);
      const auto weight = graph.constant(layer.weight)->values<float>();
      const std::string bias = graph.nodes[layer.node].is("MatMul") ? "" : graph.nodes[layer.node].input(2);
      double signal = 0, error = 0;
      for (std::int64_t row = 0; row < rows.rows; ++row)
        for (std::int64_t o = 0; o < rows.outputs; ++o) {
          double y = bias.empty() ? 0 : static_cast<double>(graph.constant(bias)->values<float>()[static_cast<std::size_t>(o)]);
          for (std::int64_t k = 0; k < rows.depth; ++k) {
            const std::int64_t g = o / (rows.outputs / rows.groups);
            const std::int64_t entry = layer.transposed ? k * rows.outputs + o : o * rows.depth + k;
            y += static_cast<double>(rows.x[static_cast<std::size_t>((row * rows.groups + g) * rows.depth + k)]) *
                 static_cast<double>(weight[static_cast<std::size_t>(entry)]);
          }
          const auto wanted = static_cast<double>(rows.target[static_cast<std::size_t>(row * rows.outputs + o)]);
          signal += wanted * wanted;
          error += (wanted - y) * (wanted - y);
        }
      EXPECT_LT(error, 2e-3 * signal) << layer.output << ", " << most;
    }
    EXPECT_EQ(waves, (std::vector<std::size_t>{0, 1, 1, 2, 3}));
  }
}

TEST(LayerInputsTest, ThreadsAndPassesDoNotShow) {
  const Graph graph = network();
  const QParamsMap qparams = fine_qparams(graph);
  const Batches samples;
  const auto all = [&](int threads, std::uint64_t target_bytes, std::optional<Isa> max_isa) {
    const StepOptions options{.threads = threads, .max_isa = max_isa};
    LayerInputs inputs(graph, find_layers(graph, qparams), samples, options, {.rows = 60, .target_bytes = target_bytes});
    std::vector<std::vector<float>> result;
    for (const std::vector<std::size_t>& wave : {std::vector<std::size_t>{0}, {1, 2}, {3}, {4}})
      for (LayerRows& rows : inputs.rows_of(wave, graph, qparams)) {
        result.push_back(std::move(rows.x));
        result.push_back(std::move(rows.target));
      }
    return result;
  };
  // Float kernels of ours and, where the machine has one, of a library. Kept values leave fusions out: those must not show.
  for (const std::optional<Isa> max_isa : {std::optional<Isa>(), std::optional(Isa::scalar)}) {
    const auto one = all(1, 1 << 30, max_isa);
    EXPECT_EQ(all(3, 1 << 30, max_isa), one);
    EXPECT_EQ(all(2, 1, max_isa), one) << "a pass for each layer";
  }
}

TEST(LayerInputsTest, PartOfAGraph) {
  const Graph graph = network();
  const Graph part = part_that_makes(graph, {"ar"});
  EXPECT_EQ(part.nodes.size(), 2U);
  EXPECT_EQ(part.outputs[0].name, "ar");
  EXPECT_FALSE(part.constant("w5"));
  verify(part);
}

}  // namespace
}  // namespace zeropoint::quant
