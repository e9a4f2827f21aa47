#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <new>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "ir/naming.h"
#include "ops/inference.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<Tensor> run(const Node& node, std::int64_t opset, std::span<const Tensor> given, const Scope& scope) {
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
    return compute(*entry, {node, opset, inputs, outputs, &scope});
  } catch (const Error& error) {
    if (!error.where.empty()) throw;
    throw Error(error.code, describe(node), error.what());
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kLimit, node, "its results take more memory than there is");
  } catch (const std::length_error&) {
    fail(ErrorCode::kLimit, node, "its results take more memory than there is");
  }
}

// Which nodes run for some values of a graph, and when a value is read for the last time. Subgraphs read outer values.
class Program {
 public:
  Program(const Graph& graph, std::vector<std::string> wanted) : graph_(graph), wanted_(std::move(wanted)) {
    const std::size_t count = graph.nodes.size();
    std::unordered_set<std::string> needed(wanted_.begin(), wanted_.end());
    runs_.resize(count, false);
    reads_.resize(count);
    for (std::size_t i = count; i-- > 0;) {
      const Node& node = graph.nodes[i];
      for (const std::string& output : node.outputs) runs_[i] = runs_[i] || needed.contains(output);
      if (!runs_[i]) continue;
      reads_[i] = values_read(node);
      needed.insert(reads_[i].begin(), reads_[i].end());
    }
    for (std::size_t i = 0; i < count; ++i)
      for (const std::string& value : reads_[i]) last_use_[value] = i;
    for (const std::string& value : wanted_) last_use_[value] = count;
  }

  // `known` holds the inputs.
  std::vector<Tensor> operator()(std::unordered_map<std::string, Tensor> known, const Scope& outer) const {
    const auto& opsets = outer.opsets == nullptr || !graph_.opsets.empty() ? graph_.opsets : *outer.opsets;
    const auto value_of = [&](const std::string& name) -> const Tensor* {
      if (const auto found = known.find(name); found != known.end()) return &found->second;
      if (const Tensor* tensor = graph_.constant(name)) return tensor;
      return outer.value ? outer.value(name) : nullptr;
    };
    const Scope scope{value_of, &opsets, outer.interrupt, outer.depth, outer.run_body};
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!runs_[i]) continue;
      const Node& node = graph_.nodes[i];
      std::vector<Tensor> inputs;
      for (const std::string& input : node.inputs) {
        const Tensor* tensor = input.empty() ? nullptr : value_of(input);
        if (!input.empty() && tensor == nullptr)
          fail(ErrorCode::kBadModel, node, "input '" + input + "' is not defined before it");
        inputs.push_back(tensor == nullptr ? Tensor() : *tensor);
      }
      std::vector<Tensor> outputs = run(node, node_opset(opsets, node), inputs, scope);
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (node.outputs[k].empty()) continue;
        if (k >= outputs.size()) fail(ErrorCode::kUnsupported, node, fmt::format("output {} is not computed", k));
        if (last_use_.contains(node.outputs[k])) known.insert_or_assign(node.outputs[k], std::move(outputs[k]));
      }
      for (const std::string& value : reads_[i])
        if (last_use_.at(value) == i) known.erase(value);
    }
    std::vector<Tensor> results;
    for (const std::string& name : wanted_) {
      const Tensor* tensor = value_of(name);
      if (tensor == nullptr) throw Error(ErrorCode::kBadArgument, "value '" + name + "'", "the graph has no such value");
      results.push_back(*tensor);
    }
    return results;
  }

 private:
  const Graph& graph_;
  const std::vector<std::string> wanted_;
  std::vector<bool> runs_;
  std::vector<std::vector<std::string>> reads_;  // of the nodes that run
  std::unordered_map<std::string, std::size_t> last_use_;
};

std::vector<std::string> output_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const ValueInfo& output : graph.outputs) names.push_back(output.name);
  return names;
}

}  // namespace

std::int64_t node_opset(const std::map<std::string, std::int64_t>& opsets, const Node& node) {
  const auto found = opsets.find(node.domain == "ai.onnx" ? "" : node.domain);
  if (found != opsets.end()) return found->second;
  return node.domain.empty() || node.domain == "ai.onnx" ? kNewestOpset : 1;
}

const std::shared_ptr<const Graph>& subgraph(const Node& node, const std::string& attribute) {
  const auto* body = std::get_if<std::shared_ptr<const Graph>>(node.find(attribute));
  if (body == nullptr || *body == nullptr)
    fail(ErrorCode::kBadAttribute, node, "its attribute '" + attribute + "' must be a graph");
  return *body;
}

void check_inputs(const Node& node, const Operator& entry) {
  const std::size_t count = node.inputs.size();
  if (count < entry.min_inputs || (entry.max_inputs < kAnyNumber && count > entry.max_inputs))
    fail(ErrorCode::kBadModel, node,
         entry.max_inputs >= kAnyNumber ? fmt::format("takes at least {} inputs, has {}", entry.min_inputs, count)
         : entry.min_inputs == entry.max_inputs
             ? fmt::format("takes {} inputs, has {}", entry.min_inputs, count)
             : fmt::format("takes {} to {} inputs, has {}", entry.min_inputs, entry.max_inputs, count));
  if (!entry.domain.empty() || entry.gaps) return;  // com.microsoft leaves out zero points in the middle
  for (std::size_t i = 0; i < (entry.max_inputs >= kAnyNumber ? count : entry.min_inputs); ++i)
    if (node.inputs[i].empty()) fail(ErrorCode::kBadModel, node, fmt::format("input {} is missing", i));
}

