// Depthwise convolution by AVX-512 VNNI, 64 channels at a time.
//
// vpdpbusd sums 4 products of a lane, so the bytes of 4 vertically adjacent pixels are unpacked into dwords, one lane a
// channel. A block of rows x columns outputs lives in registers (32 channels at a time); each column of input is unpacked once
// and feeds every output that touches it; two output rows use the same dwords with shifted weights (w0 w1 w2 0) and (0 w0 w1
// w2). Packing the results within 128-bit lanes undoes the unpacking, so nothing is permuted. A block finds its inputs through
// a table of addresses, in which everything outside the picture is one pixel of zero points. Bound by ports 0 and 5: 3x3, 64
// outputs: 6 unpacks, 12 vpdpbusd and the epilogue.
#include <immintrin.h>

#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx512_requantize.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kStrip = 64;
constexpr int kMostRows = 8;  // of a block's input

std::int64_t outside_bytes(const ConvShape& s) { return round_up(s.c + 2 * kStrip, 64); }

// Addresses of one input row, from column -pad_left to the last that a block may touch.
std::int64_t address_pitch(const ConvShape& s) { return round_up((s.ow + 8) * s.stride_w + s.kw, 8); }

// 32 channels without gaps: a register takes two neighbouring pixels.
bool runs_pairs(const ConvShape& s) {
  const DepthwiseBlock block = depthwise_block(s);
  return s.c == 32 && s.src_stride == 32 && s.dst_stride == 32 && block.kernel == 3 && block.stride == 1;
}

std::int64_t worker_bytes(const ConvShape& s) {
  const std::int64_t block_addresses = kMostRows * address_pitch(s), single_addresses = s.kh * s.kw + 4;
  return depthwise_strips(s) * kStrip * 12 + outside_bytes(s) + kMostRows * 2 * kStrip +
         round_up((block_addresses > single_addresses ? block_addresses : single_addresses) * 8, 64);
}

struct Work {
  const ConvShape& shape;
  const ConvArgs& args;
  const PackedHeader* header;
  const std::int8_t *block_weights, *single_weights;
  Requantize requantize;
  std::int32_t* comp;  // [strip][q][lane], the order of the registers; with Requantize's bias if it has any
  float *scale, *shift;
  std::uint8_t* outside;  // zero points
  std::uint8_t* edges;    // pairs of pixels half outside: [input row][left, right]
  const std::uint8_t** pointers;
};

bool runs_blocks(const Work& work) {
  return work.args.output == ConvOutput::u8 && !work.header->has_weight_zero_points && depthwise_block(work.shape).rows > 0;
}

Work make_work(const ConvShape& s, const ConvArgs& a, int worker) {
  const std::int64_t strips = depthwise_strips(s);
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + worker_bytes(s) * worker;
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(kStrip * strips);
  Work work{.shape = s,
            .args = a,
            .header = static_cast<const PackedHeader*>(a.packed),
            .block_weights = weights,
            .single_weights = weights + strips * depthwise_block_strip_bytes(s),
            .requantize = Requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o),
            .comp = reinterpret_cast<std::int32_t*>(scratch),
            .scale = reinterpret_cast<float*>(scratch + strips * kStrip * 4),
            .shift = reinterpret_cast<float*>(scratch + strips * kStrip * 8),
            .outside = scratch + strips * kStrip * 12,
            .edges = scratch + strips * kStrip * 12 + outside_bytes(s),
            .pointers = reinterpret_cast<const std::uint8_t**>(scratch + strips * kStrip * 12 + outside_bytes(s) +
                                                               kMostRows * 2 * kStrip)};
  work.requantize.biased = work.requantize.biased && runs_blocks(work);
  const __m128i bias = _mm_set1_epi32(work.requantize.biased ? Requantize::kBias : 0);
  for (std::int64_t i = 0; i < strips * kStrip; i += 4) {
    std::int64_t c = i / 64 * 64 + i % 16 * 4 + i / 16 % 4 * 4;
    if (runs_pairs(s)) c %= 32;
    const auto mask = static_cast<__mmask8>(first(s.c > c ? s.c - c : 0));
    const __m128i comp = _mm_add_epi32(_mm_maskz_loadu_epi32(mask, a.comp + c), bias);
    _mm_store_si128(reinterpret_cast<__m128i*>(work.comp + i), comp);
    const __m128 scale = a.scale ? _mm_maskz_loadu_ps(mask, a.scale + c) : _mm_setzero_ps();
    _mm_store_ps(work.scale + i, scale);
    _mm_store_ps(work.shift + i, _mm_mul_ps(scale, _mm_set1_ps(Requantize::kShift)));
  }
  __builtin_memset(work.outside, a.src_zero_point, static_cast<std::size_t>(outside_bytes(s)));
  return work;
}

