// The operators of a quantized model for a Report.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/report.h"
#include "zeropoint/session.h"

namespace zeropoint::analyze {

// Of the steps by which the engine runs a graph with Q/DQ. `value` is the name in the quantized graph of what it quantizes.
std::vector<NodeReport> node_reports(const Graph& quantized, std::span<const StepInfo> steps);

// Of a fused graph. Of the nodes that multiply, those named do it in integers; of the others, those not left in float.
// Multiply-accumulates are those of one sample.
std::vector<NodeReport> node_reports(const Graph& fused, const std::set<std::string>& integer_nodes,
                                     std::span<const FloatNode> left_in_float, const QParamsMap& qparams);

}  // namespace zeropoint::analyze
