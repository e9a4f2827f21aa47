// Dense and grouped convolution by AMX: tiles of 16 x 64 bytes, tdpbusd. An implicit matrix product without im2col.
//
// A block is 32 positions x 32 output channels in four accumulator tiles (2 x 2: one tile load a product). A matrix product
// reads its rows straight from the tensor. Any other shape first copies a part of the picture, with its border, into a buffer:
//
//   a row of it            | left border | pixels ........... | the next row's left border | ...
//   positions of outputs     0 1 2 ............ ow-1 | a few that are computed and thrown away | 0 1 2 ...
//
// There output position p reads tap (i, j) at p * stride plus a constant, across the ends of rows, so that the rows of a tile
// lie evenly spaced for every tap. A row shares one border with the next, an image with the next, so little is thrown away.
// With a vertical stride, rows are sorted by their number modulo the stride: neighbouring lines of outputs read neighbouring
// rows. Taps whose bytes are contiguous form one run of the depth; a run is padded to whole steps of 64 bytes by zero weights.
//
// Pictures of few channels are folded on the way (packed.h).
// The accumulators of a block are stored during the first step of the next one, and a block's epilogue runs between the
// products of the block after that, so that neither waits for the tile unit.
#include <immintrin.h>

#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx512_requantize.h"
#include "kernels/elementwise_q8/x86_short_sum.h"
#include "kernels/x86_amx_tiles.h"

namespace zeropoint::kernels {
namespace {

constexpr int kBlock = 32, kSumsPitch = 4 * kBlock, kStepBytes = 64, kStepWeights = 2 * 1024;
constexpr std::int64_t kResidentBytes = 1280 << 10;  // weights up to here stay in L2 while all pixels pass by
constexpr std::int64_t kPassBytes = 24 << 10;        // input of 1x1 convolutions that all weights meet while it is in L1
constexpr std::int64_t kPictureBytes = 512 << 10;    // input that is copied at once, or stays in L2 while large weights pass by
constexpr std::int64_t kMostFetches = 8;             // lines fetched ahead a step: more of them delay the tile loads
constexpr std::int64_t kMostTiles = 256;             // that are listed at once
// Products are short beside the way to pixels that another worker holds in its cache; weights of any one layer but the largest
// come from the cache that all share.
constexpr SplitRule kSplitRule = {.few_tiles = 3, .shared_bytes = 4 << 20};

// One axis of the copied picture. Its element i is input element (i - pad) * skip - lead where there is one, else border;
// output position p reads taps from element p * stride on. Where there is one tap, only what it reads is copied.
struct Axis {
  std::int64_t stride, pad, skip, lead;
  std::int64_t spacing;  // positions to the next row (or image): what windows read beyond their own row is border only

  constexpr Axis(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t all_stride, std::int64_t dilation,
                 std::int64_t border)
      : stride(kernel == 1 ? 1 : all_stride),
        pad(kernel == 1 ? 0 : border),
        skip(kernel == 1 ? all_stride : 1),
        lead(kernel == 1 ? border : 0),
        spacing(out) {
    const std::int64_t read = (out - 1) * stride + (kernel - 1) * dilation + 1;
    if (kernel > 1) spacing = most(out, divide_up(most(read - pad, least(read, in + pad)), stride));
  }
};

// A matrix product of enough rows for a tile.
bool reads_in_place(const ConvShape& s) { return is_matrix_product(s) && s.n * s.h * s.w >= kBlock; }

// A line is a row of output positions; row_bytes etc. describe the copied picture.
struct Geometry {
  // 32 positions: where the input of the first begins, which of them are outputs, and the pixel number of the first of these.
  struct Tile {
    std::int64_t at, pixel;
    std::uint32_t wanted;
  };

  DepthRuns runs;
  std::int64_t channels, outputs, steps, blocks, block_bytes;
  std::int64_t pixel_pitch;  // bytes from pixel to pixel
  Axis y, x;
  std::int64_t columns, lines;  // positions a line; lines an image
  std::int64_t picture_lines;   // whole lines copied at once; 0: lines are too wide, and
  std::int64_t part_columns;    // so many positions of one line are
  std::int64_t pass_tiles;      // tiles that all weights of a block serve before the next block's are read

  explicit Geometry(const ConvShape& s)
      : runs(depth_runs(s)),
        channels(s.c / s.groups),
        outputs(s.o / s.groups),
        steps(runs.count * divide_up(runs.bytes, kStepBytes)),
        blocks(divide_up(outputs, kBlock)),
        block_bytes(steps * kStepWeights),
        y(s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top),
        x(s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left),
        columns(x.spacing),
        lines(y.spacing) {
    // Positions at a large power of two would all map to a few sets of L1.
    const bool gap = channels % kStepBytes == 0 && channels * x.stride % 512 == 0;
    pixel_pitch = gap ? channels + kStepBytes : channels;
    const bool deep = s.kh > 1 || s.kw > 1;
    const std::int64_t bytes = deep || s.groups * blocks * block_bytes > kResidentBytes ? kPictureBytes : kPassBytes;
    pass_tiles = deep ? kMostTiles : least(kMostTiles, most(1, bytes / (kBlock * steps * kStepBytes)));
    // Of all rows that `count` lines read, a line has stride_h, and there are some more.
    const std::int64_t row_bytes = columns * x.stride * pixel_pitch, more = s.kh * s.dilation_h;
    const std::int64_t fit = (bytes / row_bytes - more) / y.stride;
    const std::int64_t tile_lines = kBlock / columns + 2 + lines - s.oh;  // the most that one tile touches
    picture_lines = least(s.n * lines, fit >= 1 || columns <= kBlock ? most(fit, tile_lines) : 0);
    part_columns = least(columns, most(kBlock, bytes / (x.stride * pixel_pitch * s.kh * 2)));
  }

