// Attention by AMX: s8 x s8 for the scores, u8 x s8 for the sums of values.
//
// For each head K and V are quantized and packed into tiles, K^T by transposing dwords, V by joining four tokens to a dword.
// Then 32 rows of Q at a time: their scores, softmax and quantization stay in L1 up to some 256 tokens. What P holds beyond the
// last column meets zeros.
#include <float.h>
#include <immintrin.h>

#include "kernels/attention_q8/entries.h"
#include "kernels/attention_q8/vector_body.h"
#include "kernels/block_arithmetic.h"
#include "kernels/x86_amx_tiles.h"

namespace zeropoint::kernels {
namespace {

constexpr int kRows = 32, kStep = 64;
constexpr int64_t kTile = 1024;

inline __mmask16 first(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFFU : count <= 0 ? 0U : (1U << count) - 1);
}

// GCC 12's tile loads don't tell the compiler which memory they read: no store may move past this.
inline void finish_stores() { asm volatile("" ::: "memory"); }

struct Workspace {
  int64_t columns, depth, value_depth;  // whole steps of 64, 64 and 16
  int64_t k, v, q, sums, values, p, k_scale, v_scale, q_scale, bytes;

  explicit Workspace(const AttentionShape& s)
      : columns(round_up(s.columns, kStep)), depth(round_up(s.depth, kStep)), value_depth(round_up(s.value_depth, 16)) {
    int64_t at = 0;
    const auto take = [&](int64_t size) {
      const int64_t begin = at;
      at += round_up(size, 64);
      return begin;
    };
    k = take(columns * depth);
    v = take(columns * value_depth);
    q = take(kRows * depth);
    sums = take(kRows * columns * 4), values = take(kRows * value_depth * 4);
    p = take(kRows * columns);
    k_scale = take(columns * 4);
    v_scale = take(value_depth * 4);
    q_scale = take(kRows * 4);
    bytes = at;
  }
};

// A scale a lane, its reciprocal from below and above: NaN, which is always in doubt, where it may be no normal number.
struct Scale {
  __m512 scale, low, high;

