#include "passes/raise_opset.h"

#include <fmt/format.h>

#include <variant>

#include "ops/opset/convert.h"

namespace zeropoint::passes {

bool raise_opset(Graph& graph, const OpsetNeed& need, const OpsetLimit& limit) {
  const std::string target = limit.target.empty() ? "the target" : "target " + limit.target;
  if (need.two_bits && !limit.two_bits)
    throw Error(ErrorCode::kUnsupported, need.where,
                fmt::format("{}: {} takes none so narrow: {}, or choose another target", need.what, target, need.instead));
  if (need.opset > limit.newest && need.opset > graph.opset()) {
    throw Error(ErrorCode::kUnsupported, need.where,
                fmt::format("{} need opset {}, {} takes opsets up to {}: {}, or choose another target", need.what, need.opset,
                            target, limit.newest, need.instead));
  }
  return ops::convert_opset(graph, need.opset);
}

OpsetNeed opset_of_quantizer(const std::string& value, DType dtype, const Granularity& granularity) {
  const std::string where = "value '" + value + "'";
  const int width = bits(dtype);
  if (width == 2)
    return {25, where, "its 2-bit integers", "store them in a wider type (dtype s4 with 2 bits), quantize it to 4 or 8 bits",
            true};
  if (width == 4 || width == 16)
    return {21, where, fmt::format("its {}-bit integers", width), "quantize it to 8 bits per channel or per tensor"};
  if (std::holds_alternative<PerGroup>(granularity))
    return {21, where, "its scales of groups", "quantize it per channel or per tensor"};
  if (std::holds_alternative<PerChannel>(granularity)) return {13, where, "its scales of channels", "quantize it per tensor"};
  return {10, where, "quantizers", "leave it in float"};
}

OpsetNeed opset_of_quantizers(const QParamsMap& qparams) {
  OpsetNeed most;
  for (const auto& [value, parameters] : qparams) {
    if (OpsetNeed need = opset_of_quantizer(value, parameters.dtype, parameters.granularity); need.opset > most.opset)
      most = std::move(need);
    if (constexpr std::int64_t kClipOfInputs = 11; parameters.bits != 0 && most.opset < kClipOfInputs)
      most = {kClipOfInputs, "value '" + value + "'", "its levels, which a Clip bounds", "quantize it to 4, 8 or 16 bits"};
  }
  return most;
}

}  // namespace zeropoint::passes
