// The histogram in two steps a block: bins of the non-zero values side by side into a small buffer (vector units), then
// counting them (scalar; one increment a value, bound by loads and stores). The steps of neighbouring blocks are interleaved,
// so that both kinds of units work. The body of each ISA file, which brings append_bins.
#pragma once

#include "kernels/histogram/histogram_functions.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

constexpr int64_t kBlock = 2048;  // values; the buffer stays in L1 beside the counts
constexpr uint32_t kMagnitude = 0x7FFFFFFF, kInfinityBits = 0x7F800000;

// What one block adds to the state if all of its values are finite.
struct BlockSummary {
  float low, high;
  uint32_t smallest, largest;  // of |x|, as bits; smallest over non-zero values only
  int64_t bins;                // non-zero values
};

// Counts the bins of the block before, kLanes at a time. Neighbours go to different tables: equal bins in a row (a clamped
// activation) would wait for each other's store.
struct BinCounter {
  uint16_t* tables;
  const uint32_t *next, *end;

  void step() {
    if (end - next < kLanes) return;
    for (int k = 0; k < kLanes; k += 4) {
      uint64_t first, second;  // two bins in one load
      memcpy(&first, next + k, sizeof first);
      memcpy(&second, next + k + 2, sizeof second);
      ++tables[static_cast<uint32_t>(first)];
      ++tables[kHistogramBins + (first >> 32)];
      ++tables[static_cast<uint32_t>(second)];
      ++tables[kHistogramBins + (second >> 32)];
    }
    next += kLanes;
  }
  void finish() {
    while (end - next >= kLanes) step();
    for (; next < end; ++next) ++tables[*next];
  }
};

// Of `count` values, a multiple of kLanes: bins of the non-zero ones to `bins` (room for kLanes more than count), in any order.
// Calls counter.step() for each vector.
BlockSummary append_bins(const float* values, int64_t count, uint32_t* bins, BinCounter& counter) noexcept;

inline void accumulate(HistogramState& state, const float* values, int64_t count) noexcept {
  uint32_t bins[2][kBlock + kLanes];
  int turn = 0;
  BinCounter counter{state.counts, bins[0], bins[0]};
  while (count >= kLanes) {
    const int64_t block = count < kBlock ? count / kLanes * kLanes : kBlock;
    const BlockSummary summary = append_bins(values, block, bins[turn], counter);
    counter.finish();
    if (summary.largest >= kInfinityBits) {  // rare: something is not finite
      histogram_reference.accumulate(state, values, block);
    } else {
      state.pending += block;
      state.zeros += static_cast<uint64_t>(block - summary.bins);
      if (summary.low < state.low) state.low = summary.low;
      if (summary.high > state.high) state.high = summary.high;
      if (summary.smallest < state.smallest) state.smallest = summary.smallest;
      if (summary.largest > state.largest && summary.bins > 0) state.largest = summary.largest;
      counter.next = bins[turn];
      counter.end = bins[turn] + summary.bins;
      turn ^= 1;
    }
    values += block;
    count -= block;
  }
  counter.finish();
  histogram_reference.accumulate(state, values, count);
}

inline bool drain(HistogramState& state, int octave, uint32_t* counts) noexcept {
  uint16_t* const first = state.counts + octave * kHistogramOctaveBins;
  uint16_t* const second = first + kHistogramBins;
  uint16_t any = 0;
  for (int bin = 0; bin < kHistogramOctaveBins; ++bin) any = static_cast<uint16_t>(any | first[bin] | second[bin]);
  if (any == 0) return false;
  // Together at most kHistogramMostPending: the sum fits into 16 bits again.
  for (int bin = 0; bin < kHistogramOctaveBins; ++bin) counts[bin] += static_cast<uint16_t>(first[bin] + second[bin]);
  memset(first, 0, kHistogramOctaveBins * sizeof *first);
  memset(second, 0, kHistogramOctaveBins * sizeof *second);
  return true;
}

inline void channel_summary(const float* values, int64_t rows, int64_t channels, float* maxima, double* sums) noexcept {
  for (int64_t first = 0; first < rows; first += kHistogramRun) {
    const int64_t end = first + kHistogramRun < rows ? first + kHistogramRun : rows;
    for_each_vector(0, channels, [&](int64_t c, auto part) {
      F32 run = broadcast(0), most = load(maxima + c, part);
      for (int64_t r = first; r < end; ++r) {
        const F32 x = load(values + r * channels + c, part);
        run = add(run, x);
        most = max(abs(x), most);
      }
      store(maxima + c, most, part);
      float lanes[kLanes];
      store(lanes, run, Whole{});
      if (channels - c >= kLanes) {  // a number of steps that the compiler knows becomes vectors
        for (int64_t k = 0; k < kLanes; ++k) sums[c + k] += static_cast<double>(lanes[k]);
      } else {
        for (int64_t k = 0; k < channels - c; ++k) sums[c + k] += static_cast<double>(lanes[k]);
      }
    });
  }
}

}  // namespace
}  // namespace zeropoint::kernels
