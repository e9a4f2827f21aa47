// Dense and grouped convolution by AMX: tiles of 16 x 64 bytes, tdpbusd.
//
// A block is 32 pixels x 32 output channels in four accumulator tiles (2 x 2: one tile load a product). A matrix product reads
// its rows straight from the tensor; any other shape first copies the inputs of 32 pixels into a panel [pixel][tap][channel],
// which settles strides, dilation and padding and joins the taps of narrow inputs into whole 64-byte steps.
// The accumulators of a block are stored during the first step of the next one, and a block's epilogue runs between the
// products of the block after that, so that neither waits for the tile unit.
#include <immintrin.h>

#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx512_requantize.h"

namespace zeropoint::kernels {
namespace {

constexpr int kBlock = 32, kSumsPitch = 4 * kBlock, kStepBytes = 64, kStepWeights = 2 * 1024;
constexpr std::int64_t kResidentBytes = 768 << 10;  // weights up to here stay in L2 while all pixels pass by
constexpr std::int64_t kPanelL1Bytes = 24 << 10;
constexpr std::int64_t kPanelL2Bytes = 512 << 10;  // else this much input does while all weights pass by

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

struct Geometry {
  std::int64_t channels, outputs, depth, steps, blocks, block_bytes, panel_pitch;

  explicit Geometry(const ConvShape& s)
      : channels(s.c / s.groups),
        outputs(s.o / s.groups),
        depth(channels * s.kh * s.kw),
        steps((depth + kStepBytes - 1) / kStepBytes),
        blocks((outputs + kBlock - 1) / kBlock),
        block_bytes(steps * kStepWeights),
        // Rows at a large power of two would all map to a few sets of L1.
        panel_pitch(steps * kStepBytes + (steps % 8 == 0 ? kStepBytes : 0)) {}

  // 32-pixel tiles that all weights of a block serve before the next block's are read: as many as L1 holds, or as many as L2
  // holds beside weights that don't fit there.
  std::int64_t tiles_at_once(const ConvShape& s) const {
    const std::int64_t bytes = s.groups * blocks * block_bytes <= kResidentBytes ? kPanelL1Bytes : kPanelL2Bytes;
    const std::int64_t all = (s.n * s.oh * s.ow + kBlock - 1) / kBlock, fit = bytes / (kBlock * steps * kStepBytes);
    return fit < 1 ? 1 : fit < all ? fit : all;
  }
  std::int64_t panel_bytes(const ConvShape& s) const {
    return (is_matrix_product(s) ? 1 : tiles_at_once(s)) * kBlock * panel_pitch + 64;
  }
  std::int64_t worker_bytes(const ConvShape& s) const { return panel_bytes(s) + round_up(channels + 64, 64); }
};

// A computed block: sums [32][32] at c, of which rows [begin, end) are wanted.
struct Block {
  const std::int32_t* c = nullptr;
  void* out = nullptr;  // row 0
  const std::int32_t* comp = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;       // of f32 output; may be null
  const float* row_scale = nullptr;  // of row 0, of f32 output; may be null
  const std::int32_t* weight_zero_points = nullptr;
  const std::int32_t* sums = nullptr;  // [32] sums of the rows' inputs, when weights have zero points
  int begin = 0, end = 0, columns = 0;
};

// The u8 epilogue of one block, in steps of 64 outputs.
template <bool kBiased>
struct Finisher {
  Requantize requantize;
  std::int64_t stride;
  const std::int32_t* sums = nullptr;  // next row
  std::uint8_t* to = nullptr;
  int left = 0;  // rows
  bool narrow = false;
  __mmask32 mask = 0;
  __m512i comp0, comp1;
  __m512 scale0, scale1, shift0, shift1;

  Finisher(const Requantize& r, std::int64_t dst_stride) : requantize(r), stride(dst_stride) {}

