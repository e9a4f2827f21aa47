// The definition of the histogram family.
#include <cstring>

#include "kernels/histogram/histogram_functions.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t, std::uint32_t;

constexpr uint32_t kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000;

void accumulate(HistogramState& state, const float* values, int64_t count) noexcept {
  state.pending += count;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    const uint32_t magnitude = bits & kMagnitude;
    if (magnitude >= kInfinity) {
      ++(magnitude == kInfinity ? state.infinities : state.nans);
      continue;
    }
    if (values[i] < state.low) state.low = values[i];
    if (values[i] > state.high) state.high = values[i];
    if (magnitude == 0) {
      ++state.zeros;
      continue;
    }
    if (magnitude < state.smallest) state.smallest = magnitude;
    if (magnitude > state.largest) state.largest = magnitude;
    ++state.counts[bits >> 15];
  }
  state.low = state.low + 0.0F;  // -0 and +0 are one value
  state.high = state.high + 0.0F;
}

bool drain(HistogramState& state, int octave, std::uint32_t* counts) noexcept {
  bool any = false;
  for (int table = 0; table < kHistogramTables; ++table)
    for (int bin = 0; bin < kHistogramOctaveBins; ++bin) {
      std::uint16_t& count = state.counts[table * kHistogramBins + octave * kHistogramOctaveBins + bin];
      any = any || count != 0;
      counts[bin] += count;
      count = 0;
    }
  return any;
}

void channel_summary(const float* values, int64_t rows, int64_t channels, float* maxima, double* sums) noexcept {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t first = 0; first < rows; first += kHistogramRun) {
      float run = 0;
      for (int64_t r = first; r < rows && r < first + kHistogramRun; ++r) {
        const float x = values[r * channels + c], magnitude = x < 0 ? -x : x;
        if (magnitude > maxima[c]) maxima[c] = magnitude;
        run += x;
      }
      sums[c] += static_cast<double>(run);
    }
}

}  // namespace

const HistogramFunctions histogram_reference = {.accumulate = accumulate, .drain = drain, .channel_summary = channel_summary};

}  // namespace zeropoint::kernels
