#include "passes/raise_opset.h"

#include <algorithm>
#include <variant>

#include "ops/opset/convert.h"

namespace zeropoint::passes {

bool raise_opset(Graph& graph, std::int64_t opset) { return ops::convert_opset(graph, opset); }

std::int64_t opset_of_quantizers(const QParamsMap& qparams) {
  std::int64_t opset = 10;
  for (const auto& [value, parameters] : qparams) {
    const int width = bits(parameters.dtype);
    const std::int64_t of_type = width == 2 ? 25 : width == 4 || width == 16 ? 21 : 10;
    const std::int64_t of_granularity = std::holds_alternative<PerGroup>(parameters.granularity)     ? 21
                                        : std::holds_alternative<PerChannel>(parameters.granularity) ? 13
                                                                                                     : 10;
    opset = std::max({opset, of_type, of_granularity});
  }
  return opset;
}

}  // namespace zeropoint::passes
