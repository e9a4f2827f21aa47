#include <fmt/format.h>

#include <memory_resource>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "ir/declarations.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

[[noreturn]] void fail(const std::string& where, const std::string& what) { throw Error(ErrorCode::kBadModel, where, what); }

// The names that a graph defines, and those of the graphs around it. An inner name hides the same name outside, as in ONNX
// Runtime, although ONNX asks exporters not to do that.
struct Scope {
  std::pmr::monotonic_buffer_resource memory = {};  // a graph may have a million names
  std::pmr::unordered_set<std::string_view> names{&memory};
  const Scope* outer = nullptr;

  bool knows(std::string_view value) const {
    for (const Scope* scope = this; scope; scope = scope->outer)
      if (scope->names.contains(value)) return true;
    return false;
  }
};

void check_type(const Graph& graph, const std::string& value, const TensorType& declared) {
  const auto compare = [&](const TensorType& other) {
    if (const std::string difference = contradiction(other, declared); !difference.empty())
      fail(fmt::format("value '{}'", value), "its declarations disagree: it " + difference);
  };
  if (const auto found = graph.initializers.find(value); found != graph.initializers.end())
    compare({found->second.dtype(), to_shape(found->second.dims())});
  if (const auto found = graph.types.find(value); found != graph.types.end()) compare(found->second);
}

void check(const Graph& graph, const Scope* outer, const Graph& model) {
  const std::string here = outer ? fmt::format("subgraph '{}'", graph.name) : "graph";
  Scope scope{.outer = outer};
  scope.names.reserve(graph.inputs.size() + graph.initializers.size() + graph.nodes.size());

  for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
    const ValueInfo& info = graph.inputs[i];
    if (info.name.empty()) fail(here, fmt::format("input {} has no name", i));
    if (!scope.names.insert(info.name).second) fail(here, fmt::format("two inputs are called '{}'", info.name));
    if (graph.initializers.contains(info.name))
      fail(here, fmt::format("'{}' is an input and an initializer at once", info.name));
    check_type(graph, info.name, info.type);
  }
  for (const auto& [value, tensor] : graph.initializers) {
    if (value.empty()) fail(here, "an initializer has no name");
    if (!tensor.defined()) fail(fmt::format("initializer '{}'", value), "has no element type");
    scope.names.insert(value);
    if (graph.types.contains(value)) check_type(graph, value, graph.types.at(value));
  }

  for (const Node& node : graph.nodes) {
    if (node.op_type.empty()) fail(describe(node), "names no operator");
    if (node.domain.empty() && !model.opsets.contains(""))
      fail(describe(node), "the model does not say which version of the ONNX operators it uses (no opset_import)");
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      if (!node.inputs[i].empty() && !scope.knows(node.inputs[i]))
        fail(fmt::format("{}, input {}", describe(node), i), fmt::format("'{}' is not defined before it", node.inputs[i]));
    for (const auto& [key, attribute] : node.attributes) {
      const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute);
      if (!subgraph) continue;
      if (!*subgraph) fail(describe(node), fmt::format("attribute '{}' holds no graph", key));
      try {
        check(**subgraph, &scope, model);
      } catch (const Error& error) {
        std::string message = error.what();
        fail(fmt::format("{}, {}", describe(node), key), message);
      }
    }
    for (const std::string& output : node.outputs)
      if (!output.empty() && !scope.names.insert(output).second)
        fail(describe(node), fmt::format("its output '{}' is defined a second time", output));
  }

  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const ValueInfo& info = graph.outputs[i];
    if (info.name.empty()) fail(here, fmt::format("output {} has no name", i));
    if (!seen.insert(info.name).second) fail(here, fmt::format("two outputs are called '{}'", info.name));
    if (!scope.knows(info.name)) fail(here, fmt::format("nothing produces the output '{}'", info.name));
    check_type(graph, info.name, info.type);
  }
  if (!outer && graph.outputs.empty()) fail(here, "has no outputs");
}

}  // namespace

std::string contradiction(const TensorType& here, const TensorType& there) {
  if (here.dtype != DType::undefined && there.dtype != DType::undefined && here.dtype != there.dtype)
    return fmt::format("is {} here and {} there", name(here.dtype), name(there.dtype));
  if (!here.shape || !there.shape) return "";
  bool differ = here.shape->size() != there.shape->size();
  for (std::size_t i = 0; !differ && i < here.shape->size(); ++i) {
    const Dim &x = (*here.shape)[i], &y = (*there.shape)[i];
    differ = x.fixed() && y.fixed() && x.value != y.value;
  }
  return differ ? fmt::format("has the shape {} here and {} there", to_string(*here.shape), to_string(*there.shape)) : "";
}

void verify(const Graph& graph) { check(graph, nullptr, graph); }

}  // namespace zeropoint
