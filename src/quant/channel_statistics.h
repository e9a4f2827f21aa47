// What the samples say of the channels of values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "quant/channel_scaling.h"
#include "zeropoint/samples.h"
#include "zeropoint/statistics.h"
#include "zeropoint/steps.h"

namespace zeropoint::quant {

// Statistics of values (name -> axis of the channels) by channel, and rows of some of them, up to `row_bytes` each.
Statistics channel_statistics(const Graph& graph, const std::map<std::string, std::size_t>& axes, const Samples& samples,
                              const StepOptions& options, const std::vector<std::string>& row_values = {},
                              std::uint64_t row_bytes = 0);
// Largest |x| of each channel; neighbouring places are one channel where there are more of them.
std::vector<float> channel_ranges(const ValueStatistics& seen, std::size_t channels);

// Values of a group (name -> axis) that other nodes than activations read: at these a quantizer may stand.
std::map<std::string, std::size_t> observed_values(const Graph& graph, const Uses& uses, const ScalingGroup& group);
// Largest |x| of each channel over such values.
std::vector<double> group_ranges(const Statistics& statistics, const std::map<std::string, std::size_t>& values,
                                 std::size_t channels);
// How many of 255 levels a channel has on average under one scale for all.
double mean_levels(const std::vector<double>& ranges);

}  // namespace zeropoint::quant