  // The rows of one residue modulo the stride lie together: `line_count` lines of outputs read so many of them.
  std::int64_t plane_rows(const ConvShape& s, std::int64_t line_count) const {
    return line_count + divide_up((s.kh - 1) * s.dilation_h, y.stride);
  }
  std::int64_t row_bytes(const ConvShape& s) const {
    const std::int64_t window = divide_up((s.kw - 1) * s.dilation_w, x.stride);
    return (picture_lines > 0 ? columns : part_columns + window) * x.stride * pixel_pitch;
  }
  // With the border that the row after the last would start with.
  std::int64_t plane_bytes(const ConvShape& s) const {
    return plane_rows(s, most(1, picture_lines)) * row_bytes(s) + round_up(x.pad * pixel_pitch, 64);
  }
  std::int64_t picture_bytes(const ConvShape& s) const {
    if (reads_in_place(s)) return 0;
    const std::int64_t tile_bytes = kBlock * x.stride * pixel_pitch + runs.bytes + kStepBytes;  // a tile reads past the end
    return round_up(y.stride * plane_bytes(s) + tile_bytes, 64);
  }
  std::int64_t offset_bytes() const { return round_up(steps * 8, 64); }
  // Four rows of the original and one of border, for folding them.
  std::int64_t unfolded_bytes(const ConvShape& s) const { return round_up(row_bytes(s) + 128, 64); }
  std::int64_t worker_bytes(const ConvShape& s) const {
    return picture_bytes(s) + 5 * unfolded_bytes(s) + offset_bytes() + kMostTiles * static_cast<std::int64_t>(sizeof(Tile));
  }
};

// A computed block: sums [32][32] at c, of which the wanted rows are outputs that follow one another.
struct Block {
  const std::int32_t* c = nullptr;
  void* out = nullptr;  // of the first wanted row
  const std::int32_t* comp = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;       // of f32 output; may be null
  const float* row_scale = nullptr;  // of the first wanted row, of f32 output; may be null
  const std::int32_t* weight_zero_points = nullptr;
  const std::int32_t* sums = nullptr;  // [32] sums of the rows' inputs, when weights have zero points
  std::uint32_t wanted = 0;
  int columns = 0;
};

int lowest(std::uint32_t rows) { return __builtin_ctz(rows); }
std::uint32_t without_lowest(std::uint32_t rows) { return rows & (rows - 1); }

// What is added to u8 results: bytes that lie `away` from where these go.
struct Sum {
  ShortSum form;
  LaneRounder rounder;
  bool zero;
  std::ptrdiff_t away;

  explicit Sum(const ConvArgs& a)
      : form(a.sum ? *a.sum : BinaryQ8()),
        rounder(a.sum ? a.sum->y : QuantizeParams()),
        zero(a.sum && a.sum->b.zero_point == 0),
        away(a.residual - static_cast<const std::uint8_t*>(a.dst)) {}
  __attribute__((always_inline)) __m512i operator()(__m512i q, __m512i residual) const {
    const Quad a = biased_floats(q), b = biased_floats(residual);
    return rounder(zero ? form.sum<true>(a, b) : form.sum<false>(a, b));
  }
};

// The u8 epilogue of one block, in steps of 64 outputs. Wanted rows come in runs (of a line of the picture).
template <bool kBiased, bool kSum>
struct Finisher {
  const Sum sum;
  const Requantize requantize;
  const std::int64_t stride;
  const std::int32_t* const block_sums;
  const std::int32_t* sums = nullptr;  // of the next row
  std::uint8_t* to;
  int left = 0;         // rows of this run
  std::uint32_t later;  // rows of other runs
  const bool narrow;
  const __mmask32 mask;
  __m512i comp0, comp1;
  __m512 scale0, scale1, shift0, shift1;

