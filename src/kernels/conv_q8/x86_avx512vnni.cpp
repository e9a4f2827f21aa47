// Dense and grouped convolution by AVX-512 VNNI: an implicit matrix product without im2col.
//
// A tile is up to 14 pixels x 32 output channels in 28 registers. For each tap a small table holds the address of the pixel's
// input (or of a buffer of zero points where the tap falls outside), so stride, dilation and padding cost nothing in the loop:
// broadcast 4 channels of a pixel, vpdpbusd them into the tile's columns. Tiles of few rows (M = 1) are 64 channels wide
// instead, to keep enough independent sums in flight. vpdpbusd adds exactly (no saturation), modulo 2^32.
#include <immintrin.h>

#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx512_requantize.h"

namespace zeropoint::kernels {
namespace {

constexpr int kLanes = 16;     // output channels of a block and a register
constexpr int kMostRows = 14;  // pixels of a tile that is 1 or 2 blocks wide,
constexpr int kFewRows = 6;    // 3 or 4 blocks
constexpr int kMostBlocks = 4;
constexpr int kPointerPitch = 16;                      // addresses a tap in the table
constexpr std::int64_t kWeightChunkBytes = 512 << 10;  // weights that all tiles use before the next ones: within L2

struct Tile {
  const std::uint8_t* const* pointers;  // [taps][kPointerPitch]
  std::int64_t taps, steps;             // steps of 4 channels a tap
  const std::int8_t* weights;           // first block
  std::int64_t block_bytes;
  const std::int32_t* comp;               // of the first channel; so are the next two
  const float *scale, *bias, *row_scale;  // the latter of the first pixel; null when there are none
  const std::int32_t* weight_zero_points;
  const std::int32_t* sums;  // [rows] sums of the pixels' inputs, or null when all weight zero points are 0
  void* dst;                 // first pixel, first channel
  int rows, channels;
  const ConvShape* shape;
  const ConvArgs* args;
  const Requantize* requantize;
};

template <int kRows, int kBlocks>
__attribute__((always_inline)) inline void store_wide(const Tile& t, const __m512i (&acc)[kRows][kBlocks]) {
  const ConvArgs& a = *t.args;
  const __m512 low = _mm512_set1_ps(a.low), high = _mm512_set1_ps(a.high), none = _mm512_set1_ps(-0.0F);
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const auto mask = static_cast<__mmask16>(first(t.channels > b * kLanes ? t.channels - b * kLanes : 0));
    auto* out = static_cast<std::int32_t*>(t.dst) + b * kLanes;
    const bool as_floats = a.output == ConvOutput::f32;
    const __m512 scale = as_floats ? _mm512_maskz_loadu_ps(mask, t.scale + b * kLanes) : none;
    const __m512 bias = t.bias ? _mm512_mask_loadu_ps(none, mask, t.bias + b * kLanes) : none;  // -0 changes nothing
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      if (r >= t.rows) break;
      __m512i value = acc[r][b];
      if (as_floats) {
        __m512 v = _mm512_cvtepi32_ps(value);
        if (t.row_scale) v = _mm512_mul_ps(v, _mm512_set1_ps(t.row_scale[r]));
        v = _mm512_add_ps(_mm512_mul_ps(v, scale), bias);
        value = _mm512_castps_si512(_mm512_min_ps(_mm512_max_ps(v, low), high));
      }
      _mm512_mask_storeu_epi32(out + r * t.shape->dst_stride, mask, value);
    }
  }
}

