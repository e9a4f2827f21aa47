#include "passes/raise_opset.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "ops/operator.h"

namespace zeropoint::passes {
namespace {

constexpr std::int64_t kOldest = 11, kNewest = 13;
constexpr std::int64_t kMatchingIrVersion = 7;  // of opset 13

// Turns the attribute into the node's input at `position`.
void attribute_to_input(Graph& graph, Node& node, const std::string& attribute, std::size_t position) {
  const auto found = node.attributes.find(attribute);
  if (found == node.attributes.end()) return;
  const std::vector<std::int64_t> values = node.get_ints(attribute);
  node.attributes.erase(found);
  const std::string name = unused_name(graph, node.outputs[0] + "_" + attribute);
  graph.initializers.emplace(name, Tensor::of_ints(values));
  node.inputs.resize(std::max(node.inputs.size(), position));
  node.inputs.push_back(name);
}

// Until opset 12 the input was flattened to 2 dimensions at `axis`: one distribution over all axes from there on. That equals
// the newer form, along one axis, where it is the last.
void flattened_to_last_axis(const Graph& graph, Node& node) {
  const std::int64_t axis = node.get_int("axis", 1);
  const TensorType type = graph.type_of(node.input(0));
  const std::int64_t rank = type.shape ? static_cast<std::int64_t>(type.shape->size()) : -1;
  if (axis != -1 && (rank < 0 || (axis < 0 ? axis + rank : axis) != rank - 1))
    throw Error(ErrorCode::kUnsupported, describe(node),
                "before opset 13 it works on several axes at once, which no newer form does; export the model with opset 13 or "
                "newer");
  node.attributes["axis"] = std::int64_t{-1};
}

void raise_node(Graph& graph, std::size_t index) {
  Node& node = graph.nodes[index];
  if (!node.domain.empty()) return;
  if (node.is("Squeeze") || node.is("Unsqueeze") || node.is("ReduceSum")) attribute_to_input(graph, node, "axes", 1);
  if (node.is("Split")) attribute_to_input(graph, node, "split", 1);
  if (node.is("Softmax") || node.is("LogSoftmax") || node.is("Hardmax")) flattened_to_last_axis(graph, node);
  if (node.is("Dropout") && node.find("ratio")) {  // ratio means nothing at inference
    node.attributes.erase("ratio");
  }
}

bool has_subgraphs(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
    return std::any_of(node.attributes.begin(), node.attributes.end(), [](const auto& attribute) {
      return std::holds_alternative<std::shared_ptr<const Graph>>(attribute.second);
    });
  });
}

}  // namespace

bool raise_opset(Graph& graph, std::int64_t opset) {
  if (graph.opset() >= opset) return false;
  const std::string versions = "from opset " + std::to_string(graph.opset()) + " to " + std::to_string(opset);
  if (graph.opset() < kOldest || opset > kNewest)
    throw Error(ErrorCode::kUnsupported, "graph", "it cannot be raised " + versions + "; export the model with a newer opset");
  if (has_subgraphs(graph))
    throw Error(ErrorCode::kUnsupported, "graph",
                "a graph with subgraphs cannot be raised " + versions + "; export the model with opset 13 or newer");
  Graph raised = graph;
  ops::infer_shapes(raised);
  for (std::size_t i = 0; i < raised.nodes.size(); ++i) raise_node(raised, i);
  raised.types = graph.types;
  raised.opsets[""] = opset;
  raised.ir_version = std::max(raised.ir_version, kMatchingIrVersion);
  graph = std::move(raised);
  return true;
}

}  // namespace zeropoint::passes
