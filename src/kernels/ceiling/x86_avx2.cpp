#include <immintrin.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

// Two multiply-accumulates a 32-bit sum: vpmaddwd and vpaddd.
void ceiling_int8_avx2(void* data, std::int64_t passes) noexcept {
  __m256i sums[kCeilingSums];
#pragma GCC unroll 12
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  __m256i x = _mm256_cvtepu8_epi16(_mm_load_si128(static_cast<const __m128i*>(data)));
  const __m256i w = _mm256_cvtepi8_epi16(_mm_load_si128(static_cast<const __m128i*>(data) + 1));
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& sum : sums) {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
      asm volatile("" : "+x"(x), "+x"(sum));
    }
  }
#pragma GCC unroll 12
  for (const __m256i& sum : sums) x = _mm256_add_epi32(x, sum);
  _mm256_store_si256(static_cast<__m256i*>(data), x);
}

void ceiling_fp32_avx2(void* data, std::int64_t passes) noexcept {
  __m256 sums[kCeilingSums];
#pragma GCC unroll 12
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  const __m128i* bytes = static_cast<const __m128i*>(data);
  __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_load_si128(bytes)));
  const __m256 w = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_load_si128(bytes + 1)));
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (__m256& sum : sums) {
      sum = _mm256_fmadd_ps(x, w, sum);
      asm volatile("" : "+x"(sum));
    }
  }
#pragma GCC unroll 12
  for (const __m256& sum : sums) x = _mm256_add_ps(x, sum);
  _mm256_store_ps(static_cast<float*>(data), x);
}

}  // namespace zeropoint::kernels
