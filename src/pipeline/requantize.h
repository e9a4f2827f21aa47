// Making a model again by another recipe, without calibrating again.
#pragma once

#include "zeropoint/quantize.h"

namespace zeropoint {

// What quantize() makes by `recipe` of the graph and the statistics of `made`: the recipe's steps before calibration must be
// those of `made`, and it must need no other values than those. `samples` are for its other steps; may be null.
Quantized requantize(const Quantized& made, const Samples* samples, const Recipe& recipe, const QuantizeOptions& options);

}  // namespace zeropoint