  void start(const Block& block) {
    sums = block.c + block.begin * kBlock;
    to = static_cast<std::uint8_t*>(block.out) + block.begin * stride;
    left = block.end - block.begin;
    narrow = block.columns <= 16;
    mask = static_cast<__mmask32>(first(block.columns));
    const auto mask0 = static_cast<__mmask16>(mask), mask1 = static_cast<__mmask16>(mask >> 16);
    const __m512i bias = _mm512_set1_epi32(kBiased ? Requantize::kBias : 0);
    const __m512 shift = _mm512_set1_ps(Requantize::kShift);
    comp0 = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask0, block.comp), bias);
    comp1 = _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask1, block.comp + 16), bias);
    scale0 = _mm512_maskz_loadu_ps(mask0, block.scale), scale1 = _mm512_maskz_loadu_ps(mask1, block.scale + 16);
    shift0 = _mm512_mul_ps(scale0, shift), shift1 = _mm512_mul_ps(scale1, shift);
  }
  bool done() const { return left <= 0; }

  __attribute__((always_inline)) __m512 value0(int row) const {
    return Requantize::value<kBiased>(_mm512_add_epi32(_mm512_load_si512(sums + row * kBlock), comp0), scale0, shift0);
  }
  __attribute__((always_inline)) __m512 value1(int row) const {
    return Requantize::value<kBiased>(_mm512_add_epi32(_mm512_load_si512(sums + row * kBlock + 16), comp1), scale1, shift1);
  }

  __attribute__((always_inline)) void step() {
    if (done()) return;
    // Sums of rows past the last are whatever stands there: `c` has rows to spare, and they are not stored.
    const int rows = narrow ? 4 : 2;
    if (narrow) {
      const __m512i q = requantize.in_order<kBiased>(value0(0), value0(1), value0(2), value0(3));
      const auto mask16 = static_cast<__mmask16>(mask);
      _mm_mask_storeu_epi8(to, mask16, _mm512_castsi512_si128(q));
      if (left > 1) _mm_mask_storeu_epi8(to + stride, mask16, _mm512_extracti32x4_epi32(q, 1));
      if (left > 2) _mm_mask_storeu_epi8(to + 2 * stride, mask16, _mm512_extracti32x4_epi32(q, 2));
      if (left > 3) _mm_mask_storeu_epi8(to + 3 * stride, mask16, _mm512_extracti32x4_epi32(q, 3));
    } else {
      const __m512i q = requantize.in_order<kBiased>(value0(0), value1(0), value0(1), value1(1));
      _mm256_mask_storeu_epi8(to, mask, _mm512_castsi512_si256(q));
      if (left > 1) _mm256_mask_storeu_epi8(to + stride, mask, _mm512_extracti64x4_epi64(q, 1));
    }
    left -= rows;
    sums += rows * kBlock;
    to += rows * stride;
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
  auto* out = static_cast<float*>(b.out) + b.begin * stride;
  for (int row = b.begin; row < b.end; ++row, out += stride) {
    __m512 v0 = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_load_si512(b.c + row * kBlock), comp0));
    __m512 v1 = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_load_si512(b.c + row * kBlock + 16), comp1));
    if (kRowScales) {
      const __m512 factor = _mm512_set1_ps(b.row_scale[row]);
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
  for (int row = b.begin; row < b.end; ++row)
    for (int column = 0; column < b.columns; column += 16) {
      const auto mask = static_cast<__mmask16>(first(b.columns - column));
      __m512i sum = _mm512_load_si512(b.c + row * kBlock + column);
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, b.comp + column));
      if (b.sums) {
        const __m512i zero_points = _mm512_loadu_si512(b.weight_zero_points + column);
        sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero_points, _mm512_set1_epi32(b.sums[row])));
      }
      const std::int64_t index = row * stride + column;
      if (a.output == ConvOutput::s32) {
        _mm512_mask_storeu_epi32(static_cast<std::int32_t*>(b.out) + index, mask, sum);
        continue;
      }
      __m512 v = _mm512_cvtepi32_ps(sum);
      if (b.row_scale && a.output == ConvOutput::f32) v = _mm512_mul_ps(v, _mm512_set1_ps(b.row_scale[row]));
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

