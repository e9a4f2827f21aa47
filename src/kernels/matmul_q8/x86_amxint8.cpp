// Matrix products by AMX: tiles of 16 x 64 bytes, tdpbusd.
//
// A block is 32 rows x 32 columns in four accumulator tiles. The weights of a block of columns stay in L1 while all rows pass
// by from L2; those of the next block are prefetched meanwhile, a few lines a step, since a transformer's weights are met once
// a run and come from far away. The accumulators of a block are stored during the first step of the next one, and its epilogue
// runs, row by row, between the products of the block after that.
// Where the depth is so large that 32 rows do not stay in L1, it is cut: each part passes by all blocks of the group before the
// next part, the sums waiting in memory.
// Rows of floats are quantized into the workspace first, all of them: the columns that follow pay for it.
#include <float.h>
#include <immintrin.h>

#include "kernels/block_arithmetic.h"
#include "kernels/matmul_q8/entries.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"
#include "kernels/vector_symmetric.h"
#include "kernels/x86_amx_tiles.h"
#include "kernels/x86_avx512_nearest.h"

namespace zeropoint::kernels {
namespace {

constexpr int kBlock = 32, kSumsPitch = 4 * kBlock, kStepBytes = 64, kStepWeights = 2 * 1024;
constexpr int64_t kRowsBytes = 1280 << 10;  // quantized rows that stay in L2 beside the weights
constexpr int64_t kGroupBytes = 192 << 10;  // weights in L2 while all rows pass by
constexpr int64_t kNearBytes = 24 << 20;    // a network's weights that the last cache is taken to keep
constexpr int64_t kMostLines = 8;           // prefetched a step; more of them hold up the loads
// They walk as many places at once: the hardware, which runs ahead of each within its page, then asks for lines long before
// they are wanted, and requests of its own don't hold up loads.
constexpr int kStreams = 4;
constexpr int64_t kMostSteps = 16;  // of a part of the depth: 32 KB of rows

struct Geometry {
  int64_t steps, blocks, block_bytes, pitch, chunk;  // chunk: rows at once

  explicit Geometry(const MatmulQ8Shape& s)
      : steps((s.k + kStepBytes - 1) / kStepBytes),
        blocks((s.n + kBlock - 1) / kBlock),
        block_bytes(steps * kStepWeights),
        // Rows at a large power of two would all map to a few sets of L1.
        pitch(steps * kStepBytes + kStepBytes) {
    const int64_t chunks = (s.m * pitch + kRowsBytes - 1) / kRowsBytes;
    chunk = round_up((s.m + chunks - 1) / chunks, kBlock);
  }
  // Blocks of columns that all rows pass by before the next ones are met.
  int64_t group_blocks() const {
    const int64_t fit = kGroupBytes / block_bytes;
    return fit > 4 ? fit : 4;
  }
  int64_t parts() const { return (steps + kMostSteps - 1) / kMostSteps; }
  int64_t sums_bytes() const { return parts() > 1 ? group_blocks() * kBlock * kSumsPitch : 0; }
  int64_t worker_bytes() const { return chunk * pitch + round_up(chunk * 4, 64) + sums_bytes(); }
};

// A row of floats, quantized while the one after the next is measured: the scale of the next is ready when that begins.
class RowQuantizer {
 public:
  explicit RowQuantizer(int64_t count) : count_(count) {}

  // Of the first row, then of the second.
  void start(const float* x) {
    __m512 most[4] = {};
    int64_t i = 0;
    for (; i + 64 <= count_; i += 64) measure(x + i, most);
    measure_rest(x + i, count_ - i, most);
    finish(most);
  }

  // Returns the scale of x, which was measured before the row behind it was. q has room for whole steps of 64. Meanwhile a line
  // of weights for each whole line of q is fetched into L2: the first products find theirs there.
  float operator()(const float* x, uint8_t* q, const float* after_next, const int8_t* weights) {
    const float scale = now_.scale;
    const __m512 by = broadcast(scale), low = broadcast(now_.inverse * kLower), high = broadcast(now_.inverse * kHigher);
    const __m512 shift = broadcast(kToInteger + 128);
    const auto divided = [&](__m512 each) { return _mm512_add_epi32(divided_symmetric(each, by), _mm512_set1_epi32(128)); };
    __m512 most[4] = {};
    int64_t i = 0;
    for (; i + 64 <= count_; i += 64) {
      _mm_prefetch(weights + i, _MM_HINT_T1);
      const __m512 v[4] = {_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i + 32),
                           _mm512_loadu_ps(x + i + 48)};
      _mm512_storeu_si512(q + i, nearest_bytes<ByteOrder::natural>(v, low, high, shift, divided));
      measure(after_next + i, most);
    }
    if (i < count_) {
      __m512 v[4];
      for (int part = 0; part < 4; ++part) v[part] = _mm512_maskz_loadu_ps(first(count_ - i - 16 * part), x + i + 16 * part);
      _mm512_storeu_si512(q + i, nearest_bytes<ByteOrder::natural>(v, low, high, shift, divided));
      measure_rest(after_next + i, count_ - i, most);
    }
    finish(most);
    return scale;
  }

