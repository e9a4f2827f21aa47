// Which values of a float graph stand for which of its quantized form.
#pragma once

#include <string>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::analyze {

struct ValuePair {
  std::string in_float, in_quantized;
};
// For each activation's DequantizeLinear, in the order of the float graph: the value of the same name in the float graph as
// what QuantizeLinear reads, or (a graph output) as what DequantizeLinear makes. Activations unknown to the float graph are
// left out.
std::vector<ValuePair> pair_values(const Graph& float_graph, const Graph& quantized);

}  // namespace zeropoint::analyze