// Products of one block into tiles 0 ... 3, after storing what these held (the block before) at `previous`. Meanwhile the
// finisher works off its own block, `pace` steps a product.
template <bool kTwoRows, bool kTwoColumns, bool kBiased>
__attribute__((noinline)) void multiply(const std::uint8_t* a, std::int64_t pitch, const std::int8_t* b, std::int64_t steps,
                                        std::int32_t* previous, const Finisher<kBiased>& other_block, int pace) {
  Finisher<kBiased> finisher = other_block;  // a copy that stays in registers
  const std::uint8_t* a1 = a + 16 * pitch;
  const auto finish = [&]() __attribute__((always_inline)) {
    for (int i = 0; i < pace; ++i) finisher.step();
  };
  _tile_loadd(6, b, 64);
  _tile_loadd(4, a, pitch);
  _tile_stored(0, previous, kSumsPitch);
  _tile_zero(0);
  _tile_dpbusd(0, 4, 6);
  finish();
  _tile_stored(2, previous + 16 * kBlock, kSumsPitch);
  if (kTwoRows) {
    _tile_loadd(5, a1, pitch);
    _tile_zero(2);
    _tile_dpbusd(2, 5, 6);
    finish();
  }
  _tile_stored(1, previous + 16, kSumsPitch);
  if (kTwoColumns) {
    _tile_loadd(7, b + 1024, 64);
    _tile_zero(1);
    _tile_dpbusd(1, 4, 7);
    finish();
  }
  _tile_stored(3, previous + 16 * kBlock + 16, kSumsPitch);
  if (kTwoRows && kTwoColumns) {
    _tile_zero(3);
    _tile_dpbusd(3, 5, 7);
    finish();
  }
  for (std::int64_t step = 1; step < steps; ++step) {
    a += kStepBytes, a1 += kStepBytes, b += kStepWeights;
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, pitch);
    _tile_dpbusd(0, 4, 6);
    finish();
    if (kTwoRows) {
      _tile_loadd(5, a1, pitch);
      _tile_dpbusd(2, 5, 6);
      finish();
    }
    if (kTwoColumns) {
      _tile_loadd(7, b + 1024, 64);
      _tile_dpbusd(1, 4, 7);
      finish();
    }
    if (kTwoRows && kTwoColumns) {
      _tile_dpbusd(3, 5, 7);
      finish();
    }
  }
  while (!finisher.done()) finisher.step();
}

// Copies in whole vectors of `kWidth` bytes, 16 ... 64; kOnce: one of them is enough.
template <int kWidth, bool kOnce>
__attribute__((always_inline)) inline void copy(std::uint8_t* to, const std::uint8_t* from, std::int64_t bytes) {
  std::int64_t i = 0;
  do {
    if constexpr (kWidth == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    } else if constexpr (kWidth == 32) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
    } else {
      _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    }
    i += kWidth;
  } while (!kOnce && i < bytes);
}

// Inputs of pixels [first_pixel, first_pixel + rows). What a copy writes too much, later copies overwrite or zero weights meet;
// the panel has 64 bytes to spare.
template <int kWidth, bool kOnce>
void fill_panel(const ConvShape& shape, const Geometry& g, const std::uint8_t* src, const std::uint8_t* outside,
                std::int64_t first_pixel, std::int64_t rows, std::uint8_t* panel) {
  const ConvShape s = shape;  // a copy that the stores of bytes cannot change
  const std::int64_t channels = g.channels, pitch = g.panel_pitch, pixel_step = s.stride_w * s.src_stride;
  const std::int64_t run = s.kw * channels, row_step = s.dilation_h * s.w * s.src_stride,
                     tap_step = s.dilation_w * s.src_stride;
  const std::int64_t last_row = (s.kh - 1) * s.dilation_h, last_column = (s.kw - 1) * s.dilation_w;
  // A row of taps is one run of bytes, and runs written in any order of pixels don't spill into the next pixel.
  const bool joined = s.src_stride == channels && s.dilation_w == 1 && (s.kh - 1) * run + round_up(run, kWidth) <= pitch;
  const std::int64_t most_x = s.w - 1 - last_column + s.pad_left;
  const std::int64_t inner_begin = (s.pad_left + s.stride_w - 1) / s.stride_w,
                     inner_end = most_x < 0 ? 0 : most_x / s.stride_w + 1;
  std::int64_t image = first_pixel / (s.oh * s.ow), oy = first_pixel / s.ow % s.oh, ox = first_pixel % s.ow;
  for (std::int64_t r = 0, count; r < rows; r += count) {
    const std::int64_t y = oy * s.stride_h - s.pad_top, x = ox * s.stride_w - s.pad_left;
    const std::uint8_t* in = src + ((image * s.h + y) * s.w + x) * s.src_stride;
    std::uint8_t* out = panel + r * pitch;
    count = 1;
    if (joined && ox >= inner_begin && ox < inner_end && y >= 0 && y + last_row < s.h) {
      count = inner_end < s.ow ? inner_end - ox : s.ow - ox;
      if (count > rows - r) count = rows - r;
      for (std::int64_t i = 0; i < s.kh; ++i, in += row_step, out += run)
        for (std::int64_t p = 0; p < count; ++p) copy<kWidth, kOnce>(out + p * pitch, in + p * pixel_step, run);
    } else {
      for (std::int64_t i = 0; i < s.kh; ++i, in += row_step) {
        const std::int64_t iy = y + i * s.dilation_h;
        const bool in_rows = iy >= 0 && iy < s.h;
        const std::uint8_t* tap = in;
        for (std::int64_t j = 0; j < s.kw; ++j, out += channels, tap += tap_step) {
          const std::int64_t ix = x + j * s.dilation_w;
          copy<kWidth, false>(out, in_rows && ix >= 0 && ix < s.w ? tap : outside, channels);
        }
      }
    }
    ox += count;
    if (ox == s.ow) {
      ox = 0;
      if (++oy == s.oh) oy = 0, ++image;
    }
  }
}

