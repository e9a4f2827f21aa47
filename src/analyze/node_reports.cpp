#include "analyze/node_reports.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ops/operator.h"
#include "quant/advice.h"
#include "quant/rule_matcher.h"

namespace zeropoint::analyze {
namespace {

// The step that makes `value`: named after the node itself or, where a step does several, after one in front of it. Of several
// the last, which is the one that the others wait for.
std::optional<std::size_t> step_making(const std::string& value, const Graph& graph, const Uses& uses,
                                       const std::map<std::string, std::size_t>& steps) {
  std::vector<std::string> open = {value};
  std::set<std::string> seen;
  std::optional<std::size_t> last, step;
  while (!open.empty()) {
    const std::string name = open.back();
    open.pop_back();
    const auto producer = uses.producer.find(name);
    if (!seen.insert(name).second || producer == uses.producer.end()) continue;
    const Node& node = graph.nodes[producer->second];
    if (const auto found = steps.find(quant::name_of(node)); found != steps.end()) {
      if (!last || producer->second > *last) step = found->second;
      last = std::max(last.value_or(0), producer->second);
    } else if (!node.is("DequantizeLinear")) {
      open.insert(open.end(), node.inputs.begin(), node.inputs.end());
    }
  }
  return step;
}

}  // namespace

std::vector<NodeReport> node_reports(const Graph& quantized, std::span<const StepInfo> steps) {
  std::vector<NodeReport> result;
  std::map<std::string, std::size_t> by_name;
  for (const StepInfo& step : steps) {
    by_name.emplace(step.name, result.size());
    result.push_back({.node = step.name, .op_type = step.op, .integer = step.integer, .macs = step.macs});
    // A sum has a value of its own, hence a row, whatever the instruction set.
    if (step.sum_node.empty() || !step.op.ends_with("+" + step.sum_op)) continue;
    result.back().op_type.resize(step.op.size() - step.sum_op.size() - 1);
    by_name.emplace(step.sum_node, result.size());
    result.push_back({.node = step.sum_node, .op_type = step.sum_op, .integer = step.integer});
  }
  const Uses uses = find_uses(quantized);
  for (const Node& node : quantized.nodes) {
    if (!node.is("QuantizeLinear") || quantized.constant(node.input(0))) continue;
    auto step = step_making(node.input(0), quantized, uses, by_name);
    if (const auto own = by_name.find(quant::name_of(node)); !step && own != by_name.end()) step = own->second;
    if (step && result[*step].value.empty()) result[*step].value = node.input(0);
  }
  return result;
}

std::vector<NodeReport> node_reports(const Graph& fused, const std::set<std::string>& integer_nodes,
                                     std::span<const FloatNode> left_in_float, const QParamsMap& qparams) {
  Graph shaped = fused;
  std::map<std::string, Dims> shapes;
  for (const ValueInfo& info : fused.inputs) {
    if (!info.type.shape || info.type.shape->empty()) continue;
    Shape shape = *info.type.shape;
    if (!shape.front().fixed()) shape.front() = 1;  // only the batch is ours to choose
    if (const auto dims = fixed_dims(shape)) shapes[info.name] = *dims;
  }
  ops::infer_shapes(shaped, shapes);
  const ValueIndex types(shaped);
  const Uses uses = find_uses(shaped);
  std::set<std::string> in_float;
  for (const FloatNode& node : left_in_float) in_float.insert(node.node);
  // What a node makes is quantized itself or behind the one node (an activation, say) that alone reads it.
  const auto quantized_value = [&](const Node& node) -> std::string {
    for (std::string value = node.outputs.empty() ? "" : node.outputs[0]; !value.empty();) {
      if (qparams.contains(value)) return value;
      const auto readers = uses.consumers.find(value);
      if (readers == uses.consumers.end() || readers->second.size() != 1 || types.is_output(value)) break;
      const Node& reader = shaped.nodes[readers->second.front()];
      if (reader.outputs.size() != 1 || integer_nodes.contains(quant::name_of(reader))) break;
      value = reader.outputs[0];
    }
    return "";
  };
  std::vector<NodeReport> result;
  std::set<std::string> claimed;
  for (const Node& node : shaped.nodes) {
    std::string value = quantized_value(node);
    if (!value.empty() && !claimed.insert(value).second) value.clear();  // it is the first node's of its chain
    const std::string& name = quant::name_of(node);
    const std::int64_t macs = quant::macs_with_bodies(types, node);
    const bool integer = integer_nodes.contains(name) || (macs == 0 && !in_float.contains(name));
    result.push_back({.node = name, .op_type = node.op_type, .value = std::move(value), .integer = integer, .macs = macs});
  }
  return result;
}

}  // namespace zeropoint::analyze
