#include "engine/split.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ops/operator.h"

namespace zeropoint::engine {
namespace {

enum class Part : std::uint8_t { head, edge, rest };
using Names = std::unordered_set<std::string>;

bool is_planned(const TensorType& type) { return type.dtype != DType::undefined && type.shape && fixed(*type.shape); }

// A DequantizeLinear belongs to its readers, which take the integers: it goes where they go.
void sink_dequantizers(const Graph& graph, const ValueIndex& values, const Uses& uses, std::vector<Part>& parts) {
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (parts[i] != Part::head || node.op_type != "DequantizeLinear" || values.is_output(node.outputs[0])) continue;
    const auto readers = uses.consumers.find(node.outputs[0]);
    if (readers == uses.consumers.end()) continue;
    if (std::all_of(readers->second.begin(), readers->second.end(), [&](std::size_t r) { return parts[r] == Part::rest; }))
      parts[i] = Part::rest;
  }
}

Graph empty_like(const Graph& graph, const char* part) {
  Graph result;
  result.name = graph.name + part;
  result.opsets = graph.opsets;
  result.ir_version = graph.ir_version;
  return result;
}

void give_constants(const Graph& graph, const std::vector<std::string>& names, std::map<std::string, Tensor>& to) {
  for (const std::string& name : names)
    if (const Tensor* constant = graph.constant(name)) to.try_emplace(name, *constant);
}

}  // namespace

Split split(Graph graph) {
  const ValueIndex values(graph);
  std::vector<Part> parts(graph.nodes.size(), Part::head);
  Names later;  // made by edges and by the rest
  bool whole = true;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const auto read = values_read(node);
    if (std::any_of(read.begin(), read.end(), [&](const std::string& name) { return later.contains(name); })) {
      parts[i] = Part::rest;
    } else if (has_subgraph(node) || (ops::find(node) != nullptr &&
                                      std::any_of(node.outputs.begin(), node.outputs.end(), [&](const std::string& output) {
                                        return !output.empty() && !is_planned(values.type_of(output));
                                      }))) {
      parts[i] = Part::edge;
      whole = false;
    } else {
      continue;
    }
    later.insert(node.outputs.begin(), node.outputs.end());
  }
  Split result;
  if (whole) {
    result.head = std::move(graph);
    return result;
  }
  sink_dequantizers(graph, values, find_uses(graph), parts);

  result.head = empty_like(graph, "");
  result.rest = empty_like(graph, " (rest)");
  result.head.inputs = graph.inputs;
  std::unordered_map<std::string, Part> made_in;  // inputs of the graph are the head's
  for (const ValueInfo& input : graph.inputs) made_in[input.name] = Part::head;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (const std::string& output : graph.nodes[i].outputs)
      if (!output.empty()) made_in[output] = parts[i];

  Names head_outputs, rest_inputs, graph_inputs;
  for (const ValueInfo& input : graph.inputs) graph_inputs.insert(input.name);
  const auto need = [&](const std::string& name, bool by_rest) {
    const auto maker = made_in.find(name);
    if (maker == made_in.end()) return;  // a constant
    if (maker->second == Part::head && !graph_inputs.contains(name) && head_outputs.insert(name).second)
      result.head.outputs.push_back({name, values.type_of(name), {}});
    if (by_rest && maker->second != Part::rest && rest_inputs.insert(name).second)
      result.rest.inputs.push_back({name, values.type_of(name), {}});
  };
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const auto read = values_read(graph.nodes[i]);
    if (parts[i] != Part::head)
      for (const std::string& name : read) need(name, parts[i] == Part::rest);
    give_constants(graph, read,
                   parts[i] == Part::head   ? result.head.initializers
                   : parts[i] == Part::edge ? result.constants
                                            : result.rest.initializers);
  }
  for (const ValueInfo& output : graph.outputs) {
    need(output.name, true);
    give_constants(graph, {output.name}, result.rest.initializers);
  }
  result.rest.outputs = graph.outputs;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    Graph& part = parts[i] == Part::head ? result.head : result.rest;
    if (parts[i] == Part::head)
      for (const std::string& output : graph.nodes[i].outputs)
        if (const auto type = graph.types.find(output); type != graph.types.end()) part.types.insert(*type);
    if (parts[i] == Part::edge)
      result.edges.push_back(std::move(graph.nodes[i]));
    else
      part.nodes.push_back(std::move(graph.nodes[i]));
  }
  // A shape that data decides says nothing before the data are there; the rest infers anew.
  return result;
}

}  // namespace zeropoint::engine