  __attribute__((always_inline)) Finisher(const Block& block, const Requantize& r, const Sum& sum_, std::int64_t dst_stride)
      : sum(sum_),
        requantize(r),
        stride(dst_stride),
        block_sums(block.c),
        to(static_cast<std::uint8_t*>(block.out)),
        later(block.wanted),
        narrow(block.columns <= 16),
        mask(static_cast<__mmask32>(first(block.columns))) {
    const auto mask0 = static_cast<__mmask16>(mask), mask1 = static_cast<__mmask16>(mask >> 16);
    const __m512i bias = _mm512_set1_epi32(kBiased ? Requantize::kBias : 0);
    const __m512 shift = _mm512_set1_ps(Requantize::kShift);
    comp0 = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask0, block.comp), bias);
    comp1 = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask1, block.comp + 16), bias);
    scale0 = _mm512_maskz_loadu_ps(mask0, block.scale), scale1 = _mm512_maskz_loadu_ps(mask1, block.scale + 16);
    if (kBiased) shift0 = _mm512_mul_ps(scale0, shift), shift1 = _mm512_mul_ps(scale1, shift);
    next_run();
  }
  bool done() const { return left <= 0 && later == 0; }
  // A step may count rows past the end of its run: `to` goes back over these.
  __attribute__((always_inline)) void next_run() {
    if (left > 0 || later == 0) return;
    const int begin = lowest(later);
    to += left * stride;
    sums = block_sums + begin * kBlock;
    left = __builtin_ctzll(~(std::uint64_t{later} >> begin));
    later &= static_cast<std::uint32_t>(~std::uint64_t{0} << (begin + left));
  }

  __attribute__((always_inline)) __m512 value0(int row) const {
    return Requantize::value<kBiased>(_mm512_add_epi32(_mm512_load_si512(sums + row * kBlock), comp0), scale0, shift0);
  }
  __attribute__((always_inline)) __m512 value1(int row) const {
    return Requantize::value<kBiased>(_mm512_add_epi32(_mm512_load_si512(sums + row * kBlock + 16), comp1), scale1, shift1);
  }
  __attribute__((always_inline)) void step() {
    if (left <= 0) return;
    // Sums of rows past the last are whatever stands there: `c` has rows to spare, and they are not stored.
    const int rows = narrow ? 4 : 2;
    if (narrow) {
      __m512i q = requantize.in_order<kBiased>(value0(0), value0(1), value0(2), value0(3));
      const auto mask16 = static_cast<__mmask16>(mask);
      if constexpr (kSum) {
        const auto row = [&](int i) {
          return _mm_maskz_loadu_epi8(left > i ? mask16 : __mmask16{0}, to + sum.away + i * stride);
        };
        __m512i residual = _mm512_inserti32x4(_mm512_castsi128_si512(row(0)), row(1), 1);
        residual = _mm512_inserti32x4(_mm512_inserti32x4(residual, row(2), 2), row(3), 3);
        q = sum(q, residual);
      }
      _mm_mask_storeu_epi8(to, mask16, _mm512_castsi512_si128(q));
      if (left > 1) _mm_mask_storeu_epi8(to + stride, mask16, _mm512_extracti32x4_epi32(q, 1));
      if (left > 2) _mm_mask_storeu_epi8(to + 2 * stride, mask16, _mm512_extracti32x4_epi32(q, 2));
      if (left > 3) _mm_mask_storeu_epi8(to + 3 * stride, mask16, _mm512_extracti32x4_epi32(q, 3));
    } else {
      __m512i q = requantize.in_order<kBiased>(value0(0), value1(0), value0(1), value1(1));
      if constexpr (kSum) {
        const std::uint8_t* from = to + sum.away;
        const __m256i row0 = _mm256_maskz_loadu_epi8(mask, from);
        const __m256i row1 = _mm256_maskz_loadu_epi8(left > 1 ? mask : __mmask32{0}, from + stride);
        q = sum(q, _mm512_inserti64x4(_mm512_castsi256_si512(row0), row1, 1));
      }
      _mm256_mask_storeu_epi8(to, mask, _mm512_castsi512_si256(q));
      if (left > 1) _mm256_mask_storeu_epi8(to + stride, mask, _mm512_extracti64x4_epi64(q, 1));
    }
    left -= rows;
    sums += rows * kBlock;
    to += rows * stride;
  }
  __attribute__((always_inline)) void finish() {
    while (!done()) {
      next_run();
      step();
    }
  }
};

// f32 output of weights without zero points, as dynamic quantization has it: the block's constants stay in registers.
template <bool kRowScales>
__attribute__((noinline)) void finish_f32(const Block& b, const ConvArgs& a, std::int64_t stride) {
  const auto mask0 = static_cast<__mmask16>(first(b.columns)),
             mask1 = static_cast<__mmask16>(b.columns > 16 ? first(b.columns - 16) : 0);
  const __m512i comp0 = _mm512_maskz_loadu_epi32(mask0, b.comp), comp1 = _mm512_maskz_loadu_epi32(mask1, b.comp + 16);
  const __m512 scale0 = _mm512_maskz_loadu_ps(mask0, b.scale), scale1 = _mm512_maskz_loadu_ps(mask1, b.scale + 16);
  const __m512 low = _mm512_set1_ps(a.low), high = _mm512_set1_ps(a.high);
  // -0 is the number that changes nothing when it is added.
  __m512 bias0 = _mm512_set1_ps(-0.0F), bias1 = bias0;
  if (b.bias) bias0 = _mm512_maskz_loadu_ps(mask0, b.bias), bias1 = _mm512_maskz_loadu_ps(mask1, b.bias + 16);
  auto* out = static_cast<float*>(b.out);
  const float* row_scale = b.row_scale;
  for (std::uint32_t rows = b.wanted; rows; rows = without_lowest(rows), out += stride) {
    const std::int32_t* c = b.c + lowest(rows) * kBlock;
    __m512 v0 = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_load_si512(c), comp0));
    __m512 v1 = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_load_si512(c + 16), comp1));
    if (kRowScales) {
      const __m512 factor = _mm512_set1_ps(*row_scale++);
      v0 = _mm512_mul_ps(v0, factor), v1 = _mm512_mul_ps(v1, factor);
    }
    v0 = _mm512_add_ps(_mm512_mul_ps(v0, scale0), bias0), v1 = _mm512_add_ps(_mm512_mul_ps(v1, scale1), bias1);
    _mm512_mask_storeu_ps(out, mask0, _mm512_min_ps(_mm512_max_ps(v0, low), high));
    if (mask1) _mm512_mask_storeu_ps(out + 16, mask1, _mm512_min_ps(_mm512_max_ps(v1, low), high));
  }
}

