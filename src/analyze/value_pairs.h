// Which values of a float graph stand for which of its quantized form.
#pragma once

#include <string>
#include <vector>

#include "engine/tap.h"
#include "zeropoint/graph.h"

namespace zeropoint::analyze {

struct ValuePair {
  std::string in_float, in_quantized;
};
// For each activation's DequantizeLinear, in the order of the float graph: the value of the same name in the float graph as
// what QuantizeLinear (or a Clip to its levels in front of it) reads, or (a graph output) as what DequantizeLinear makes.
// Activations unknown to the float graph are left out.
std::vector<ValuePair> pair_values(const Graph& float_graph, const Graph& quantized);

// Values of float type that both graphs have under one name and that no quantizer stands at, in the order of the float graph;
// without those between an integer operator and the quantizer behind it (its bias and activation), which no runtime makes.
std::vector<ValuePair> pair_float_values(const Graph& float_graph, const Graph& quantized);

// The elements of a tapped value in the order of ONNX's dimensions.
std::vector<float> row_major(const TapView& view);

}  // namespace zeropoint::analyze