template <bool kBiased, int kKernel, int kStride, int kRows, int kColumns, int kPixels>
__attribute__((always_inline)) inline void compute_block(const std::uint8_t* const* addresses, std::int64_t pitch,
                                                         std::int64_t channel, const std::int8_t* weights,
                                                         const std::int32_t* comp, const float* scale, const float* shift,
                                                         const Requantize& requantize, __m512i (&out)[kRows][kColumns]) {
  constexpr int kInRows = (kRows - 1) * kStride + kKernel, kGroups = (kInRows + 3) / 4;
  constexpr int kStrideX = kStride * kPixels, kInColumns = (kColumns - 1) * kStrideX + kKernel;
  static_assert(kInRows <= kMostRows);
  __m512i low_half[kRows][kColumns];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {  // channels of the low and the high 8 bytes of each 128-bit lane
    // GCC otherwise computes the addresses of all unrolled accesses in advance and spills them.
    asm volatile("" : "+r"(weights), "+r"(comp), "+r"(scale), "+r"(shift));
    __m512i acc[kRows][kColumns][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int x = 0; x < kColumns; ++x) {
        acc[r][x][0] = _mm512_load_si512(comp + 32 * half);
        acc[r][x][1] = _mm512_load_si512(comp + 32 * half + 16);
      }
#pragma GCC unroll 4
    for (int group = 0; group < kGroups; ++group) {
      const std::uint8_t* const* row[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) row[j] = addresses + (4 * group + j < kInRows ? 4 * group + j : 0) * pitch;
      asm volatile("" : "+r"(row[0]), "+r"(row[1]), "+r"(row[2]), "+r"(row[3]));
#pragma GCC unroll 16
      for (int column = 0; column < kInColumns; ++column) {
        const auto load = [&](int j) __attribute__((always_inline)) {
          return 4 * group + j < kInRows ? _mm512_loadu_si512(row[j][column] + channel) : _mm512_setzero_si512();
        };
        const __m512i b0 = load(0), b1 = load(1), b2 = load(2), b3 = load(3);
        const __m512i b01 = half ? _mm512_unpackhi_epi8(b0, b1) : _mm512_unpacklo_epi8(b0, b1);
        const __m512i b23 = half ? _mm512_unpackhi_epi8(b2, b3) : _mm512_unpacklo_epi8(b2, b3);
        const __m512i dwords[2] = {_mm512_unpacklo_epi16(b01, b23), _mm512_unpackhi_epi16(b01, b23)};
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          if (4 * group + 3 < r * kStride || 4 * group >= r * kStride + kKernel) continue;  // all weights are padding
#pragma GCC unroll 2
          for (int e = 0; e < 2; ++e)
#pragma GCC unroll 8
            for (int x = 0; x < kColumns; ++x) {
              const int tap = column - x * kStrideX;
              if (tap < 0 || tap >= kKernel) continue;
              const int index = (((2 * half + e) * kGroups + group) * kKernel + tap) * kRows + r;
              acc[r][x][e] = _mm512_dpbusd_epi32(acc[r][x][e], dwords[e], _mm512_load_si512(weights + 64 * index));
            }
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int x = 0; x < kColumns; ++x) {
        const __m512 v0 =
            Requantize::value<kBiased>(acc[r][x][0], _mm512_load_ps(scale + 32 * half), _mm512_load_ps(shift + 32 * half));
        const __m512 v1 = Requantize::value<kBiased>(acc[r][x][1], _mm512_load_ps(scale + 32 * half + 16),
                                                     _mm512_load_ps(shift + 32 * half + 16));
        const __m512i words = requantize.words<kBiased>(v0, v1);
        if (half == 0) {
          low_half[r][x] = words;
        } else {
          out[r][x] = requantize.bytes(low_half[r][x], words);
        }
      }
  }
}

// Addresses of the inputs of output row block `y`: [input row][column + pad_left], first channel.
void make_addresses(const Work& work, std::int64_t image, std::int64_t y, int rows) {
  const ConvShape& s = work.shape;
  const std::int64_t pitch = address_pitch(s);
  const __m512i step = _mm512_set1_epi64(8 * s.src_stride),
                elsewhere = _mm512_set1_epi64(reinterpret_cast<long long>(work.outside));
  const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i first_column = _mm512_sub_epi64(lane, _mm512_set1_epi64(s.pad_left));
  const __m512i first_offset = _mm512_mullo_epi64(first_column, _mm512_set1_epi64(s.src_stride));
  for (int j = 0; j < rows; ++j) {
    const std::int64_t iy = y * s.stride_h - s.pad_top + j;
    const std::uint8_t** out = work.pointers + j * pitch;
    if (iy < 0 || iy >= s.h) {
      for (std::int64_t x = 0; x < pitch; x += 8) _mm512_storeu_si512(out + x, elsewhere);
      continue;
    }
    const std::uint8_t* row = work.args.src + (image * s.h + iy) * s.w * s.src_stride;
    __m512i address = _mm512_add_epi64(first_offset, _mm512_set1_epi64(reinterpret_cast<long long>(row))),
            column = first_column;
    for (std::int64_t x = 0; x < pitch; x += 8) {
      const __mmask8 inside = _mm512_cmplt_epu64_mask(column, _mm512_set1_epi64(s.w));
      _mm512_storeu_si512(out + x, _mm512_mask_blend_epi64(inside, elsewhere, address));
      address = _mm512_add_epi64(address, step);
      column = _mm512_add_epi64(column, _mm512_set1_epi64(8));
    }
    if (!runs_pairs(s)) continue;
    std::uint8_t *left = work.edges + 2 * kStrip * j, *right = left + kStrip;
    const __m256i zero_points = _mm256_set1_epi8(static_cast<char>(work.args.src_zero_point));
    const auto load = [](const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
    const auto store = [](std::uint8_t* p, __m256i v) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); };
    store(left, zero_points), store(left + 32, load(row));
    store(right, load(row + (s.w - 1) * 32)), store(right + 32, zero_points);
    if (s.pad_left > 0) out[s.pad_left - 1] = left;
    if (s.pad_left + s.w - 1 < pitch) out[s.pad_left + s.w - 1] = right;
  }
}