template <bool kBiased, int kRows, int kBlocks>
__attribute__((always_inline)) inline void store_u8(const Tile& t, const __m512i (&acc)[kRows][kBlocks]) {
  const Requantize& requantize = *t.requantize;
  __m512 scale[kBlocks], shift[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const auto mask = static_cast<__mmask16>(first(t.channels > b * kLanes ? t.channels - b * kLanes : 0));
    scale[b] = _mm512_maskz_loadu_ps(mask, t.scale + b * kLanes);
    shift[b] = _mm512_mul_ps(scale[b], _mm512_set1_ps(Requantize::kShift));
  }
  const auto v = [&](int r, int b) __attribute__((always_inline)) {
    const int block = b < kBlocks ? b : 0;
    return Requantize::value<kBiased>(acc[r < kRows ? r : kRows - 1][block], scale[block], shift[block]);
  };
  auto* out = static_cast<std::uint8_t*>(t.dst);
  const std::int64_t stride = t.shape->dst_stride;
  const __mmask64 mask = first(t.channels);
  if constexpr (kBlocks >= 3) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      if (r < t.rows)
        _mm512_mask_storeu_epi8(out + r * stride, mask, requantize.in_order<kBiased>(v(r, 0), v(r, 1), v(r, 2), v(r, 3)));
  } else if constexpr (kBlocks == 2) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r += 2) {
      const __m512i q = requantize.in_order<kBiased>(v(r, 0), v(r, 1), v(r + 1, 0), v(r + 1, 1));
      const auto mask32 = static_cast<__mmask32>(mask);
      if (r < t.rows) _mm256_mask_storeu_epi8(out + r * stride, mask32, _mm512_castsi512_si256(q));
      if (r + 1 < t.rows) _mm256_mask_storeu_epi8(out + (r + 1) * stride, mask32, _mm512_extracti64x4_epi64(q, 1));
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r += 4) {
      const __m512i q = requantize.in_order<kBiased>(v(r, 0), v(r + 1, 0), v(r + 2, 0), v(r + 3, 0));
      const auto mask16 = static_cast<__mmask16>(mask);
      if (r < t.rows) _mm_mask_storeu_epi8(out + r * stride, mask16, _mm512_castsi512_si128(q));
      if (r + 1 < t.rows) _mm_mask_storeu_epi8(out + (r + 1) * stride, mask16, _mm512_extracti32x4_epi32(q, 1));
      if (r + 2 < t.rows) _mm_mask_storeu_epi8(out + (r + 2) * stride, mask16, _mm512_extracti32x4_epi32(q, 2));
      if (r + 3 < t.rows) _mm_mask_storeu_epi8(out + (r + 3) * stride, mask16, _mm512_extracti32x4_epi32(q, 3));
    }
  }
}

template <int kRows, int kBlocks>
__attribute__((noinline)) void compute_tile(const Tile& t) {
  __m512i acc[kRows][kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const auto mask = static_cast<__mmask16>(first(t.channels > b * kLanes ? t.channels - b * kLanes : 0));
    const __m512i bias = _mm512_set1_epi32(t.requantize->biased ? Requantize::kBias : 0);
    const __m512i comp = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask, t.comp + b * kLanes), bias);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r][b] = comp;
    if (t.sums) {
      const __m512i zero_points = _mm512_maskz_loadu_epi32(mask, t.weight_zero_points + b * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r)
        acc[r][b] = _mm512_sub_epi32(acc[r][b], _mm512_mullo_epi32(zero_points, _mm512_set1_epi32(t.sums[r])));
    }
  }

  constexpr int kUnrolled = 4;  // the exits of long loops are rarely predicted
  const std::int8_t* weights = t.weights;
  const std::int64_t pitch = t.block_bytes;
  const auto step = [&](const std::uint8_t* const* pointers, std::int64_t offset) __attribute__((always_inline)) {
    __m512i w[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) w[b] = _mm512_load_si512(weights + b * pitch);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      int dword;
      __builtin_memcpy(&dword, pointers[r] + offset, 4);
      const __m512i x = _mm512_set1_epi32(dword);
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) acc[r][b] = _mm512_dpbusd_epi32(acc[r][b], x, w[b]);
    }
    weights += 4 * kLanes;
  };
  for (std::int64_t tap = 0; tap < t.taps; ++tap) {
    const std::uint8_t* const* pointers = t.pointers + tap * kPointerPitch;
    std::int64_t s = 0;
    for (; s + kUnrolled <= t.steps; s += kUnrolled) {
#pragma GCC unroll 4
      for (int i = 0; i < kUnrolled; ++i) step(pointers, 4 * (s + i));
    }
    for (; s < t.steps; ++s) step(pointers, 4 * s);
  }

  if (t.args->output != ConvOutput::u8) return store_wide(t, acc);
  if (t.requantize->biased) return store_u8<true>(t, acc);
  store_u8<false>(t, acc);
}

