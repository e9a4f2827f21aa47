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
float finite_part(float x) { return std::isfinite(x) ? x : 0; }

// Adds to sums[c] the values of channel c, in the order of the other axes: the same roundings for channel-last and row-major
// memory. Of kRun neighbours the sum is kept in fp32, which is what a vector unit adds fast.
void add_channel_sums(const float* values, const AxisView& axes, bool finite, double* sums) {
  constexpr std::size_t kRun = 16, kChannels = 16;
  const std::size_t places = axes.outer * axes.inner;
  const auto at = [&](std::size_t place, std::size_t c) {
    return values[(place / axes.inner * axes.size + c) * axes.inner + place % axes.inner];
  };
  // A run of huge values, as masks have them, may pass the largest float: then it is added up in double.
  const auto add_run = [&](std::size_t c, std::size_t first, std::size_t end, float run) {
    if (std::isfinite(run)) {
      sums[c] += static_cast<double>(run);
    } else {
      for (std::size_t place = first; place < end; ++place) sums[c] += static_cast<double>(finite_part(at(place, c)));
    }
  };
  for (std::size_t first = 0; first < places; first += kRun) {
    const std::size_t end = std::min(first + kRun, places);
    std::size_t c = 0;
    if (axes.inner == 1 && finite)
      for (; c + kChannels <= axes.size; c += kChannels) {
        float run[kChannels] = {};
        for (std::size_t place = first; place < end; ++place) {
          const float* row = values + place * axes.size + c;
          for (std::size_t k = 0; k < kChannels; ++k) run[k] += row[k];
        }
        for (std::size_t k = 0; k < kChannels; ++k) add_run(c + k, first, end, run[k]);
      }
    for (; c < axes.size; ++c) {
      float run = 0;
      for (std::size_t place = first; place < end; ++place) run += finite_part(at(place, c));
      add_run(c, first, end, run);
    }
  }
}

}  // namespace

Seen ValueObserver::add(const TapView& view, Scratch& scratch) {
  kernels::HistogramState& state = scratch.tables.state;
  Seen seen;
  float low = std::numeric_limits<float>::infinity(), high = -low;
  constexpr auto kPart = static_cast<std::size_t>(kernels::kHistogramMostPending);
  for (std::size_t done = 0; done < view.values.size(); done += kPart) {
    const auto part = view.values.subspan(done, std::min(kPart, view.values.size() - done));
    scratch.functions.accumulate(state, part.data(), static_cast<std::int64_t>(part.size()));
    seen.nans += state.nans;
    seen.infinities += state.infinities;
    seen.count += part.size() - state.nans - state.infinities;
    low = std::min(low, state.low);
    high = std::max(high, state.high);
    const std::lock_guard lock(mutex_);
    zeros_ += state.zeros;
    for (const kernels::OctaveRange range : {kernels::positive_octaves(state), kernels::negative_octaves(state)})
      for (int octave = range.begin; octave < range.end; ++octave) drain(octave, scratch);
    kernels::reset_histogram(state);
  }

  const bool finite = seen.nans == 0 && seen.infinities == 0;
  if (wanted_.channel_axis && seen.count != 0) add_channels(view, scratch, finite);
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

// Straight into this value's own counts; octaves are made when first met.
void ValueObserver::drain(int octave, Scratch& scratch) {
  auto& counts = octaves_[static_cast<std::size_t>(octave)];
  if (counts) {
    scratch.functions.drain(scratch.tables.state, octave, counts->data());
    return;
  }
  if (!scratch.spare) scratch.spare = std::make_unique<Histogram::Octave>();
  if (scratch.functions.drain(scratch.tables.state, octave, scratch.spare->data())) counts = std::move(scratch.spare);
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
  scratch.channel_sums.assign(axes.size, 0);
  add_channel_sums(values, axes, finite, scratch.channel_sums.data());
  const std::lock_guard lock(mutex_);
  if (sum_.channel_max.empty()) {
    sum_.channel_max.resize(axes.size);
    sum_.channel_mean_sum.resize(axes.size);
  }
  if (sum_.channel_max.size() != axes.size)
    throw Error(ErrorCode::kBadShape, "",
                fmt::format("has {} channels along axis {}, and had {} before", axes.size, *wanted_.channel_axis,
                            sum_.channel_max.size()));
  const double places = static_cast<double>(axes.outer * axes.inner);
  for (std::size_t c = 0; c < axes.size; ++c) {
    sum_.channel_max[c] = std::max(sum_.channel_max[c], scratch.channels[c]);
    numerics::ExactSum sum(sum_.channel_mean_sum[c]);
    sum.add(static_cast<float>(scratch.channel_sums[c] / places));
    sum_.channel_mean_sum[c] = sum.words();
  }
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
  sum_.histogram = Histogram();
  zeros_ = earlier.zeros();
  for (const auto& [octave, counts] : earlier.histogram.octaves())
    octaves_[octave] = std::make_unique<Histogram::Octave>(counts);
  min_sum_ = numerics::ExactSum(earlier.min_sum);
  max_sum_ = numerics::ExactSum(earlier.max_sum);
  for (const auto& row : earlier.rows) rows_.add(row);
}

ValueStatistics ValueObserver::statistics() const {
  const std::lock_guard lock(mutex_);
  ValueStatistics result = sum_;
  result.histogram.add_zeros(zeros_);
  for (std::size_t octave = 0; octave < octaves_.size(); ++octave)
    if (octaves_[octave]) result.histogram.add_octave(static_cast<int>(octave), *octaves_[octave]);
  result.min_sum = min_sum_.words();
  result.max_sum = max_sum_.words();
  result.channel_axis = wanted_.channel_axis.value_or(0);
  result.rows = rows_.rows();
  return result;
}

std::uint64_t ValueObserver::histogram_bytes() const {
  const std::lock_guard lock(mutex_);
  const auto made = std::count_if(octaves_.begin(), octaves_.end(), [](const auto& octave) { return octave != nullptr; });
  return static_cast<std::uint64_t>(made) * sizeof(Histogram::Octave) + rows_.bytes();
}

}  // namespace zeropoint::calib
