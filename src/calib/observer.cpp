#include "calib/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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

// What channel_summary does, for any layout and any values: NaN and infinity count as 0, and a run of values that are too large
// together, as masks have them, is added up in double.
void summarize_channels(const float* values, const AxisView& axes, float* maxima, double* sums) {
  constexpr std::size_t kRun = kernels::kHistogramRun;
  const std::size_t places = axes.outer * axes.inner;
  for (std::size_t c = 0; c < axes.size; ++c)
    for (std::size_t first = 0; first < places; first += kRun) {
      const std::size_t length = std::min(kRun, places - first);
      float x[kRun] = {};
      for (std::size_t k = 0; k < length; ++k) {
        const std::size_t o = (first + k) / axes.inner, i = (first + k) % axes.inner;
        x[k] = values[(o * axes.size + c) * axes.inner + i];
        if (!std::isfinite(x[k])) x[k] = 0;
        maxima[c] = std::max(maxima[c], std::fabs(x[k]));
      }
      const float run = std::accumulate(x, x + length, 0.0F);
      sums[c] += std::isfinite(run) ? static_cast<double>(run) : std::accumulate(x, x + length, 0.0);
    }
}

// The same for finite values of one sample in row-major order: channels are planes. A sum that is not finite calls for the
// other function.
void summarize_planes(const float* values, const AxisView& axes, float* maxima, double* sums) {
  constexpr std::size_t kRun = kernels::kHistogramRun;
  for (std::size_t c = 0; c < axes.size; ++c) {
    const float* plane = values + c * axes.inner;
    float most[kRun] = {};
    std::size_t i = 0;
    for (; i + kRun <= axes.inner; i += kRun) {
      float run = 0;
      for (std::size_t k = 0; k < kRun; ++k) run += plane[i + k];
      sums[c] += static_cast<double>(run);
      for (std::size_t k = 0; k < kRun; ++k) most[k] = std::max(most[k], std::fabs(plane[i + k]));
    }
    float run = 0;
    for (; i < axes.inner; ++i) {
      run += plane[i];
      most[0] = std::max(most[0], std::fabs(plane[i]));
    }
    sums[c] += static_cast<double>(run);
    maxima[c] = *std::max_element(most, most + kRun);
  }
}

}  // namespace

