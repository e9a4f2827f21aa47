// docs/passes/remove_dead_code.md
#include <algorithm>
#include <memory>
#include <memory_resource>
#include <set>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "passes/passes.h"

namespace zeropoint::passes {

bool remove_dead_code(Graph& graph) {
  std::pmr::monotonic_buffer_resource memory;  // a graph may have a million values
  std::pmr::unordered_set<std::string_view> needed(&memory);
  std::vector<std::set<std::string>> outer;  // what subgraphs read
  needed.reserve(graph.nodes.size());
  for (const ValueInfo& output : graph.outputs) needed.insert(output.name);
  std::vector<bool> live(graph.nodes.size(), false);
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {  // readers stand behind their producers
    const Node& node = graph.nodes[i];
    for (const std::string& output : node.outputs) live[i] = live[i] || needed.contains(output);
    if (!live[i]) continue;
    for (const std::string& input : node.inputs)
      if (!input.empty()) needed.insert(input);
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph != nullptr && *subgraph)
        for (const std::string& name : outer.emplace_back(outer_names(**subgraph))) needed.insert(name);
  }
  const std::size_t nodes = graph.nodes.size(), values = graph.initializers.size() + graph.types.size();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < nodes; ++i) {
    if (!live[i]) continue;
    if (kept != i) graph.nodes[kept] = std::move(graph.nodes[i]);
    ++kept;
  }
  graph.nodes.resize(kept);
  // Most often there is nothing to remove, which is quickly seen where each value with a type is read.
  const auto read = [&](const auto& entry) { return needed.contains(entry.first); };
  if (kept == nodes && std::ranges::all_of(graph.initializers, read) && std::ranges::all_of(graph.types, read) &&
      graph.initializer_extras.empty() && graph.type_extras.empty())
    return false;
  remove_unused_values(graph);
  return kept != nodes || graph.initializers.size() + graph.types.size() != values;
}

}  // namespace zeropoint::passes
