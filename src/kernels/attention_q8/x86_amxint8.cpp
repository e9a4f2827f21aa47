// Attention by AMX: s8 x s8 for the scores, u8 x s8 for the sums of values.
//
// For each head K and V are quantized straight into tiles, K^T by transposing dwords, V by joining four tokens to a dword. Then
// 32 rows of Q at a time: their scores, softmax and quantization stay in L1. What P holds beyond the last column meets zeros.
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

inline __mmask16 first(int64_t count) { return static_cast<__mmask16>(count >= 16 ? 0xFFFFU : (1U << count) - 1); }

// GCC 12's tile loads don't tell the compiler which memory they read: no store may move past this.
inline void finish_stores() { asm volatile("" ::: "memory"); }

struct Workspace {
  int64_t columns, depth, value_depth;  // whole steps of 64, 64 and 16
  int64_t k, v, q, sums, p, k_scale, v_scale, q_scale, bytes;

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
    sums = take(kRows * (columns > value_depth ? columns : value_depth) * 4);
    p = take(kRows * columns);
    k_scale = take(columns * 4);
    v_scale = take(value_depth * 4);
    q_scale = take(kRows * 4);
    bytes = at;
  }
};

// round(x / scale) as the division rounds it: x * inverse is so near to the quotient (below 2^-16 for |x / scale| < 128) that
// both round to the same integer unless it lies within kDoubt of half way between two. Those few are divided.
constexpr float kDoubt = 0x1p-14F, kTiny = 0x1p-100F, kHuge = 0x1p100F;

struct Scale {
  __m512 scale, inverse;
  __mmask16 uncertain;  // lanes that are always divided: their inverse may be no normal number

  explicit Scale(__m512 most) {  // a scale a lane
    scale = _mm512_max_ps(_mm512_div_ps(most, _mm512_set1_ps(127)), _mm512_set1_ps(FLT_MIN));
    inverse = _mm512_div_ps(_mm512_set1_ps(1), scale);
    uncertain = static_cast<__mmask16>(_mm512_cmp_ps_mask(scale, _mm512_set1_ps(kTiny), _CMP_NGT_UQ) |
                                       _mm512_cmp_ps_mask(scale, _mm512_set1_ps(kHuge), _CMP_NLT_UQ));
  }
  Scale(const Scale& of_rows, int row) {  // that of one lane
    const __m512i lane = _mm512_set1_epi32(row);
    scale = _mm512_permutexvar_ps(lane, of_rows.scale);
    inverse = _mm512_permutexvar_ps(lane, of_rows.inverse);
    uncertain = (of_rows.uncertain >> row & 1) != 0 ? 0xFFFF : 0;
  }
  __m512i operator()(__m512 x) const {
    const __m512 t = _mm512_mul_ps(x, inverse);
    const __m512i rounded = _mm512_cvtps_epi32(t);
    const __m512 distance = _mm512_abs_ps(_mm512_sub_ps(t, _mm512_cvtepi32_ps(rounded)));
    const __mmask16 doubtful = _mm512_cmp_ps_mask(distance, _mm512_set1_ps(0.5F - kDoubt), _CMP_NLE_UQ) | uncertain;
    if (__builtin_expect(doubtful == 0, 1)) return rounded;
    // As numerics::quantize: NaN and what is below the range become -128.
    const __m512i divided = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(127), _mm512_div_ps(x, scale)));
    return _mm512_max_epi32(divided, _mm512_set1_epi32(-128));
  }
};

// The greatest element of each of 16 vectors, in their order.
inline __m512 greatest_of_each(__m512 (&v)[16]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    v[i] = _mm512_max_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  const auto doubles = [](__m512 a, __m512 b) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = doubles(v[2 * i], v[2 * i + 1]);
  const auto quarters = [](__m512 a, __m512 b) {
    return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  };
  return quarters(quarters(v[0], v[1]), quarters(v[2], v[3]));
}

