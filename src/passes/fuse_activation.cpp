// docs/passes/fuse_activation.md
#include <algorithm>
#include <limits>
#include <optional>

#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kLargest = std::numeric_limits<float>::max();

// Clamping to [low, high], whatever operator says it. Limits of the whole fp32 range count as none.
struct Clamp {
  float low = -kInfinity, high = kInfinity;
  friend bool operator==(const Clamp&, const Clamp&) = default;
};

std::optional<Clamp> clamp_of(const Graph& graph, const ValueIndex& values, const Node& node) {
  if (!node.is("Relu") && !node.is("Clip") && !node.is("Max") && !node.is("Min")) return std::nullopt;
  if (values.type_of(node.input(0)).dtype != DType::f32) return std::nullopt;
  Clamp clamp;
  if (node.op_type == "Relu") {
    clamp.low = 0;
  } else if (node.op_type == "Clip") {
    clamp.low = node.get_float("min", -kInfinity);
    clamp.high = node.get_float("max", kInfinity);
    for (std::size_t i = 1; i < 3; ++i) {
      if (node.input(i).empty()) continue;
      const auto limit = constant_scalar(graph, node.input(i));
      if (!limit) return std::nullopt;
      (i == 1 ? clamp.low : clamp.high) = *limit;
    }
  } else if ((node.op_type == "Max" || node.op_type == "Min") && node.inputs.size() == 2) {
    const auto limit = constant_scalar(graph, node.inputs[1]);
    if (!limit || graph.constant(node.inputs[1])->rank() > 0) return std::nullopt;
    (node.op_type == "Max" ? clamp.low : clamp.high) = *limit;
  } else {
    return std::nullopt;
  }
  if (clamp.low == -kLargest) clamp.low = -kInfinity;
  if (clamp.high == kLargest) clamp.high = kInfinity;
  if (!(clamp.low <= clamp.high)) return std::nullopt;  // NaN, or crossed limits: left alone
  return clamp;
}

// What a producer's results never leave.
Clamp range_of(const Graph& graph, const ValueIndex& values, const Node* producer) {
  if (producer == nullptr || !producer->domain.empty()) return {};
  if (const auto clamp = clamp_of(graph, values, *producer)) return *clamp;
  const std::string& type = producer->op_type;
  if (type == "Sigmoid" || type == "HardSigmoid" || type == "Softmax") return {0, 1};
  if (type == "Exp" || type == "Abs" || type == "Sqrt" || type == "Softplus") return {0, kInfinity};
  if (type == "Tanh" || type == "Erf") return {-1, 1};
  return {};
}

// Writes the node as Relu or Clip; true when that changed it.
bool write(Graph& graph, const ValueIndex& values, Rewrite& rewrite, Node& node, const Clamp& clamp) {
  const std::vector<std::string> input = {node.inputs[0]};
  if (clamp == Clamp{0, kInfinity}) {
    if (node.op_type == "Relu") return false;
    node.op_type = "Relu";
    node.inputs = input;
    node.attributes.clear();
    return true;
  }
  if (node.op_type == "Clip" && clamp_of(graph, values, node) == clamp) return false;
  node.op_type = "Clip";
  node.inputs = input;
  node.attributes.clear();
  const bool by_attribute = graph.opset() < 11;
  const auto set = [&](const char* name, std::size_t position, float limit) {
    if (limit == -kInfinity || limit == kInfinity) return;
    if (by_attribute) {
      node.attributes[name] = limit;
      return;
    }
    node.inputs.resize(position + 1);
    node.inputs[position] = rewrite.fresh_name(node.outputs[0] + "_" + name);
    graph.initializers.emplace(node.inputs[position], Tensor::scalar(limit));
  };
  set("min", 1, clamp.low);
  set("max", 2, clamp.high);
  return true;
}

// Max and Min take their operands in any order; the constant goes last.
void constant_last(const Graph& graph, Node& node) {
  if ((node.is("Max") || node.is("Min")) && node.inputs.size() == 2 && graph.constant(node.inputs[0]) != nullptr)
    std::swap(node.inputs[0], node.inputs[1]);
}

}  // namespace

bool fuse_activation(Graph& graph) {
  Rewrite rewrite(graph);
  const ValueIndex values(graph);
  for (Node& node : graph.nodes) {
    constant_last(graph, node);
    const auto own = clamp_of(graph, values, node);
    if (!own) continue;
    const Node* producer = rewrite.producer(node.inputs[0]);
    const Clamp range = range_of(graph, values, producer);
    // It cannot act.
    if (own->low <= range.low && own->high >= range.high && rewrite.bypass(node, node.inputs[0])) continue;
    Clamp clamp = *own;
    // Two in a row are one where their intervals meet, and the first has no other reader.
    const auto first = producer == nullptr ? std::nullopt : clamp_of(graph, values, *producer);
    if (first && rewrite.is_private(node.inputs[0]) && std::max(first->low, clamp.low) <= std::min(first->high, clamp.high)) {
      clamp = {std::max(first->low, clamp.low), std::min(first->high, clamp.high)};
      if (rewrite.bypass(*rewrite.producer(node.inputs[0]), producer->inputs[0])) node.inputs[0] = producer->inputs[0];
    }
    if (write(graph, values, rewrite, node, clamp)) rewrite.changed();
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
