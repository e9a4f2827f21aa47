#include <immintrin.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

void ceiling_int8_avx512vnni(void* data, std::int64_t passes) noexcept {
  __m512i sums[kCeilingSums];
#pragma GCC unroll 12
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  __m512i x = _mm512_load_si512(data);
  const __m512i w = _mm512_load_si512(static_cast<const __m512i*>(data) + 1);
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, x, w);
      asm volatile("" : "+v"(sum));
    }
  }
#pragma GCC unroll 12
  for (const __m512i& sum : sums) x = _mm512_add_epi32(x, sum);
  _mm512_store_si512(data, x);
}

void ceiling_fp32_avx512vnni(void* data, std::int64_t passes) noexcept {
  __m512 sums[kCeilingSums];
#pragma GCC unroll 12
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  const __m128i* bytes = static_cast<const __m128i*>(data);
  __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(bytes)));
  const __m512 w = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(bytes + 1)));
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) {
      sum = _mm512_fmadd_ps(x, w, sum);
      asm volatile("" : "+v"(sum));
    }
  }
#pragma GCC unroll 12
  for (const __m512& sum : sums) x = _mm512_add_ps(x, sum);
  _mm512_store_ps(data, x);
}

}  // namespace zeropoint::kernels