  explicit Scale(__m512 most) {
    constexpr float kTiny = 0x1p-100F, kHuge = 0x1p100F;
    scale = _mm512_max_ps(_mm512_div_ps(most, _mm512_set1_ps(127)), _mm512_set1_ps(FLT_MIN));
    const auto certain = static_cast<__mmask16>(_mm512_cmp_ps_mask(scale, _mm512_set1_ps(kTiny), _CMP_GT_OQ) &
                                                _mm512_cmp_ps_mask(scale, _mm512_set1_ps(kHuge), _CMP_LT_OQ));
    const __m512 inverse = _mm512_mask_div_ps(_mm512_set1_ps(__builtin_nanf("")), certain, _mm512_set1_ps(1), scale);
    low = mul(inverse, broadcast(kLower)), high = mul(inverse, broadcast(kHigher));
  }
  Scale(const Scale& of_rows, int row) {  // that of one lane
    const __m512i lane = _mm512_set1_epi32(row);
    scale = _mm512_permutexvar_ps(lane, of_rows.scale);
    low = _mm512_permutexvar_ps(lane, of_rows.low), high = _mm512_permutexvar_ps(lane, of_rows.high);
  }
  // Bytes of the same lane of each side by side.
  template <int kVectors = 4>
  __m512i bytes(const __m512 (&x)[4]) const {
    return nearest_bytes<ByteOrder::interleaved, kVectors>(x, low, high, broadcast(kToInteger),
                                                           [&](__m512 each) { return divided_symmetric(each, scale); });
  }
};

// Up to 16 rows of Q or K, of 64 bytes those 16 apart side by side, in both alike. q has room for whole steps of 64, which are
// filled with zeros, and so are missing rows. kWhole: all rows are there, of 16 * kWhole elements.
template <int kWhole>
void quantize_rows(const float* x, int64_t stride, int64_t rows, int64_t count, int64_t padded, int8_t* q, float* scales) {
  __m512 most[16];
#pragma GCC unroll 16
  for (int row = 0; row < 16; ++row) {
    most[row] = _mm512_setzero_ps();  // NaN is left out
    const float* from = x + row * stride;
    if constexpr (kWhole > 0)
#pragma GCC unroll 4
      for (int i = 0; i < kWhole; ++i) most[row] = max(abs(_mm512_loadu_ps(from + 16 * i)), most[row]);
    else if (row < rows)
      for_each_vector(0, count, [&](int64_t i, auto part) { most[row] = max(abs(load(from + i, part)), most[row]); });
  }
  alignas(64) float largest[16];
  largest_of_each(most, largest);
  const Scale of_rows(_mm512_load_ps(largest));
  _mm512_store_ps(scales, of_rows.scale);
  for (int row = 0; row < 16; ++row, x += stride, q += padded) {
    const Scale scale(of_rows, row);
    if constexpr (kWhole > 0) {
      __m512 v[4] = {};
#pragma GCC unroll 4
      for (int i = 0; i < kWhole; ++i) v[i] = _mm512_loadu_ps(x + 16 * i);
      _mm512_store_si512(q, scale.bytes<kWhole>(v));
      continue;
    }
    for (int64_t j = 0; j < padded; j += kStep) {
      const int64_t left = row < rows ? count - j : 0;
      const auto part = [&](int i) { return _mm512_maskz_loadu_ps(first(left - 16 * i), x + j + 16 * i); };
      const __m512i bytes = left <= 0    ? _mm512_setzero_si512()
                            : left <= 32 ? scale.bytes<2>({part(0), part(1)})
                                         : scale.bytes({part(0), part(1), part(2), part(3)});
      _mm512_store_si512(q + j, bytes);
    }
  }
}

void quantize_rows(const float* x, int64_t stride, int64_t rows, int64_t count, int64_t padded, int8_t* q, float* scales) {
  const auto run = rows == 16 && count == 32   ? quantize_rows<2>
                   : rows == 16 && count == 64 ? quantize_rows<4>
                                               : quantize_rows<0>;
  run(x, stride, rows, count, padded, q, scales);
}

// 16 rows of 64 bytes -> a tile whose row r holds the r-th dword of each.
inline void transpose_dwords(const int8_t* rows, int64_t pitch, int8_t* tile) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(rows + i * pitch);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2)
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]), r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]), r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88), t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm512_store_si512(tile + 64 * i, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    _mm512_store_si512(tile + 64 * (i + 8), _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD));
    _mm512_store_si512(tile + 64 * (i + 4), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_store_si512(tile + 64 * (i + 12), _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD));
  }
}

class Head {
 public:
  Head(const AttentionShape& s, const AttentionArgs& a, const Workspace& w, uint8_t* memory)
      : s_(s),
        a_(a),
        w_(w),
        k_(reinterpret_cast<int8_t*>(memory) + w.k),
        v_(reinterpret_cast<int8_t*>(memory) + w.v),
        q_(reinterpret_cast<int8_t*>(memory) + w.q),
        p_(memory + w.p),
        sums_(reinterpret_cast<int32_t*>(memory + w.sums)),
        values_(reinterpret_cast<int32_t*>(memory + w.values)),
        k_scale_(reinterpret_cast<float*>(memory + w.k_scale)),
        v_scale_(reinterpret_cast<float*>(memory + w.v_scale)),
        q_scale_(reinterpret_cast<float*>(memory + w.q_scale)) {}

  // Tiles [block of 16 tokens][step of depth].
  void pack_keys(const float* k) {
    int8_t* rows = q_;  // 16 at a time; Q comes later
    const int64_t steps = w_.depth / kStep;
    for (int64_t token = 0; token < w_.columns; token += 16) {
      quantize_rows(k + token * s_.k.row, s_.k.row, least(16, s_.columns - token), s_.depth, w_.depth, rows, k_scale_ + token);
      for (int64_t step = 0; step < steps; ++step)
        transpose_dwords(rows + step * kStep, w_.depth, k_ + (token / 16 * steps + step) * kTile);
    }
  }

