// Brings a graph to a newer version of the standard operators, as far as what is written into it needs.
#pragma once

#include <cstdint>

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"

namespace zeropoint::passes {

// ops::convert_opset. True when something changed.
bool raise_opset(Graph& graph, std::int64_t opset);

// The oldest opset whose QuantizeLinear and DequantizeLinear take these parameters: 10, 13 for channels, 21 for groups and for
// 4 and 16 bits, 25 for 2 bits.
std::int64_t opset_of_quantizers(const QParamsMap& qparams);

}  // namespace zeropoint::passes
