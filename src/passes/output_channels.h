// Folding y * factor[c] + summand[c] into the constant weights and bias of the node that makes y.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "passes/rewrite.h"

namespace zeropoint::passes {

// Output channels of a Conv, ConvTranspose or Gemm whose f32 weights (and bias, if any) are constants of the usual shapes;
// nullopt for every other node. The channel axis of its output is 1.
std::optional<std::size_t> output_channels(const Graph& graph, const Node& node);

// Rewrites weights and bias so that the node gives y * factor[c] + summand[c]; computed in double, rounded once.
void scale_output(Graph& graph, Rewrite& rewrite, Node& node, const std::vector<double>& factor,
                  const std::vector<double>& summand);

}  // namespace zeropoint::passes