// Any epilogue of one block: other output types, weights with zero points. Not the hot path.
__attribute__((noinline)) void finish_any(const Block& b, const ConvArgs& a, std::int64_t stride,
                                          const Requantize& requantize) {
  std::int64_t output = 0;
  for (std::uint32_t rows = b.wanted; rows; rows = without_lowest(rows), ++output)
    for (int column = 0; column < b.columns; column += 16) {
      const int row = lowest(rows);
      const auto mask = static_cast<__mmask16>(first(b.columns - column));
      __m512i sum = _mm512_load_si512(b.c + row * kBlock + column);
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, b.comp + column));
      if (b.sums) {
        const __m512i zero_points = _mm512_loadu_si512(b.weight_zero_points + column);
        sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero_points, _mm512_set1_epi32(b.sums[row])));
      }
      const std::int64_t index = output * stride + column;
      if (a.output == ConvOutput::s32) {
        _mm512_mask_storeu_epi32(static_cast<std::int32_t*>(b.out) + index, mask, sum);
        continue;
      }
      __m512 v = _mm512_cvtepi32_ps(sum);
      if (b.row_scale && a.output == ConvOutput::f32) v = _mm512_mul_ps(v, _mm512_set1_ps(b.row_scale[output]));
      v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, b.scale + column));
      if (b.bias && a.output == ConvOutput::f32) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, b.bias + column));
      if (a.output == ConvOutput::f32) {
        const __m512 clamped = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(a.low)), _mm512_set1_ps(a.high));
        _mm512_mask_storeu_ps(static_cast<float*>(b.out) + index, mask, clamped);
      } else {
        _mm_mask_storeu_epi8(static_cast<std::uint8_t*>(b.out) + index, mask,
                             _mm512_castsi512_si128(requantize.in_order(v, v, v, v)));
      }
    }
}

// GCC 12's tile loads don't tell the compiler which memory they read: no store may move past this.
void finish_stores() { asm volatile("" ::: "memory"); }

// What a block multiplies: rows of inputs at a, `pitch` apart, step by step at `offsets`.
struct Operands {
  const std::uint8_t* a;
  std::int64_t pitch;
  const std::int64_t* offsets;
  const std::int8_t* b;
  std::int64_t steps;
  const char* ahead;     // fetched into L2 meanwhile,
  std::int64_t fetches;  // so many lines of 64 bytes a step
};

// How deep a product is: 1, 2 or 3, up to 8 steps, or more. A block's epilogue is spread over the products of another, since
// the tile unit leaves float instructions only one of their ports: so many of its steps behind each product, or each second
// one.
enum class Depth : std::uint8_t { one, few, some, deep };
Depth depth_of(std::int64_t steps) {
  return steps == 1 ? Depth::one : steps <= 3 ? Depth::few : steps <= 8 ? Depth::some : Depth::deep;
}
constexpr int pace_of(Depth depth) { return depth == Depth::one ? 4 : depth == Depth::few ? 2 : 1; }

// Products of one block into tiles 0 ... 3, after storing what these held (the block before) at `previous`. Meanwhile the
// epilogue of `finished` runs. Weights of deep products come from beyond L1 and had better not fill it.
template <bool kTwoRows, bool kTwoColumns, Depth kDepth, bool kBiased, bool kSum>
__attribute__((noinline)) void multiply(const Operands& operands, std::int32_t* previous, const Block& finished,
                                        const Requantize& requantize, const Sum& sum, std::int64_t stride) {
  constexpr bool kStream = kDepth == Depth::deep;
  constexpr int kPace = pace_of(kDepth);
  Finisher<kBiased, kSum> finisher(finished, requantize, sum, stride);
  const std::int64_t pitch = operands.pitch;
  const std::int64_t *offset = operands.offsets, *end = offset + operands.steps;
  const std::int8_t* b = operands.b;
  const std::uint8_t *a0 = operands.a, *a1 = a0 + 16 * pitch;
  const char* ahead = operands.ahead;
  const std::int64_t fetch_bytes = kStepBytes * operands.fetches;
  const auto fetch = [&]() __attribute__((always_inline)) {
    for (const char* end_of_step = ahead + fetch_bytes; ahead < end_of_step; ahead += kStepBytes)
      _mm_prefetch(ahead, _MM_HINT_T1);
  };
  const auto load_b0 = [&]() __attribute__((always_inline)) {
    if constexpr (kStream)
      _tile_stream_loadd(6, b, 64);
    else
      _tile_loadd(6, b, 64);
  };
  const auto load_b1 = [&]() __attribute__((always_inline)) {
    if constexpr (kStream)
      _tile_stream_loadd(7, b + 1024, 64);
    else
      _tile_loadd(7, b + 1024, 64);
  };
  const auto finish = [&](bool second) __attribute__((always_inline)) {
    if (kDepth == Depth::deep && !second) return;
#pragma GCC unroll 4
    for (int i = 0; i < kPace; ++i) finisher.step();
  };
  load_b0();
  _tile_loadd(4, a0 + *offset, pitch);
  _tile_stored(0, previous, kSumsPitch);
  _tile_zero(0);
  _tile_dpbusd(0, 4, 6);
  finish(false);
  _tile_stored(2, previous + 16 * kBlock, kSumsPitch);
  if (kTwoRows) {
    _tile_loadd(5, a1 + *offset, pitch);
    _tile_zero(2);
    _tile_dpbusd(2, 5, 6);
    finish(true);
  }
  _tile_stored(1, previous + 16, kSumsPitch);
  if (kTwoColumns) {
    load_b1();
    _tile_zero(1);
    _tile_dpbusd(1, 4, 7);
    finish(false);
  }
  _tile_stored(3, previous + 16 * kBlock + 16, kSumsPitch);
  if (kTwoRows && kTwoColumns) {
    _tile_zero(3);
    _tile_dpbusd(3, 5, 7);
    finish(true);
  }
  fetch();
  if (kDepth == Depth::one) return finisher.finish();
  for (++offset; offset < end && !finisher.done(); ++offset) {
    finisher.next_run();
    b += kStepWeights;
    load_b0();
    _tile_loadd(4, a0 + *offset, pitch);
    _tile_dpbusd(0, 4, 6);
    finish(false);
    if (kTwoRows) {
      _tile_loadd(5, a1 + *offset, pitch);
      _tile_dpbusd(2, 5, 6);
      finish(true);
    }
    if (kTwoColumns) {
      load_b1();
      _tile_dpbusd(1, 4, 7);
      finish(false);
    }
    if (kTwoRows && kTwoColumns) {
      _tile_dpbusd(3, 5, 7);
      finish(true);
    }
    fetch();
  }
  for (; offset < end; ++offset) {
    b += kStepWeights;
    load_b0();
    _tile_loadd(4, a0 + *offset, pitch);
    _tile_dpbusd(0, 4, 6);
    if (kTwoRows) {
      _tile_loadd(5, a1 + *offset, pitch);
      _tile_dpbusd(2, 5, 6);
    }
    if (kTwoColumns) {
      load_b1();
      _tile_dpbusd(1, 4, 7);
    }
    if (kTwoRows && kTwoColumns) _tile_dpbusd(3, 5, 7);
    fetch();
  }
  finisher.finish();
}

