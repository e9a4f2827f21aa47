// docs/passes/fold_constants.md
#include <algorithm>

#include "ops/operator.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// What a folded value may take beside what its inputs took already, and the work to make it.
constexpr std::int64_t kMostNewBytes = std::int64_t{1} << 20, kMostMacs = std::int64_t{1} << 30;
// All of them together, beside what follows from the constants in the file.
constexpr std::int64_t kMostBytesInAll = std::int64_t{1} << 28, kBytesAByte = 4;
constexpr std::int64_t kMostWorkInAll = std::int64_t{1} << 27, kWorkAByte = 64;

// Quantized constants stay quantized.
bool is_quantizer(const Node& node) { return node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear"; }

bool worth_it(const Graph& graph, const ValueIndex& index, const Node& node, FoldingBudget& budget) {
  if (node.is("Constant")) return true;
  std::int64_t input_bytes = 0, output_bytes = 0;
  for (const std::string& input : node.inputs)
    if (!input.empty()) input_bytes += static_cast<std::int64_t>(graph.constant(input)->byte_size());
  for (const std::string& output : node.outputs) {
    if (output.empty()) continue;
    const TensorType type = index.type_of(output);
    const auto dims = type.shape ? fixed_dims(*type.shape) : std::nullopt;
    if (!dims || type.dtype == DType::undefined || type.dtype == DType::opaque) return false;
    output_bytes += (element_count(*dims) * bits(type.dtype) + 7) / 8;
  }
  const std::int64_t macs = ops::macs(index, node);
  if (output_bytes > std::max(input_bytes, kMostNewBytes) || macs > kMostMacs) return false;
  const std::int64_t work = macs + input_bytes + output_bytes;
  if (output_bytes > budget.bytes || work > budget.work) return false;
  budget.bytes -= output_bytes;
  budget.work -= work;
  return true;
}

// The node's outputs, or nothing.
std::vector<Tensor> fold(const Graph& graph, const ValueIndex& index, const Node& node,
                         const std::map<std::string, Tensor>& values, FoldingBudget& budget) {
  if (const auto known = values.find(node.outputs[0]); node.outputs.size() == 1 && known != values.end())
    return {known->second};
  std::vector<Tensor> inputs;
  for (const std::string& input : node.inputs) {
    const Tensor* tensor = input.empty() ? nullptr : graph.constant(input);
    if (!input.empty() && tensor == nullptr) return {};
    inputs.push_back(tensor == nullptr ? Tensor() : *tensor);
  }
  if (!worth_it(graph, index, node, budget)) return {};
  try {
    return ops::evaluate(graph, node, inputs);
  } catch (const Error& error) {
    if (error.code != ErrorCode::kUnsupported) throw;
    return {};
  }
}

}  // namespace

FoldingBudget::FoldingBudget(const Graph& graph) : bytes(kMostBytesInAll), work(kMostWorkInAll) {
  constexpr std::int64_t kMost = std::int64_t{1} << 50;
  std::int64_t in_file = 0;
  const auto add = [&](const Tensor& tensor) {
    in_file = std::min(kMost, in_file + static_cast<std::int64_t>(std::min<std::size_t>(tensor.byte_size(), kMost)));
  };
  for (const auto& [name, tensor] : graph.initializers) add(tensor);
  for (const Node& node : graph.nodes)
    if (const auto* value = node.is("Constant") ? node.find("value") : nullptr)
      if (const auto* tensor = std::get_if<Tensor>(value)) add(*tensor);
  bytes += kBytesAByte * in_file;
  work += kWorkAByte * in_file;
}

bool fold_constants(Graph& graph) {
  FoldingBudget budget(graph);
  return fold_constants(graph, budget);
}

bool fold_constants(Graph& graph, FoldingBudget& budget) {
  const std::map<std::string, Tensor> values = ops::infer_values(graph);
  const ValueIndex index(graph);
  Rewrite rewrite(graph);
  for (const Node& node : graph.nodes) {
    const ops::Operator* entry = ops::find(node);
    if (entry == nullptr || entry->reference == nullptr || node.outputs.empty() || is_quantizer(node) || has_subgraph(node))
      continue;
    // The graph's outputs need a node that makes them.
    if (std::ranges::any_of(node.outputs, [&](const std::string& name) { return index.is_output(name); })) continue;
    std::vector<Tensor> results = fold(graph, index, node, values, budget);
    if (results.empty() || results.size() < node.outputs.size()) continue;
    if (std::any_of(results.begin(), results.end(), [](const Tensor& tensor) { return tensor.dtype() == DType::opaque; }))
      continue;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty()) continue;
      graph.initializers.insert_or_assign(node.outputs[i], std::move(results[i]));
      graph.types.erase(node.outputs[i]);  // a constant says its type itself
      graph.type_extras.erase(node.outputs[i]);
    }
    rewrite.drop(node);
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