using TileFunction = void (*)(const Tile&);

TileFunction tile_function(int rows, int blocks) {
#define ZEROPOINT_NARROW(R) {&compute_tile<R, 1>, &compute_tile<R, 2>, &compute_tile<R, 3>, &compute_tile<R, 4>}
#define ZEROPOINT_TALL(R) {&compute_tile<R, 1>, &compute_tile<R, 2>, nullptr, nullptr}
  static constexpr TileFunction kFunctions[][4] = {
      ZEROPOINT_NARROW(1), ZEROPOINT_NARROW(2), ZEROPOINT_NARROW(3), ZEROPOINT_NARROW(4), ZEROPOINT_NARROW(5),
      ZEROPOINT_NARROW(6), ZEROPOINT_TALL(8),   ZEROPOINT_TALL(8),   ZEROPOINT_TALL(10),  ZEROPOINT_TALL(10),
      ZEROPOINT_TALL(12),  ZEROPOINT_TALL(12),  ZEROPOINT_TALL(14),  ZEROPOINT_TALL(14)};
#undef ZEROPOINT_NARROW
#undef ZEROPOINT_TALL
  return kFunctions[rows - 1][blocks - 1];
}

// Addresses of the inputs of pixels [first, first + rows), tap by tap; lanes past `rows` repeat the last pixel.
void make_pointers(const ConvShape& s, const std::uint8_t* src, const std::uint8_t* outside, const Position& first, int rows,
                   const std::uint8_t** out) {
  const __m512i lane =
      _mm512_min_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(rows - 1));
  const auto scaled = [&](__m256i pixel) __attribute__((always_inline)) {
    return _mm512_add_epi64(_mm512_mul_epi32(_mm512_cvtepi32_epi64(pixel), _mm512_set1_epi64(s.src_stride)),
                            _mm512_set1_epi64(reinterpret_cast<long long>(src)));
  };
  const auto set = [](std::int64_t value) { return _mm512_set1_epi32(static_cast<int>(value)); };
  if (is_matrix_product(s)) {
    const __m512i pixel = _mm512_add_epi32(set(first.number), lane);
    _mm512_storeu_si512(out, scaled(_mm512_castsi512_si256(pixel)));
    _mm512_storeu_si512(out + 8, scaled(_mm512_extracti64x4_epi64(pixel, 1)));
    return;
  }
  // Most tiles lie in one row and have all their taps inside.
  const std::int64_t top = first.y * s.stride_h - s.pad_top, left = first.x * s.stride_w - s.pad_left;
  if (first.x + rows <= s.ow && top >= 0 && left >= 0 && top + (s.kh - 1) * s.dilation_h < s.h &&
      left + (rows - 1) * s.stride_w + (s.kw - 1) * s.dilation_w < s.w) {
    const __m512i pixel =
        _mm512_add_epi32(_mm512_mullo_epi32(lane, set(s.stride_w)), set((first.image * s.h + top) * s.w + left));
    const __m512i base0 = scaled(_mm512_castsi512_si256(pixel)), base1 = scaled(_mm512_extracti64x4_epi64(pixel, 1));
    for (std::int64_t i = 0; i < s.kh; ++i)
      for (std::int64_t j = 0; j < s.kw; ++j, out += kPointerPitch) {
        const __m512i offset = _mm512_set1_epi64((i * s.dilation_h * s.w + j * s.dilation_w) * s.src_stride);
        _mm512_storeu_si512(out, _mm512_add_epi64(base0, offset));
        _mm512_storeu_si512(out + 8, _mm512_add_epi64(base1, offset));
      }
    return;
  }
  __m512i image = set(first.image), y = set(first.y), x = _mm512_add_epi32(set(first.x), lane);
  const __m512i ow = set(s.ow), oh = set(s.oh), one = set(1);
  for (__mmask16 over; (over = _mm512_cmpge_epi32_mask(x, ow)) != 0;) {
    x = _mm512_mask_sub_epi32(x, over, x, ow);
    y = _mm512_mask_add_epi32(y, over, y, one);
  }
  for (__mmask16 over; (over = _mm512_cmpge_epi32_mask(y, oh)) != 0;) {
    y = _mm512_mask_sub_epi32(y, over, y, oh);
    image = _mm512_mask_add_epi32(image, over, image, one);
  }
  y = _mm512_sub_epi32(_mm512_mullo_epi32(y, set(s.stride_h)), set(s.pad_top));
  x = _mm512_sub_epi32(_mm512_mullo_epi32(x, set(s.stride_w)), set(s.pad_left));
  const __m512i row = _mm512_add_epi32(_mm512_mullo_epi32(image, set(s.h)), y);
  const __m512i pixel = _mm512_add_epi32(_mm512_mullo_epi32(row, set(s.w)), x);
  const __m512i base0 = scaled(_mm512_castsi512_si256(pixel)), base1 = scaled(_mm512_extracti64x4_epi64(pixel, 1));
  const __m512i elsewhere = _mm512_set1_epi64(reinterpret_cast<long long>(outside));
  for (std::int64_t i = 0; i < s.kh; ++i) {
    const __mmask16 in_rows = _mm512_cmplt_epu32_mask(_mm512_add_epi32(y, set(i * s.dilation_h)), set(s.h));
    for (std::int64_t j = 0; j < s.kw; ++j, out += kPointerPitch) {
      const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(in_rows, _mm512_add_epi32(x, set(j * s.dilation_w)), set(s.w));
      const __m512i offset = _mm512_set1_epi64((i * s.dilation_h * s.w + j * s.dilation_w) * s.src_stride);
      _mm512_storeu_si512(out, _mm512_mask_add_epi64(elsewhere, static_cast<__mmask8>(inside), base0, offset));
      _mm512_storeu_si512(out + 8, _mm512_mask_add_epi64(elsewhere, static_cast<__mmask8>(inside >> 8), base1, offset));
    }
  }
}

