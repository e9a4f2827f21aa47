// Brings a graph to a newer version of the standard operators, as far as what is written into it needs.
#pragma once

#include <cstdint>
#include <string>

#include "zeropoint/graph.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/qparams.h"

namespace zeropoint::passes {

// An opset and the first thing that needs it.
struct OpsetNeed {
  std::int64_t opset = 0;
  std::string where{};    // "value 'w'"
  std::string what{};     // "its 4-bit integers"
  std::string instead{};  // "quantize it to 8 bits"
  bool two_bits = false;  // it is for integers of 2 bits
};

// ops::convert_opset. True when something changed. Throws Error kUnsupported also where the need lies above the limit and the
// graph does not have that opset already.
bool raise_opset(Graph& graph, const OpsetNeed& need, const OpsetLimit& limit);

// The oldest opset whose QuantizeLinear and DequantizeLinear take these parameters: 10, 13 for channels, 21 for groups and for
// 4 and 16 bits, 25 for 2 bits.
OpsetNeed opset_of_quantizer(const std::string& value, DType dtype, const Granularity& granularity);
OpsetNeed opset_of_quantizers(const QParamsMap& qparams);  // of the most demanding

}  // namespace zeropoint::passes
