// Histogram family (calibration). See histogram_functions.h for the contracts.
//
// Use, per worker: reset once; accumulate the tensor's values; read zeros, nans, infinities, low, high; for each octave of
// touched_octaves() drain it into the tensor's own u64 counts; reset (cheap: counts are zero again after draining).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/histogram/histogram_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct HistogramKernels {
  const char* name;
  Isa needs;
  const HistogramFunctions* functions;
};
std::span<const HistogramKernels> histogram_kernels();  // best first, reference last
const HistogramKernels& select_histogram(IsaSet isas);

// Owns the tables of a HistogramState, zeroed. Throws std::bad_alloc.
class HistogramTables {
 public:
  HistogramTables();
  HistogramState state;

 private:
  AlignedBuffer memory_;
};

// Everything to "nothing seen", but for the counts, which must be zero (fresh or drained).
void reset_histogram(HistogramState& state);

// Octaves (ascending) that hold a count; at most 512.
std::vector<int> touched_octaves(const HistogramState& state);

// Adds the counts of the octave's 256 bins to `counts` and zeroes them in the state.
void drain_octave(HistogramState& state, int octave, std::uint64_t counts[kHistogramOctaveBins]);

}  // namespace zeropoint::kernels