// Sum of all inputs under the taps of each pixel, for weights with zero points.
void sum_inputs(const std::uint8_t* const* pointers, std::int64_t taps, std::int64_t channels, std::int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (int r = 0; r < kPointerPitch; ++r) {
    __m512i acc = _mm512_setzero_si512();
    for (std::int64_t tap = 0; tap < taps; ++tap)
      for (std::int64_t c = 0; c < channels; c += 64) {
        const __mmask64 mask = first(channels - c);
        acc = _mm512_dpbusd_epi32(acc, _mm512_maskz_loadu_epi8(mask, pointers[tap * kPointerPitch + r] + c), ones);
      }
    sums[r] = _mm512_reduce_add_epi32(acc);
  }
}

std::int64_t pointer_bytes(const ConvShape& s) { return s.kh * s.kw * kPointerPitch * 8; }
std::int64_t tile_bytes(const ConvShape& s) { return pointer_bytes(s) + round_up(s.c / s.groups + 64, 64); }
std::int64_t worker_bytes(const ConvShape& s) { return tile_bytes(with_joined_taps(s)) + joined_picture_bytes(s); }

std::int64_t blocks_of(const ConvShape& s) { return (s.o / s.groups + kLanes - 1) / kLanes; }  // of a group
std::int64_t block_bytes_of(const ConvShape& s) { return s.kh * s.kw * ((s.c / s.groups + 3) / 4) * 64; }

int element_bytes(ConvOutput output) { return output == ConvOutput::u8 ? 1 : 4; }

