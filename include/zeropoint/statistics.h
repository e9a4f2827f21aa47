// Statistics: what calibration saw of each float value of a graph, as a value that merges, compares, prints and round-trips.
//
// The state depends only on the multiset of observed samples: order, batch size, thread count, shards and resume points give
// the same bytes. Nothing rescales, so one outlier costs no resolution elsewhere.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint {

// Counts of finite fp32 values. The bin of a value is its sign, exponent and top 8 mantissa bits (its upper 17 bits), so every
// power of two has 256 bins and a bin is at most 1/256 of its value wide (below 2^-126: 2^-134 wide). Zeros of both signs have
// one bin of their own. Octaves (sign and exponent) exist once a value fell into them.
class Histogram {
 public:
  static constexpr int kBins = 256;  // of an octave
  using Octave = std::array<std::uint64_t, kBins>;

  void add(float value, std::uint64_t times = 1);  // NaN and infinity are not counted: the caller's to keep apart
  void add(std::span<const float> values);
  void add_zeros(std::uint64_t times);
  // Adds to the octave sign << 8 | exponent (0 ... 254, 256 ... 510); one that stays empty is not made.
  void add_octave(int octave, std::span<const std::uint64_t, kBins> counts);
  void merge(const Histogram& other);  // throws Error kLimit when a count passes 2^63

  std::uint64_t count() const { return count_; }  // zeros included
  std::uint64_t zeros() const { return zeros_; }
  const std::map<std::uint16_t, Octave>& octaves() const { return octaves_; }
  friend bool operator==(const Histogram&, const Histogram&) = default;

 private:
  std::uint64_t count_ = 0, zeros_ = 0;
  std::map<std::uint16_t, Octave> octaves_;
};

struct HistogramBin {
  double low, high;     // low <= value <= high; equal for zeros
  std::uint64_t count;  // at least 1
};

// The filled bins in ascending order, for range choosers: values within a bin count as spread evenly over it. The outermost
// edges are the exact minimum and maximum.
class HistogramView {
 public:
  HistogramView() = default;
  HistogramView(const Histogram& histogram, float min, float max);

  std::span<const HistogramBin> bins() const { return bins_; }
  bool empty() const { return bins_.empty(); }
  std::uint64_t count() const { return below_.empty() ? 0 : below_.back(); }
  double min() const { return bins_.empty() ? 0 : bins_.front().low; }
  double max() const { return bins_.empty() ? 0 : bins_.back().high; }

  // How many values lie below v (in part of a bin: its share of the bin's width); a value's own point mass at v (zeros) is not
  // below it.
  double count_below(double v) const;
  // The v with count_below(v) = fraction * count(), integrating within bins: 0 gives min, 1 gives max. 0 when empty.
  double quantile(double fraction) const;
  // The histogram of |v|: positive and negative bins have equal edges, so their counts add. An outermost edge clipped to the
  // exact minimum or maximum keeps the wider of the two.
  HistogramView magnitudes() const;

 private:
  explicit HistogramView(std::vector<HistogramBin> bins);
  std::vector<HistogramBin> bins_;
  std::vector<std::uint64_t> below_;  // counts up to and with bin i
};

// What was seen of one value.
struct ValueStatistics {
  std::uint64_t samples = 0;               // in which the value had at least one finite element
  std::uint64_t nans = 0, infinities = 0;  // elements; not part of anything below
  float min = 0, max = 0;                  // exact, over finite elements; 0 when there are none; -0 is 0
  Histogram histogram;
  // Exact sums over samples of each sample's minimum and maximum (fixed point, numerics/exact_sum.h).
  std::array<std::uint64_t, 6> min_sum{}, max_sum{};
  // Largest |x| by channel along channel_axis, where asked for; empty otherwise.
  std::int64_t channel_axis = 0;  // negative counts from the last
  std::vector<float> channel_max;
  // With it: exact sums over samples of each channel's mean over the sample (fp32), as min_sum.
  std::vector<std::array<std::uint64_t, 6>> channel_mean_sum;
  // Rows (vectors along the last axis) with the smallest content hashes, where asked for: ascending by hash, then contents.
  std::vector<std::vector<float>> rows;

