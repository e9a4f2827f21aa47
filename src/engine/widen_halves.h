// 16-bit floats inside a graph -> f32, which the kernels compute in.
#pragma once

#include "zeropoint/graph.h"

namespace zeropoint::engine {

// Where 16-bit floats stay inside a graph (its inputs and outputs have other types), they only say how values are stored: all
// of them become f32, and Casts between float types become Identity. Results are as exact as those of the literal graph or
// more, but other bits. Graphs with quantizers, bodies, or other nodes that name a 16-bit type stay as they are.
Graph widen_halves(Graph graph);

}  // namespace zeropoint::engine