// Output rows [y, y + kRows) of an image, all columns, channels of one strip. kPixels = 2: see runs_pairs.
template <bool kBiased, int kKernel, int kStride, int kRows, int kColumns, int kPixels>
void compute_rows(const Work& work, const Requantize& requantize, std::int64_t image, std::int64_t y, std::int64_t strip) {
  const ConvShape& s = work.shape;
  const std::int64_t channel = strip * kStrip, pitch = address_pitch(s), width = (s.ow + kPixels - 1) / kPixels;
  const std::int8_t* weights = work.block_weights + strip * depthwise_block_strip_bytes(s);
  auto* dst = static_cast<std::uint8_t*>(work.args.dst) + (image * s.oh + y) * s.ow * s.dst_stride + channel;
  const int rows = s.oh - y < kRows ? static_cast<int>(s.oh - y) : kRows;
  const int columns = width < kColumns ? static_cast<int>(width) : kColumns;
  const __mmask64 mask = first(kPixels == 1 ? s.c - channel : kStrip);
  const __mmask64 last_mask = kPixels == 2 && s.ow % 2 != 0 ? first(32) : mask;  // of an odd last pixel

  for (std::int64_t next = 0; next < width; next += kColumns) {
    // The last block overlaps the one before it: computing some outputs twice is cheaper than a narrower block.
    const std::int64_t x = next + kColumns > width && width >= kColumns ? width - kColumns : next;
    __m512i q[kRows][kColumns];
    compute_block<kBiased, kKernel, kStride, kRows, kColumns, kPixels>(work.pointers + x * kStride * kPixels, pitch, channel,
                                                                       weights, work.comp + channel, work.scale + channel,
                                                                       work.shift + channel, requantize, q);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int column = 0; column < kColumns; ++column)
        if (r < rows && column < columns)
          _mm512_mask_storeu_epi8(dst + (r * s.ow + (x + column) * kPixels) * s.dst_stride,
                                  x + column == width - 1 ? last_mask : mask, q[r][column]);
  }
}

