#include <algorithm>
#include <bit>
#include <cmath>

#include "zeropoint/statistics.h"

namespace zeropoint {
namespace {

constexpr std::uint64_t kMostCount = std::uint64_t{1} << 63;

void check_count(std::uint64_t a, std::uint64_t b) {
  if (a > kMostCount || b > kMostCount - a) throw Error(ErrorCode::kLimit, "histogram", "more than 2^63 values");
}

// The magnitude at which bin `bin` of an octave with this exponent starts; bin 256 is the end of the octave.
double edge(int exponent, int bin) {
  const auto bits = (static_cast<std::uint32_t>(exponent) << 23) + (static_cast<std::uint32_t>(bin) << 15);
  if (bits >= 0x7F800000U) return std::ldexp(1.0, 128);
  return static_cast<double>(std::bit_cast<float>(bits));
}

}  // namespace

void Histogram::add(float value, std::uint64_t times) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t octave = bits >> 23;
  if ((octave & 0xFF) == 0xFF || times == 0) return;
  check_count(count_, times);
  count_ += times;
  if ((bits << 1) == 0) {
    zeros_ += times;
  } else {
    octaves_[static_cast<std::uint16_t>(octave)][(bits >> 15) & 0xFF] += times;
  }
}

void Histogram::add(std::span<const float> values) {
  for (const float value : values) add(value);
}

void Histogram::add_zeros(std::uint64_t times) {
  check_count(count_, times);
  count_ += times;
  zeros_ += times;
}

void Histogram::add_octave(int octave, std::span<const std::uint64_t, kBins> counts) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) total += count;
  if (total == 0) return;
  check_count(count_, total);
  count_ += total;
  Octave& mine = octaves_[static_cast<std::uint16_t>(octave)];
  for (std::size_t bin = 0; bin < mine.size(); ++bin) mine[bin] += counts[bin];
}

void Histogram::merge(const Histogram& other) {
  check_count(count_, other.count_);
  count_ += other.count_;
  zeros_ += other.zeros_;
  for (const auto& [octave, counts] : other.octaves_) {
    Octave& mine = octaves_[octave];
    for (std::size_t bin = 0; bin < mine.size(); ++bin) mine[bin] += counts[bin];
  }
}

HistogramView::HistogramView(std::vector<HistogramBin> bins) : bins_(std::move(bins)) {
  below_.reserve(bins_.size());
  std::uint64_t total = 0;
  for (const HistogramBin& bin : bins_) below_.push_back(total += bin.count);
}

HistogramView::HistogramView(const Histogram& histogram, float min, float max) {
  std::vector<HistogramBin> bins;
  const auto& octaves = histogram.octaves();
  const auto negative = octaves.lower_bound(256);
  for (auto it = octaves.end(); it != negative;) {
    --it;
    for (int bin = Histogram::kBins - 1; bin >= 0; --bin) {
      const std::uint64_t count = it->second[static_cast<std::size_t>(bin)];
      if (count != 0) bins.push_back({-edge(it->first - 256, bin + 1), -edge(it->first - 256, bin), count});
    }
  }
  if (histogram.zeros() != 0) bins.push_back({0, 0, histogram.zeros()});
  for (auto it = octaves.begin(); it != negative; ++it) {
    for (int bin = 0; bin < Histogram::kBins; ++bin) {
      const std::uint64_t count = it->second[static_cast<std::size_t>(bin)];
      if (count != 0) bins.push_back({edge(it->first, bin), edge(it->first, bin + 1), count});
    }
  }
  if (!bins.empty()) {
    bins.front().low = std::max(bins.front().low, static_cast<double>(min));
    bins.back().high = std::min(bins.back().high, static_cast<double>(max));
  }
  *this = HistogramView(std::move(bins));
}

double HistogramView::count_below(double v) const {
  const auto bin = std::lower_bound(bins_.begin(), bins_.end(), v, [](const HistogramBin& b, double x) { return b.high < x; });
  if (bin == bins_.end()) return static_cast<double>(count());
  const auto before = static_cast<double>(below_[static_cast<std::size_t>(bin - bins_.begin())] - bin->count);
  if (v <= bin->low) return before;
  return before + static_cast<double>(bin->count) * ((v - bin->low) / (bin->high - bin->low));
}

double HistogramView::quantile(double fraction) const {
  if (bins_.empty()) return 0;
  const double target = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(count());
  auto at = static_cast<std::size_t>(
      std::lower_bound(below_.begin(), below_.end(), target,
                       [](std::uint64_t below, double wanted) { return static_cast<double>(below) < wanted; }) -
      below_.begin());
  at = std::min(at, bins_.size() - 1);
  const HistogramBin& bin = bins_[at];
  const double share = (target - static_cast<double>(below_[at] - bin.count)) / static_cast<double>(bin.count);
  return share >= 1 ? bin.high : bin.low + (bin.high - bin.low) * share;
}

HistogramView HistogramView::magnitudes() const {
  std::vector<HistogramBin> merged;
  merged.reserve(bins_.size());
  // First bin without negative values; bins left of it are walked backwards.
  auto positive = std::find_if(bins_.begin(), bins_.end(), [](const HistogramBin& bin) { return bin.low >= 0; });
  auto negative = positive;
  while (negative != bins_.begin() || positive != bins_.end()) {
    const bool has_negative = negative != bins_.begin(), has_positive = positive != bins_.end();
    const double low_negative = has_negative ? -(negative - 1)->high : 0, low_positive = has_positive ? positive->low : 0;
    const bool zero = has_positive && positive->high == 0;  // goes before a bin that starts at 0
    const bool take_negative = has_negative && !zero && (!has_positive || low_negative <= low_positive);
    const bool take_positive = has_positive && (zero || !has_negative || low_positive <= low_negative);
    HistogramBin bin{0, 0, 0};
    if (take_negative) {
      --negative;
      bin = {-negative->high, -negative->low, negative->count};
    }
    if (take_positive) {
      bin = {positive->low, std::max(bin.high, positive->high), bin.count + positive->count};
      ++positive;
    }
    merged.push_back(bin);
  }
  return HistogramView(std::move(merged));
}

}  // namespace zeropoint
