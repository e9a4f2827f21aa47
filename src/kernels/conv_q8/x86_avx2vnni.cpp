// Dense and grouped convolution by AVX-VNNI: vpdpbusd on ymm registers, exact (it does not saturate).
#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/x86_avx2_tiles.h"

namespace zeropoint::kernels {
namespace {

struct DwordDot {
  using Requantize = kernels::Requantize;
  using Element = std::uint8_t;
  static constexpr int kChannels = 4, kCopied = 32;
  static constexpr bool kNeedsSums = true;
  static constexpr int kWeightOffset = 0;
  static constexpr bool kInPlace = true;
  static constexpr std::int64_t kDepthPart = 288;
  static constexpr int kUnrolled = 4;
  static std::int32_t total(const std::uint8_t* in, std::int64_t count) { return plain_total(in, count); }
  static __attribute__((always_inline)) __m256i multiply_add(__m256i acc, __m256i x, __m256i w) {
    return _mm256_dpbusd_avx_epi32(acc, x, w);
  }
  static void copy(Element* to, const std::uint8_t* from) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
};

}  // namespace

std::size_t conv_workspace_6x16x4_avx2vnni(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<DwordDot>(s) * workers);
}

void conv_u8s8s32_6x16x4_avx2vnni(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<DwordDot>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
