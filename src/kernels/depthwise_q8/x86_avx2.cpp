// Depthwise convolution by AVX2, 32 channels of one output at a time: the bytes of two taps are interleaved, widened to s16 by
// interleaving with zeros, and vpmaddwd sums their products. Exact. Packing within 128-bit lanes undoes the interleaving.
#include <immintrin.h>

#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx2_requantize.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kStrip = 32;

std::int64_t strips_of(const ConvShape& s) { return (s.c + kStrip - 1) / kStrip; }
std::int64_t outside_bytes(const ConvShape& s) { return round_up(s.c + 2 * kStrip, 64); }
std::int64_t worker_bytes(const ConvShape& s) {
  return strips_of(s) * kStrip * 8 + outside_bytes(s) + round_up((s.kh * s.kw + 2) * 8, 64);
}

struct Work {
  const ConvShape& shape;
  const ConvArgs& args;
  const std::int16_t* weights;
  std::int32_t* comp;  // [strip][q][lane], the order of the registers
  float* scale;
  std::uint8_t* outside;  // a pixel of zero points
  const std::uint8_t** pointers;
};

Work make_work(const ConvShape& s, const ConvArgs& a, int worker) {
  const std::int64_t slots = strips_of(s) * kStrip;
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + worker_bytes(s) * worker;
  const Work work{
      .shape = s,
      .args = a,
      .weights = reinterpret_cast<const std::int16_t*>(static_cast<const std::int8_t*>(a.packed) + weights_offset(slots)),
      .comp = reinterpret_cast<std::int32_t*>(scratch),
      .scale = reinterpret_cast<float*>(scratch + slots * 4),
      .outside = scratch + slots * 8,
      .pointers = reinterpret_cast<const std::uint8_t**>(scratch + slots * 8 + outside_bytes(s))};
  for (std::int64_t i = 0; i < slots; ++i) {
    const std::int64_t c = i / 32 * 32 + i % 8 / 4 * 16 + i / 8 % 4 * 4 + i % 4;
    work.comp[i] = c < s.c ? a.comp[c] : 0;
    work.scale[i] = c < s.c && a.scale ? a.scale[c] : 0.0F;
  }
  __builtin_memset(work.outside, a.src_zero_point, static_cast<std::size_t>(outside_bytes(s)));
  return work;
}

// Runs of 4 channels lie in half registers: run i is the half i / 4 of register i % 4.
void store_wide(const __m256i (&registers)[4], std::int32_t* out, std::int64_t left) {
  alignas(32) std::int32_t ordered[kStrip], lanes[8];
  for (int q = 0; q < 4; ++q) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), registers[q]);
    copy_bytes(ordered + 4 * q, lanes, 16);
    copy_bytes(ordered + 16 + 4 * q, lanes + 4, 16);
  }
  copy_bytes(out, ordered, 4 * (left < kStrip ? left : kStrip));
}

void compute(const Work& work, const Requantize& requantize, std::int64_t pixel, std::int64_t strip) {
  const ConvArgs& a = work.args;
  const std::int64_t taps = work.shape.kh * work.shape.kw, channel = strip * kStrip, left = work.shape.c - channel;
  const auto* weights = reinterpret_cast<const __m256i*>(work.weights + strip * ((taps + 1) / 2) * 64);
  const auto* comp = reinterpret_cast<const __m256i*>(work.comp + channel);
  const __m256i zero = _mm256_setzero_si256();
  __m256i acc[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) acc[q] = _mm256_load_si256(comp + q);
  for (std::int64_t tap = 0; tap < taps; tap += 2, weights += 4) {
    const __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(work.pointers[tap] + channel));
    const __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(work.pointers[tap + 1] + channel));
    const __m256i low = _mm256_unpacklo_epi8(x0, x1), high = _mm256_unpackhi_epi8(x0, x1);
    const __m256i pairs[4] = {_mm256_unpacklo_epi8(low, zero), _mm256_unpackhi_epi8(low, zero),
                              _mm256_unpacklo_epi8(high, zero), _mm256_unpackhi_epi8(high, zero)};
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) acc[q] = _mm256_add_epi32(acc[q], _mm256_madd_epi16(pairs[q], _mm256_load_si256(weights + q)));
  }

  const std::int64_t index = pixel * work.shape.dst_stride + channel;
  if (a.output == ConvOutput::s32) return store_wide(acc, static_cast<std::int32_t*>(a.dst) + index, left);
  const float* scale = work.scale + channel;
  __m256 v[4];
  if (a.output == ConvOutput::f32) {
    const __m256 row = _mm256_set1_ps(a.row_scale ? a.row_scale[pixel] : 1.0F);
    for (int q = 0; q < 4; ++q) {
      // Register q holds the channels 4 q ... and 16 + 4 q ... of the strip; a bias of -0 changes nothing.
      alignas(32) float bias[8];
      for (int i = 0; i < 8; ++i) {
        const std::int64_t c = channel + i / 4 * 16 + 4 * q + i % 4;
        bias[i] = a.bias && c < work.shape.c ? a.bias[c] : -0.0F;
      }
      const __m256 product = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[q]), row), _mm256_load_ps(scale + 8 * q));
      v[q] = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(product, _mm256_load_ps(bias)), requantize.low), requantize.high);
      acc[q] = _mm256_castps_si256(v[q]);
    }
    return store_wide(acc, static_cast<std::int32_t*>(a.dst) + index, left);
  }
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) v[q] = requantize.clamped(acc[q], _mm256_load_ps(scale + 8 * q));
  const __m256i bytes = _mm256_packus_epi16(requantize.words(v[0], v[1]), requantize.words(v[2], v[3]));
  auto* out = static_cast<std::uint8_t*>(a.dst) + index;
  if (left >= kStrip) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  alignas(32) std::uint8_t buffer[kStrip];
  _mm256_store_si256(reinterpret_cast<__m256i*>(buffer), bytes);
  copy_bytes(out, buffer, left);
}

}  // namespace

std::size_t depthwise_workspace_avx2(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(worker_bytes(s) * workers);
}

void depthwise_u8s8s32_1x1x32_avx2(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const Work work = make_work(s, a, worker);
  const Requantize requantize(a);
  const std::int64_t strips = strips_of(s);
  const Part units = part(s.n * s.oh * s.ow * strips, worker, workers);
  for (std::int64_t unit = units.begin; unit < units.end;) {
    const std::int64_t pixel = unit / strips, image = pixel / (s.oh * s.ow);
    const std::int64_t y = pixel / s.ow % s.oh * s.stride_h - s.pad_top, x = pixel % s.ow * s.stride_w - s.pad_left;
    const std::uint8_t** pointer = work.pointers;
    for (std::int64_t i = 0; i < s.kh; ++i)
      for (std::int64_t j = 0; j < s.kw; ++j) {
        const std::int64_t iy = y + i * s.dilation_h, ix = x + j * s.dilation_w;
        const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
        *pointer++ = inside ? a.src + ((image * s.h + iy) * s.w + ix) * s.src_stride : work.outside;
      }
    *pointer = work.outside;  // the partner of an odd last tap
    const std::int64_t end = (pixel + 1) * strips < units.end ? (pixel + 1) * strips : units.end;
    for (; unit < end; ++unit) compute(work, requantize, pixel, unit % strips);
  }
}

}  // namespace zeropoint::kernels