  // Tiles [step of 64 tokens][block of 16 channels]; a dword is four tokens, 16 apart.
  void pack_values(const float* v) {
    for (int64_t c = 0; c < w_.value_depth; c += 64) {  // a token's channels lie side by side
      if (s_.value_depth - c >= 64)
        pack_values<4>(v, c);
      else if (s_.value_depth - c == 32)
        pack_values<2>(v, c);
      else
        pack_values<0>(v, c);
    }
  }

  // The sums of 32 rows with all keys; `rows` follows.
  void scores(const float* q, int64_t count) {
    for (int64_t i = 0; i < kRows; i += 16)
      quantize_rows(q + i * s_.q.row, s_.q.row, least(16, count - i), s_.depth, w_.depth, q_ + i * w_.depth, q_scale_ + i);
    finish_stores();
    multiply_keys();
  }

  // P of these rows and its sums of values, which wait for `write`.
  void rows(const float* mask, float* dst, int64_t count) {
    soften<Columns::sixteen_apart>(a_, count, s_.columns, sums_, w_.columns, q_scale_, k_scale_, mask, s_.mask.row, p_,
                                   w_.columns, p_scale_);
    finish_stores();
    sum_values();
    dst_ = dst, count_ = count;
  }

  // What the rows before gave.
  void write() {
    for (int64_t i = 0; i < count_; ++i) {
      const __m512 factor = _mm512_set1_ps(p_scale_[i]);
      for (int64_t c = 0; c < s_.value_depth; c += 16) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(values_ + i * w_.value_depth + c));
        _mm512_mask_storeu_ps(dst_ + i * s_.dst.row + c, first(s_.value_depth - c),
                              _mm512_mul_ps(_mm512_mul_ps(sum, factor), _mm512_load_ps(v_scale_ + c)));
      }
    }
    count_ = 0;
  }

 private:
  // Blocks from channel c on: kWhole of them, or up to 4 that may end early.
  template <int kWhole>
  void pack_values(const float* v, int64_t c) {
    constexpr int kMost = kWhole > 0 ? kWhole : 4;
    const auto values = [&](int64_t token, int block) {
      const float* from = v + token * s_.v.row + c + 16 * block;
      return kWhole > 0 ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(first(s_.value_depth - c - 16 * block), from);
    };
    __m512 even[kMost] = {}, odd[kMost] = {};
    const int64_t blocks = w_.value_depth / 16;
    const int many = kWhole > 0 ? kWhole : static_cast<int>(least(kMost, blocks - c / 16));
    for (int64_t token = 0; token < s_.columns; token += 2)
#pragma GCC unroll 4
      for (int block = 0; block < many; ++block) {
        even[block] = max(abs(values(token, block)), even[block]);
        if (token + 1 < s_.columns) odd[block] = max(abs(values(token + 1, block)), odd[block]);
      }
    for (int block = 0; block < many; ++block) {
      const Scale scale(max(even[block], odd[block]));
      _mm512_store_ps(v_scale_ + c + 16 * block, scale.scale);
      for (int64_t j = 0; j < w_.columns; j += kStep) {
        int8_t* tile = v_ + (j / kStep * blocks + c / 16 + block) * kTile;
        const auto at = [&](int64_t token) { return token < s_.columns ? values(token, block) : _mm512_setzero_ps(); };
        if (j + kStep <= s_.columns)
          for (int64_t i = j; i < j + 16; ++i, tile += 64)
            _mm512_store_si512(
                tile, scale.bytes({values(i, block), values(i + 16, block), values(i + 32, block), values(i + 48, block)}));
        else
          for (int64_t i = j; i < j + 16; ++i, tile += 64)
            _mm512_store_si512(tile, scale.bytes({at(i), at(i + 16), at(i + 32), at(i + 48)}));
      }
    }
  }

  // sums [32][columns]
  void multiply_keys() {
    const int64_t steps = w_.depth / kStep, pitch = w_.columns * 4;
    for (int64_t token = 0; token < w_.columns; token += 32) {
      const int8_t *b0 = k_ + token / 16 * steps * kTile, *b1 = b0 + steps * kTile;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t step = 0; step < steps; ++step) {
        _tile_loadd(4, q_ + step * kStep, w_.depth);
        _tile_loadd(5, q_ + 16 * w_.depth + step * kStep, w_.depth);
        _tile_loadd(6, b0 + step * kTile, 64);
        _tile_loadd(7, b1 + step * kTile, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      }
      _tile_stored(0, sums_ + token, pitch);
      _tile_stored(1, sums_ + token + 16, pitch);
      _tile_stored(2, sums_ + 16 * w_.columns + token, pitch);
      _tile_stored(3, sums_ + 16 * w_.columns + token + 16, pitch);
    }
    finish_stores();
  }

  // values [32][value_depth]
  void sum_values() {
    const int64_t steps = w_.columns / kStep, blocks = w_.value_depth / 16, pitch = w_.value_depth * 4;
    for (int64_t block = 0; block < blocks; block += 2) {
      const bool two = block + 1 < blocks;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t step = 0; step < steps; ++step) {
        const int8_t* b = v_ + (step * blocks + block) * kTile;
        _tile_loadd(4, p_ + step * kStep, w_.columns);
        _tile_loadd(5, p_ + 16 * w_.columns + step * kStep, w_.columns);
        _tile_loadd(6, b, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(2, 5, 6);
        if (!two) continue;
        _tile_loadd(7, b + kTile, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(3, 5, 7);
      }
      _tile_stored(0, values_ + block * 16, pitch);
      _tile_stored(2, values_ + 16 * w_.value_depth + block * 16, pitch);
      if (!two) continue;
      _tile_stored(1, values_ + block * 16 + 16, pitch);
      _tile_stored(3, values_ + 16 * w_.value_depth + block * 16 + 16, pitch);
    }
    finish_stores();
  }

  const AttentionShape& s_;
  const AttentionArgs& a_;
  const Workspace& w_;
  int8_t *k_, *v_, *q_;
  uint8_t* p_;
  int32_t *sums_, *values_;
  float *k_scale_, *v_scale_, *q_scale_;
  float p_scale_[kRows];
  float* dst_ = nullptr;
  int64_t count_ = 0;  // rows to write
};

}  // namespace

