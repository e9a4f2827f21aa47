#include <immintrin.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

void ceiling_int8_avx2vnni(void* data, std::int64_t passes) noexcept {
  __m256i sums[kCeilingSums];
#pragma GCC unroll 12
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  __m256i x = _mm256_load_si256(static_cast<const __m256i*>(data));
  const __m256i w = _mm256_load_si256(static_cast<const __m256i*>(data) + 1);
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& sum : sums) {
      sum = _mm256_dpbusd_avx_epi32(sum, x, w);
      asm volatile("" : "+x"(sum));
    }
  }
#pragma GCC unroll 12
  for (const __m256i& sum : sums) x = _mm256_add_epi32(x, sum);
  _mm256_store_si256(static_cast<__m256i*>(data), x);
}

}  // namespace zeropoint::kernels
