// For tests: networks of random constants whose channels differ wildly, and whether two graphs compute the same.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ops/operator.h"
#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint {

inline Tensor random_tensor(Dims dims, std::mt19937& random, float spread = 1) {
  Tensor tensor(DType::f32, std::move(dims));
  std::normal_distribution<float> normal(0, spread);
  for (float& value : tensor.mutable_values<float>()) value = normal(random);
  return tensor;
}

// The graph of a text in which names of undefined values that end in dimensions (w_4x3x1x1) stand for random constants. Each
// first index has a magnitude of its own, 2^-wild ... 2^wild.
inline Graph filled(const std::string& text, unsigned seed, float wild = 3) {
  Graph graph = parse_graph("ir_version 8\nopset 17\n" + text);
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> exponent(-wild, wild);
  std::set<std::string> known;
  for (const ValueInfo& input : graph.inputs) known.insert(input.name);
  for (const Node& node : graph.nodes) {
    for (const std::string& input : node.inputs) {
      if (input.empty() || known.contains(input) || graph.initializers.contains(input)) continue;
      Dims dims;
      std::string digits = input.substr(input.rfind('_') + 1) + "x";
      for (std::size_t at = 0; at < digits.size();) {
        const std::size_t end = digits.find('x', at);
        dims.push_back(std::stoll(digits.substr(at, end - at)));
        at = end + 1;
      }
      Tensor tensor = random_tensor(dims, random);
      const std::size_t each = static_cast<std::size_t>(tensor.size() / dims[0]);
      const auto values = tensor.mutable_values<float>();
      float magnitude = 1;
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (i % each == 0) magnitude = std::exp2(exponent(random));
        values[i] = input[0] == 'p' ? 0.1F + 0.3F * std::abs(values[i]) : values[i] * magnitude;  // p: positive
      }
      graph.initializers[input] = std::move(tensor);
    }
    known.insert(node.outputs.begin(), node.outputs.end());
  }
  verify(graph);
  ops::infer_shapes(graph);
  return graph;
}

class RandomNetwork {
 public:
  explicit RandomNetwork(unsigned seed) : random_(seed), seed_(seed) {}

  Graph graph() {
    text_ = "graph g(x: f32[1,3,7,7]) -> (y: f32[1,5]) {\n  six = f32[]{6}\n  zero = f32[]{0}\n";
    std::string v = convolution("x", 1);
    for (int i = 3 + below(5); i > 0; --i) v = block(v);
    v = node("GlobalAveragePool", v);
    v = node("Flatten", v, " {axis=1}");
    const int inner = 4 + below(5), rows = channels_;
    v = below(2) ? node("Gemm", fmt::format("{}, w{}_{}x{}, b{}_{}", v, id_, inner, rows, id_, inner), " {transB=1}")
                 : node("Add", fmt::format("b{}_{}, {}", id_ + 1, inner,
                                           node("MatMul", fmt::format("{}, w{}_{}x{}", v, id_, rows, inner))));
    if (below(2))
      v = node("LayerNormalization", fmt::format("{}, w{}_{}, b{}_{}", v, id_, inner, id_, inner));
    else if (below(2))
      v = node("Relu", v);
    text_ += fmt::format("  y = Gemm({}, w_{}x5, b_5)\n}}\n", v, inner);
    return filled(text_, seed_);
  }

