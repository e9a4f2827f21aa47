// What attention does beside products, in vectors of any width: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/attention_q8/attention_q8_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"
#include "kernels/vector_groups.h"
#include "kernels/vector_symmetric.h"
#if defined(__AVX512F__)
#include "kernels/x86_avx512_nearest.h"
#endif

namespace zeropoint::kernels {
namespace {

constexpr int64_t kRowsAtOnce = 16;

#if defined(__AVX512F__)

// The lanes of each of 16 vectors combined as fold does it, by transposing.
template <class Op>
inline void fold_each(F32 (&v)[16], const Op& op, float* to) {
  const auto halves = [&](F32 a, F32 b) { return op(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE)); };
  const auto quarters = [&](F32 a, F32 b) { return op(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)); };
  const auto pairs = [&](F32 a, F32 b) {
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return op(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  };
  const auto neighbours = [&](F32 a, F32 b) { return op(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD)); };
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) v[i] = halves(v[i], v[i + 8]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = quarters(v[i], v[i + 4]);
  v[0] = pairs(v[0], v[2]), v[1] = pairs(v[1], v[3]);
  const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  _mm512_storeu_ps(to, _mm512_permutexvar_ps(order, neighbours(v[0], v[1])));
}

inline void largest_of_each(F32 (&v)[16], float* to) {
  fold_each(v, [](F32 a, F32 b) { return max(a, b); }, to);
}
inline void sums_of_each(Lanes16 (&lanes)[16], float* to) {
  F32 v[16];
  for (int i = 0; i < 16; ++i) v[i] = lanes[i].v[0];
  fold_each(v, [](F32 a, F32 b) { return add(a, b); }, to);
}

#else

inline void largest_of_each(const F32 (&v)[16], float* to) {
  for (int i = 0; i < 16; ++i) to[i] = largest_lane(v[i]);
}
inline void sums_of_each(const Lanes16 (&lanes)[16], float* to) {
  for (int i = 0; i < 16; ++i) to[i] = sum_of(lanes[i]);
}

#endif

// Bytes of P as they lie; or, of 64 columns, those 16 apart side by side: for V packed in the same order.
enum class Columns { in_order, sixteen_apart };

// Sixteen rows in three passes: chains of operations of one row (its greatest element, its sum) wait for each other, those of
// different rows don't. P is never made as floats: the integers follow from the powers, since with e = exp(s - most) the
// greatest element of a row of P is 1 / sum.
template <AttentionFactor kFactor, bool kMask, Columns kColumns>
void soften_rows(const AttentionArgs& args, int64_t rows, int64_t columns, int32_t* all_sums, int64_t pitch,
                 const float* q_scale, const float* k_scale, const float* mask, int64_t mask_stride, uint8_t* p,
                 int64_t p_pitch, float* p_scale) {
  const F32 factor = broadcast(args.factor), inverse = broadcast(args.inverse_high), rest = broadcast(args.inverse_low);
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const int64_t count = rows - first < kRowsAtOnce ? rows - first : kRowsAtOnce;
    alignas(64) float top[kRowsAtOnce], total[kRowsAtOnce], scale[kRowsAtOnce], low[kRowsAtOnce], high[kRowsAtOnce];
    F32 most_of[kRowsAtOnce];
    for (F32& most : most_of) most = broadcast(-__builtin_inff());
    for (int64_t row = 0; row < count; ++row, mask += kMask ? mask_stride : 0) {
      int32_t* sums = all_sums + (first + row) * pitch;
      const F32 row_scale = broadcast(q_scale[first + row]);
      F32 most = broadcast(-__builtin_inff());
      for_each_vector(0, columns, [&](int64_t j, auto part) {
        F32 x = mul(mul(to_float(load_s32(sums + j, Whole{})), row_scale), load(k_scale + j, Whole{}));
        if (kFactor == AttentionFactor::multiply) x = mul(x, factor);
        if (kFactor == AttentionFactor::divide) x = div(x, factor);
        // Of numbers so small that their last place may be another, e^x is 1.
        if (kFactor == AttentionFactor::divide_by_parts) x = fma(x, inverse, mul(x, rest));
        if (kMask) x = add(x, load(mask + j, part));
        most = max(within(x, most, part), most);  // NaN is left out: then the sum becomes NaN
        store(reinterpret_cast<float*>(sums) + j, x, Whole{});
      });
      most_of[row] = most;
    }
    largest_of_each(most_of, top);

    Lanes16 lanes_of_rows[kRowsAtOnce];
    for (Lanes16& lanes : lanes_of_rows) lanes = lanes_of(1);
    for (int64_t row = 0; row < count; ++row) {
      float* powers = reinterpret_cast<float*>(all_sums + (first + row) * pitch);
      const F32 most = broadcast(top[row]);
      Lanes16 lanes = lanes_of(0);
      for_each_group(columns, [&](int64_t j, int v, auto part) {
        const F32 power = within(exp_of_negative(sub(load(powers + j, Whole{}), most)), broadcast(0), part);
        lanes.v[v] = add(lanes.v[v], power);
        store(powers + j, power, Whole{});
      });
      lanes_of_rows[row] = lanes;
    }
    sums_of_each(lanes_of_rows, total);

    // e / total / scale by one product: five roundings, each below 2^-24, lie between kLower and kHigher; NaN is always in
    // doubt.
    for (int64_t row = 0; row < kRowsAtOnce; row += kLanes) {
      const F32 sum = load(total + row, Whole{}), least = broadcast(FLT_MIN);
      const F32 ratio = div(div(broadcast(1), sum), broadcast(255)), each = select_less(ratio, least, least, ratio);
      const F32 by = div(broadcast(1), mul(sum, each));
      store(scale + row, each, Whole{});
      store(low + row, mul(by, broadcast(kLower)), Whole{}), store(high + row, mul(by, broadcast(kHigher)), Whole{});
    }
    for (int64_t row = 0; row < count; ++row) {
      p_scale[first + row] = scale[row];
      const float* powers = reinterpret_cast<const float*>(all_sums + (first + row) * pitch);
      uint8_t* to = p + (first + row) * p_pitch;
      const F32 below = broadcast(low[row]), above = broadcast(high[row]), shift = broadcast(kToInteger);
      const auto divided = [&](F32 e) {
        const F32 quotient = div(div(e, broadcast(total[row])), broadcast(scale[row]));
        return max(to_nearest(min(broadcast(255), quotient)), broadcast_s32(0));
      };
#if defined(__AVX512F__)
      if constexpr (kColumns == Columns::sixteen_apart) {
        for (int64_t j = 0; j < columns; j += 64) {
          const F32 e[4] = {load(powers + j, Whole{}), load(powers + j + 16, Whole{}), load(powers + j + 32, Whole{}),
                            load(powers + j + 48, Whole{})};
          store_u8(to + j, nearest_bytes<ByteOrder::interleaved>(e, below, above, shift, divided), Whole{});
        }
        continue;
      }
#endif
      for (int64_t j = 0; j < columns; j += kLanes) {
        const F32 e = load(powers + j, Whole{}), a = fma(e, below, shift), b = fma(e, above, shift);
        narrow(to + j, __builtin_expect(any_differ(a, b), 0) ? divided(e) : bits_of(a), Whole{});
      }
    }
  }
}