 private:
  static __mmask16 first(int64_t count) {
    return static_cast<__mmask16>(count >= 16 ? 0xFFFFU : count <= 0 ? 0U : (1U << count) - 1);
  }
  static void measure(const float* x, __m512 (&most)[4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) most[i] = max(abs(_mm512_loadu_ps(x + 16 * i)), most[i]);  // NaN is left out
  }
  static void measure_rest(const float* x, int64_t count, __m512 (&most)[4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) most[i] = max(abs(_mm512_maskz_loadu_ps(first(count - 16 * i), x + 16 * i)), most[i]);
  }
  void finish(const __m512 (&most)[4]) {
    constexpr float kTiny = 0x1p-100F, kHuge = 0x1p100F;
    const float scale = symmetric_scale(largest_lane(max(max(most[0], most[1]), max(most[2], most[3]))));
    now_ = next_;
    next_ = {scale, scale > kTiny && scale < kHuge ? 1.0F / scale : __builtin_nanf("")};
  }

  struct Scale {
    float scale = 0, inverse = 0;
  };
  int64_t count_;
  Scale now_, next_;
};

enum class Finish { plain, clamp, gelu, clamp_gelu };

// A computed block: sums [32][32] at c, of which rows [begin, end) are wanted.
struct Block {
  int32_t* c = nullptr;
  bool continued = false, complete = true;  // the sums start from what lies at c; are those of the whole depth
  float* out = nullptr;                     // row 0
  const float* residual = nullptr;          // row 0, or null
  const float* row_scale = nullptr;
  int64_t column = 0;
  int begin = 0, end = 0, columns = 0;
};

// The epilogue of one block, a row a step.
template <Finish kFinish>
struct Finisher {
  int64_t dst_stride, residual_stride;
  bool stream;
  __m512 low, high;
  const int32_t* sums = nullptr;  // next row
  const float* row_scale = nullptr;
  const float* residual = nullptr;
  float* to = nullptr;
  int left = 0;  // rows
  __mmask16 mask0 = 0, mask1 = 0;
  bool whole = false;
  __m512i comp0, comp1;
  __m512 scale0, scale1, bias0, bias1;

  Finisher(const MatmulQ8Shape& s, const MatmulQ8Args& a)
      : dst_stride(s.dst_stride),
        residual_stride(s.residual_stride),
        stream(matmul_streams(s, a.dst)),
        low(_mm512_set1_ps(a.low)),
        high(_mm512_set1_ps(a.high)) {}

  void start(const Block& block, const MatmulQ8Args& a) {
    sums = block.c + block.begin * kBlock;
    to = block.out + block.begin * dst_stride;
    residual = block.residual ? block.residual + block.begin * residual_stride : nullptr;
    row_scale = block.row_scale + block.begin;
    left = block.end - block.begin;
    whole = block.columns == kBlock;
    const auto mask = block.columns < 32 ? (1U << block.columns) - 1 : ~0U;
    mask0 = static_cast<__mmask16>(mask), mask1 = static_cast<__mmask16>(mask >> 16);
    comp0 = _mm512_maskz_loadu_epi32(mask0, a.comp + block.column);
    comp1 = _mm512_maskz_loadu_epi32(mask1, a.comp + block.column + 16);
    scale0 = _mm512_maskz_loadu_ps(mask0, a.scale + block.column);
    scale1 = _mm512_maskz_loadu_ps(mask1, a.scale + block.column + 16);
    bias0 = bias1 = _mm512_set1_ps(-0.0F);  // changes nothing when it is added
    if (a.bias) {
      bias0 = _mm512_maskz_loadu_ps(mask0, a.bias + block.column);
      bias1 = _mm512_maskz_loadu_ps(mask1, a.bias + block.column + 16);
    }
  }
  bool done() const { return left <= 0; }

