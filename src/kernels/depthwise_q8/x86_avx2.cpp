// Depthwise convolution by AVX2, 32 channels at a time: the bytes of two taps are interleaved, widened to s16 by interleaving
// with zeros, and vpmaddwd sums their products. Exact. Packing within 128-bit lanes undoes the interleaving.
//
// 3x3 and 5x5 go by rows: two neighbouring input rows become a plane of such pairs, once for all outputs that use them, and the
// last few planes stay in L1. Other shapes go output by output, taps in any order.
#include <immintrin.h>

#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx2_requantize.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kStrip = 32;

std::int64_t strips_of(const ConvShape& s) { return (s.c + kStrip - 1) / kStrip; }
std::int64_t outside_bytes(const ConvShape& s) { return round_up(s.c + 2 * kStrip, 64); }

constexpr int kColumns = 4;  // outputs of a row that are computed together

// Columns of a plane, of 4 registers each: those of the outputs of a row, at least of one block of them.
std::int64_t plane_columns(const ConvShape& s) { return ((s.ow > kColumns ? s.ow : kColumns) - 1) * s.stride_w + s.kw; }
// As many as one output row needs: from one row to the next only one is new.
std::int64_t planes_kept(const ConvShape& s) {
  const DepthwisePlanes planes = depthwise_planes(s);
  return planes.count > 0 ? planes.at[planes.count - 1] + 1 : 0;
}
std::int64_t pointer_bytes(const ConvShape& s) { return round_up((s.kh * s.kw + 2) * 8, 64); }

std::int64_t worker_bytes(const ConvShape& s) {
  return strips_of(s) * kStrip * 8 + outside_bytes(s) + pointer_bytes(s) + planes_kept(s) * plane_columns(s) * 4 * 32;
}

struct Work {
  const ConvShape& shape;
  const ConvArgs& args;
  const std::int16_t* weights;
  Requantize requantize;
  std::int32_t* comp;  // [strip][q][lane], the order of the registers; with Requantize's bias if it has any
  float* scale;
  std::uint8_t* outside;  // a pixel of zero points
  const std::uint8_t** pointers;
  const std::int16_t* row_weights;
  __m256i* planes;
};

Work make_work(const ConvShape& s, const ConvArgs& a, int worker) {
  const std::int64_t slots = strips_of(s) * kStrip;
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + worker_bytes(s) * worker;
  Work work{.shape = s,
            .args = a,
            .weights = reinterpret_cast<const std::int16_t*>(static_cast<const std::int8_t*>(a.packed) + weights_offset(slots)),
            .requantize = Requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o),
            .comp = reinterpret_cast<std::int32_t*>(scratch),
            .scale = reinterpret_cast<float*>(scratch + slots * 4),
            .outside = scratch + slots * 8,
            .pointers = reinterpret_cast<const std::uint8_t**>(scratch + slots * 8 + outside_bytes(s)),
            .planes = reinterpret_cast<__m256i*>(scratch + slots * 8 + outside_bytes(s) + pointer_bytes(s))};
  work.row_weights = work.weights + slots * ((s.kh * s.kw + 1) / 2) * 2;
  for (std::int64_t i = 0; i < slots; ++i) {
    const std::int64_t c = i / 32 * 32 + i % 8 / 4 * 16 + i / 8 % 4 * 4 + i % 4;
    work.comp[i] = (c < s.c ? a.comp[c] : 0) + (work.requantize.biased ? Requantize::kBias : 0);
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

// The first `left` of 32 bytes.
__attribute__((always_inline)) inline void store_strip(std::uint8_t* out, __m256i bytes, std::int64_t left) {
  if (left >= kStrip) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  store_bytes(out, _mm256_castsi256_si128(bytes), static_cast<int>(left));
  if (left > 16) store_bytes(out + 16, _mm256_extracti128_si256(bytes, 1), static_cast<int>(left - 16));
}

template <bool kBiased>
__attribute__((always_inline)) inline __m256i quantized(const Requantize& requantize, const __m256i (&acc)[4],
                                                        const float* scales) {
  __m256 v[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    const __m256 scale = _mm256_load_ps(scales + 8 * q);
    v[q] = Requantize::value<kBiased>(acc[q], scale, _mm256_mul_ps(scale, _mm256_set1_ps(Requantize::kShift)));
  }
  return requantize.bytes(requantize.words<kBiased>(v[0], v[1]), requantize.words<kBiased>(v[2], v[3]));
}

void compute(const Work& work, std::int64_t pixel, std::int64_t strip) {
  const ConvArgs& a = work.args;
  const Requantize& requantize = work.requantize;
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
  if (a.output == ConvOutput::f32) {
    const __m256 row = _mm256_set1_ps(a.row_scale ? a.row_scale[pixel] : 1.0F);
    const __m256 low = _mm256_set1_ps(a.low), high = _mm256_set1_ps(a.high);
    for (int q = 0; q < 4; ++q) {
      // Register q holds the channels 4 q ... and 16 + 4 q ... of the strip; a bias of -0 changes nothing.
      alignas(32) float bias[8];
      for (int i = 0; i < 8; ++i) {
        const std::int64_t c = channel + i / 4 * 16 + 4 * q + i % 4;
        bias[i] = a.bias && c < work.shape.c ? a.bias[c] : -0.0F;
      }
      const __m256 product = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[q]), row), _mm256_load_ps(scale + 8 * q));
      const __m256 v = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(product, _mm256_load_ps(bias)), low), high);
      acc[q] = _mm256_castps_si256(v);
    }
    return store_wide(acc, static_cast<std::int32_t*>(a.dst) + index, left);
  }
  const __m256i bytes = requantize.biased ? quantized<true>(requantize, acc, scale) : quantized<false>(requantize, acc, scale);
  store_strip(static_cast<std::uint8_t*>(a.dst) + index, bytes, left);
}