// The part of the picture that lies copied: lines [line, line + lines) of all images' lines and, of these, positions
// [column, column + columns), which is all of them unless lines are too wide.
struct Picture {
  std::uint8_t *bytes, *unfolded;
  std::int64_t row_bytes, plane_bytes, unfolded_bytes;
  std::int64_t line = 0, lines = 0, column = 0;
};

void copy_bytes(std::uint8_t* to, const std::uint8_t* from, std::int64_t count) {
  for (; count >= 64; count -= 64, to += 64, from += 64) _mm512_storeu_si512(to, _mm512_loadu_si512(from));
  if (count > 0) _mm512_mask_storeu_epi8(to, first(count), _mm512_maskz_loadu_epi8(first(count), from));
}

void fill_bytes(std::uint8_t* to, std::uint8_t value, std::int64_t count) {
  const __m512i filler = _mm512_set1_epi8(static_cast<char>(value));
  for (; count > 64; count -= 64, to += 64) _mm512_storeu_si512(to, filler);
  if (count > 0) _mm512_mask_storeu_epi8(to, first(count), filler);
}

// Row y of an image of the tensor, border where it has none, as pixels `pitch` apart.
void fill_row(const ConvShape& s, const Geometry& g, const std::uint8_t* image, std::int64_t y, std::uint8_t zero_point,
              const Picture& picture, std::int64_t row_pixels, std::int64_t pitch, std::uint8_t* to) {
  // Pixel i of a row is input column shift + i * skip, for i in [begin, end).
  const std::int64_t shift = (picture.column * g.x.stride - g.x.pad) * g.x.skip - g.x.lead;
  const std::int64_t begin = least(row_pixels, most(0, divide_up(-shift, g.x.skip)));
  const std::int64_t end = most(begin, least(row_pixels, divide_up(s.w - shift, g.x.skip)));
  if (y < 0 || y >= s.h || begin == end) return fill_bytes(to, zero_point, row_pixels * pitch);
  const std::int64_t step = g.x.skip * s.src_stride, channels = s.c / s.groups;
  const std::uint8_t* from = image + (y * s.w + shift + begin * g.x.skip) * s.src_stride;
  fill_bytes(to, zero_point, begin * pitch);
  if (step == channels && pitch == channels)
    copy_bytes(to + begin * pitch, from, (end - begin) * pitch);
  else
    for (std::int64_t x = begin; x < end; ++x, from += step) copy_bytes(to + x * pitch, from, channels);
  fill_bytes(to + end * pitch, zero_point, (row_pixels - end) * pitch);
}

// 2 or 4 rows of `channels` bytes a pixel -> one of 4 bytes a pixel and row.
template <int kRows>
void fold_rows(const std::uint8_t* const* rows, std::int64_t channels, std::int64_t bytes, std::uint8_t* to) {
  alignas(64) std::uint8_t places[64];
  for (int i = 0; i < 64; ++i) {  // in the first or the second of a pair of rows
    const int pixel = i / (4 * kRows), row = i / 4 % kRows, c = i % 4;
    places[i] = static_cast<std::uint8_t>(64 * (row % 2) + (c < channels ? pixel * static_cast<int>(channels) + c : 0));
  }
  const __m512i order = _mm512_load_si512(places);
  constexpr __mmask64 kSecondPair = 0xFF00FF00FF00FF00;
  const std::int64_t step = 64 / (4 * kRows) * channels;
  for (std::int64_t i = 0, at = 0; i < bytes; i += 64, at += step) {
    const auto pair = [&](int first_row) __attribute__((always_inline)) {
      return _mm512_permutex2var_epi8(_mm512_loadu_si512(rows[first_row] + at), order,
                                      _mm512_loadu_si512(rows[first_row + 1] + at));
    };
    __m512i pixels = pair(0);
    if constexpr (kRows == 4) pixels = _mm512_mask_mov_epi8(pixels, kSecondPair, pair(2));
    if (bytes - i >= 64)
      _mm512_storeu_si512(to + i, pixels);
    else
      _mm512_mask_storeu_epi8(to + i, first(bytes - i), pixels);
  }
}

