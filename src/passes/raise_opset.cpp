#include "passes/raise_opset.h"

#include <fmt/format.h>

#include <variant>

#include "ops/opset/convert.h"

namespace zeropoint::passes {

bool raise_opset(Graph& graph, const OpsetNeed& need, const OpsetLimit& limit) {
  if (need.opset > limit.newest && need.opset > graph.opset()) {
    const std::string target = limit.target.empty() ? "the target" : "target " + limit.target;
    throw Error(ErrorCode::kUnsupported, need.where,
                fmt::format("{} need opset {}, {} takes opsets up to {}: {}, or choose another target", need.what, need.opset,
                            target, limit.newest, need.instead));
  }
  return ops::convert_opset(graph, need.opset);
}

OpsetNeed opset_of_quantizer(const std::string& value, DType dtype, const Granularity& granularity) {
  const std::string where = "value '" + value + "'";
  const int width = bits(dtype);
  if (width == 2) return {25, where, "its 2-bit integers", "quantize it to 4 or 8 bits"};
  if (width == 4 || width == 16)
    return {21, where, fmt::format("its {}-bit integers", width), "quantize it to 8 bits per channel or per tensor"};
  if (std::holds_alternative<PerGroup>(granularity))
    return {21, where, "its scales of groups", "quantize it per channel or per tensor"};
  if (std::holds_alternative<PerChannel>(granularity)) return {13, where, "its scales of channels", "quantize it per tensor"};
  return {10, where, "quantizers", "leave it in float"};
}

OpsetNeed opset_of_quantizers(const QParamsMap& qparams) {
  OpsetNeed most;
  for (const auto& [value, parameters] : qparams)
    if (OpsetNeed need = opset_of_quantizer(value, parameters.dtype, parameters.granularity); need.opset > most.opset)
      most = std::move(need);
  return most;
}

}  // namespace zeropoint::passes