Seen ValueObserver::add(const TapView& view, Scratch& scratch) {
  kernels::HistogramState& state = scratch.tables.state;
  Seen seen;
  float low = std::numeric_limits<float>::infinity(), high = -low;
  const AxisView channels = around(view, wanted_.channel_axis.value_or(0));
  const bool channels_on_the_way = wanted_.channel_axis && channels.inner == 1;
  std::size_t rows_done = 0;
  if (wanted_.channel_axis) {
    scratch.channel_max.assign(channels.size, 0);
    scratch.channel_sums.assign(channels.size, 0);
  }
  constexpr auto kMostPending = static_cast<std::size_t>(kernels::kHistogramMostPending);
  // Parts that stay in L1 from one use to the next, and end where a run of rows ends, if that fits.
  constexpr std::size_t kCachedValues = 4096;
  const std::size_t run = kernels::kHistogramRun * channels.size;
  const std::size_t step = !channels_on_the_way || run > kMostPending || run == 0
                               ? kMostPending
                               : std::max<std::size_t>(kCachedValues / run, 1) * run;
  for (std::size_t done = 0; done < view.values.size();) {
    const auto part = view.values.subspan(done, std::min(step, view.values.size() - done));
    scratch.functions.accumulate(state, part.data(), static_cast<std::int64_t>(part.size()));
    done += part.size();
    const std::size_t left = view.values.size() - done;
    if (channels_on_the_way) {
      const std::size_t rows = done / channels.size,
                        ready = left == 0 ? rows : rows / kernels::kHistogramRun * kernels::kHistogramRun;
      scratch.functions.channel_summary(view.values.data() + rows_done * channels.size,
                                        static_cast<std::int64_t>(ready - rows_done), static_cast<std::int64_t>(channels.size),
                                        scratch.channel_max.data(), scratch.channel_sums.data());
      rows_done = ready;
    }
    const auto pending = static_cast<std::size_t>(state.pending);
    if (left != 0 && pending + std::min(step, left) <= kMostPending) continue;
    seen.nans += state.nans;
    seen.infinities += state.infinities;
    seen.count += pending - state.nans - state.infinities;
    low = std::min(low, state.low);
    high = std::max(high, state.high);
    drain(scratch);
  }

  if (wanted_.channel_axis && seen.count != 0) {
    const bool finite = seen.nans == 0 && seen.infinities == 0;
    if (!channels_on_the_way && channels.outer == 1 && finite)
      summarize_planes(view.values.data(), channels, scratch.channel_max.data(), scratch.channel_sums.data());
    const auto& sums = scratch.channel_sums;
    if (!finite || (!channels_on_the_way && channels.outer != 1) ||
        !std::all_of(sums.begin(), sums.end(), [](double x) { return std::isfinite(x); })) {
      scratch.channel_max.assign(channels.size, 0);
      scratch.channel_sums.assign(channels.size, 0);
      summarize_channels(view.values.data(), channels, scratch.channel_max.data(), scratch.channel_sums.data());
    }
    add_channels(scratch, static_cast<double>(channels.outer * channels.inner));
  }
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

void ValueObserver::drain(Scratch& scratch) {
  kernels::HistogramState& state = scratch.tables.state;
  const std::lock_guard lock(mutex_);
  const auto pending = static_cast<std::uint64_t>(state.pending);
  if (recent_count_ + pending > std::numeric_limits<std::uint32_t>::max()) {  // a bin might overflow
    add_recent_to(sum_.histogram);
    for (auto& octave : recent_) octave.reset();
    recent_count_ = recent_zeros_ = 0;
  }
  recent_count_ += pending;
  recent_zeros_ += state.zeros;
  for (const kernels::OctaveRange range : {kernels::positive_octaves(state), kernels::negative_octaves(state)})
    for (int octave = range.begin; octave < range.end; ++octave) drain(octave, scratch);
  kernels::reset_histogram(state);
}

// Straight into this value's own counts; octaves are made when first met.
void ValueObserver::drain(int octave, Scratch& scratch) {
  auto& counts = recent_[static_cast<std::size_t>(octave)];
  if (counts) {
    scratch.functions.drain(scratch.tables.state, octave, counts->data());
    return;
  }
  if (!scratch.spare) scratch.spare = std::make_unique<RecentOctave>();
  if (scratch.functions.drain(scratch.tables.state, octave, scratch.spare->data())) counts = std::move(scratch.spare);
}

void ValueObserver::add_recent_to(Histogram& histogram) const {
  histogram.add_zeros(recent_zeros_);
  for (std::size_t octave = 0; octave < recent_.size(); ++octave) {
    if (!recent_[octave]) continue;
    Histogram::Octave counts;
    std::copy(recent_[octave]->begin(), recent_[octave]->end(), counts.begin());
    histogram.add_octave(static_cast<int>(octave), counts);
  }
}

void ValueObserver::add_channels(const Scratch& scratch, double places) {
  const std::size_t channels = scratch.channel_max.size();
  const std::lock_guard lock(mutex_);
  if (sum_.channel_max.empty()) {
    sum_.channel_max.resize(channels);
    sum_.channel_mean_sum.resize(channels);
  }
  if (sum_.channel_max.size() != channels)
    throw Error(ErrorCode::kBadShape, "",
                fmt::format("has {} channels along axis {}, and had {} before", channels, *wanted_.channel_axis,
                            sum_.channel_max.size()));
  for (std::size_t c = 0; c < channels; ++c) {
    sum_.channel_max[c] = std::max(sum_.channel_max[c], scratch.channel_max[c]);
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
  min_sum_ = numerics::ExactSum(earlier.min_sum);
  max_sum_ = numerics::ExactSum(earlier.max_sum);
  for (const auto& row : earlier.rows) rows_.add(row);
}

ValueStatistics ValueObserver::statistics() const {
  const std::lock_guard lock(mutex_);
  ValueStatistics result = sum_;
  add_recent_to(result.histogram);
  result.min_sum = min_sum_.words();
  result.max_sum = max_sum_.words();
  result.channel_axis = wanted_.channel_axis.value_or(0);
  result.rows = rows_.rows();
  return result;
}

std::uint64_t ValueObserver::histogram_bytes() const {
  const std::lock_guard lock(mutex_);
  const auto made = std::count_if(recent_.begin(), recent_.end(), [](const auto& octave) { return octave != nullptr; });
  return static_cast<std::uint64_t>(made) * sizeof(RecentOctave) + sum_.histogram.octaves().size() * sizeof(Histogram::Octave) +
         rows_.bytes();
}

}  // namespace zeropoint::calib