// `s` is the tensor's shape, whose picture may be folded.
void fill_picture(const ConvShape& s, const Geometry& g, const std::uint8_t* src, std::uint8_t zero_point,
                  const Picture& picture) {
  const std::int64_t pitch = g.pixel_pitch, row_pixels = picture.row_bytes / pitch, fold = folded_rows(s);
  const std::int64_t rows = (picture.lines - 1) * g.y.stride + (folded(s).kh - 1) * s.dilation_h + 1;
  const std::int64_t image_rows = g.lines * g.y.stride, image_bytes = s.h * s.w * s.src_stride;
  const std::uint8_t* parts[4];
  std::uint8_t* const border = picture.unfolded + 4 * picture.unfolded_bytes;
  if (fold > 1) fill_bytes(border, zero_point, row_pixels * s.c);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::uint8_t* to = picture.bytes + row % g.y.stride * picture.plane_bytes + row / g.y.stride * picture.row_bytes;
    const std::int64_t global = picture.line * g.y.stride + row, image = global / image_rows, y = global - image * image_rows;
    const std::uint8_t* from = src + image * image_bytes;
    if (fold == 1) {
      const std::int64_t inside = image < s.n ? (y - g.y.pad) * g.y.skip - g.y.lead : -1;
      fill_row(s, g, from, inside, zero_point, picture, row_pixels, pitch, to);
      continue;
    }
    for (std::int64_t part = 0; part < fold; ++part) {
      const std::int64_t inside = y * s.stride_h - s.pad_top + part;
      parts[part] = border;
      if (image >= s.n || inside < 0 || inside >= s.h || (fold == 4 && part >= s.kh)) continue;
      std::uint8_t* copy = picture.unfolded + part * picture.unfolded_bytes;
      fill_row(s, g, from, inside, zero_point, picture, row_pixels, s.c, copy);
      parts[part] = copy;
    }
    if (fold == 2)
      fold_rows<2>(parts, s.c, picture.row_bytes, to);
    else
      fold_rows<4>(parts, s.c, picture.row_bytes, to);
  }
  for (std::int64_t plane = 0; plane < g.y.stride; ++plane)  // what the windows of the last row run into
    fill_bytes(picture.bytes + plane * picture.plane_bytes + divide_up(rows - plane, g.y.stride) * picture.row_bytes,
               zero_point, g.x.pad * pitch);
}

// Where each step of the depth reads, from the input of a position on.
void list_offsets(const ConvShape& s, const Geometry& g, const Picture& picture, bool in_place, std::int64_t* offsets) {
  for (std::int64_t run = 0; run < g.runs.count; ++run) {
    const std::int64_t row = run / g.runs.each_row * s.dilation_h, column = run % g.runs.each_row * s.dilation_w;
    const std::int64_t at =
        in_place ? 0 : row % g.y.stride * picture.plane_bytes + row / g.y.stride * picture.row_bytes + column * g.pixel_pitch;
    for (std::int64_t byte = 0; byte < g.runs.bytes; byte += kStepBytes)
      // Between pixels there is a gap only if these are whole steps.
      *offsets++ = at + byte + byte / g.channels * (in_place ? 0 : g.pixel_pitch - g.channels);
  }
}

// Tiles for outputs from `pixel` on, of which the picture is given the lines; returns the first output that is not among them.
std::int64_t list_tiles(const ConvShape& s, const Geometry& g, std::int64_t pixel, std::int64_t end, Picture& picture,
                        Geometry::Tile* tiles, std::int64_t& count) {
  const std::int64_t gap = g.columns - s.ow, image_gap = g.lines - s.oh, step = g.x.stride * g.pixel_pitch;
  const bool parts = g.picture_lines == 0;
  std::int64_t x = pixel % s.ow, y = pixel / s.ow % s.oh;
  picture.line = pixel / (s.oh * s.ow) * g.lines + y;
  picture.column = parts ? x : 0;
  if (parts) end = least(end, pixel - x + least(s.ow, x + g.part_columns));
  std::int64_t line = 0, position = x - picture.column;  // of the next output, within the picture
  for (count = 0; pixel < end && count < kMostTiles; ++count) {
    const Geometry::Tile tile = {.at = position * step, .pixel = pixel, .wanted = 0};
    std::uint32_t wanted = 0;
    std::int64_t last = line;
    for (std::int64_t i = 0; i < kBlock && pixel < end;) {
      const std::int64_t run = least(least(s.ow - x, kBlock - i), end - pixel);
      wanted |= static_cast<std::uint32_t>(((std::uint64_t{1} << run) - 1) << i);
      last = line;
      pixel += run, position += run, x += run, i += run;
      if (x < s.ow) continue;
      std::int64_t skipped = gap;
      x = 0, ++line;
      if (++y == s.oh) y = 0, line += image_gap, skipped += image_gap * g.columns;
      position += skipped, i += skipped;
    }
    if (!parts && count > 0 && last >= g.picture_lines) return tile.pixel;
    picture.lines = last + 1;
    tiles[count] = tile;
    tiles[count].wanted = wanted;
  }
  return pixel;
}

