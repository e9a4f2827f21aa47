// Making models of one graph by several recipes: how each is calibrated, and again from one calibration.
#pragma once

#include "zeropoint/quantize.h"

namespace zeropoint {

// calibrate_options(), run as `options` says.
CalibrateOptions calibrate_options(const Graph& fused, const Recipe& recipe, const QuantizeOptions& options);

// What quantize() makes by `recipe` of the graph and the statistics of `made`: the recipe's steps before calibration must be
// those of `made`, and it must need no other values than those. `samples` are for its other steps; may be null.
Quantized requantize(const Quantized& made, const Samples* samples, const Recipe& recipe, const QuantizeOptions& options);

}  // namespace zeropoint
