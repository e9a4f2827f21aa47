// Brings a graph to a newer version of the standard operators.
#pragma once

#include <cstdint>

#include "zeropoint/graph.h"

namespace zeropoint::passes {

// To `opset`, from 11 on and up to 13: what quantizers per channel need. Rewrites what opsets 12 and 13 changed (Dropout's
// ratio, axes of Squeeze, Unsqueeze and ReduceSum and the parts of Split became inputs; Softmax, LogSoftmax and Hardmax work
// along one axis). Gives true when something changed. Throws Error kUnsupported naming the node that has no equal form.
bool raise_opset(Graph& graph, std::int64_t opset);

}  // namespace zeropoint::passes