// Up to 16 rows of Q or K. q has room for whole steps of 64, which are filled with zeros, and so are missing rows.
inline void quantize_rows(const float* x, int64_t stride, int64_t rows, int64_t count, int64_t padded, int8_t* q,
                          float* scales) {
  __m512 most[16];
  for (int row = 0; row < 16; ++row) {
    most[row] = _mm512_setzero_ps();
    if (row < rows)
      for_each_vector(0, count, [&](int64_t i, auto part) {
        most[row] = max(abs(load(x + row * stride + i, part)), most[row]);  // NaN is left out
      });
  }
  const Scale of_rows(greatest_of_each(most));
  _mm512_store_ps(scales, of_rows.scale);
  for (int row = 0; row < 16; ++row, x += stride, q += padded) {
    const Scale scale(of_rows, row);
    int64_t i = 0;
    if (row < rows) {
      for_each_vector(0, count, [&](int64_t j, auto part) {
        _mm_store_si128(reinterpret_cast<__m128i*>(q + j), _mm512_cvtepi32_epi8(scale(load(x + j, part))));
      });
      i = round_up(count, 16);
    }
    for (; i < padded; i += 16) _mm_store_si128(reinterpret_cast<__m128i*>(q + i), _mm_setzero_si128());
  }
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

  // Tiles [step of 64 tokens][block of 16 channels]; a dword is four tokens.
  void pack_values(const float* v) {
    for (int64_t c = 0; c < w_.value_depth; c += 16) {
      const __mmask16 mask = first(s_.value_depth - c);
      __m512 most = _mm512_setzero_ps();
      for (int64_t j = 0; j < s_.columns; ++j)
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(mask, v + j * s_.v.row + c)), most);
      const Scale scale(most);
      _mm512_store_ps(v_scale_ + c, scale.scale);
      const __m512i byte = _mm512_set1_epi32(255);
      for (int64_t j = 0; j < w_.columns; j += 4) {
        const auto token = [&](int64_t i) {
          const __m512 x = j + i < s_.columns ? _mm512_maskz_loadu_ps(mask, v + (j + i) * s_.v.row + c) : _mm512_setzero_ps();
          return _mm512_and_si512(scale(x), byte);
        };
        const __m512i low = _mm512_or_si512(token(0), _mm512_slli_epi32(token(1), 8));
        const __m512i high = _mm512_or_si512(_mm512_slli_epi32(token(2), 16), _mm512_slli_epi32(token(3), 24));
        int8_t* tile = v_ + (j / kStep * (w_.value_depth / 16) + c / 16) * kTile;
        _mm512_store_si512(tile + j % kStep / 4 * 64, _mm512_or_si512(low, high));
      }
    }
  }

  void rows(const float* q, const float* mask, float* dst, int64_t count) {
    for (int64_t i = 0; i < kRows; i += 16)
      quantize_rows(q + i * s_.q.row, s_.q.row, least(16, count - i), s_.depth, w_.depth, q_ + i * w_.depth, q_scale_ + i);
    finish_stores();
    scores();
    soften(a_, count, s_.columns, sums_, w_.columns, q_scale_, k_scale_, mask, s_.mask.row, p_, w_.columns, p_scale_);
    finish_stores();
    sum_values();
    for (int64_t i = 0; i < count; ++i) {
      const __m512 factor = _mm512_set1_ps(p_scale_[i]);
      for (int64_t c = 0; c < s_.value_depth; c += 16) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums_ + i * w_.value_depth + c));
        _mm512_mask_storeu_ps(dst + i * s_.dst.row + c, first(s_.value_depth - c),
                              _mm512_mul_ps(_mm512_mul_ps(sum, factor), _mm512_load_ps(v_scale_ + c)));
      }
    }
  }

 private:
  // sums [32][columns]
  void scores() {
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

  // sums [32][value_depth]
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
      _tile_stored(0, sums_ + block * 16, pitch);
      _tile_stored(2, sums_ + 16 * w_.value_depth + block * 16, pitch);
      if (!two) continue;
      _tile_stored(1, sums_ + block * 16 + 16, pitch);
      _tile_stored(3, sums_ + 16 * w_.value_depth + block * 16 + 16, pitch);
    }
    finish_stores();
  }

  const AttentionShape& s_;
  const AttentionArgs& a_;
  const Workspace& w_;
  int8_t *k_, *v_, *q_;
  uint8_t* p_;
  int32_t* sums_;
  float *k_scale_, *v_scale_, *q_scale_;
  float p_scale_[kRows];
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
    head.pack_keys(a.k + at(s.k));
    head.pack_values(a.v + at(s.v));
    for (int64_t row = 0; row < s.rows; row += kRows)
      head.rows(a.q + at(s.q) + row * s.q.row, a.mask ? a.mask + at(s.mask) + row * s.mask.row : nullptr,
                a.dst + at(s.dst) + row * s.dst.row, least(kRows, s.rows - row));
  }
  _tile_release();
}

}  // namespace zeropoint::kernels
