#include "quant/advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/operator.h"

namespace zeropoint::quant {
namespace {

// Operators that multiply: their reasons come first.
bool multiplies(const std::string& op_type) {
  const ops::Operator* known = ops::find("", op_type);
  return known != nullptr && known->macs != nullptr;
}

bool has(const Graph& graph, std::initializer_list<std::string_view> op_types) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return std::find(op_types.begin(), op_types.end(), node.op_type) != op_types.end();
  });
}

bool has_constant_of(const Graph& graph, std::initializer_list<DType> dtypes) {
  return std::any_of(graph.initializers.begin(), graph.initializers.end(), [&](const auto& each) {
    return std::find(dtypes.begin(), dtypes.end(), each.second.dtype()) != dtypes.end() && each.second.size() > 1;
  });
}

}  // namespace

std::string reasons_in_brief(std::span<const LeftInFloat> nodes, std::size_t most) {
  struct Group {
    const LeftInFloat* first;
    std::size_t count;
  };
  std::vector<Group> groups;  // in the order of their first nodes
  std::map<std::pair<std::string_view, std::string_view>, std::size_t> index;
  for (const LeftInFloat& node : nodes) {
    const auto [at, is_new] = index.try_emplace({node.op_type, node.reason}, groups.size());
    if (is_new) groups.push_back({&node, 0});
    ++groups[at->second].count;
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return std::pair(multiplies(a.first->op_type), a.count) > std::pair(multiplies(b.first->op_type), b.count);
  });
  std::string text;
  for (std::size_t i = 0; i < std::min(most, groups.size()); ++i)
    text += fmt::format("{}{} {}: {}", i == 0 ? "" : "; ", groups[i].count, groups[i].first->op_type, groups[i].first->reason);
  return text;
}

std::string way_out(const Graph& graph, Target target) {
  if (has_constant_of(graph, {DType::f16, DType::bf16, DType::f64}))
    return ". What to do: export the model in float32 (in PyTorch model.float() before the export) and quantize that";
  if (has(graph, {"LSTM"}))
    return std::string(". What to do: the recipe dynamic_w8a8 multiplies the weights of LSTM in integers") +
           (target == Target::onnxruntime ? "" : " for target onnxruntime");
  if (has(graph, {"GRU", "RNN"}))
    return ". What to do: nothing makes GRU and RNN faster, standard ONNX has no integer form of them; weight_only_w8 stores "
           "their weights in 8 bits";
  if (has(graph, {"If", "Loop", "Scan"}))
    return ". What to do: export the model without control flow around its layers, or quantize the bodies by themselves";
  return ". What to do: `zeropoint inspect MODEL` tells what each operator lacks";
}

std::string advice_without_integers(const Graph& graph, std::span<const LeftInFloat> nodes, Target target, double share) {
  std::string text = share > 0 ? fmt::format("only {:.2g} % of its multiply-accumulates become integers", 100 * share)
                               : "none of its multiply-accumulates become integers";
  if (const std::string why = reasons_in_brief(nodes); !why.empty()) text += " (" + why + ")";
  return text + way_out(graph, target);
}

std::int64_t macs_with_bodies(const ValueIndex& values, const Node& node) {
  std::int64_t most = 0;
  for (const auto& [attribute, content] : node.attributes)
    if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&content); body && *body) {
      Graph typed = **body;  // with the types of outer values that it reads
      const ValueIndex inside(typed);
      for (const Node& inner : typed.nodes)
        for (const std::string& value : inner.inputs)
          if (inside.type_of(value).dtype == DType::undefined) typed.types[value] = values.type_of(value);
      std::int64_t macs = 0;
      for (const Node& inner : typed.nodes) macs += macs_with_bodies(inside, inner);
      most = std::max(most, macs);
    }
  return ops::macs(values, node) + most;
}

}  // namespace zeropoint::quant
