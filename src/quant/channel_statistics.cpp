#include "quant/channel_statistics.h"

#include <algorithm>

namespace zeropoint::quant {
namespace {

CalibrateOptions run_options(const StepOptions& options) {
  CalibrateOptions calibration;
  calibration.threads = options.threads;
  calibration.max_isa = options.max_isa;
  calibration.shapes = options.shapes;
  calibration.max_memory = options.max_memory;
  calibration.interrupt = options.interrupt;
  return calibration;
}

}  // namespace

Statistics channel_statistics(const Graph& graph, const std::map<std::string, std::size_t>& axes, const Samples& samples,
                              const StepOptions& options, const std::vector<std::string>& row_values, std::uint64_t row_bytes) {
  CalibrateOptions calibration = run_options(options);
  for (const auto& [value, axis] : axes) {
    calibration.values.push_back(value);
    calibration.channel_axes.emplace(value, static_cast<std::int64_t>(axis));
  }
  calibration.row_values = row_values;
  calibration.row_bytes = row_bytes;
  return calibrate(graph, samples, calibration);
}

std::vector<float> channel_ranges(const ValueStatistics& seen, std::size_t channels) {
  std::vector<float> ranges(channels, 0);
  const std::size_t repeat = seen.channel_max.size() / std::max<std::size_t>(1, channels);
  for (std::size_t i = 0; i < seen.channel_max.size() && i / std::max<std::size_t>(1, repeat) < channels; ++i)
    ranges[i / repeat] = std::max(ranges[i / repeat], seen.channel_max[i]);
  return ranges;
}

std::map<std::string, std::size_t> observed_values(const Graph& graph, const Uses& uses, const ScalingGroup& group) {
  std::map<std::string, std::size_t> values;
  for (const ScalingGroup::Value& value : group.values) {
    const auto readers = uses.consumers.find(value.name);
    if (readers == uses.consumers.end()) continue;
    const bool passed_on = std::all_of(readers->second.begin(), readers->second.end(), [&](std::size_t reader) {
      const Node& node = graph.nodes[reader];
      return node.is("Relu") || node.is("Clip") || node.is("LeakyRelu") || node.is("PRelu");
    });
    if (!passed_on) values.emplace(value.name, value.axis);
  }
  return values;
}

std::vector<double> group_ranges(const Statistics& statistics, const std::map<std::string, std::size_t>& values,
                                 std::size_t channels) {
  std::vector<double> ranges(channels, 0.0);
  for (const auto& [value, axis] : values) {
    const std::vector<float> seen = channel_ranges(*statistics.find(value), channels);
    for (std::size_t c = 0; c < channels; ++c) ranges[c] = std::max(ranges[c], static_cast<double>(seen[c]));
  }
  return ranges;
}

double mean_levels(const std::vector<double>& ranges) {
  constexpr double kLevels = 255;  // of 8 bits
  const double most = *std::max_element(ranges.begin(), ranges.end());
  double sum = 0;
  for (const double range : ranges) sum += most > 0 ? kLevels * range / most : 0;
  return sum / static_cast<double>(ranges.size());
}

}  // namespace zeropoint::quant
