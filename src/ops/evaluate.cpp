#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "ops/inference.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<Tensor> run(const Node& node, std::int64_t opset, std::span<const Tensor> given) {
  const Operator* entry = find(node);
  if (entry == nullptr || entry->reference == nullptr || opset < entry->since)
    fail(ErrorCode::kUnsupported, node,
         fmt::format("operator {}{}{} does not run", node.domain, node.domain.empty() ? "" : ".",
                     describe_version(node, entry, opset)));
  check_inputs(node, *entry);
  std::vector<Tensor> inputs(given.begin(), given.end());
  if (entry->max_inputs < kAnyNumber) inputs.resize(std::max(inputs.size(), entry->max_inputs));
  std::vector<TensorType> types;
  std::vector<const Tensor*> constants;
  for (const Tensor& input : inputs) {
    types.push_back(input.defined() ? TensorType{input.dtype(), to_shape(input.dims())} : TensorType{});
    constants.push_back(input.defined() ? &input : nullptr);
  }
  try {
    const std::vector<TensorType> outputs = entry->shape({node, opset, types, constants});
    return entry->reference({node, opset, inputs, outputs});
  } catch (const Error& error) {
    if (!error.where.empty()) throw;
    throw Error(error.code, describe(node), error.what());
  }
}

std::int64_t opset_of(const Graph& graph, const Node& node) {
  const auto found = graph.opsets.find(node.domain);
  if (found != graph.opsets.end()) return found->second;
  return node.domain.empty() || node.domain == "ai.onnx" ? kNewestOpset : 1;
}

}  // namespace

std::int64_t node_opset(const Graph& graph, const Node& node) { return opset_of(graph, node); }

void check_inputs(const Node& node, const Operator& entry) {
  const std::size_t count = node.inputs.size();
  if (count < entry.min_inputs || count > entry.max_inputs)
    fail(ErrorCode::kBadModel, node,
         entry.max_inputs >= kAnyNumber ? fmt::format("takes at least {} inputs, has {}", entry.min_inputs, count)
         : entry.min_inputs == entry.max_inputs
             ? fmt::format("takes {} inputs, has {}", entry.min_inputs, count)
             : fmt::format("takes {} to {} inputs, has {}", entry.min_inputs, entry.max_inputs, count));
  if (!entry.domain.empty()) return;  // com.microsoft leaves out zero points in the middle
  for (std::size_t i = 0; i < (entry.max_inputs >= kAnyNumber ? count : entry.min_inputs); ++i)
    if (node.inputs[i].empty()) fail(ErrorCode::kBadModel, node, fmt::format("input {} is missing", i));
}

std::string describe_version(const Node& node, const Operator* entry, std::int64_t opset) {
  return entry == nullptr ? node.op_type : fmt::format("{} of opset {} (from {} on)", node.op_type, opset, entry->since);
}

std::vector<Tensor> evaluate(const Graph& graph, const Node& node, std::span<const Tensor> inputs) {
  return run(node, opset_of(graph, node), inputs);
}

std::vector<Tensor> evaluate(const Graph& graph, const std::map<std::string, Tensor>& feeds,
                             std::span<const std::string> values) {
  std::vector<std::string> wanted(values.begin(), values.end());
  if (wanted.empty())
    for (const ValueInfo& output : graph.outputs) wanted.push_back(output.name);

  std::unordered_map<std::string, Tensor> known;
  for (const ValueInfo& input : graph.inputs) {
    const auto feed = feeds.find(input.name);
    if (feed == feeds.end()) throw Error(ErrorCode::kBadSample, "input '" + input.name + "'", "no value is given");
    if (input.type.dtype != DType::undefined && feed->second.dtype() != input.type.dtype)
      throw Error(ErrorCode::kBadSample, "input '" + input.name + "'",
                  fmt::format("takes {}, not {}", name(input.type.dtype), name(feed->second.dtype())));
    known.emplace(input.name, feed->second);
  }
  for (const auto& [name, feed] : feeds)
    if (known.find(name) == known.end())
      throw Error(ErrorCode::kBadSample, "input '" + name + "'", "the graph has no such input");

  // Only what the wanted values need runs.
  std::unordered_set<std::string> needed(wanted.begin(), wanted.end());
  std::vector<bool> runs(graph.nodes.size(), false);
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    for (const std::string& output : graph.nodes[i].outputs) runs[i] = runs[i] || needed.contains(output);
    if (!runs[i]) continue;
    for (const std::string& input : graph.nodes[i].inputs)
      if (!input.empty()) needed.insert(input);
  }

  // Values die after their last reader.
  std::unordered_map<std::string, std::size_t> last_use;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    if (runs[i])
      for (const std::string& input : graph.nodes[i].inputs) last_use[input] = i;
  for (const std::string& value : wanted) last_use[value] = graph.nodes.size();

  const auto value_of = [&](const std::string& name) -> const Tensor* {
    if (const auto found = known.find(name); found != known.end()) return &found->second;
    return graph.constant(name);
  };
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!runs[i]) continue;
    const Node& node = graph.nodes[i];
    std::vector<Tensor> inputs;
    for (const std::string& input : node.inputs) {
      const Tensor* tensor = input.empty() ? nullptr : value_of(input);
      if (!input.empty() && tensor == nullptr)
        fail(ErrorCode::kBadModel, node, "input '" + input + "' is not defined before it");
      inputs.push_back(tensor == nullptr ? Tensor() : *tensor);
    }
    std::vector<Tensor> outputs = run(node, opset_of(graph, node), inputs);
    for (std::size_t k = 0; k < node.outputs.size(); ++k) {
      if (node.outputs[k].empty()) continue;
      if (k >= outputs.size()) fail(ErrorCode::kUnsupported, node, fmt::format("output {} is not computed", k));
      if (last_use.contains(node.outputs[k])) known.insert_or_assign(node.outputs[k], std::move(outputs[k]));
    }
    for (const std::string& input : node.inputs)
      if (const auto use = last_use.find(input); use != last_use.end() && use->second == i) known.erase(input);
  }

  std::vector<Tensor> results;
  for (const std::string& name : wanted) {
    const Tensor* tensor = value_of(name);
    if (tensor == nullptr) throw Error(ErrorCode::kBadArgument, "value '" + name + "'", "the graph has no such value");
    results.push_back(*tensor);
  }
  return results;
}

std::int64_t macs(const Graph& graph, const Node& node) {
  const Operator* entry = find(node);
  if (entry == nullptr || entry->macs == nullptr || node.inputs.size() < entry->min_inputs) return 0;
  std::vector<TensorType> inputs, outputs;
  for (const std::string& input : node.inputs) inputs.push_back(input.empty() ? TensorType{} : graph.type_of(input));
  for (const std::string& output : node.outputs) outputs.push_back(output.empty() ? TensorType{} : graph.type_of(output));
  return entry->macs(node, inputs, outputs);
}

}  // namespace zeropoint::ops