void sum_rows(const std::uint8_t* a, std::int64_t pitch, std::int64_t depth, int begin, int end, std::int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (int row = begin; row < end; ++row) {
    __m512i acc = _mm512_setzero_si512();
    for (std::int64_t k = 0; k < depth; k += 64)
      acc = _mm512_dpbusd_epi32(acc, _mm512_maskz_loadu_epi8(first(depth - k), a + row * pitch + k), ones);
    sums[row] = _mm512_reduce_add_epi32(acc);
  }
}

// The blocks of one worker, in order, through the three stages: multiply, store, finish.
template <bool kBiased>
class Pipeline {
 public:
  Pipeline(const ConvShape& s, const ConvArgs& a, const Geometry& g, const Requantize& requantize, bool overlapped)
      : shape_(s),
        args_(a),
        geometry_(g),
        overlapped_(overlapped),
        pace_(g.steps == 1   ? 4
              : g.steps <= 3 ? 2
                             : 1),
        finisher_(requantize, s.dst_stride) {
    static const TileConfig config;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }

  void add(const std::uint8_t* rows, std::int64_t pitch, const std::int8_t* weights, Block block) {
    std::int32_t* previous = sums_[count_ & 1];
    if (overlapped_ && stored_.c) finisher_.start(stored_);
    const bool two_rows = block.end > 16, two_columns = block.columns > 16;
    if (two_rows && two_columns)
      multiply<true, true>(rows, pitch, weights, geometry_.steps, previous, finisher_, pace_);
    else if (two_rows)
      multiply<true, false>(rows, pitch, weights, geometry_.steps, previous, finisher_, pace_);
    else if (two_columns)
      multiply<false, true>(rows, pitch, weights, geometry_.steps, previous, finisher_, pace_);
    else
      multiply<false, false>(rows, pitch, weights, geometry_.steps, previous, finisher_, pace_);
    finish_stores();
    if (!overlapped_) {
      block.c = previous;
      store(previous);
      if (args_.output != ConvOutput::f32 || block.sums)
        return finish_any(block, args_, shape_.dst_stride, finisher_.requantize);
      return block.row_scale ? finish_f32<true>(block, args_, shape_.dst_stride)
                             : finish_f32<false>(block, args_, shape_.dst_stride);
    }
    stored_ = multiplied_;
    stored_.c = count_ == 0 ? nullptr : previous;
    multiplied_ = block;
    ++count_;
  }

