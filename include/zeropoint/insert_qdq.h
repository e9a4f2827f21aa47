// Graph and parameters -> graph with quantizers, in standard ONNX operators.
#pragma once

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"

namespace zeropoint {

// Puts QuantizeLinear and DequantizeLinear behind every value of the map; all readers then read the dequantized value. Weights
// (initializers of the map) are stored as integers behind a DequantizeLinear, and with them the biases of their nodes as s32 at
// x_scale * w_scale[c]. A quantized graph output keeps its name and type: its producer's output is renamed.
// The opset is raised to 13 where parameters are per channel. docs/passes/insert_qdq.md.
// Throws Error: kBadArgument for a name that is no f32 value of the graph, kBadShape when parameters don't fit,
// kUnsupported when the opset cannot be raised.
Graph insert_qdq(Graph graph, const QParamsMap& qparams);

}  // namespace zeropoint
