#include "quant/activation_ranges.h"

#include <algorithm>

#include "zeropoint/error.h"

namespace zeropoint {
namespace quant {
namespace {

struct Method {
  std::string_view name;
  ActivationRange range;
};
constexpr Method kMethods[] = {
    {"min_max", &range_min_max}, {"averaged_min_max", &range_averaged_min_max}, {"percentile", &range_percentile},
    {"mse", &range_mse},         {"kl_divergence", &range_kl_divergence},       {"cross_entropy", &range_cross_entropy},
    {"auto", &range_auto}};

}  // namespace

ActivationRange find_activation_range(std::string_view method) {
  for (const Method& candidate : kMethods)
    if (candidate.name == method) return candidate.range;
  return nullptr;
}

Range choose_range(const ValueStatistics& statistics, const Scheme& scheme, std::span<const std::vector<float>> rows,
                   const ErrorGain& gain) {
  const ActivationRange range = find_activation_range(scheme.range);
  if (!range) throw Error(ErrorCode::kBadArgument, "", "no range method is called '" + scheme.range + "'");
  if (statistics.count() == 0) return {};
  const HistogramView histogram = statistics.view();
  return range({.histogram = histogram,
                .mean_min = statistics.mean_min(),
                .mean_max = statistics.mean_max(),
                .limits = limits_of(scheme),
                .symmetric = scheme.symmetric,
                .power_of_two = scheme.power_of_two,
                .parameter = scheme.parameter,
                .rows = rows,
                .gain = gain});
}

}  // namespace quant

const std::vector<std::string>& range_methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const quant::Method& method : quant::kMethods) result.emplace_back(method.name);
    return result;
  }();
  return names;
}

bool is_range_method(std::string_view method) { return quant::find_activation_range(method) != nullptr; }

}  // namespace zeropoint
