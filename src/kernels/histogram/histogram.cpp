#include "kernels/histogram/histogram.h"

#include <cstring>
#include <limits>

namespace zeropoint::kernels {
namespace {

constexpr std::size_t kTableBytes = std::size_t{kHistogramTables} * kHistogramBins * sizeof(std::uint16_t);
constexpr int kNegative = kHistogramOctaves / 2;  // first octave of the negative values

}  // namespace

HistogramTables::HistogramTables() : state{}, memory_(allocate_aligned(kTableBytes)) {
  std::memset(memory_.get(), 0, kTableBytes);
  state.counts = reinterpret_cast<std::uint16_t*>(memory_.get());
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

OctaveRange positive_octaves(const HistogramState& state) {
  if (state.largest < state.smallest || !(state.high > 0)) return {0, 0};
  return {static_cast<int>(state.smallest >> 23), static_cast<int>(state.largest >> 23) + 1};
}

OctaveRange negative_octaves(const HistogramState& state) {
  if (state.largest < state.smallest || !(state.low < 0)) return {kNegative, kNegative};
  return {kNegative + static_cast<int>(state.smallest >> 23), kNegative + static_cast<int>(state.largest >> 23) + 1};
}

}  // namespace zeropoint::kernels