std::string describe_version(const Node& node, const Operator* entry, std::int64_t opset) {
  return entry == nullptr ? node.op_type : fmt::format("{} of opset {} (from {} on)", node.op_type, opset, entry->since);
}

std::vector<Tensor> compute(const Operator& entry, const ComputeArgs& args) {
  const std::size_t count = args.node.outputs.size();
  if (count == 0 || args.outputs.size() < count || has_subgraph(args.node)) return entry.reference(args);
  std::vector<Tensor> results;
  for (const TensorType& type : args.outputs.first(count)) {
    const auto dims = type.shape ? fixed_dims(*type.shape) : std::nullopt;
    if (!dims || bits(type.dtype) == 0 || std::ranges::find(*dims, 0) == dims->end()) return entry.reference(args);
    results.emplace_back(type.dtype, *dims);
  }
  return results;
}

std::vector<Tensor> evaluate(const Graph& graph, const Node& node, std::span<const Tensor> inputs, const Scope& outer) {
  Scope scope = outer;
  if (scope.opsets == nullptr || !graph.opsets.empty()) scope.opsets = &graph.opsets;
  scope.value = [&](const std::string& name) -> const Tensor* {
    if (outer.value)
      if (const Tensor* tensor = outer.value(name)) return tensor;
    return graph.constant(name);
  };
  return run(node, node_opset(*scope.opsets, node), inputs, scope);
}

std::vector<Tensor> evaluate(const Graph& graph, const std::map<std::string, Tensor>& feeds,
                             std::span<const std::string> values, const std::atomic<bool>* interrupt) {
  std::vector<std::string> wanted(values.begin(), values.end());
  if (wanted.empty()) wanted = output_names(graph);
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
  Scope scope;
  scope.interrupt = interrupt;
  return naming_source(graph, [&] { return Program(graph, std::move(wanted))(std::move(known), scope); });
}

struct BodyRun::Plan {
  const Node& node;
  const Graph& graph;
  Scope outer;
  Program program;
};

BodyRun::BodyRun(const Node& node, const std::string& attribute, const Scope& outer) {
  const Graph& graph = *subgraph(node, attribute);
  Scope scope = outer;
  if (++scope.depth > kMostNested) fail(ErrorCode::kLimit, node, fmt::format("subgraphs nest deeper than {}", kMostNested));
  plan_.reset(new Plan{node, graph, std::move(scope), Program(graph, output_names(graph))});
}
BodyRun::~BodyRun() = default;

std::vector<Tensor> BodyRun::operator()(std::span<const Tensor> inputs) const {
  const auto& [node, graph, outer, program] = *plan_;
  if (outer.interrupt != nullptr && outer.interrupt->load(std::memory_order_relaxed))
    throw Error(ErrorCode::kInterrupted, describe(node), "stopped");
  if (inputs.size() != graph.inputs.size())
    fail(ErrorCode::kBadModel, node,
         fmt::format("its subgraph '{}' takes {} inputs, is given {}", graph.name, graph.inputs.size(), inputs.size()));
  if (outer.run_body) return outer.run_body(graph, inputs);
  std::unordered_map<std::string, Tensor> known;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueInfo& info = graph.inputs[i];
    if (info.type.dtype != DType::undefined && inputs[i].dtype() != info.type.dtype)
      fail(ErrorCode::kBadType, node,
           fmt::format("input '{}' of its subgraph takes {}, not {}", info.name, name(info.type.dtype),
                       name(inputs[i].dtype())));
    known.emplace(info.name, inputs[i]);
  }
  return program(std::move(known), outer);
}

std::vector<TensorType> BodyRun::types(std::span<const TensorType> inputs) const {
  return body_types(plan_->graph, inputs, plan_->outer);
}

const Graph& BodyRun::graph() const { return plan_->graph; }

std::int64_t macs(const ValueIndex& values, const Node& node) {
  const Operator* entry = find(node);
  if (entry == nullptr || entry->macs == nullptr || node.inputs.size() < entry->min_inputs) return 0;
  std::vector<TensorType> inputs, outputs;
  for (const std::string& input : node.inputs) inputs.push_back(input.empty() ? TensorType{} : values.type_of(input));
  for (const std::string& output : node.outputs) outputs.push_back(output.empty() ? TensorType{} : values.type_of(output));
  // Sums over a million nodes stay below 2^63; and so do those of three tensors' elements.
  constexpr std::int64_t kMost = std::int64_t{1} << 42;
  for (const std::vector<TensorType>* types : {&inputs, &outputs})
    for (const TensorType& type : *types)
      if (type.shape && known_count(*type.shape).value_or(0) > kMost) return kMost;
  return std::min(entry->macs(node, inputs, outputs), kMost);
}

}  // namespace zeropoint::ops
