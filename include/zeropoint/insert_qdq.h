// Graph and parameters -> graph with quantizers, in standard ONNX operators.
#pragma once

#include <cstdint>
#include <string>

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"

namespace zeropoint {

// The newest version of the standard operators that whoever runs the file takes.
struct OpsetLimit {
  std::int64_t newest = 26;
  std::string target{};  // its name, for messages
  bool two_bits = true;  // it takes integers of 2 bits
};

// Puts QuantizeLinear and DequantizeLinear behind every value of the map; all readers then read the dequantized value. Weights
// (initializers of the map) are stored as integers behind a DequantizeLinear, and with them the biases of their nodes as s32 at
// x_scale * w_scale[c]. A quantized graph output keeps its name and type: its producer's output is renamed.
// The opset is raised where the parameters need it, at most to the limit. docs/passes/insert_qdq.md.
// Throws Error: kBadArgument for a name that is no f32 value of the graph, kBadShape when parameters don't fit,
// kUnsupported when the opset cannot be raised, or only beyond the limit: names the target, what needs it and the way out.
Graph insert_qdq(Graph graph, const QParamsMap& qparams, const OpsetLimit& limit = {});

}  // namespace zeropoint