template <bool kBiased, int kKernel, int kStride, int kRows, int kColumns, int kPixels>
__attribute__((noinline)) void run_blocks(const Work& work, int worker, int workers) {
  const ConvShape& s = work.shape;
  const Requantize& requantize = work.requantize;
  const std::int64_t strips = depthwise_strips(s), row_blocks = (s.oh + kRows - 1) / kRows;
  const Portion units = part(s.n * row_blocks * strips, worker, workers);
  for (std::int64_t unit = units.begin; unit < units.end;) {
    const std::int64_t image = unit / strips / row_blocks, y = unit / strips % row_blocks * kRows;
    make_addresses(work, image, y, (kRows - 1) * kStride + kKernel);
    const std::int64_t end = (unit / strips + 1) * strips < units.end ? (unit / strips + 1) * strips : units.end;
    for (; unit < end; ++unit)
      compute_rows<kBiased, kKernel, kStride, kRows, kColumns, kPixels>(work, requantize, image, y, unit % strips);
  }
}

template <bool kBiased>
void run_any_blocks(const Work& work, int worker, int workers) {
  const DepthwiseBlock block = depthwise_block(work.shape);
  if (runs_pairs(work.shape)) return run_blocks<kBiased, 3, 1, 2, 4, 2>(work, worker, workers);
  if (block.kernel == 3 && block.stride == 1) return run_blocks<kBiased, 3, 1, 2, 4, 1>(work, worker, workers);
  if (block.kernel == 3) return run_blocks<kBiased, 3, 2, 1, 4, 1>(work, worker, workers);
  if (block.stride == 1) return run_blocks<kBiased, 5, 1, 2, 4, 1>(work, worker, workers);
  return run_blocks<kBiased, 5, 2, 1, 4, 1>(work, worker, workers);
}

