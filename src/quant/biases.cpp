#include "quant/biases.h"

#include <algorithm>
#include <utility>

namespace zeropoint::quant {

void set_bias(Graph& graph, const Uses& uses, std::size_t node, const std::string& bias, const std::vector<float>& values) {
  const bool product = graph.nodes[node].is("MatMul");
  const std::string name = unused_name(graph, (bias.empty() ? graph.nodes[node].outputs[0] + "_bias" : bias) + "_corrected");
  graph.initializers.emplace(name, Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values));
  if (product) {
    Node& add = graph.nodes[uses.consumers.find(graph.nodes[node].outputs[0])->second.front()];
    std::replace(add.inputs.begin(), add.inputs.end(), bias, name);
    return;
  }
  Node& changed = graph.nodes[node];
  changed.inputs.resize(std::max<std::size_t>(changed.inputs.size(), 3));
  changed.inputs[2] = name;
}

std::vector<float> bias_values(const Graph& graph, const std::string& bias, std::size_t channels) {
  std::vector<float> values(channels, 0.0F);
  if (bias.empty()) return values;
  const auto old = graph.constant(bias)->values<float>();
  for (std::size_t o = 0; o < channels; ++o) values[o] = old[old.size() == 1 ? 0 : o];
  return values;
}

}  // namespace zeropoint::quant
