// Giving a weighted node another bias.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::quant {

// `bias`: what bias_of() says of the node. A constant of its own name: the old one may have other readers. Conv and Gemm
// without a bias get one; a MatMul needs the Add behind it. Old constants stay until remove_unused_values().
void set_bias(Graph& graph, const Uses& uses, std::size_t node, const std::string& bias, const std::vector<float>& values);

// The bias by output channel; zeros where there is none.
std::vector<float> bias_values(const Graph& graph, const std::string& bias, std::size_t channels);

}  // namespace zeropoint::quant
