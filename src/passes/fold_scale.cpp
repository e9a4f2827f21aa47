// docs/passes/fold_scale.md
#include <optional>

#include "passes/output_channels.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// A constant that broadcasts over an output (of `rank` dimensions, channels along axis 1) as one number a channel.
std::optional<std::vector<double>> per_channel(const Graph& graph, const std::string& value, std::size_t rank,
                                               std::size_t channels) {
  const Tensor* tensor = value.empty() ? nullptr : graph.constant(value);
  if (tensor == nullptr || tensor->dtype() != DType::f32 || tensor->rank() > rank) return std::nullopt;
  for (std::size_t i = 0; i < tensor->rank(); ++i) {
    const std::size_t axis = rank - tensor->rank() + i;
    if (tensor->dim(i) != 1 && !(axis == 1 && tensor->dim(i) == static_cast<std::int64_t>(channels))) return std::nullopt;
  }
  const auto values = tensor->values<float>();
  std::vector<double> result(channels);
  for (std::size_t c = 0; c < channels; ++c) result[c] = static_cast<double>(values[values.size() == 1 ? 0 : c]);
  return result;
}

bool is_affine(const Node& node) { return node.is("Mul") || node.is("Div") || node.is("Add") || node.is("Sub"); }

}  // namespace

bool fold_scale(Graph& graph) {
  Rewrite rewrite(graph);
  for (Node& affine : graph.nodes) {
    if (!is_affine(affine) || affine.inputs.size() != 2) continue;
    const bool constant_first = graph.constant(affine.inputs[0]) != nullptr;
    if (constant_first && affine.is("Div")) continue;  // constant / y is not affine
    const std::string &value = affine.inputs[constant_first ? 1 : 0], &constant = affine.inputs[constant_first ? 0 : 1];
    Node* node = rewrite.producer(value);
    if (node == nullptr || !rewrite.is_private(value)) continue;
    const auto channels = output_channels(graph, *node);
    if (!channels) continue;
    const std::size_t rank = graph.constant(node->inputs[1])->rank();  // weights and output have one rank
    const auto numbers = per_channel(graph, constant, rank, *channels);
    if (!numbers || !rewrite.may_replace(node->input(1))) continue;  // asked last: a yes is paid for

    std::vector<double> factor(*channels, 1), summand(*channels, 0);
    for (std::size_t c = 0; c < *channels; ++c) {
      const double number = (*numbers)[c];
      if (affine.is("Mul")) factor[c] = number;
      if (affine.is("Div")) factor[c] = 1 / number;
      if (affine.is("Add")) summand[c] = number;
      if (affine.is("Sub")) summand[c] = constant_first ? number : -number;
      if (affine.is("Sub") && constant_first) factor[c] = -1;
    }
    scale_output(graph, rewrite, *node, factor, summand);
    rewrite.take_output(*node, affine);
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