// The two rows of plane `v` in pairs, of all columns from -pad_left on.
void make_plane(const Work& work, std::int64_t image, std::int64_t strip, std::int64_t v, __m256i* out) {
  const ConvShape& s = work.shape;
  const __m256i zero = _mm256_setzero_si256();
  const std::int64_t columns = plane_columns(s), y = v * s.stride_h - s.pad_top;
  const std::int64_t inside = s.w + s.pad_left < columns ? s.w + s.pad_left : columns;
  const bool present[2] = {y >= 0 && y < s.h, y + 1 >= 0 && y + 1 < s.h};
  const std::uint8_t* row[2];
  for (int j = 0; j < 2; ++j)
    row[j] = present[j] ? work.args.src + (image * s.h + y + j) * s.w * s.src_stride + strip * kStrip : work.outside;
  const std::int64_t step[2] = {present[0] ? s.src_stride : 0, present[1] ? s.src_stride : 0};
  const auto pair = [&](const std::uint8_t* p0, const std::uint8_t* p1) __attribute__((always_inline)) {
    const __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p0));
    const __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p1));
    const __m256i low = _mm256_unpacklo_epi8(x0, x1), high = _mm256_unpackhi_epi8(x0, x1);
    _mm256_store_si256(out, _mm256_unpacklo_epi8(low, zero));
    _mm256_store_si256(out + 1, _mm256_unpackhi_epi8(low, zero));
    _mm256_store_si256(out + 2, _mm256_unpacklo_epi8(high, zero));
    _mm256_store_si256(out + 3, _mm256_unpackhi_epi8(high, zero));
    out += 4;
  };
  std::int64_t x = 0;
  for (; x < s.pad_left && x < columns; ++x) pair(work.outside, work.outside);
  for (; x < inside; ++x, row[0] += step[0], row[1] += step[1]) pair(row[0], row[1]);
  for (; x < columns; ++x) pair(work.outside, work.outside);
}

