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

}  // namespace zeropoint::quant
