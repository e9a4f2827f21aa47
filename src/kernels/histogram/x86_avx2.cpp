#include "kernels/histogram/vector_body.h"

namespace zeropoint::kernels {
namespace {

// order[mask]: the lanes whose bit is set, lowest first, a byte each.
struct CompressTable {
  constexpr CompressTable() : order{} {
    for (unsigned mask = 0; mask < 256; ++mask) {
      int at = 0;
      for (unsigned lane = 0; lane < 8; ++lane)
        if ((mask >> lane & 1U) != 0) order[mask] |= uint64_t{lane} << (8 * at++);
    }
  }
  uint64_t order[256];
};
constexpr CompressTable kCompress;

BlockSummary append_bins(const float* values, int64_t count, uint32_t* bins, BinCounter& counter) noexcept {
  BinCounter local = counter;  // in registers
  const __m256i magnitude = _mm256_set1_epi32(static_cast<int>(kMagnitude)), none = _mm256_set1_epi32(-1);
  __m256 low = _mm256_set1_ps(__builtin_inff()), high = _mm256_set1_ps(-__builtin_inff());
  __m256i smallest = none, largest = _mm256_setzero_si256();
  uint32_t* next = bins;
  for (int64_t i = 0; i < count; i += kLanes) {
    const __m256 x = _mm256_loadu_ps(values + i);
    local.step();
    const __m256i bits = _mm256_castps_si256(x), size = _mm256_and_si256(bits, magnitude);
    const __m256i zero = _mm256_cmpeq_epi32(size, _mm256_setzero_si256());
    const unsigned nonzero = ~static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(zero))) & 255U;
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kCompress.order[nonzero])));
    const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_srli_epi32(bits, 15), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(next), packed);
    next += __builtin_popcount(nonzero);
    low = _mm256_min_ps(low, x);
    high = _mm256_max_ps(high, x);
    smallest = _mm256_min_epu32(smallest, _mm256_or_si256(size, zero));
    largest = _mm256_max_epu32(largest, size);
  }
  counter = local;
  alignas(32) float lows[8], highs[8];
  alignas(32) uint32_t smallests[8], largests[8];
  _mm256_store_ps(lows, low);
  _mm256_store_ps(highs, high);
  _mm256_store_si256(reinterpret_cast<__m256i*>(smallests), smallest);
  _mm256_store_si256(reinterpret_cast<__m256i*>(largests), largest);
  BlockSummary summary{lows[0], highs[0], smallests[0], largests[0], next - bins};
  for (int lane = 1; lane < 8; ++lane) {
    if (lows[lane] < summary.low) summary.low = lows[lane];
    if (highs[lane] > summary.high) summary.high = highs[lane];
    if (smallests[lane] < summary.smallest) summary.smallest = smallests[lane];
    if (largests[lane] > summary.largest) summary.largest = largests[lane];
  }
  return summary;
}

}  // namespace

const HistogramFunctions histogram_avx2 = {.accumulate = accumulate, .drain = drain, .channel_summary = channel_summary};

}  // namespace zeropoint::kernels