// kColumns neighbouring outputs. planes[p]: the first of their columns.
template <bool kBiased, int kKernel, int kStride>
__attribute__((always_inline)) inline void compute_columns(const __m256i* const (&planes)[(kKernel + 1) / 2],
                                                           const __m256i* weights, const __m256i* comp, const float* scales,
                                                           const Requantize& requantize, __m256i (&out)[kColumns]) {
  constexpr int kPlanes = (kKernel + 1) / 2;
  __m256i words[2][kColumns];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256 v[2][kColumns];
#pragma GCC unroll 2
    for (int e = 0; e < 2; ++e) {
      const int q = 2 * half + e;
      asm volatile("" : "+r"(weights), "+r"(comp), "+r"(scales));  // else GCC computes all addresses in advance
      __m256i acc[kColumns];
#pragma GCC unroll 4
      for (__m256i& sum : acc) sum = _mm256_load_si256(comp + q);
#pragma GCC unroll 3
      for (int plane = 0; plane < kPlanes; ++plane)
#pragma GCC unroll 16
        for (int column = 0; column < (kColumns - 1) * kStride + kKernel; ++column) {
          const __m256i x = _mm256_load_si256(planes[plane] + 4 * column + q);
#pragma GCC unroll 4
          for (int i = 0; i < kColumns; ++i) {
            const int tap = column - i * kStride;
            if (tap < 0 || tap >= kKernel) continue;
            const __m256i w = _mm256_load_si256(weights + (q * kPlanes + plane) * kKernel + tap);
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(x, w));
          }
        }
      const __m256 scale = _mm256_load_ps(scales + 8 * q), shift = _mm256_mul_ps(scale, _mm256_set1_ps(Requantize::kShift));
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i) v[e][i] = Requantize::value<kBiased>(acc[i], scale, shift);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kColumns; ++i) words[half][i] = requantize.words<kBiased>(v[0][i], v[1][i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kColumns; ++i) out[i] = requantize.bytes(words[0][i], words[1][i]);
}

template <bool kBiased, int kKernel, int kStride>
__attribute__((noinline)) void run_rows(const Work& work, int worker, int workers) {
  constexpr int kPlanes = (kKernel + 1) / 2;
  const ConvShape& s = work.shape;
  const DepthwisePlanes at = depthwise_planes(s);
  const std::int64_t strips = strips_of(s), kept = planes_kept(s), vectors = 4 * plane_columns(s);
  const Portion units = part(s.n * strips * s.oh, worker, workers);
  std::int64_t made = 0;  // planes before this one
  for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
    const std::int64_t y = unit % s.oh, strip = unit / s.oh % strips, image = unit / s.oh / strips;
    if (unit == units.begin || y == 0) made = y;
    for (; made < y + kept; ++made) make_plane(work, image, strip, made, work.planes + made % kept * vectors);

    const std::int64_t channel = strip * kStrip, left = s.c - channel;
    const auto* weights = reinterpret_cast<const __m256i*>(work.row_weights) + strip * 4 * kPlanes * kKernel;
    auto* dst = static_cast<std::uint8_t*>(work.args.dst) + (image * s.oh + y) * s.ow * s.dst_stride + channel;
    for (std::int64_t next = 0; next < s.ow; next += kColumns) {
      // The last block overlaps the one before it: computing some outputs twice is cheaper than a narrower block.
      const std::int64_t x = next + kColumns > s.ow && s.ow >= kColumns ? s.ow - kColumns : next;
      const __m256i* planes[kPlanes];
      for (int p = 0; p < kPlanes; ++p) planes[p] = work.planes + (y + at.at[p]) % kept * vectors + 4 * x * kStride;
      __m256i q[kColumns];
      compute_columns<kBiased, kKernel, kStride>(planes, weights, reinterpret_cast<const __m256i*>(work.comp + channel),
                                                 work.scale + channel, work.requantize, q);
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; ++i)
        if (x + i < s.ow) store_strip(dst + (x + i) * s.dst_stride, q[i], left);
    }
  }
}

template <bool kBiased>
void run_any_rows(const Work& work, int worker, int workers) {
  const ConvShape& s = work.shape;
  if (s.kh == 3 && s.stride_h == 1) return run_rows<kBiased, 3, 1>(work, worker, workers);
  if (s.kh == 3) return run_rows<kBiased, 3, 2>(work, worker, workers);
  if (s.stride_h == 1) return run_rows<kBiased, 5, 1>(work, worker, workers);
  return run_rows<kBiased, 5, 2>(work, worker, workers);
}

}  // namespace

std::size_t depthwise_workspace_avx2(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(worker_bytes(s) * workers);
}

void depthwise_u8s8s32_1x1x32_avx2(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const Work work = make_work(s, a, worker);
  if (a.output == ConvOutput::u8 && depthwise_planes(s).count > 0) {
    if (work.requantize.biased) return run_any_rows<true>(work, worker, workers);
    return run_any_rows<false>(work, worker, workers);
  }
  const std::int64_t strips = strips_of(s);
  const Portion units = part(s.n * s.oh * s.ow * strips, worker, workers);
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
    for (; unit < end; ++unit) compute(work, pixel, unit % strips);
  }
}

}  // namespace zeropoint::kernels
