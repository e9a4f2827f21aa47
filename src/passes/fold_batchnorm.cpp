// docs/passes/fold_batchnorm.md
#include <cmath>

#include "passes/output_channels.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace zeropoint::passes {
namespace {

// BatchNormalization as y * factor[c] + summand[c]; empty when a parameter is no constant f32[channels].
struct Affine {
  std::vector<double> factor, summand;
};
Affine affine(const Graph& graph, const Node& norm, std::size_t channels) {
  const Tensor* parameters[4];
  for (std::size_t i = 0; i < 4; ++i) {
    parameters[i] = graph.constant(norm.input(i + 1));
    if (parameters[i] == nullptr || parameters[i]->dtype() != DType::f32 ||
        parameters[i]->size() != static_cast<std::int64_t>(channels))
      return {};
  }
  const auto scale = parameters[0]->values<float>(), bias = parameters[1]->values<float>();
  const auto mean = parameters[2]->values<float>(), variance = parameters[3]->values<float>();
  const auto epsilon = static_cast<double>(norm.get_float("epsilon", 1e-5F));
  Affine result;
  for (std::size_t c = 0; c < channels; ++c) {
    const double factor = static_cast<double>(scale[c]) / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    result.factor.push_back(factor);
    result.summand.push_back(static_cast<double>(bias[c]) - static_cast<double>(mean[c]) * factor);
  }
  return result;
}

bool only_normalizes(const Node& norm) {
  if (norm.get_int("training_mode", 0) != 0) return false;
  for (std::size_t i = 1; i < norm.outputs.size(); ++i)  // running statistics
    if (!norm.outputs[i].empty()) return false;
  return true;
}

}  // namespace

bool fold_batchnorm(Graph& graph) {
  Rewrite rewrite(graph);
  for (Node& norm : graph.nodes) {
    if (!norm.is("BatchNormalization") || norm.inputs.size() != 5 || !only_normalizes(norm)) continue;
    Node* node = rewrite.producer(norm.inputs[0]);
    if (node == nullptr || !rewrite.is_private(norm.inputs[0])) continue;
    const auto channels = output_channels(graph, *node);
    if (!channels) continue;
    const Affine map = affine(graph, norm, *channels);
    if (map.factor.empty() || !rewrite.may_replace(node->input(1))) continue;  // asked last: a yes is paid for
    scale_output(graph, rewrite, *node, map.factor, map.summand);
    rewrite.take_output(*node, norm);
  }
  return rewrite.finish();
}

}  // namespace zeropoint::passes