  std::uint64_t count() const { return histogram.count(); }  // finite elements
  std::uint64_t zeros() const { return histogram.zeros(); }
  double mean_min() const;  // average over samples of the sample's minimum
  double mean_max() const;
  std::vector<double> channel_means() const;  // average over samples of the sample's mean, by channel; empty when not asked for
  HistogramView view() const { return HistogramView(histogram, min, max); }
  friend bool operator==(const ValueStatistics&, const ValueStatistics&) = default;
};

// Which samples of a larger set a partial state holds.
struct CalibrationProgress {
  std::uint64_t total = 0;                         // samples of the whole set
  std::uint64_t set_hash = 0;                      // of the set's sample names
  std::vector<std::array<std::uint64_t, 2>> done;  // ascending, disjoint, not touching: [first, last)
  friend bool operator==(const CalibrationProgress&, const CalibrationProgress&) = default;
};

struct Statistics {
  std::string model_hash;                         // graph_hash of the observed graph
  std::string isas;                               // that computed the floats: "scalar avx2 avx512vnni"; merged: joined
  std::uint64_t samples = 0;                      // single samples: a batch of 4 counts 4
  std::uint64_t samples_hash = 0;                 // sum of the samples' content hashes: equal sets have equal sums
  std::uint64_t row_bytes = 0;                    // bound of each value's rows; 0 when none were asked for
  std::optional<CalibrationProgress> progress;    // absent once the whole set is in
  std::map<std::string, ValueStatistics> values;  // by value name

  // Null when the value was not observed.
  const ValueStatistics* find(const std::string& value) const;
  friend bool operator==(const Statistics&, const Statistics&) = default;
};

struct MergeOptions {
  bool mix_isas = false;      // accept floats computed by different instruction sets
  bool same_samples = false;  // accept the same set twice: there are equal samples, and the caller counts each set once
};
// Associative and commutative. Throws Error kMismatch for another model, other observed values, other instruction sets or the
// same set twice (unless allowed), overlapping shards, shards of different sets, or a shard with a complete set.
Statistics merge(const Statistics& a, const Statistics& b, const MergeOptions& options = {});

// Versioned, checksummed bytes: equal statistics have equal bytes. parse throws Error kBadFile on anything else.
std::string serialize(const Statistics& statistics);
Statistics parse_statistics(std::string_view bytes, const std::string& where = "statistics");
void save(const Statistics& statistics, const std::filesystem::path& path);  // through a temporary file and a rename
Statistics load_statistics(const std::filesystem::path& path);
std::string statistics_hash(const Statistics& statistics);  // 16 hexadecimal digits over the bytes, for metadata and reports

std::string to_json(const Statistics& statistics);  // a summary: counts, ranges and percentiles of each value
std::string to_text(const Statistics& statistics);  // the same as a table

struct CalibrateOptions {
  std::vector<std::string> values;                   // to observe; empty: every float value that is not a constant
  std::map<std::string, std::int64_t> channel_axes;  // of those: where channel_max is wanted, and along which axis
  std::vector<std::string> row_values;               // of those: where rows are wanted
  std::uint64_t row_bytes = 1 << 20;                 // bound of the rows of one value
  int threads = 0;                                   // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;  // fixes symbolic dimensions of inputs
  std::uint64_t max_memory = 0;        // bytes; 0: no bound. Fewer threads are used where it needs that
  std::size_t shard = 0, shards = 1;   // this run takes part `shard` (from 0) of `shards`: neighbouring samples
  std::filesystem::path checkpoint;    // where unfinished state is kept (the caller removes it); empty: nowhere
  double checkpoint_seconds = 60;
  bool resume = false;  // go on from the checkpoint, when there is one
  bool allow_non_finite = false;
  std::function<void(std::size_t done, std::size_t total)> progress;  // of this shard; one call at a time, from any worker
  const std::atomic<bool>* interrupt = nullptr;  // becomes true: write the checkpoint, throw Error kInterrupted
};

// Runs the float graph over the samples (or this shard of them) once and observes its values. Memory is O(values x bins) and
// does not grow with the samples; it is measured (resident pages), so max_memory includes what the process held before. A
// sample with a batch is run row by row where the graph leaves the batch open (the first axis of all inputs is one symbol, not
// named after a sequence), so that grouping samples changes nothing. Throws Error: kBadSample (also for an empty set),
// kNonFinite naming value, node and sample, kLimit when max_memory cannot be kept, kBadArgument for an unknown value name,
// kMismatch for a checkpoint of another run.
Statistics calibrate(const Graph& graph, const Samples& samples, const CalibrateOptions& options = {});

}  // namespace zeropoint
