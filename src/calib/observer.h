// Observers: where the workers of a calibration bring the values that they see.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "calib/rows.h"
#include "engine/tap.h"
#include "kernels/histogram/histogram.h"
#include "numerics/exact_sum.h"
#include "zeropoint/statistics.h"

namespace zeropoint::calib {

// What one value's elements of one sample are, beside the counts.
struct Seen {
  std::uint64_t count = 0, nans = 0, infinities = 0;
};

// Counts since they were last added to a histogram; half the size, as they pass through the cache with every sample.
using RecentOctave = std::array<std::uint32_t, Histogram::kBins>;

// A worker's own part: the table that it counts in.
class Scratch {
 public:
  explicit Scratch(IsaSet isas) : functions(*kernels::select_histogram(isas).functions) {}

  kernels::HistogramTables tables;
  const kernels::HistogramFunctions& functions;
  std::vector<float> channel_max, row;
  std::vector<double> channel_sums;
  std::unique_ptr<RecentOctave> spare;  // all zero
};

// The statistics of one value, added to by several workers at once. Everything added commutes and is exact, so neither order
// nor timing shows in the result.
class ValueObserver {
 public:
  struct Wanted {
    std::optional<std::int64_t> channel_axis;
    std::uint64_t row_bytes = 0;  // 0: no rows
  };
  explicit ValueObserver(Wanted wanted) : wanted_(wanted), rows_(wanted.row_bytes) {}

  // One sample's tensor. Throws Error kBadShape when the channels' number changes.
  Seen add(const TapView& view, Scratch& scratch);
  void add(const ValueStatistics& earlier);  // of a checkpoint; before workers start
  ValueStatistics statistics() const;
  std::uint64_t histogram_bytes() const;

 private:
  void drain(Scratch& scratch);
  void drain(int octave, Scratch& scratch);
  void add_recent_to(Histogram& histogram) const;
  void add_channels(const Scratch& scratch, double places);
  void add_rows(const TapView& view, Scratch& scratch);

  Wanted wanted_;
  mutable std::mutex mutex_;  // guards all below
  ValueStatistics sum_;       // without recent counts, sums and rows, which are:
  std::uint64_t recent_count_ = 0, recent_zeros_ = 0;
  std::array<std::unique_ptr<RecentOctave>, kernels::kHistogramOctaves> recent_;
  numerics::ExactSum min_sum_, max_sum_;
  RowSample rows_;
};

}  // namespace zeropoint::calib
