// What an activation held beside the range chosen for it: ValueDistribution of a Report.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/report.h"
#include "zeropoint/statistics.h"

namespace zeropoint::analyze {

// `qparams` has one scale. Counts within a bin of the view count as spread evenly over it.
ValueDistribution distribution(const HistogramView& view, const QParams& qparams);

// Of each activation that `qparams` and `statistics` both hold, in the order of `graph`.
std::vector<ValueDistribution> distributions(const Graph& graph, const QParamsMap& qparams, const Statistics& statistics);

// Parameters of the activations of a graph with Q/DQ, by the output of their DequantizeLinear; those with one constant scale.
QParamsMap activation_qparams(const Graph& quantized);

}  // namespace zeropoint::analyze
