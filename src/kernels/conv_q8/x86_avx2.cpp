// Dense and grouped convolution by AVX2: inputs and weights widened to s16, vpmaddwd. Always exact; vpmaddubsw would be faster
// but saturates (255 * 127 * 2 does not fit into s16). s16 also holds w - weight_zero_point, so these cost nothing.
#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/x86_avx2_tiles.h"

namespace zeropoint::kernels {
namespace {

struct WordDot {
  using Requantize = kernels::Requantize;
  using Element = std::int16_t;
  static constexpr int kChannels = 2, kCopied = 16;
  static constexpr bool kNeedsSums = false;
  static constexpr int kWeightOffset = 0;
  static constexpr bool kInPlace = false;
  static constexpr std::int64_t kDepthPart = 288;
  static constexpr int kUnrolled = 1;
  static __attribute__((always_inline)) __m256i multiply_add(__m256i acc, __m256i x, __m256i w) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
  }
  static void copy(Element* to, const std::uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_cvtepu8_epi16(bytes));
  }
};

}  // namespace

std::size_t conv_workspace_6x16x2_avx2(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<WordDot>(s) * workers);
}

void conv_u8s8s32_6x16x2_avx2(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<WordDot>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
