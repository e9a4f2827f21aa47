#include "analyze/value_pairs.h"

#include <algorithm>
#include <map>
#include <set>

#include "ops/operator.h"

namespace zeropoint::analyze {

std::vector<ValuePair> pair_values(const Graph& float_graph, const Graph& quantized) {
  std::map<std::string, std::size_t> order;  // values of the float graph
  for (const ValueInfo& info : float_graph.inputs) order.emplace(info.name, order.size());
  for (const Node& node : float_graph.nodes)
    for (const std::string& output : node.outputs)
      if (!output.empty()) order.emplace(output, order.size());

  std::map<std::string, std::string> quantized_from;  // output of QuantizeLinear -> its input
  std::map<std::string, std::string> clipped_from;    // to the levels of a few bits: not a Clip of the float graph
  std::vector<ValuePair> pairs;
  for (const Node& node : quantized.nodes) {
    if (node.outputs.empty()) continue;
    if (node.is("Clip") && !order.contains(node.outputs[0])) clipped_from[node.outputs[0]] = node.input(0);
    if (node.is("QuantizeLinear")) {
      const auto clip = clipped_from.find(node.input(0));
      quantized_from[node.outputs[0]] = clip == clipped_from.end() ? node.input(0) : clip->second;
    }
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

namespace {

// Whether all that reads a value is, at most behind a bias, an activation and a Clip to few levels, a quantizer.
bool leads_to_quantizer(const Graph& graph, const Uses& uses, std::string value) {
  constexpr int kMostBetween = 3;
  for (int i = 0; i <= kMostBetween; ++i) {
    const auto readers = uses.consumers.find(value);
    if (readers == uses.consumers.end()) return false;
    const Node& reader = graph.nodes[readers->second.front()];
    if (reader.is("QuantizeLinear")) return true;
    if (readers->second.size() != 1 || !(reader.is("Add") || reader.is("Relu") || reader.is("Clip"))) return false;
    value = reader.outputs[0];
  }
  return false;
}

}  // namespace

std::vector<ValuePair> pair_float_values(const Graph& float_graph, const Graph& quantized) {
  Graph a = float_graph, b = quantized;
  ops::infer_shapes(a);
  ops::infer_shapes(b);
  const ValueIndex in_float(a), in_quantized(b);
  const Uses uses = find_uses(b);
  std::set<std::string> paired;
  for (const ValuePair& pair : pair_values(float_graph, quantized)) paired.insert(pair.in_float);
  std::vector<ValuePair> pairs;
  for (const Node& node : a.nodes)
    for (const std::string& value : node.outputs) {
      if (value.empty() || paired.contains(value) || in_float.is_output(value) || !uses.producer.contains(value)) continue;
      if (in_float.type_of(value).dtype != DType::f32 || in_quantized.type_of(value).dtype != DType::f32) continue;
      if (!leads_to_quantizer(b, uses, value)) pairs.push_back({value, value});
    }
  return pairs;
}

std::vector<float> row_major(const TapView& view) {
  std::vector<float> values(view.values.begin(), view.values.end());
  if (!view.channel_last || view.dims.size() < 3) return values;
  const auto batch = static_cast<std::size_t>(view.dims[0]), channels = static_cast<std::size_t>(view.dims[1]);
  const std::size_t places = batch * channels == 0 ? 0 : values.size() / (batch * channels);
  for (std::size_t n = 0; n < batch; ++n)
    for (std::size_t place = 0; place < places; ++place)
      for (std::size_t c = 0; c < channels; ++c)
        values[(n * channels + c) * places + place] = view.values[(n * places + place) * channels + c];
  return values;
}

}  // namespace zeropoint::analyze
