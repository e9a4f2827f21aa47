#include "passes/rewrite.h"

#include <memory>
#include <utility>

namespace zeropoint::passes {

void Rewrite::make_index() {
  indexed_ = true;
  values_.reserve(graph_.inputs.size() + graph_.initializers.size() + graph_.nodes.size());
  for (const ValueInfo& input : graph_.inputs) entry(input.name);
  for (const auto& [name, tensor] : graph_.initializers) {
    entry(name);
    bytes_ += tensor.byte_size();
  }
  constexpr std::size_t kLeastWork = std::size_t{64} << 20, kTimes = 8;
  work_left_ = kLeastWork + kTimes * bytes_;
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (dropped_[i]) continue;
    const Node& node = graph_.nodes[i];
    for (const std::string& output : node.outputs)
      if (!output.empty()) entry(output).producer = i;
    for (const std::string& input : node.inputs)
      if (!input.empty()) ++entry(input).reads;
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph != nullptr && *subgraph)
        for (const std::string& outer : outer_names(**subgraph)) {
          Value& value = entry(outer);
          value.pinned = true;
          ++value.reads;
        }
  }
  for (const ValueInfo& output : graph_.outputs) {
    Value& value = entry(output.name);
    value.pinned = true;
    ++value.reads;
  }
}

Rewrite::Value& Rewrite::entry(const std::string& name) {
  const auto [found, is_new] = values_.try_emplace(name);
  if (is_new) found->second.name = &found->first;
  return found->second;
}

Rewrite::Value& Rewrite::at(const std::string& value) {
  if (!indexed_) make_index();
  return last(entry(value));
}

Rewrite::Value& Rewrite::last(Value& value) {
  Value* end = &value;
  while (end->renamed != nullptr) end = end->renamed;
  for (Value* step = &value; step != end;) {  // later look-ups take one step
    Value* next = step->renamed;
    step->renamed = end;
    step = next;
  }
  return *end;
}

Node* Rewrite::producer(const std::string& value) { return producer_of(at(value)); }

Node* Rewrite::producer_of(const Value& value) const {
  return value.producer == kNoNode || dropped_[value.producer] ? nullptr : &graph_.nodes[value.producer];
}

std::size_t Rewrite::reads(const std::string& value) { return at(value).reads; }

std::string Rewrite::fresh_name(const std::string& base) {
  if (!indexed_) make_index();
  std::string name = base;
  // Where the last search for this base ended: shared weights ask thousands of times.
  for (std::size_t& i = suffix_[base]; values_.contains(name);) name = base + "_" + std::to_string(++i);
  entry(name);
  return name;
}

bool Rewrite::may_replace(const std::string& initializer) {
  constexpr std::size_t kMostBytes = std::size_t{512} << 20;
  const std::size_t bytes = graph_.constant(initializer)->byte_size(), copy = is_private(initializer) ? 0 : bytes;
  if (bytes > work_left_ || (copy > 0 && bytes_ + copy > kMostBytes)) return false;
  work_left_ -= bytes;
  bytes_ += copy;
  return true;
}

std::string Rewrite::replace_initializer(const std::string& old, Tensor tensor) {
  const bool own = is_private(old);
  const std::string name = own ? old : fresh_name(old);
  if (!own) {
    --at(old).reads;
    at(name).reads = 1;
  }
  graph_.initializers.insert_or_assign(name, std::move(tensor));
  if (own) graph_.types.erase(name);
  changed_ = true;
  return name;
}

bool Rewrite::bypass(Node& node, const std::string& input) {
  Value &from = at(input), &to = at(node.outputs[0]);
  if (!to.pinned) {
    from.reads += to.reads;
    to.renamed = &from;
  } else {
    Node* maker = producer_of(from);
    if (maker == nullptr || from.pinned) return false;
    for (std::string& made : maker->outputs)
      if (made == *from.name) made = *to.name;
    to.producer = index(*maker);
    to.reads += from.reads;
    from.renamed = &to;
  }
  renamed_ = true;
  drop(node);
  return true;
}

void Rewrite::drop(const Node& node) {
  if (indexed_)
    for (const std::string& input : node.inputs)
      if (!input.empty()) --at(input).reads;
  dropped_[index(node)] = true;
  changed_ = true;
}

void Rewrite::set_input(Node& node, std::size_t position, const std::string& value) {
  --at(node.inputs[position]).reads;
  node.inputs[position] = resolve(value);
  ++at(value).reads;
  changed_ = true;
}

void Rewrite::take_output(Node& to, const Node& from) {
  drop(from);
  to.outputs[0] = from.outputs[0];
  at(to.outputs[0]).producer = index(to);
}

const std::string& Rewrite::resolve(const std::string& value) {
  const auto found = values_.find(value);
  return found == values_.end() ? value : *last(found->second).name;
}

bool Rewrite::finish() {
  if (!changed_) return false;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (dropped_[i]) continue;
    if (kept != i) graph_.nodes[kept] = std::move(graph_.nodes[i]);
    for (std::string& input : graph_.nodes[kept].inputs)
      if (renamed_ && !input.empty()) input = std::string(resolve(input));
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
