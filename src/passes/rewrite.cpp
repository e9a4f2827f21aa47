#include "passes/rewrite.h"

#include <memory>
#include <utility>

namespace zeropoint::passes {

Rewrite::Rewrite(Graph& graph) : graph_(graph), dropped_(graph.nodes.size(), false) {
  for (const ValueInfo& input : graph.inputs) names_.insert(input.name);
  for (const auto& [name, tensor] : graph.initializers) names_.insert(name);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const std::string& output : node.outputs) {
      names_.insert(output);
      if (!output.empty()) producer_[output] = i;
    }
    for (const std::string& input : node.inputs)
      if (!input.empty()) ++reads_[input];
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph != nullptr && *subgraph)
        for (const std::string& outer : outer_names(**subgraph)) {
          pinned_.insert(outer);
          ++reads_[outer];
        }
  }
  for (const ValueInfo& output : graph.outputs) {
    pinned_.insert(output.name);
    ++reads_[output.name];
  }
}

Node* Rewrite::producer(const std::string& value) {
  const auto found = producer_.find(resolve(value));
  return found == producer_.end() || dropped_[found->second] ? nullptr : &graph_.nodes[found->second];
}

std::size_t Rewrite::reads(const std::string& value) {
  const auto found = reads_.find(resolve(value));
  return found == reads_.end() ? 0 : found->second;
}

std::string Rewrite::fresh_name(const std::string& base) {
  std::string name = base;
  for (int i = 1; !names_.insert(name).second; ++i) name = base + "_" + std::to_string(i);
  return name;
}

std::string Rewrite::replace_initializer(const std::string& old, Tensor tensor) {
  const bool own = is_private(old);
  const std::string name = own ? old : fresh_name(old);
  if (!own) {
    --reads_[old];
    reads_[name] = 1;
  }
  graph_.initializers.insert_or_assign(name, std::move(tensor));
  if (own) graph_.types.erase(name);
  changed_ = true;
  return name;
}

bool Rewrite::bypass(Node& node, const std::string& input) {
  const std::string output = node.outputs[0], source = resolve(input);
  if (!pinned(output)) {
    renamed_[output] = source;
    reads_[source] += reads_[output];
  } else {
    Node* maker = producer(source);
    if (maker == nullptr || pinned(source)) return false;
    for (std::string& made : maker->outputs)
      if (made == source) made = output;
    producer_[output] = index(*maker);
    reads_[output] += reads_[source];
    renamed_[source] = output;
  }
  drop(node);
  return true;
}

void Rewrite::drop(const Node& node) {
  for (const std::string& input : node.inputs)
    if (!input.empty()) --reads_[resolve(input)];
  dropped_[index(node)] = true;
  changed_ = true;
}

void Rewrite::set_input(Node& node, std::size_t position, const std::string& value) {
  --reads_[resolve(node.inputs[position])];
  node.inputs[position] = resolve(value);
  ++reads_[node.inputs[position]];
  changed_ = true;
}

void Rewrite::take_output(Node& to, const Node& from) {
  drop(from);
  to.outputs[0] = from.outputs[0];
  producer_[to.outputs[0]] = index(to);
}

const std::string& Rewrite::resolve(const std::string& value) {
  auto found = renamed_.find(value);
  if (found == renamed_.end()) return value;
  const std::string* last = &found->second;
  std::vector<std::string*> path = {&found->second};
  for (found = renamed_.find(*last); found != renamed_.end(); found = renamed_.find(*last)) {
    last = &found->second;
    path.push_back(&found->second);
  }
  for (std::string* name : path)
    if (name != last) *name = *last;  // later look-ups take one step
  return *last;
}

bool Rewrite::finish() {
  if (!changed_) return false;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (dropped_[i]) continue;
    if (kept != i) graph_.nodes[kept] = std::move(graph_.nodes[i]);
    for (std::string& input : graph_.nodes[kept].inputs)
      if (!input.empty() && renamed_.contains(input)) input = std::string(resolve(input));
    ++kept;
  }
  graph_.nodes.resize(kept);
  remove_unused_values(graph_);
  return true;
}

std::optional<float> constant_scalar(const Graph& graph, const std::string& value) {
  const Tensor* tensor = value.empty() ? nullptr : graph.constant(value);
  if (tensor == nullptr || tensor->dtype() != DType::f32 || tensor->size() != 1) return std::nullopt;
  return tensor->values<float>()[0];
}

}  // namespace zeropoint::passes
