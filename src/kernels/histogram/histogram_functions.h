// Histogram of fp32 values for calibration: what one instruction set offers. Safe to include in files of any ISA.
//
// The bin of a value is its sign, exponent and top 8 mantissa bits: bits >> 15, 17 bits. An octave is 256 bins of one sign and
// exponent: bin >> 8, 512 octaves (256... are negative). +0 and -0 have no bin but are counted in `zeros` (bins 0 and 0x10000
// hold the tiniest subnormals); NaN and infinities are counted apart. Everything here is a function of the multiset of values.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

inline constexpr int kHistogramBins = 1 << 17;
inline constexpr int kHistogramOctaves = 512, kHistogramOctaveBins = 256;
// Counts are spread over several tables: two increments of one address in a row would wait for each other.
inline constexpr int kHistogramTables = 2;
inline constexpr int kHistogramRun = 16;

// Values that a state takes between drains. Counts of 16 bits keep what a tensor needs of the tables in L1.
inline constexpr std::int64_t kHistogramMostPending = 65535;

// A worker's accumulator. Reuse it for one tensor after another; it is 512 kB, of which only octaves that occur are touched.
// Caller: zero all, set low/high/magnitudes by reset_histogram().
struct HistogramState {
  std::uint16_t* counts;  // [kHistogramTables][kHistogramBins]
  std::int64_t pending;   // values since the last drain; at most kHistogramMostPending: caller's duty
  std::uint64_t zeros, nans, infinities;
  float low, high;                  // of the finite values, zeros included (never -0); +inf, -inf if none
  std::uint32_t smallest, largest;  // bits of |x| over finite non-zero values: which octaves are touched
};

struct HistogramFunctions {
  void (*accumulate)(HistogramState& state, const float* values, std::int64_t count) noexcept;

  // Moves the counts of an octave's 256 bins: adds them to `counts` and zeroes them in the state. False when there are none.
  bool (*drain)(HistogramState& state, int octave, std::uint32_t* counts) noexcept;

  // Over `rows` rows of `channels` values (channel-last, dense): maxima[c] = max(maxima[c], |x[r][c]|), NaN passed over, and
  // sums[c] += x[r][c], where each run of kHistogramRun rows is added up in fp32, row after row, before it joins the sum. A run
  // of huge values may overflow to infinity.
  void (*channel_summary)(const float* values, std::int64_t rows, std::int64_t channels, float* maxima, double* sums) noexcept;
};

// One a file; table.cpp lists them.
extern const HistogramFunctions histogram_reference, histogram_avx2, histogram_avx512vnni, histogram_neon;

}  // namespace zeropoint::kernels