// The same for a matrix product; the last tile moves back to stay within the rows.
std::int64_t list_rows(const ConvShape& s, std::int64_t pixel, std::int64_t end, Geometry::Tile* tiles, std::int64_t& count) {
  const std::int64_t last = s.n * s.h * s.w - kBlock;
  for (count = 0; pixel < end && count < kMostTiles; ++count) {
    const std::int64_t start = least(pixel, last), next = least(end, start + kBlock);
    const auto below = [&](std::int64_t p) { return (std::uint64_t{1} << (p - start)) - 1; };
    tiles[count] = {
        .at = start * s.src_stride, .pixel = pixel, .wanted = static_cast<std::uint32_t>(below(next) & ~below(pixel))};
    pixel = next;
  }
  return pixel;
}

// The sums of all inputs under the taps. `s` is the tensor's shape.
void sum_rows(const ConvShape& s, const Operands& o, const DepthRuns& runs, std::uint32_t wanted, std::int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  const std::int64_t steps = divide_up(runs.bytes, kStepBytes), fold = folded_rows(s);
  for (; wanted; wanted = without_lowest(wanted)) {
    const int row = lowest(wanted);
    __m512i acc = _mm512_setzero_si512();
    for (std::int64_t step = 0; step < o.steps; ++step) {
      __mmask64 mask = first(runs.bytes - step % steps * kStepBytes);
      for (std::int64_t i = 0; fold > 1 && i < kStepBytes; ++i)  // a run is one step then
        if (i % 4 >= s.c || step * fold + i / 4 % fold >= s.kh) mask &= ~(__mmask64{1} << i);
      acc = _mm512_dpbusd_epi32(acc, _mm512_maskz_loadu_epi8(mask, o.a + row * o.pitch + o.offsets[step]), ones);
    }
    sums[row] = _mm512_reduce_add_epi32(acc);
  }
}

// The blocks of one worker, in order, through the three stages: multiply, store, finish.
template <bool kBiased, bool kSum>
class Pipeline {
 public:
  Pipeline(const ConvShape& s, const ConvArgs& a, const Geometry& g, const Requantize& requantize, bool overlapped)
      : shape_(s), args_(a), requantize_(requantize), sum_(a), overlapped_(overlapped), depth_(depth_of(g.steps)) {
    static const TileConfig config;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }

  // To be filled in before the next add().
  Block& block() { return *next_; }

  void add(const Operands& operands) {
    Block& block = *next_;
    std::int32_t* previous = sums_[count_ & 1];
    const bool two_rows = block.wanted >> 16 != 0, two_columns = block.columns > 16;
    kMultiply[static_cast<int>(depth_)][two_rows][two_columns](operands, previous, *stored_, requantize_, sum_,
                                                               shape_.dst_stride);
    finish_stores();
    if (!overlapped_) {
      block.c = previous;
      store(previous);
      if (args_.output != ConvOutput::f32 || block.sums) return finish_any(block, args_, shape_.dst_stride, requantize_);
      return block.row_scale ? finish_f32<true>(block, args_, shape_.dst_stride)
                             : finish_f32<false>(block, args_, shape_.dst_stride);
    }
    multiplied_->c = previous;
    next_ = stored_, stored_ = multiplied_, multiplied_ = &block;
    ++count_;
  }

  void finish() {
    if (overlapped_) {
      finish_block(*stored_);
      multiplied_->c = sums_[count_ & 1];
      store(sums_[count_ & 1]);
      finish_block(*multiplied_);
    }
    _tile_release();
  }

 private:
  static void store(std::int32_t* c) {
    _tile_stored(0, c, kSumsPitch);
    _tile_stored(1, c + 16, kSumsPitch);
    _tile_stored(2, c + 16 * kBlock, kSumsPitch);
    _tile_stored(3, c + 16 * kBlock + 16, kSumsPitch);
    finish_stores();
  }
  void finish_block(const Block& block) { Finisher<kBiased, kSum>(block, requantize_, sum_, shape_.dst_stride).finish(); }

  using Multiply = void (*)(const Operands&, std::int32_t*, const Block&, const Requantize&, const Sum&, std::int64_t);
#define ZEROPOINT_MULTIPLY(DEPTH)                                                                    \
  {                                                                                                  \
    {&multiply<false, false, DEPTH, kBiased, kSum>, &multiply<false, true, DEPTH, kBiased, kSum>}, { \
      &multiply<true, false, DEPTH, kBiased, kSum>, &multiply<true, true, DEPTH, kBiased, kSum>      \
    }                                                                                                \
  }
  static constexpr Multiply kMultiply[4][2][2] = {ZEROPOINT_MULTIPLY(Depth::one), ZEROPOINT_MULTIPLY(Depth::few),
                                                  ZEROPOINT_MULTIPLY(Depth::some), ZEROPOINT_MULTIPLY(Depth::deep)};
#undef ZEROPOINT_MULTIPLY

  const ConvShape& shape_;
  const ConvArgs& args_;
  const Requantize requantize_;
  const Sum sum_;
  const bool overlapped_;
  const Depth depth_;
  std::int64_t count_ = 0;
  Block blocks_[3];                                                            // at first they want no rows
  Block *next_ = blocks_, *multiplied_ = blocks_ + 1, *stored_ = blocks_ + 2;  // the block before; the one before that
  alignas(64) std::int32_t sums_[2][(kBlock + 3) * kBlock];
};

