// Histogram family (calibration). See histogram_functions.h for the contracts.
//
// Use, per worker: reset once; accumulate at most kHistogramMostPending values; read zeros, nans, infinities, low, high; drain
// each octave of positive_octaves() and negative_octaves() into the tensor's own counts; reset (cheap: counts are zero
// again after draining).
#pragma once

#include <cstdint>
#include <span>

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

// The octaves that may hold counts, by sign: [begin, end).
struct OctaveRange {
  int begin, end;
};
OctaveRange positive_octaves(const HistogramState& state);
OctaveRange negative_octaves(const HistogramState& state);

}  // namespace zeropoint::kernels