  __attribute__((always_inline)) __m512 value(__m512i sum, __m512 factor, __m512 scale, __m512 bias) const {
    __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor), scale), bias);
    if constexpr (kFinish != Finish::gelu) v = _mm512_max_ps(v, low);  // NaN turns into the limit; gelu of either is NaN
    if constexpr (kFinish == Finish::clamp || kFinish == Finish::clamp_gelu) v = _mm512_min_ps(v, high);
    if constexpr (kFinish == Finish::gelu || kFinish == Finish::clamp_gelu) v = gelu(v);
    return v;
  }

  __attribute__((always_inline)) void step() {
    if (done()) return;
    const __m512 factor = _mm512_set1_ps(*row_scale);
    __m512 v0 = value(_mm512_add_epi32(_mm512_load_si512(sums), comp0), factor, scale0, bias0);
    __m512 v1 = value(_mm512_add_epi32(_mm512_load_si512(sums + 16), comp1), factor, scale1, bias1);
    if (residual) {
      v0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(mask0, residual));
      v1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(mask1, residual + 16));
      residual += residual_stride;
    }
    if (!whole) {
      _mm512_mask_storeu_ps(to, mask0, v0);
      if (mask1) _mm512_mask_storeu_ps(to + 16, mask1, v1);
    } else if (stream) {
      _mm512_stream_ps(to, v0), _mm512_stream_ps(to + 16, v1);
    } else {
      _mm512_storeu_ps(to, v0), _mm512_storeu_ps(to + 16, v1);
    }
    --left, ++row_scale;
    sums += kBlock;
    to += dst_stride;
  }
};

// GCC 12's tile loads don't tell the compiler which memory they read: no store may move past this.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// Weights to be prefetched: `lines` cache lines a step, from `at` on; where `apart` is not 0, from each of kStreams places.
struct Ahead {
  const int8_t* at;
  int64_t lines, apart;
};

// Products of one block into tiles 0 ... 3, after storing what these held (the block before) at `previous`; added to the sums
// at `partial` unless that is null. Meanwhile the finisher works off its own block, `pace` rows a product, and each step
// prefetches what is ahead.
template <Finish kFinish>
__attribute__((noinline)) void multiply(const uint8_t* a, int64_t pitch, const int8_t* b, int64_t steps, const int32_t* partial,
                                        int32_t* previous, const Finisher<kFinish>& other_block, int pace, const Ahead& ahead) {
  Finisher<kFinish> finisher = other_block;  // a copy that stays in registers
  const uint8_t* a1 = a + 16 * pitch;
  const auto finish = [&]() __attribute__((always_inline)) {
    for (int i = 0; i < pace; ++i) finisher.step();
  };
  const int8_t* next = ahead.at;
  const int64_t lines = ahead.lines, apart = ahead.apart;
  const auto fetch = [&]() __attribute__((always_inline)) {
    if (apart == 0) {
      for (int64_t i = 0; i < lines; ++i, next += 64) _mm_prefetch(next, _MM_HINT_T1);
      return;
    }
    for (int64_t i = 0; i < lines; ++i, next += 64)
#pragma GCC unroll 4
      for (int stream = 0; stream < kStreams; ++stream) _mm_prefetch(next + stream * apart, _MM_HINT_T1);
  };
  fetch();
  _tile_stream_loadd(6, b, 64);
  _tile_loadd(4, a, pitch);
  _tile_stored(0, previous, kSumsPitch);
  if (partial)
    _tile_loadd(0, partial, kSumsPitch);
  else
    _tile_zero(0);
  _tile_dpbusd(0, 4, 6);
  finish();
  _tile_stored(2, previous + 16 * kBlock, kSumsPitch);
  _tile_loadd(5, a1, pitch);
  if (partial)
    _tile_loadd(2, partial + 16 * kBlock, kSumsPitch);
  else
    _tile_zero(2);
  _tile_dpbusd(2, 5, 6);
  finish();
  _tile_stored(1, previous + 16, kSumsPitch);
  _tile_stream_loadd(7, b + 1024, 64);
  if (partial)
    _tile_loadd(1, partial + 16, kSumsPitch);
  else
    _tile_zero(1);
  _tile_dpbusd(1, 4, 7);
  finish();
  _tile_stored(3, previous + 16 * kBlock + 16, kSumsPitch);
  if (partial)
    _tile_loadd(3, partial + 16 * kBlock + 16, kSumsPitch);
  else
    _tile_zero(3);
  _tile_dpbusd(3, 5, 7);
  finish();
  for (int64_t step = 1; step < steps; ++step) {
    a += kStepBytes, a1 += kStepBytes, b += kStepWeights;
    fetch();
    _tile_stream_loadd(6, b, 64);
    _tile_loadd(4, a, pitch);
    _tile_dpbusd(0, 4, 6);
    finish();
    _tile_loadd(5, a1, pitch);
    _tile_dpbusd(2, 5, 6);
    finish();
    _tile_stream_loadd(7, b + 1024, 64);
    _tile_dpbusd(1, 4, 7);
    finish();
    _tile_dpbusd(3, 5, 7);
    finish();
  }
  while (!finisher.done()) finisher.step();
}