template <bool kBiased, bool kSum>
void run_conv(const ConvShape& tensor, const ConvArgs& a, const Requantize& requantize, int worker, int workers) {
  const ConvShape s = folded(tensor);
  const Geometry g(s);
  const bool in_place = reads_in_place(s);
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.groups * g.blocks * kBlock);
  auto* workspace = static_cast<std::uint8_t*>(a.workspace) + g.worker_bytes(s) * worker;
  Picture picture{.bytes = workspace,
                  .unfolded = workspace + g.picture_bytes(s),
                  .row_bytes = g.row_bytes(s),
                  .plane_bytes = g.plane_bytes(s),
                  .unfolded_bytes = g.unfolded_bytes(s)};
  std::uint8_t* lists = picture.unfolded + 5 * picture.unfolded_bytes;
  auto* offsets = reinterpret_cast<std::int64_t*>(lists);
  auto* tiles = reinterpret_cast<Geometry::Tile*>(lists + g.offset_bytes());

  const std::int64_t all_blocks = s.groups * g.blocks, element = a.output == ConvOutput::u8 ? 1 : 4;
  const Split split = split_work(s, all_blocks, kBlock, all_blocks * g.block_bytes, kBlock, worker, workers, kSplitRule);
  if (split.pixels.begin == split.pixels.end || split.blocks.begin == split.blocks.end) return;
  list_offsets(s, g, picture, in_place, offsets);
  alignas(64) std::int32_t sums[kBlock];
  const bool overlapped = a.output == ConvOutput::u8 && !header->has_weight_zero_points;
  Operands operands{.a = nullptr,
                    .pitch = in_place ? s.src_stride : g.x.stride * g.pixel_pitch,
                    .offsets = offsets,
                    .b = nullptr,
                    .steps = g.steps,
                    .ahead = nullptr,
                    .fetches = 0};
  Pipeline<kBiased, kSum> pipeline(s, a, g, requantize, overlapped);
  for (std::int64_t group = split.blocks.begin / g.blocks; group * g.blocks < split.blocks.end; ++group) {
    const std::int64_t group_begin = group * g.blocks;
    const std::int64_t begin = most(split.blocks.begin, group_begin), end = least(split.blocks.end, group_begin + g.blocks);
    const std::uint8_t* src = a.src + group * g.channels;
    bool first = true;
    for (std::int64_t pixel = split.pixels.begin, count; pixel < split.pixels.end; first = false) {
      if (in_place) {
        pixel = list_rows(s, pixel, split.pixels.end, tiles, count);
      } else {
        pixel = list_tiles(s, g, pixel, split.pixels.end, picture, tiles, count);
        fill_picture(tensor, g, src, static_cast<std::uint8_t>(a.src_zero_point), picture);
        finish_stores();
      }
      const std::uint8_t* from = in_place ? src : picture.bytes;
      for (std::int64_t pass = 0; pass < count; pass += g.pass_tiles) {
        const std::int64_t pass_end = least(count, pass + g.pass_tiles);
        for (std::int64_t block = begin; block < end; ++block) {
          const std::int64_t in_group = (block - group_begin) * kBlock, channel = group * g.outputs + in_group;
          operands.b = weights + block * g.block_bytes;
          // While a block is at work, the one that follows is fetched: of the next step's weights a part in the last pass.
          const std::int64_t products = (pass_end - pass) * g.steps;
          const bool first_pass = first && pass == 0, last_pass = pixel == split.pixels.end && pass_end == count;
          std::int64_t ahead_bytes = 0;
          if (first_pass && block + 1 < end) {
            operands.ahead = reinterpret_cast<const char*>(operands.b) + g.block_bytes;
            ahead_bytes = g.block_bytes;
          } else if (last_pass) {
            const std::int64_t parts = first_pass ? 1 : end - begin;
            ahead_bytes = a.next_bytes / parts;
            operands.ahead = static_cast<const char*>(a.next) + (first_pass ? 0 : block - begin) * ahead_bytes;
          }
          operands.fetches = least(kMostFetches, divide_up(ahead_bytes, kStepBytes * products));
          for (const Geometry::Tile* tile = tiles + pass; tile < tiles + pass_end; ++tile) {
            operands.a = from + tile->at;
            Block& b = pipeline.block();
            b.out = static_cast<std::uint8_t*>(a.dst) + (tile->pixel * s.dst_stride + channel) * element;
            b.comp = a.comp + channel;
            b.scale = a.scale ? a.scale + channel : nullptr;
            b.bias = a.bias ? a.bias + channel : nullptr;
            b.row_scale = a.row_scale ? a.row_scale + tile->pixel : nullptr;
            b.wanted = tile->wanted;
            b.columns = static_cast<int>(least(kBlock, g.outputs - in_group));
            if (header->has_weight_zero_points) {
              sum_rows(tensor, operands, g.runs, tile->wanted, sums);
              b.weight_zero_points = weight_zero_points + block * kBlock;
              b.sums = sums;
            }
            pipeline.add(operands);
            operands.ahead += operands.fetches * kStepBytes * g.steps;
          }
        }
      }
    }
  }
  pipeline.finish();
}

}  // namespace

std::size_t conv_workspace_32x32x64_amxint8(const ConvShape& s, int workers) {
  const ConvShape shape = folded(s);
  return static_cast<std::size_t>(Geometry(shape).worker_bytes(shape) * workers);
}

void conv_u8s8s32_32x32x64_amxint8(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const Requantize requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o);
  if (requantize.biased && a.output == ConvOutput::u8)
    return a.sum ? run_conv<true, true>(s, a, requantize, worker, workers)
                 : run_conv<true, false>(s, a, requantize, worker, workers);
  return a.sum ? run_conv<false, true>(s, a, requantize, worker, workers)
               : run_conv<false, false>(s, a, requantize, worker, workers);
}

}  // namespace zeropoint::kernels