  void finish() {
    if (overlapped_ && count_ > 0) {
      if (stored_.c) finish_block(stored_);
      multiplied_.c = sums_[count_ & 1];
      store(sums_[count_ & 1]);
      finish_block(multiplied_);
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
  void finish_block(const Block& block) {
    finisher_.start(block);
    while (!finisher_.done()) finisher_.step();
  }

  const ConvShape& shape_;
  const ConvArgs& args_;
  const Geometry& geometry_;
  const bool overlapped_;
  const int pace_;
  Finisher<kBiased> finisher_;
  std::int64_t count_ = 0;
  Block multiplied_, stored_;  // the block before, its sums still in tiles; and the one before that
  alignas(64) std::int32_t sums_[2][(kBlock + 3) * kBlock];
};

template <bool kBiased>
void run_conv(const ConvShape& s, const ConvArgs& a, const Requantize& requantize, int worker, int workers) {
  const Geometry g(s);
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.groups * g.blocks * kBlock);
  std::uint8_t* panel = static_cast<std::uint8_t*>(a.workspace) + g.worker_bytes(s) * worker;
  std::uint8_t* outside = panel + g.panel_bytes(s);
  __builtin_memset(outside, a.src_zero_point, static_cast<std::size_t>(round_up(g.channels + 64, 64)));

  const std::int64_t all_blocks = s.groups * g.blocks, element = a.output == ConvOutput::u8 ? 1 : 4;
  const Split split = split_work(s, all_blocks, all_blocks * g.block_bytes, kBlock, worker, workers);
  const std::int64_t rows = split.pixels.end - split.pixels.begin;
  if (rows == 0 || split.blocks.begin == split.blocks.end) return;
  const std::int64_t run = s.kw * g.channels;
  const bool direct = is_matrix_product(s) && rows >= kBlock;
  const std::int64_t tiles = (rows + kBlock - 1) / kBlock, at_once = g.tiles_at_once(s);
  alignas(64) std::int32_t sums[kBlock];
  const bool overlapped = a.output == ConvOutput::u8 && !header->has_weight_zero_points;
  Pipeline<kBiased> pipeline(s, a, g, requantize, overlapped);
  for (std::int64_t group = split.blocks.begin / g.blocks; group * g.blocks < split.blocks.end; ++group) {
    const std::int64_t group_begin = group * g.blocks, group_end = group_begin + g.blocks;
    const std::int64_t begin = split.blocks.begin > group_begin ? split.blocks.begin : group_begin;
    const std::int64_t end = split.blocks.end < group_end ? split.blocks.end : group_end;
    const std::uint8_t* src = a.src + group * g.channels;
    for (std::int64_t tile0 = 0; tile0 < tiles; tile0 += at_once) {
      const std::int64_t tile1 = tile0 + at_once < tiles ? tile0 + at_once : tiles;
      if (!direct) {
        const std::int64_t last = tile1 * kBlock < rows ? tile1 * kBlock : rows;
        const auto fill = run <= 16   ? &fill_panel<16, true>
                          : run <= 32 ? &fill_panel<32, true>
                          : run <= 64 ? &fill_panel<64, true>
                                      : &fill_panel<64, false>;
        fill(s, g, src, outside, split.pixels.begin + tile0 * kBlock, last - tile0 * kBlock, panel);
        finish_stores();
      }
      for (std::int64_t block = begin; block < end; ++block)
        for (std::int64_t tile = tile0; tile < tile1; ++tile) {
          // The last tile of a matrix product moves back to stay within the rows; of its rows only the new ones are kept.
          const std::int64_t left = rows - tile * kBlock, back = direct && left < kBlock ? kBlock - left : 0;
          const std::int64_t first_row = split.pixels.begin + tile * kBlock - back;
          const std::int64_t in_group = (block - group_begin) * kBlock, channel = group * g.outputs + in_group;
          const std::uint8_t* in = direct ? src + first_row * s.src_stride : panel + (tile - tile0) * kBlock * g.panel_pitch;
          const std::int64_t pitch = direct ? s.src_stride : g.panel_pitch;
          Block b{.out = static_cast<std::uint8_t*>(a.dst) + (first_row * s.dst_stride + channel) * element,
                  .comp = a.comp + channel,
                  .scale = a.scale ? a.scale + channel : nullptr,
                  .bias = a.bias ? a.bias + channel : nullptr,
                  .row_scale = a.row_scale ? a.row_scale + first_row : nullptr,
                  .begin = static_cast<int>(back),
                  .end = left < kBlock && !direct ? static_cast<int>(left) : kBlock,
                  .columns = g.outputs - in_group < kBlock ? static_cast<int>(g.outputs - in_group) : kBlock};
          if (header->has_weight_zero_points) {
            sum_rows(in, pitch, g.depth, b.begin, b.end, sums);
            b.weight_zero_points = weight_zero_points + block * kBlock;
            b.sums = sums;
          }
          pipeline.add(in, pitch, weights + block * g.block_bytes, b);
        }
    }
  }
  pipeline.finish();
}

}  // namespace

std::size_t conv_workspace_32x32x64_amxint8(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(Geometry(s).worker_bytes(s) * workers);
}

void conv_u8s8s32_32x32x64_amxint8(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const Requantize requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o);
  if (requantize.biased && a.output == ConvOutput::u8) return run_conv<true>(s, a, requantize, worker, workers);
  return run_conv<false>(s, a, requantize, worker, workers);
}

}  // namespace zeropoint::kernels
