#include "kernels/histogram/vector_body.h"

namespace zeropoint::kernels {
namespace {

BlockSummary append_bins(const float* values, int64_t count, uint32_t* bins, BinCounter& counter) noexcept {
  BinCounter local = counter;  // in registers
  const __m512i magnitude = _mm512_set1_epi32(static_cast<int>(kMagnitude));
  __m512 low = _mm512_set1_ps(__builtin_inff()), high = _mm512_set1_ps(-__builtin_inff());
  __m512i smallest = _mm512_set1_epi32(-1), largest = _mm512_setzero_si512();
  uint32_t* next = bins;
  for (int64_t i = 0; i < count; i += kLanes) {
    const __m512 x = _mm512_loadu_ps(values + i);
    local.step();
    const __m512i bits = _mm512_castps_si512(x), size = _mm512_and_si512(bits, magnitude);
    const __mmask16 nonzero = _mm512_test_epi32_mask(size, size);
    _mm512_storeu_si512(next, _mm512_maskz_compress_epi32(nonzero, _mm512_srli_epi32(bits, 15)));
    next += __builtin_popcount(nonzero);
    low = _mm512_min_ps(low, x);
    high = _mm512_max_ps(high, x);
    smallest = _mm512_mask_min_epu32(smallest, nonzero, smallest, size);
    largest = _mm512_max_epu32(largest, size);
  }
  counter = local;
  return {_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), _mm512_reduce_min_epu32(smallest),
          _mm512_reduce_max_epu32(largest), next - bins};
}

}  // namespace

const HistogramFunctions histogram_avx512vnni = {.accumulate = accumulate, .drain = drain, .channel_summary = channel_summary};

}  // namespace zeropoint::kernels
