// Rewrites of the float graph that keep its function.
#pragma once

#include "zeropoint/graph.h"

namespace zeropoint {

// Folds constants, BatchNorm and Pad, normalizes activations, removes identities and dead code, until nothing changes.
// Same function up to float rounding. Constants behind DequantizeLinear stay quantized.
Graph fuse(Graph graph);

}  // namespace zeropoint