// The pixels and blocks of `split`.
void run_split(const ConvShape& s, const ConvArgs& a, const Requantize& requantize, const Split& split, std::uint8_t* scratch) {
  const std::int64_t channels = s.c / s.groups, outputs = s.o / s.groups, taps = s.kh * s.kw, steps = (channels + 3) / 4;
  const std::int64_t blocks = blocks_of(s), block_bytes = block_bytes_of(s);
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.groups * blocks * kLanes);

  auto** pointers = reinterpret_cast<const std::uint8_t**>(scratch);
  std::uint8_t* outside = scratch + pointer_bytes(s);
  __builtin_memset(outside, a.src_zero_point, static_cast<std::size_t>(round_up(channels + 64, 64)));

  const Portion rows = split.pixels, columns = split.blocks;
  const std::int64_t tallest = blocks > 2 ? 2 * kFewRows : kMostRows;
  const std::int64_t row_count = rows.end - rows.begin, tiles = (row_count + tallest - 1) / tallest;
  if (tiles == 0) return;
  const std::int64_t least_rows = row_count / tiles, longer = row_count % tiles;
  const std::int64_t chunk = block_bytes * 4 > kWeightChunkBytes ? 4 : kWeightChunkBytes / block_bytes / 4 * 4;

  std::int32_t sums[kPointerPitch];
  for (std::int64_t begin = columns.begin, end; begin < columns.end; begin = end) {
    const std::int64_t group = begin / blocks;
    end = begin + chunk;
    if (end > (group + 1) * blocks) end = (group + 1) * blocks;
    if (end > columns.end) end = columns.end;
    Position position(s, rows.begin);
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const int tile_rows = static_cast<int>(least_rows + (tile < longer ? 1 : 0));
      make_pointers(s, a.src + group * channels, outside, position, tile_rows, pointers);
      if (header->has_weight_zero_points) sum_inputs(pointers, taps, channels, sums);
      for (std::int64_t block = begin; block < end; block += kMostBlocks) {
        const std::int64_t in_group = (block - group * blocks) * kLanes, left = outputs - in_group;
        const std::int64_t first_channel = group * outputs + in_group;
        const int width = end - block < kMostBlocks ? static_cast<int>(end - block) : kMostBlocks;
        const int height = width > 2 && tile_rows > kFewRows ? (tile_rows + 1) / 2 : tile_rows;
        for (int row = 0; row < tile_rows; row += height) {
          const std::int64_t first_pixel = position.number + row;
          const Tile t{
              .pointers = pointers + row,
              .taps = taps,
              .steps = steps,
              .weights = weights + block * block_bytes,
              .block_bytes = block_bytes,
              .comp = a.comp + first_channel,
              .scale = a.scale ? a.scale + first_channel : nullptr,
              .bias = a.bias ? a.bias + first_channel : nullptr,
              .row_scale = a.row_scale ? a.row_scale + first_pixel : nullptr,
              .weight_zero_points = weight_zero_points + block * kLanes,
              .sums = header->has_weight_zero_points ? sums + row : nullptr,
              .dst = static_cast<std::uint8_t*>(a.dst) + (first_pixel * s.dst_stride + first_channel) * element_bytes(a.output),
              .rows = tile_rows - row < height ? tile_rows - row : height,
              .channels = left < width * kLanes ? static_cast<int>(left) : width * kLanes,
              .shape = &s,
              .args = &a,
              .requantize = &requantize};
          tile_function(t.rows, width)(t);
        }
      }
      position.advance(s, tile_rows);
    }
  }
}

}  // namespace

std::size_t conv_workspace_14x32x4_avx512vnni(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(worker_bytes(s) * workers);
}

void conv_u8s8s32_14x32x4_avx512vnni(const ConvShape& given, const ConvArgs& a, int worker, int workers) noexcept {
  const ConvShape s = with_joined_taps(given);
  const Requantize requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o);
  const std::int64_t blocks = s.groups * blocks_of(s);
  const Split split = split_work(given, blocks, kLanes, blocks * block_bytes_of(s), kMostRows, worker, workers);
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + worker_bytes(given) * worker;
  if (!joins_taps(given)) return run_split(s, a, requantize, split, scratch);
  for_each_joined_picture(given, a, split, scratch + tile_bytes(s), [&](const ConvArgs& one, const Split& part_of_one) {
    run_split(s, one, requantize, part_of_one, scratch);
  });
}

}  // namespace zeropoint::kernels
