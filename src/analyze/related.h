// Whether two models can be the float and the quantized form of one.
#pragma once

#include <string>

#include "zeropoint/graph.h"

namespace zeropoint::analyze {

// Why they cannot; empty when they may: the first holds quantized operators and the second does not (swapped), inputs or
// outputs differ in name, type or dimensions, or next to none of the second's large constants has its counterpart in the first.
std::string why_unrelated(const Graph& float_graph, const Graph& quantized);

bool holds_quantized_operators(const Graph& graph);

}  // namespace zeropoint::analyze
