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

std::int64_t vector_bytes(const ConvShape& s) { return round_up(s.c * 2 + 64, 64); }

}  // namespace

std::size_t conv_workspace_6x16x2_avx2(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<WordDot>(s) * workers);
}

void conv_u8s8s32_6x16x2_avx2(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<WordDot>(s, a, worker, workers);
}

// One row of inputs: each weight is used once, so it is kept as a byte, half the memory, and widened on the way.
std::size_t conv_workspace_1x16x4_avx2(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(vector_bytes(s) * workers);
}

void conv_u8s8s32_1x16x4_avx2(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const std::int64_t steps = (s.c + 3) / 4, blocks = (s.o + kBlock - 1) / kBlock, block_bytes = steps * 4 * kBlock;
  const Split split = split_work(s, blocks, kBlock, blocks * block_bytes, 1, worker, workers);
  if (split.pixels.begin == split.pixels.end) return;
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(blocks * kBlock);
  auto* inputs = reinterpret_cast<std::int16_t*>(static_cast<std::uint8_t*>(a.workspace) + vector_bytes(s) * worker);
  for (std::int64_t c = 0; c < s.c; c += WordDot::kCopied) WordDot::copy(inputs + c, a.src + c);
  const std::int32_t sum = header->has_weight_zero_points ? plain_total(a.src, s.c) : 0;

  const Requantize requantize(a, *header, s.o);
  const __m256i bias = _mm256_set1_epi32(requantize.biased ? Requantize::kBias : 0);
  for (std::int64_t block = split.blocks.begin; block < split.blocks.end; ++block) {
    const std::int64_t channel = block * kBlock;
    const auto* w = reinterpret_cast<const __m128i*>(weights + block * block_bytes);
    __m256i sums[4];  // of 4 channels each, two lanes a channel
    for (__m256i& lanes : sums) lanes = _mm256_setzero_si256();
    for (std::int64_t step = 0; step < steps; ++step, w += 4) {
      long long words;
      __builtin_memcpy(&words, inputs + 4 * step, 8);
      const __m256i x = _mm256_set1_epi64x(words);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(x, _mm256_cvtepi8_epi16(_mm_load_si128(w + i))));
    }
    const int channels = s.o - channel < kBlock ? static_cast<int>(s.o - channel) : kBlock;
    const __m256i masks[2] = {first_lanes(channels), first_lanes(channels - 8)};
    __m256i acc[1][2];
    for (int v = 0; v < 2; ++v) {
      const __m256i total = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[2 * v], sums[2 * v + 1]), 0xD8);
      const __m256i comp = _mm256_add_epi32(_mm256_maskload_epi32(a.comp + channel + 8 * v, masks[v]), bias);
      const __m256i zero_points = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weight_zero_points + channel + 8 * v));
      acc[0][v] = _mm256_add_epi32(total, _mm256_sub_epi32(comp, _mm256_mullo_epi32(zero_points, _mm256_set1_epi32(sum))));
    }
    const Tile<WordDot> tile{
        .args = &a, .requantize = &requantize, .channel = channel, .dst_stride = s.dst_stride, .rows = 1, .channels = channels};
    if (a.output != ConvOutput::u8)
      store_wide(tile, acc, masks[0], masks[1]);
    else if (requantize.biased)
      store_u8<true>(tile, acc, masks[0], masks[1]);
    else
      store_u8<false>(tile, acc, masks[0], masks[1]);
  }
}

}  // namespace zeropoint::kernels
