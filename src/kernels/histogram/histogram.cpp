#include "kernels/histogram/histogram.h"

#include <cstring>
#include <limits>

namespace zeropoint::kernels {
namespace {

constexpr std::size_t kTableBytes = std::size_t{kHistogramTables} * kHistogramBins * sizeof(std::uint32_t);
constexpr int kNegative = kHistogramOctaves / 2;  // first octave of the negative values

}  // namespace

HistogramTables::HistogramTables() : state{}, memory_(allocate_aligned(kTableBytes)) {
  std::memset(memory_.get(), 0, kTableBytes);
  state.counts = reinterpret_cast<std::uint32_t*>(memory_.get());
  reset_histogram(state);
}

void reset_histogram(HistogramState& state) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  state = {.counts = state.counts,
           .pending = 0,
           .zeros = 0,
           .nans = 0,
           .infinities = 0,
           .low = kInfinity,
           .high = -kInfinity,
           .smallest = std::numeric_limits<std::uint32_t>::max(),
           .largest = 0};
}

std::vector<int> touched_octaves(const HistogramState& state) {
  std::vector<int> octaves;
  if (state.largest < state.smallest) return octaves;  // nothing but zeros and non-finite values
  const int first = static_cast<int>(state.smallest >> 23), last = static_cast<int>(state.largest >> 23);
  for (const int sign : {0, kNegative})
    for (int octave = sign + first; octave <= sign + last; ++octave) {
      std::uint32_t any = 0;
      for (int table = 0; table < kHistogramTables; ++table) {
        const std::uint32_t* bins = state.counts + table * kHistogramBins + octave * kHistogramOctaveBins;
        for (int bin = 0; bin < kHistogramOctaveBins; ++bin) any |= bins[bin];
      }
      if (any != 0) octaves.push_back(octave);
    }
  return octaves;
}

void drain_octave(HistogramState& state, int octave, std::uint64_t counts[kHistogramOctaveBins]) {
  for (int table = 0; table < kHistogramTables; ++table) {
    std::uint32_t* bins = state.counts + table * kHistogramBins + octave * kHistogramOctaveBins;
    for (int bin = 0; bin < kHistogramOctaveBins; ++bin) {
      counts[bin] += bins[bin];
      bins[bin] = 0;
    }
  }
}

}  // namespace zeropoint::kernels