// One output pixel, 64 channels: taps in groups of 4, whatever their places.
void compute_single(const Work& work, const Requantize& requantize, std::int64_t pixel, std::int64_t strip) {
  const ConvShape& s = work.shape;
  const ConvArgs& a = work.args;
  const std::int64_t taps = s.kh * s.kw, first_channel = strip * kStrip, left = s.c - first_channel;
  const std::int8_t* weights = work.single_weights + strip * depthwise_single_strip_bytes(s);
  const std::int32_t* comp = work.comp + first_channel;
  __m512i acc[4], sums[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) acc[q] = _mm512_load_si512(comp + 16 * q), sums[q] = _mm512_setzero_si512();
  for (std::int64_t tap = 0; tap < taps; tap += 4, weights += 256) {
    const std::uint8_t* const* p = work.pointers + tap;
    const __m512i b0 = _mm512_loadu_si512(p[0] + first_channel), b1 = _mm512_loadu_si512(p[1] + first_channel);
    const __m512i b2 = _mm512_loadu_si512(p[2] + first_channel), b3 = _mm512_loadu_si512(p[3] + first_channel);
    const __m512i low01 = _mm512_unpacklo_epi8(b0, b1), low23 = _mm512_unpacklo_epi8(b2, b3);
    const __m512i high01 = _mm512_unpackhi_epi8(b0, b1), high23 = _mm512_unpackhi_epi8(b2, b3);
    const __m512i dwords[4] = {_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
                               _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)};
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) acc[q] = _mm512_dpbusd_epi32(acc[q], dwords[q], _mm512_load_si512(weights + 64 * q));
    if (work.header->has_weight_zero_points) {
      const int present = taps - tap >= 4 ? 0x01010101 : (1 << 8 * (taps - tap)) / 0xFF;
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sums[q] = _mm512_dpbusd_epi32(sums[q], dwords[q], _mm512_set1_epi32(present));
    }
  }
  if (work.header->has_weight_zero_points) {
    const auto* zero_points = reinterpret_cast<const std::int32_t*>(work.header + 1) + first_channel;
    for (int q = 0; q < 4; ++q) {
      alignas(64) std::int32_t lanes[16];
      for (int i = 0; i < 16; ++i) {
        const int c = 16 * (i / 4) + 4 * q + i % 4;
        lanes[i] = c < left ? zero_points[c] : 0;
      }
      acc[q] = _mm512_sub_epi32(acc[q], _mm512_mullo_epi32(_mm512_load_si512(lanes), sums[q]));
    }
  }

  const std::int64_t index = pixel * s.dst_stride + first_channel;
  if (a.output == ConvOutput::s32) {
    for (int i = 0; i < 16; ++i) {  // runs of 4 channels
      alignas(64) std::int32_t lanes[16];
      _mm512_store_si512(lanes, acc[i % 4]);
      const auto mask = static_cast<__mmask8>(first(left > 4 * i ? left - 4 * i : 0));
      _mm_mask_storeu_epi32(static_cast<std::int32_t*>(a.dst) + index + 4 * i, mask,
                            _mm_load_si128(reinterpret_cast<const __m128i*>(lanes + i / 4 * 4)));
    }
    return;
  }
  const float* scale = work.scale + first_channel;
  __m512 v[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    v[q] = _mm512_cvtepi32_ps(acc[q]);
    if (a.row_scale && a.output == ConvOutput::f32) v[q] = _mm512_mul_ps(v[q], _mm512_set1_ps(a.row_scale[pixel]));
    v[q] = _mm512_mul_ps(v[q], _mm512_load_ps(scale + 16 * q));
  }
  if (a.output == ConvOutput::u8) {
    _mm512_mask_storeu_epi8(static_cast<std::uint8_t*>(a.dst) + index, first(left),
                            requantize.bytes(requantize.words(v[0], v[1]), requantize.words(v[2], v[3])));
    return;
  }
  for (int i = 0; i < 16; ++i) {
    alignas(64) float lanes[16];
    _mm512_store_ps(lanes, v[i % 4]);
    const auto mask = static_cast<__mmask8>(first(left > 4 * i ? left - 4 * i : 0));
    __m128 run = _mm_load_ps(lanes + i / 4 * 4);
    if (a.bias) run = _mm_add_ps(run, _mm_maskz_loadu_ps(mask, a.bias + first_channel + 4 * i));
    run = _mm_min_ps(_mm_max_ps(run, _mm_set1_ps(a.low)), _mm_set1_ps(a.high));
    _mm_mask_storeu_ps(static_cast<float*>(a.dst) + index + 4 * i, mask, run);
  }
}

void run_singles(const Work& work, int worker, int workers) {
  const ConvShape& s = work.shape;
  const Requantize& requantize = work.requantize;
  const std::int64_t strips = depthwise_strips(s), taps = s.kh * s.kw;
  const Portion units = part(s.n * s.oh * s.ow * strips, worker, workers);
  for (std::int64_t unit = units.begin; unit < units.end;) {
    const std::int64_t pixel = unit / strips, image = pixel / (s.oh * s.ow);
    const std::int64_t y = pixel / s.ow % s.oh * s.stride_h - s.pad_top, x = pixel % s.ow * s.stride_w - s.pad_left;
    const std::uint8_t** pointer = work.pointers;
    for (std::int64_t i = 0; i < s.kh; ++i)
      for (std::int64_t j = 0; j < s.kw; ++j) {
        const std::int64_t iy = y + i * s.dilation_h, ix = x + j * s.dilation_w;
        const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
        *pointer++ = inside ? work.args.src + ((image * s.h + iy) * s.w + ix) * s.src_stride : work.outside;
      }
    for (std::int64_t i = taps; i % 4; ++i) *pointer++ = work.outside;
    const std::int64_t end = (pixel + 1) * strips < units.end ? (pixel + 1) * strips : units.end;
    for (; unit < end; ++unit) compute_single(work, requantize, pixel, unit % strips);
  }
}

}  // namespace

std::size_t depthwise_workspace_avx512vnni(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(worker_bytes(s) * workers);
}

void depthwise_u8s8s32_2x4x64_avx512vnni(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const Work work = make_work(s, a, worker);
  if (!runs_blocks(work)) return run_singles(work, worker, workers);
  if (work.requantize.biased) return run_any_blocks<true>(work, worker, workers);
  return run_any_blocks<false>(work, worker, workers);
}

}  // namespace zeropoint::kernels