 private:
  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  std::string node(const std::string& type, const std::string& inputs, const std::string& attributes = "") {
    const std::string name = fmt::format("v{}", id_++);
    text_ += fmt::format("  {} = {}({}){}\n", name, type, inputs, attributes);
    return name;
  }
  // `groups` 0: one for each channel.
  std::string convolution(const std::string& v, int groups, int outputs = 0) {
    const int inputs = v == "x" ? 3 : channels_;
    if (groups == 0) groups = inputs;
    const int taps = below(2) ? 3 : 1;
    channels_ = outputs > 0 ? outputs : (groups == inputs ? inputs : 4 + 2 * below(4));
    return node("Conv",
                fmt::format("{}, w{}_{}x{}x{}x{}, b{}_{}", v, id_, channels_, inputs / groups, taps, taps, id_, channels_),
                fmt::format(" {{group={}, pads=[{},{},{},{}]}}", groups, taps / 2, taps / 2, taps / 2, taps / 2));
  }
  std::string activation(const std::string& v) {
    switch (below(7)) {
      case 0:
        return node("LeakyRelu", v);
      case 1:
        return node("PRelu", fmt::format("{}, p{}_{}x1x1", v, id_, channels_));
      case 2:
        return node("Clip", v + ", zero, six");
      case 3:
        return v;
      case 4:
        return below(3) ? v : node("Sigmoid", v);
      default:
        return node("Relu", v);
    }
  }
  std::string block(std::string v) {
    switch (below(9)) {
      case 0:
        return activation(convolution(v, 0));
      case 1:
        return activation(convolution(v, channels_ % 2 == 0 ? 2 : 1, 6));
      case 2: {
        const int kept = channels_;
        const std::string inner = activation(convolution(v, 1));
        return activation(node("Add", fmt::format("{}, {}", v, convolution(inner, 1, kept))));
      }
      case 3:
        return node("MaxPool", v, " {kernel_shape=[3,3], pads=[1,1,1,1]}");
      case 4:
        return node("Add", fmt::format("{}, b{}_{}x1x1", v, id_, channels_));
      case 5: {
        const int outputs = 3 + below(4);
        v = node("ConvTranspose", fmt::format("{}, w{}_{}x{}x1x1, b{}_{}", v, id_, channels_, outputs, id_, outputs));
        channels_ = outputs;
        return activation(v);
      }
      default:
        return activation(convolution(v, 1));
    }
  }

  std::mt19937 random_;
  unsigned seed_;
  std::string text_;
  int channels_ = 3, id_ = 0;
};
inline Graph random_network(unsigned seed) { return RandomNetwork(seed).graph(); }

// Standard normal numbers for every input.
class RandomSamples : public Samples {
 public:
  RandomSamples(const Graph& graph, std::size_t count, unsigned seed) : inputs_(graph.inputs), count_(count), seed_(seed) {}
  std::size_t size() const override { return count_; }
  Feeds get(std::size_t index) const override {
    std::mt19937 random(seed_ * 1000 + static_cast<unsigned>(index));
    Feeds feeds;
    for (const ValueInfo& input : inputs_) feeds[input.name] = random_tensor(*fixed_dims(*input.type.shape), random);
    return feeds;
  }

 private:
  std::vector<ValueInfo> inputs_;
  std::size_t count_;
  unsigned seed_;
};

inline void expect_same_floats(const Graph& a, const Graph& b, const Samples& samples, double tolerance = 1e-5) {
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::vector<Tensor> exact = ops::evaluate(a, samples.get(i)), other = ops::evaluate(b, samples.get(i));
    ASSERT_EQ(exact.size(), other.size());
    for (std::size_t k = 0; k < exact.size(); ++k) {
      ASSERT_EQ(exact[k].dims(), other[k].dims());
      const auto x = exact[k].values<float>(), y = other[k].values<float>();
      double largest = 0, worst = 0;
      for (std::size_t e = 0; e < x.size(); ++e) {
        largest = std::max(largest, std::abs(static_cast<double>(x[e])));
        worst = std::max(worst, std::abs(static_cast<double>(x[e]) - static_cast<double>(y[e])));
      }
      EXPECT_LE(worst, tolerance * largest) << "sample " << i << ", output " << k;
    }
  }
}
inline void expect_same_floats(const Graph& a, const Graph& b, unsigned seed) {
  expect_same_floats(a, b, RandomSamples(a, 3, seed + 77));
}

}  // namespace zeropoint
