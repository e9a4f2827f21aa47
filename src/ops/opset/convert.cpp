#include "ops/opset/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ir/names.h"
#include "ops/operator.h"
#include "ops/opset/adapters.h"

namespace zeropoint::ops {
namespace {

// Whether any node needs to change: most raises only change the number.
bool needs_change(const Graph& graph, std::int64_t from, std::int64_t to) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    if (node.domain.empty())
      if (const auto* adapters = adapters_of(node.op_type))
        for (const Adapter& adapter : *adapters)
          if (adapter.version > from && adapter.version <= to) return true;
    return std::any_of(node.attributes.begin(), node.attributes.end(), [&](const auto& attribute) {
      const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute.second);
      return subgraph && *subgraph && needs_change(**subgraph, from, to);
    });
  });
}

// Every value that is read somewhere, by nodes or as the output of a graph, and all names of nodes.
void collect(const Graph& graph, std::unordered_set<std::string>& reads, std::unordered_set<std::string>& node_names) {
  for (const ValueInfo& output : graph.outputs) reads.insert(output.name);
  for (const Node& node : graph.nodes) {
    reads.insert(node.inputs.begin(), node.inputs.end());
    node_names.insert(node.name);
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
        collect(**subgraph, reads, node_names);
  }
}

// A graph with what shape inference found out about it, and the graphs around it.
struct Scope {
  const Graph& graph;
  const Scope* outer = nullptr;
  std::unordered_map<std::string_view, const TensorType*> types = {};

  Scope(const Graph& here, const Scope* around) : graph(here), outer(around) {
    for (const auto& [value, type] : graph.types) types.emplace(value, &type);
    for (const auto* list : {&graph.inputs, &graph.outputs})
      for (const ValueInfo& info : *list) types.emplace(info.name, &info.type);
  }
  TensorType type_of(const std::string& value) const {
    for (const Scope* scope = this; scope; scope = scope->outer) {
      if (const Tensor* constant = scope->graph.constant(value)) return {constant->dtype(), to_shape(constant->dims())};
      if (const auto found = scope->types.find(value); found != scope->types.end()) return *found->second;
    }
    return {};
  }
  const Tensor* constant_of(const std::string& value) const {
    for (const Scope* scope = this; scope; scope = scope->outer) {
      if (const Tensor* constant = scope->graph.constant(value)) return constant;
      if (scope->types.contains(value)) return nullptr;
    }
    return nullptr;
  }
};

class Converter {
 public:
  Converter(const Graph& graph, std::int64_t from, std::int64_t to) : from_(from), to_(to), names_(graph) {
    collect(graph, reads_, node_names_);
  }

  // `typed` is the graph after shape inference; the result keeps the types of `original`.
  Graph convert(const Graph& original, const Graph& typed, const Scope* outer) {
    const Scope scope(typed, outer);
    Graph result = original;
    result.nodes.clear();
    result.nodes.reserve(original.nodes.size());
    for (const Node& node : original.nodes) {
      Node copy = node;
      for (auto& [key, attribute] : copy.attributes)
        if (auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
          *subgraph = std::make_shared<const Graph>(convert(**subgraph, typed_subgraph(typed, node, key, **subgraph), &scope));
      add(std::move(copy), from_, scope, result);
    }
    return result;
  }

 private:
  // Shape inference keeps the nodes as they are, so the same node holds the subgraph's types.
  const Graph& typed_subgraph(const Graph& typed, const Node& node, const std::string& key, const Graph& otherwise) {
    if (typed_nodes_.find(&typed) == typed_nodes_.end())
      for (const Node& each : typed.nodes)
        if (!each.outputs.empty()) typed_nodes_[&typed].emplace(each.outputs[0], &each);
    if (node.outputs.empty()) return otherwise;
    const auto found = typed_nodes_[&typed].find(node.outputs[0]);
    if (found == typed_nodes_[&typed].end()) return otherwise;
    const Attribute* attribute = found->second->find(key);
    const auto* subgraph = attribute ? std::get_if<std::shared_ptr<const Graph>>(attribute) : nullptr;
    return subgraph && *subgraph ? **subgraph : otherwise;
  }

  // Puts the node, which is of version `version`, into `result` as of version to_.
  void add(Node node, std::int64_t version, const Scope& scope, Graph& result) {
    const auto* adapters = node.domain.empty() ? adapters_of(node.op_type) : nullptr;
    const auto adapter =
        adapters ? std::find_if(adapters->begin(), adapters->end(), [&](const Adapter& each) { return each.version > version; })
                 : std::vector<Adapter>::const_iterator();
    if (!adapters || adapter == adapters->end() || adapter->version > to_) {
      result.nodes.push_back(std::move(node));
      return;
    }
    if (node.outputs.empty() || node.outputs[0].empty())
      throw Error(ErrorCode::kBadModel, describe(node), "has no first output");
    Adaption at;
    at.node = std::move(node);
    at.type_of = [&](const std::string& value) { return scope.type_of(value); };
    at.constant_of = [&](const std::string& value) {
      const Tensor* added = result.constant(value);  // by an adapter before
      return added ? added : scope.constant_of(value);
    };
    at.is_read = [&](const std::string& value) { return reads_.contains(value); };
    at.fresh_name = [&](const std::string& base) { return names_.take(base); };
    at.fresh_node_name = [&](const std::string& base) {
      std::string name = base;
      for (int i = 1; !node_names_.insert(name).second; ++i) name = fmt::format("{}_{}", base, i);
      return name;
    };
    at.target = to_;
    at.add_constant = [&](const std::string& base, Tensor tensor) {
      const std::string name = names_.take(base);
      result.initializers.emplace(name, std::move(tensor));
      return name;
    };
    adapter->adapt(at);
    const std::int64_t now = adapter->version;
    for (Node& each : at.before) add(std::move(each), now, scope, result);
    if (!at.dropped) add(std::move(at.node), now, scope, result);
    for (Node& each : at.after) add(std::move(each), now, scope, result);
  }

  const std::int64_t from_, to_;
  NamePool names_;
  std::unordered_set<std::string> reads_, node_names_;
  std::unordered_map<const Graph*, std::unordered_map<std::string, const Node*>> typed_nodes_;
};

}  // namespace

std::int64_t ir_version_of(std::int64_t opset) {
  constexpr std::pair<std::int64_t, std::int64_t> kVersions[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9},
                                                                 {15, 8},  {12, 7},  {11, 6},  {10, 5},  {9, 4}};
  for (const auto& [from, ir] : kVersions)
    if (opset >= from) return ir;
  return 3;
}

bool convert_opset(Graph& graph, std::int64_t opset) {
  const std::int64_t from = graph.opset();
  if (from >= opset || from == 0) return false;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kUnsupported, "graph", fmt::format("it cannot go from opset {} to {}: {}", from, opset, why));
  };
  if (from < kOldestConvertible)
    refuse(fmt::format("conversion begins at opset {}; export the model with a newer one", kOldestConvertible));
  if (opset > kNewestConvertible) refuse(fmt::format("conversion ends at opset {}", kNewestConvertible));
  if (needs_change(graph, from, opset)) {
    Graph typed = graph;
    try {
      infer_shapes(typed);
    } catch (const Error&) {
      typed = graph;  // what is wrong is said where it matters; declared types are enough for most
    }
    graph = Converter(graph, from, opset).convert(graph, typed, nullptr);
    remove_unused_values(graph);
  }
  graph.opsets[""] = opset;
  graph.ir_version = std::max(graph.ir_version, ir_version_of(opset));
  return true;
}

}  // namespace zeropoint::ops