template <Columns kColumns = Columns::in_order>
void soften(const AttentionArgs& args, int64_t rows, int64_t columns, int32_t* sums, int64_t pitch, const float* q_scale,
            const float* k_scale, const float* mask, int64_t mask_stride, uint8_t* p, int64_t p_pitch,
            float* p_scale) noexcept {
  const auto run = [&]<AttentionFactor kFactor>() {
    const auto rows_of = mask ? soften_rows<kFactor, true, kColumns> : soften_rows<kFactor, false, kColumns>;
    rows_of(args, rows, columns, sums, pitch, q_scale, k_scale, mask, mask_stride, p, p_pitch, p_scale);
  };
  if (args.factor_kind == AttentionFactor::multiply) return run.template operator()<AttentionFactor::multiply>();
  if (args.factor_kind == AttentionFactor::divide) return run.template operator()<AttentionFactor::divide>();
  if (args.factor_kind == AttentionFactor::divide_by_parts) return run.template operator()<AttentionFactor::divide_by_parts>();
  run.template operator()<AttentionFactor::none>();
}

[[maybe_unused]] void rescale(int64_t rows, int64_t columns, const int32_t* sums, int64_t pitch, const float* p_scale,
                              const float* v_scale, float* dst, int64_t stride) noexcept {
  for (int64_t row = 0; row < rows; ++row, sums += pitch, dst += stride) {
    const F32 factor = broadcast(p_scale[row]);
    for_each_vector(0, columns, [&](int64_t c, auto part) {
      const F32 sum = to_float(load_s32(sums + c, Whole{}));
      store(dst + c, mul(mul(sum, factor), load(v_scale + c, Whole{})), part);
    });
  }
}

[[maybe_unused]] void quantize_rows(const float* x, int64_t stride, int64_t rows, int64_t count, int32_t zero_point, uint8_t* q,
                                    int64_t pitch, float* scales) noexcept {
  for (int64_t row = 0; row < rows; ++row, x += stride, q += pitch) {
    scales[row] = symmetric_scale(largest_size(x, count));
    quantize_symmetric(x, count, scales[row], zero_point, q);
  }
}

[[maybe_unused]] void quantize_columns(const float* x, int64_t stride, int64_t rows, int64_t count, int8_t* q, int64_t pitch,
                                       float* scales) noexcept {
  for_each_vector(0, count, [&](int64_t c, auto part) {
    F32 most[2] = {broadcast(0), broadcast(0)};
    int64_t row = 0;
    for (; row + 2 <= rows; row += 2) {
      most[0] = max(abs(load(x + row * stride + c, part)), most[0]);
      most[1] = max(abs(load(x + (row + 1) * stride + c, part)), most[1]);
    }
    if (row < rows) most[0] = max(abs(load(x + row * stride + c, part)), most[0]);
    const F32 scale = max(div(max(most[0], most[1]), broadcast(127)), broadcast(FLT_MIN));
    store(scales + c, scale, Whole{});
    const SymmetricQuantizer quantizer(scale);
    for (row = 0; row < rows; ++row)
      narrow(reinterpret_cast<uint8_t*>(q) + row * pitch + c, quantizer(load(x + row * stride + c, part)), Whole{});
  });
}

}  // namespace
}  // namespace zeropoint::kernels
