// docs/passes/inline_branches.md
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "passes/passes.h"

namespace zeropoint::passes {
namespace {

using Renames = std::unordered_map<std::string, std::string>;

void rename(const Renames& renames, std::string& name) {
  if (const auto found = renames.find(name); found != renames.end()) name = found->second;
}

std::shared_ptr<const Graph> renamed(const Graph& body, const Renames& renames);

// What a node reads, in its subgraphs too.
void rename_reads(const Renames& renames, Node& node) {
  for (std::string& input : node.inputs) rename(renames, input);
  for (auto& [key, attribute] : node.attributes)
    if (auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute)) *body = renamed(**body, renames);
}

// A subgraph that captures renamed values. Its own names hide those outside.
std::shared_ptr<const Graph> renamed(const Graph& body, const Renames& renames) {
  Renames visible = renames;
  for (const ValueInfo& input : body.inputs) visible.erase(input.name);
  for (const auto& [name, tensor] : body.initializers) visible.erase(name);
  for (const Node& node : body.nodes)
    for (const std::string& output : node.outputs) visible.erase(output);
  auto result = std::make_shared<Graph>(body);
  for (Node& node : result->nodes) rename_reads(visible, node);
  for (ValueInfo& output : result->outputs) rename(visible, output.name);
  return result;
}

const Tensor* condition_of(const Graph& graph, const Node& node) {
  if (!node.is("If") || node.inputs.size() != 1) return nullptr;
  const Tensor* condition = graph.constant(node.inputs[0]);
  return condition != nullptr && condition->dtype() == DType::b8 && condition->size() == 1 ? condition : nullptr;
}

// Appends the branch's nodes to `nodes`; its constants and types go to the graph.
void inline_branch(const Graph& branch, const std::string& prefix, const Node& node, Graph& graph, std::vector<Node>& nodes) {
  std::unordered_set<std::string> made;  // by nodes of the branch
  for (const Node& inner : branch.nodes)
    for (const std::string& output : inner.outputs)
      if (!output.empty()) made.insert(output);
  Renames renames;
  // A result that a node of the branch makes takes the name that the If gave it.
  std::vector<std::size_t> copied;
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty()) continue;
    const std::string& result = branch.outputs[i].name;
    if (!made.contains(result) || !renames.emplace(result, node.outputs[i]).second) copied.push_back(i);
  }
  for (const std::string& name : made) renames.try_emplace(name, prefix + name);
  for (const auto& [name, tensor] : branch.initializers) {
    graph.initializers.insert_or_assign(prefix + name, tensor);
    renames.insert_or_assign(name, prefix + name);
  }
  for (const auto& [name, type] : branch.types)
    if (const auto found = renames.find(name); found != renames.end()) graph.types.try_emplace(found->second, type);
  for (Node inner : branch.nodes) {
    rename_reads(renames, inner);
    for (std::string& output : inner.outputs) rename(renames, output);
    nodes.push_back(std::move(inner));
  }
  for (const std::size_t i : copied) {
    std::string source = branch.outputs[i].name;
    rename(renames, source);
    nodes.push_back({.op_type = "Identity", .inputs = {source}, .outputs = {node.outputs[i]}});
  }
}

bool inline_outermost(Graph& graph) {
  bool changed = false;
  std::vector<Node> nodes;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const Tensor* condition = condition_of(graph, node);
    const char* which = condition == nullptr ? "" : condition->values<bool>()[0] ? "then_branch" : "else_branch";
    const Attribute* attribute = condition == nullptr ? nullptr : node.find(which);
    const auto* branch = attribute == nullptr ? nullptr : std::get_if<std::shared_ptr<const Graph>>(attribute);
    if (branch == nullptr || (*branch)->outputs.size() < node.outputs.size()) {
      if (changed) nodes.push_back(std::move(graph.nodes[i]));
      continue;
    }
    if (!changed) nodes.assign(std::make_move_iterator(graph.nodes.begin()), std::make_move_iterator(graph.nodes.begin() + i));
    changed = true;
    // Named by the If's result, which no other value has, and by the branch: what another plan may find under a name that
    // was packed before is the same.
    std::string prefix;
    for (const std::string& output : node.outputs)
      if (prefix.empty()) prefix = output;
    inline_branch(**branch, prefix + (which[0] == 't' ? "/then/" : "/else/"), node, graph, nodes);
  }
  if (changed) graph.nodes = std::move(nodes);
  return changed;
}

}  // namespace

bool inline_branches(Graph& graph) {
  bool changed = false;
  while (inline_outermost(graph)) changed = true;
  return changed;
}

}  // namespace zeropoint::passes