// The blocks of one worker, in order, through the three stages: multiply, store, finish.
template <Finish kFinish>
class Pipeline {
 public:
  Pipeline(const MatmulQ8Shape& s, const MatmulQ8Args& a) : args_(a), finisher_(s, a) {}

  // A block whose c is null gets room for its sums.
  void add(const uint8_t* rows, int64_t pitch, const int8_t* weights, int64_t steps, Block block, const Ahead& ahead) {
    if (!block.c) block.c = sums_[count_ & 1];
    start(stored_);
    const int pace = static_cast<int>((kBlock + 4 * steps - 1) / (4 * steps));
    multiply<kFinish>(rows, pitch, weights, steps, block.continued ? block.c : nullptr,
                      multiplied_.c ? multiplied_.c : sums_[1], finisher_, pace, ahead);
    finish_stores();
    stored_ = multiplied_;
    multiplied_ = block;
    ++count_;
  }

  void finish() {
    if (count_ == 0) return;
    finish_block(stored_);
    int32_t* c = multiplied_.c;
    _tile_stored(0, c, kSumsPitch);
    _tile_stored(1, c + 16, kSumsPitch);
    _tile_stored(2, c + 16 * kBlock, kSumsPitch);
    _tile_stored(3, c + 16 * kBlock + 16, kSumsPitch);
    finish_stores();
    finish_block(multiplied_);
    stored_ = {}, multiplied_ = {}, count_ = 0;
  }

 private:
  void start(const Block& block) {
    if (block.c && block.complete)
      finisher_.start(block, args_);
    else
      finisher_.left = 0;
  }
  void finish_block(const Block& block) {
    start(block);
    while (!finisher_.done()) finisher_.step();
  }

  const MatmulQ8Args& args_;
  Finisher<kFinish> finisher_;
  int64_t count_ = 0;
  Block multiplied_, stored_;  // the block before, its sums still in tiles; and the one before that
  alignas(64) int32_t sums_[2][kBlock * kBlock];
};

