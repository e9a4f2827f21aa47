#include "calib/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace zeropoint::calib {
namespace {

// A tensor seen as [outer, size, inner] around one axis, in the order of memory.
struct AxisView {
  std::size_t outer = 1, size = 1, inner = 1;
};

AxisView around(const TapView& view, std::int64_t axis) {
  const auto rank = static_cast<std::int64_t>(view.dims.size());
  AxisView result;
  if (rank == 0) return result;
  axis = std::clamp<std::int64_t>(axis < 0 ? axis + rank : axis, 0, rank - 1);
  // Channel-last memory is [N, spatial ..., C].
  Dims memory(view.dims.begin(), view.dims.end());
  if (view.channel_last && rank >= 3) {
    std::rotate(memory.begin() + 1, memory.begin() + 2, memory.end());
    if (axis != 0) axis = axis == 1 ? rank - 1 : axis - 1;
  }
  for (std::int64_t i = 0; i < rank; ++i) {
    auto& part = i < axis ? result.outer : i == axis ? result.size : result.inner;
    part *= static_cast<std::size_t>(memory[static_cast<std::size_t>(i)]);
  }
  return result;
}

float magnitude(float x) { return std::isfinite(x) ? std::fabs(x) : 0; }

}  // namespace

Seen ValueObserver::add(const TapView& view, Scratch& scratch) {
  kernels::HistogramState& state = scratch.tables.state;
  Seen seen;
  float low = std::numeric_limits<float>::infinity(), high = -low;
  // Counts of 32 bits: a tensor of billions of elements is counted in parts.
  constexpr std::size_t kPart = std::size_t{1} << 30;
  for (std::size_t done = 0; done < view.values.size(); done += kPart) {
    const auto part = view.values.subspan(done, std::min(kPart, view.values.size() - done));
    scratch.functions.accumulate(state, part.data(), static_cast<std::int64_t>(part.size()));
    seen.nans += state.nans;
    seen.infinities += state.infinities;
    seen.count += part.size() - state.nans - state.infinities;
    low = std::min(low, state.low);
    high = std::max(high, state.high);
    const std::vector<int> octaves = kernels::touched_octaves(state);
    const std::lock_guard lock(mutex_);
    sum_.histogram.add_zeros(state.zeros);
    for (const int octave : octaves) {
      Histogram::Octave counts{};
      kernels::drain_octave(state, octave, counts.data());
      sum_.histogram.add_octave(octave, counts);
    }
    kernels::reset_histogram(state);
  }

  const bool finite = seen.nans == 0 && seen.infinities == 0;
  if (wanted_.channel_axis) add_channels(view, scratch, finite);
  if (wanted_.row_bytes != 0) add_rows(view, scratch);
  const std::lock_guard lock(mutex_);
  sum_.nans += seen.nans;
  sum_.infinities += seen.infinities;
  if (seen.count == 0) return seen;
  low += 0.0F;  // -0 becomes 0: which zero of equal ones was met first must not show
  high += 0.0F;
  sum_.min = sum_.samples == 0 ? low : std::min(sum_.min, low);
  sum_.max = sum_.samples == 0 ? high : std::max(sum_.max, high);
  ++sum_.samples;
  min_sum_.add(low);
  max_sum_.add(high);
  return seen;
}

void ValueObserver::add_channels(const TapView& view, Scratch& scratch, bool finite) {
  const AxisView axes = around(view, *wanted_.channel_axis);
  scratch.channels.assign(axes.size, 0);
  const float* values = view.values.data();
  if (axes.inner == 1 && finite) {
    scratch.functions.channel_abs_max(values, static_cast<std::int64_t>(axes.outer), static_cast<std::int64_t>(axes.size),
                                      scratch.channels.data());
  } else {
    for (std::size_t o = 0; o < axes.outer; ++o)
      for (std::size_t c = 0; c < axes.size; ++c)
        for (std::size_t i = 0; i < axes.inner; ++i)
          scratch.channels[c] = std::max(scratch.channels[c], magnitude(values[(o * axes.size + c) * axes.inner + i]));
  }
  if (view.values.empty()) return;
  const std::lock_guard lock(mutex_);
  if (sum_.channel_max.empty()) sum_.channel_max.resize(axes.size);
  if (sum_.channel_max.size() != axes.size)
    throw Error(ErrorCode::kBadShape, "",
                fmt::format("has {} channels along axis {}, and had {} before", axes.size, *wanted_.channel_axis,
                            sum_.channel_max.size()));
  for (std::size_t c = 0; c < axes.size; ++c) sum_.channel_max[c] = std::max(sum_.channel_max[c], scratch.channels[c]);
}

void ValueObserver::add_rows(const TapView& view, Scratch& scratch) {
  const AxisView axes = around(view, -1);
  const std::lock_guard lock(mutex_);
  for (std::size_t o = 0; o < axes.outer; ++o)
    for (std::size_t i = 0; i < axes.inner; ++i) {
      const float* start = view.values.data() + o * axes.size * axes.inner + i;
      if (axes.inner == 1) {
        rows_.add({start, axes.size});
        continue;
      }
      scratch.row.resize(axes.size);
      for (std::size_t k = 0; k < axes.size; ++k) scratch.row[k] = start[k * axes.inner];
      rows_.add(scratch.row);
    }
}

void ValueObserver::add(const ValueStatistics& earlier) {
  sum_ = earlier;
  min_sum_ = numerics::ExactSum(earlier.min_sum);
  max_sum_ = numerics::ExactSum(earlier.max_sum);
  for (const auto& row : earlier.rows) rows_.add(row);
}

ValueStatistics ValueObserver::statistics() const {
  const std::lock_guard lock(mutex_);
  ValueStatistics result = sum_;
  result.min_sum = min_sum_.words();
  result.max_sum = max_sum_.words();
  result.channel_axis = wanted_.channel_axis.value_or(0);
  result.rows = rows_.rows();
  return result;
}

std::uint64_t ValueObserver::histogram_bytes() const {
  const std::lock_guard lock(mutex_);
  return sum_.histogram.octaves().size() * sizeof(Histogram::Octave) + rows_.bytes();
}

}  // namespace zeropoint::calib
