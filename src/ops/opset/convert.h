// Brings a graph to a newer version of the standard operators.
#pragma once

#include <cstdint>

#include "zeropoint/graph.h"

namespace zeropoint::ops {

inline constexpr std::int64_t kOldestConvertible = 7, kNewestConvertible = 26;

// Rewrites the nodes whose meaning or form changed between the graph's opset and `opset` (adapters.cpp has the table), those of
// subgraphs too; the results stay the same. False, and nothing done, when the graph has that opset or a newer one. Throws Error
// kUnsupported naming the node that has no equal form, or when a version is not one of kOldestConvertible to
// kNewestConvertible.
bool convert_opset(Graph& graph, std::int64_t opset);

// The oldest version of the file format (ir_version) that may hold this opset.
std::int64_t ir_version_of(std::int64_t opset);

}  // namespace zeropoint::ops