template <Finish kFinish>
void run_product(const MatmulQ8Shape& s, const MatmulQ8Args& a, int worker, int workers) {
  const Geometry g(s);
  // By columns, so that each worker reads only its own weights. By rows where columns are few, and where a network's weights
  // stay in the cache that workers share and rows divide evenly: then rows that another worker made are further away than
  // weights. Many workers by both where one direction leaves some of them clearly more work.
  const int64_t panels = (s.m + kBlock - 1) / kBlock;
  const bool near = s.network_bytes != 0 && s.network_bytes <= kNearBytes && panels % workers == 0;
  const auto most_work = [&](int64_t columns) {
    const int64_t row_parts = workers / columns;
    return ((panels + row_parts - 1) / row_parts) * ((g.blocks + columns - 1) / columns);
  };
  int64_t columns = !near && g.blocks >= 4 * workers ? workers : 1;
  for (int64_t other = 1; workers > 2 && other <= workers; ++other)
    if (workers % other == 0 && 10 * most_work(other) < 9 * most_work(columns)) columns = other;
  const int64_t column_part = worker % columns, row_part = worker / columns, row_parts = workers / columns;
  const int64_t first_block = g.blocks * column_part / columns, last_block = g.blocks * (column_part + 1) / columns;
  const int64_t first_row = panels * row_part / row_parts * kBlock,
                last_row = least(s.m, panels * (row_part + 1) / row_parts * kBlock);
  if (first_block == last_block || first_row >= last_row) return;
  auto* rows = static_cast<uint8_t*>(a.workspace) + g.worker_bytes() * worker;
  auto* scales = reinterpret_cast<float*>(rows + g.chunk * g.pitch);
  auto* sums = reinterpret_cast<int32_t*>(rows + g.worker_bytes() - g.sums_bytes());
  const auto* weights = static_cast<const int8_t*>(a.packed);
  static const TileConfig config;
  asm volatile("ldtilecfg %0" ::"m"(config));
  Pipeline<kFinish> pipeline(s, a);
  for (int64_t row0 = first_row; row0 < last_row; row0 += g.chunk) {
    const int64_t count = least(g.chunk, last_row - row0);
    const bool direct = a.source == MatmulQ8Source::u8 && count >= kBlock;
    if (a.source == MatmulQ8Source::f32) {
      const auto* src = static_cast<const float*>(a.src) + row0 * s.src_stride;
      const int8_t* first = weights + first_block * g.block_bytes;
      const int64_t near_bytes = least(g.group_blocks(), last_block - first_block) * g.block_bytes;
      RowQuantizer quantize(s.k);
      quantize.start(src);
      quantize.start(src + least(1, count - 1) * s.src_stride);
      for (int64_t r = 0; r < count; ++r)
        scales[r] = quantize(src + r * s.src_stride, rows + r * g.pitch, src + least(r + 2, count - 1) * s.src_stride,
                             (r + 1) * s.k <= near_bytes ? first + r * s.k : first);
    } else {
      for (int64_t r = 0; r < count; ++r) scales[r] = a.row_scale ? a.row_scale[row0 + r] : 1.0F;
      if (!direct)
        for (int64_t r = 0; r < count; ++r)
          __builtin_memcpy(rows + r * g.pitch, static_cast<const uint8_t*>(a.src) + (row0 + r) * s.src_stride,
                           static_cast<size_t>(s.k));
    }
    finish_stores();
    const uint8_t* from = direct ? static_cast<const uint8_t*>(a.src) + row0 * s.src_stride : rows;
    const int64_t pitch = direct ? s.src_stride : g.pitch, tiles = (count + kBlock - 1) / kBlock;
    // What one pass over the rows prefetches is the weights of the next pass, at most kMostLines a step.
    const int64_t group = g.group_blocks();
    const int64_t lines = least(kMostLines, (kStepWeights / 64 + tiles - 1) / tiles);
    const int64_t streams = lines < kStreams ? 1 : kStreams;
    for (int64_t begin = first_block; begin < last_block; begin += group) {
      const int64_t end = least(begin + group, last_block);
      const int64_t next_bytes = (least(end + group, last_block) - end) * g.block_bytes;
      Ahead ahead{.at = weights + end * g.block_bytes,
                  .lines = next_bytes == 0 ? 0 : (lines + streams - 1) / streams,
                  .apart = streams == 1 ? 0 : next_bytes / kStreams};
      // The sums of a block are stored while the next one is multiplied: a single block has no time for parts.
      const int64_t parts = end - begin > 1 ? g.parts() : 1;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        // The last tile of rows that are read where they lie moves back to stay within them; only its new rows are kept.
        const int64_t left = count - tile * kBlock, back = direct && left < kBlock ? kBlock - left : 0;
        const int64_t row = tile * kBlock - back;
        for (int64_t part = 0; part < parts; ++part) {
          const int64_t step = g.steps * part / parts, steps = g.steps * (part + 1) / parts - step;
          for (int64_t block = begin; block < end; ++block) {
            const int64_t column = block * kBlock;
            const Block output{.c = parts > 1 ? sums + (block - begin) * kBlock * kBlock : nullptr,
                               .continued = part > 0,
                               .complete = part == parts - 1,
                               .out = a.dst + (row0 + row) * s.dst_stride + column,
                               .residual = a.residual ? a.residual + (row0 + row) * s.residual_stride + column : nullptr,
                               .row_scale = scales + row,
                               .column = column,
                               .begin = static_cast<int>(back),
                               .end = static_cast<int>(direct ? kBlock : least(kBlock, left)),
                               .columns = static_cast<int>(least(kBlock, s.n - column))};
            pipeline.add(from + row * pitch + step * kStepBytes, pitch, weights + block * g.block_bytes + step * kStepWeights,
                         steps, output, ahead);
            ahead.at += steps * ahead.lines * 64;
          }
        }
      }
    }
    pipeline.finish();
  }
  _tile_release();
  _mm_sfence();
}

}  // namespace

size_t matmul_workspace_32x32x64_amxint8(const MatmulQ8Shape& s, int workers) {
  return static_cast<size_t>(Geometry(s).worker_bytes() * workers);
}

void matmul_u8s8f32_32x32x64_amxint8(const MatmulQ8Shape& s, const MatmulQ8Args& a, int worker, int workers) noexcept {
  const bool limited = a.low != -__builtin_inff() || a.high != __builtin_inff();
  if (a.function == MatmulQ8Function::gelu)
    return limited ? run_product<Finish::clamp_gelu>(s, a, worker, workers) : run_product<Finish::gelu>(s, a, worker, workers);
  if (limited) return run_product<Finish::clamp>(s, a, worker, workers);
  return run_product<Finish::plain>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
