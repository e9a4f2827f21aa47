#include "engine/widen_halves.h"

#include <algorithm>
#include <string_view>

#include "numerics/float16.h"
#include "ops/operator.h"

namespace zeropoint::engine {
namespace {

constexpr std::int64_t kF32Code = 1, kF16Code = 10, kBf16Code = 16;  // TensorProto.DataType

bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

Tensor widened(const Tensor& tensor) {
  Tensor result(DType::f32, tensor.dims());
  const auto to = result.mutable_values<float>();
  const auto* from = reinterpret_cast<const std::uint16_t*>(tensor.bytes().data());
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = tensor.dtype() == DType::f16 ? numerics::from_f16(from[i]) : numerics::from_bf16(from[i]);
  return result;
}

// Something that says more than how a value is stored.
bool depends_on_type(const Node& node) {
  if (node.op_type.find("Quantize") != std::string::npos || node.op_type.find("Integer") != std::string::npos ||
      node.op_type.starts_with("QLinear") || node.op_type.ends_with("NBits") || has_subgraph(node))
    return true;
  return std::any_of(node.attributes.begin(), node.attributes.end(), [&](const auto& attribute) {
    if (const auto* tensor = std::get_if<Tensor>(&attribute.second)) return is_half(tensor->dtype());
    const auto* code = std::get_if<std::int64_t>(&attribute.second);
    return !node.is("Cast") && attribute.first.ends_with("type") && code && (*code == kF16Code || *code == kBf16Code);
  });
}

}  // namespace

Graph widen_halves(Graph graph) {
  const auto half_edge = [](const ValueInfo& info) { return is_half(info.type.dtype); };
  const bool has_halves = std::any_of(graph.initializers.begin(), graph.initializers.end(),
                                      [](const auto& each) { return is_half(each.second.dtype()); }) ||
                          std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
                            const std::int64_t to = node.is("Cast") ? node.get_int("to", 0) : 0;
                            return to == kF16Code || to == kBf16Code;
                          });
  if (!has_halves || std::any_of(graph.inputs.begin(), graph.inputs.end(), half_edge) ||
      std::any_of(graph.outputs.begin(), graph.outputs.end(), half_edge) ||
      std::any_of(graph.nodes.begin(), graph.nodes.end(), depends_on_type))
    return graph;
  Graph typed = graph;
  ops::infer_shapes(typed);
  const ValueIndex types(typed);
  for (Node& node : graph.nodes) {
    if (!node.is("Cast")) continue;
    const DType from = types.type_of(node.input(0)).dtype;
    const std::int64_t to = node.get_int("to", 0);
    const bool to_half = to == kF16Code || to == kBf16Code;
    if (to_half) node.attributes["to"] = kF32Code;
    if ((to_half || to == kF32Code) && (from == DType::f32 || is_half(from))) {
      node.op_type = "Identity";
      node.attributes.clear();
    }
  }
  for (auto& [name, tensor] : graph.initializers)
    if (is_half(tensor.dtype())) tensor = widened(tensor);
  for (auto& [name, type] : graph.types)
    if (is_half(type.dtype)) type.dtype = DType::f32;
  return graph;
}

}  // namespace zeropoint::engine
