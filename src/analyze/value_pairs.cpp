#include "analyze/value_pairs.h"

#include <algorithm>
#include <map>

namespace zeropoint::analyze {

std::vector<ValuePair> pair_values(const Graph& float_graph, const Graph& quantized) {
  std::map<std::string, std::size_t> order;  // values of the float graph
  for (const ValueInfo& info : float_graph.inputs) order.emplace(info.name, order.size());
  for (const Node& node : float_graph.nodes)
    for (const std::string& output : node.outputs)
      if (!output.empty()) order.emplace(output, order.size());

  std::map<std::string, std::string> quantized_from;  // output of QuantizeLinear -> its input
  std::vector<ValuePair> pairs;
  for (const Node& node : quantized.nodes) {
    if (node.outputs.empty()) continue;
    if (node.is("QuantizeLinear")) quantized_from[node.outputs[0]] = node.input(0);
    if (!node.is("DequantizeLinear")) continue;
    const auto source = quantized_from.find(node.input(0));
    if (source == quantized_from.end()) continue;  // a weight
    for (const std::string& name : {source->second, node.outputs[0]})
      if (order.contains(name)) {
        pairs.push_back({name, node.outputs[0]});
        break;
      }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](const ValuePair& a, const ValuePair& b) { return order.at(a.in_float) < order.at(b.in_float); });
  return pairs;
}

}  // namespace zeropoint::analyze