// Sums stay within s32: 128 * 128 * depth, 255 * 128 * columns.
bool supports_attention_amxint8(const AttentionShape& s) {
  return s.rows >= 4 && s.columns >= 1 && s.columns < 65000 && s.depth < 131072;
}

size_t attention_workspace_amxint8(const AttentionShape& s, int workers) {
  return static_cast<size_t>(Workspace(s).bytes * workers);
}

void attention_q8_amxint8(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
  const Workspace workspace(s);
  Head head(s, a, workspace, static_cast<uint8_t*>(a.workspace) + workspace.bytes * worker);
  static const TileConfig config;
  asm volatile("ldtilecfg %0" ::"m"(config));
  const int64_t pairs = s.batch * s.heads;
  for (int64_t pair = pairs * worker / workers; pair < pairs * (worker + 1) / workers; ++pair) {
    const auto at = [&](const AttentionShape::Strides& strides) {
      return pair / s.heads * strides.batch + pair % s.heads * strides.head;
    };
    // Tiles take long to give their sums: work that doesn't wait for them comes between.
    head.pack_keys(a.k + at(s.k));
    for (int64_t row = 0; row < s.rows; row += kRows) {
      const int64_t count = least(kRows, s.rows - row);
      head.scores(a.q + at(s.q) + row * s.q.row, count);
      head.write();
      if (row == 0) head.pack_values(a.v + at(s.v));
      head.rows(a.mask ? a.mask + at(s.mask) + row * s.mask.row : nullptr, a.dst + at(s.dst) + row * s.dst.row, count);
    }
  }
  head.write();
  _tile_release();
}

}  // namespace zeropoint::kernels
