// Who makes and who reads the values of a graph, and what follows from it: order of the nodes and values nobody needs.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory_resource>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ir/sort.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

// Calls visit(value) for every value that the node reads, those that its subgraphs take from outside included.
template <class Visit>
void visit_reads(const Node& node, const Visit& visit) {
  for (const std::string& value : node.inputs)
    if (!value.empty()) visit(value);
  for (const auto& [key, attribute] : node.attributes)
    if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
      for (const std::string& value : outer_names(**subgraph)) visit(value);
}

// Depth first over the producers, each node right after the last of them, starting from the nodes in their present order: an
// order that is right already stays, and a node put at the end for an earlier reader moves right before that reader. The stack
// is explicit because a chain may have a million nodes.
std::vector<std::size_t> sorted_order(const Graph& graph, const std::vector<std::vector<std::size_t>>& needs) {
  enum class State : std::uint8_t { kNew, kOpen, kDone };
  std::vector<State> state(graph.nodes.size(), State::kNew);
  std::vector<std::size_t> order;
  order.reserve(graph.nodes.size());
  std::vector<std::pair<std::size_t, std::size_t>> open;  // node, next of its needs
  for (std::size_t start = 0; start < graph.nodes.size(); ++start) {
    if (state[start] != State::kNew) continue;
    open.emplace_back(start, 0);
    state[start] = State::kOpen;
    while (!open.empty()) {
      auto& [node, next] = open.back();
      if (next == needs[node].size()) {
        state[node] = State::kDone;
        order.push_back(node);
        open.pop_back();
        continue;
      }
      const std::size_t needed = needs[node][next++];
      if (state[needed] == State::kDone) continue;
      if (state[needed] == State::kOpen)
        throw Error(ErrorCode::kBadModel, describe(graph.nodes[needed]), "needs its own output: the graph has a cycle");
      open.emplace_back(needed, 0);
      state[needed] = State::kOpen;
    }
  }
  return order;
}

void sort(Graph& graph, bool is_subgraph) {
  std::pmr::monotonic_buffer_resource memory;  // a graph may have a million names
  std::pmr::unordered_map<std::string_view, std::size_t> producer(&memory);
  producer.reserve(graph.nodes.size() + graph.inputs.size() + graph.initializers.size());
  for (const ValueInfo& info : graph.inputs) producer.emplace(info.name, kNone);
  for (const auto& [value, tensor] : graph.initializers) producer.emplace(value, kNone);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (const std::string& output : graph.nodes[i].outputs)
      if (!output.empty() && !producer.emplace(output, i).second)
        throw Error(ErrorCode::kBadModel, describe(graph.nodes[i]),
                    fmt::format("its output '{}' is defined a second time", output));

  std::vector<std::vector<std::size_t>> needs(graph.nodes.size());
  bool sorted = true;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    visit_reads(graph.nodes[i], [&](const std::string& value) {
      const auto found = producer.find(value);
      if (found == producer.end()) {
        if (is_subgraph) return;  // of an outer graph
        throw Error(ErrorCode::kBadModel, describe(graph.nodes[i]), fmt::format("its input '{}' is defined nowhere", value));
      }
      if (found->second == kNone) return;
      needs[i].push_back(found->second);
      if (found->second >= i) sorted = false;
    });
  }
  if (sorted) return;
  const std::vector<std::size_t> order = sorted_order(graph, needs);
  std::vector<Node> nodes;
  nodes.reserve(order.size());
  for (const std::size_t i : order) nodes.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(nodes);
}

}  // namespace

std::set<std::string> outer_names(const Graph& subgraph) {
  std::unordered_set<std::string_view> own;
  for (const ValueInfo& info : subgraph.inputs) own.insert(info.name);
  for (const auto& [value, tensor] : subgraph.initializers) own.insert(value);
  for (const Node& node : subgraph.nodes) own.insert(node.outputs.begin(), node.outputs.end());
  std::set<std::string> outer;
  const auto add = [&](const std::string& value) {
    if (!own.contains(value)) outer.insert(value);
  };
  for (const Node& node : subgraph.nodes) visit_reads(node, add);
  for (const ValueInfo& info : subgraph.outputs)
    if (!info.name.empty()) add(info.name);
  return outer;
}

std::vector<std::string> values_read(const Node& node) {
  std::vector<std::string> result;
  std::unordered_set<std::string> seen;
  visit_reads(node, [&](const std::string& value) {
    if (seen.insert(value).second) result.push_back(value);
  });
  return result;
}

bool has_subgraph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(), [](const auto& attribute) {
    return std::holds_alternative<std::shared_ptr<const Graph>>(attribute.second);
  });
}

Uses find_uses(const Graph& graph) {
  Uses uses;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const std::string& output : graph.nodes[i].outputs)
      if (!output.empty()) uses.producer.emplace(output, i);
    visit_reads(graph.nodes[i], [&](const std::string& value) {
      std::vector<std::size_t>& readers = uses.consumers[value];
      if (readers.empty() || readers.back() != i) readers.push_back(i);
    });
  }
  return uses;
}

void sort_nodes(Graph& graph) { sort(graph, false); }
void sort_subgraph_nodes(Graph& subgraph) { sort(subgraph, true); }

void remove_unused_values(Graph& graph) {
  std::pmr::monotonic_buffer_resource memory;
  std::pmr::unordered_set<std::string_view> read(&memory), named(&memory);
  std::set<std::string> outer;  // what subgraphs read
  read.reserve(graph.nodes.size());
  named.reserve(graph.nodes.size());
  for (const Node& node : graph.nodes) {
    for (const std::string& value : node.inputs) read.insert(value);
    if (has_subgraph(node)) visit_reads(node, [&](const std::string& value) { outer.insert(value); });
    named.insert(node.outputs.begin(), node.outputs.end());
  }
  read.insert(outer.begin(), outer.end());
  for (const ValueInfo& info : graph.outputs) read.insert(info.name);
  read.erase("");
  for (const ValueInfo& info : graph.inputs) named.insert(info.name);
  std::erase_if(graph.initializers, [&](const auto& entry) { return !read.contains(entry.first); });
  std::erase_if(graph.initializer_extras, [&](const auto& entry) { return !graph.initializers.contains(entry.first); });
  const auto unnamed = [&](const auto& entry) { return !read.contains(entry.first) && !named.contains(entry.first); };
  std::erase_if(graph.types, unnamed);
  std::erase_if(graph.type_extras, unnamed);
}

}  // namespace zeropoint
