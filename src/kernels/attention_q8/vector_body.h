// What attention does beside products, in vectors of any width: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/attention_q8/attention_q8_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"
#include "kernels/vector_groups.h"
#include "kernels/vector_symmetric.h"

namespace zeropoint::kernels {
namespace {

// Row by row in three passes: chains of operations of one row (its greatest element, its sum) wait for each other, those of
// different rows don't. P is never made as floats: the integers follow from the powers, since with e = exp(s - most) the
// greatest element of a row of P is 1 / sum.
template <AttentionFactor kFactor, bool kMask>
void soften_rows(float factor_value, int64_t rows, int64_t columns, int32_t* all_sums, int64_t pitch, const float* q_scale,
                 const float* k_scale, const float* mask, int64_t mask_stride, uint8_t* p, int64_t p_pitch, float* p_scale) {
  constexpr int64_t kMostRows = 32;
  float top[kMostRows], total[kMostRows];
  const F32 factor = broadcast(factor_value);
  for (int64_t first = 0; first < rows; first += kMostRows) {
    const int64_t count = rows - first < kMostRows ? rows - first : kMostRows;
    for (int64_t row = 0; row < count; ++row, mask += kMask ? mask_stride : 0) {
      int32_t* sums = all_sums + (first + row) * pitch;
      const F32 row_scale = broadcast(q_scale[first + row]);
      F32 most = broadcast(-__builtin_inff());
      for_each_vector(0, columns, [&](int64_t j, auto part) {
        F32 x = mul(mul(to_float(load_s32(sums + j, Whole{})), row_scale), load(k_scale + j, Whole{}));
        if (kFactor == AttentionFactor::multiply) x = mul(x, factor);
        if (kFactor == AttentionFactor::divide) x = div(x, factor);
        if (kMask) x = add(x, load(mask + j, part));
        most = max(within(x, most, part), most);  // NaN is left out: then the sum becomes NaN
        store(reinterpret_cast<float*>(sums) + j, x, Whole{});
      });
      top[row] = largest_lane(most);
    }
    for (int64_t row = 0; row < count; ++row) {
      float* powers = reinterpret_cast<float*>(all_sums + (first + row) * pitch);
      const F32 most = broadcast(top[row]);
      Lanes16 lanes = lanes_of(0);
      for_each_group(columns, [&](int64_t j, int v, auto part) {
        const F32 power = within(exp(sub(load(powers + j, Whole{}), most)), broadcast(0), part);
        lanes.v[v] = add(lanes.v[v], power);
        store(powers + j, power, Whole{});
      });
      total[row] = sum_of(lanes);
    }
    for (int64_t row = 0; row < count; ++row) {
      const float ratio = (1.0F / total[row]) / 255.0F, scale = ratio < FLT_MIN ? FLT_MIN : ratio;
      p_scale[first + row] = scale;
      // e / total / scale by one product: off by less than 2^-13 below 256, see SymmetricQuantizer. The total is at least 1,
      // and 255 * columns is far from overflow; NaN is always in doubt.
      const F32 by = broadcast(1.0F / (total[row] * scale)), sure = broadcast(0.5F - 0x1p-12F);
      const float* powers = reinterpret_cast<const float*>(all_sums + (first + row) * pitch);
      uint8_t* to = p + (first + row) * p_pitch;
      for (int64_t j = 0; j < columns; j += kLanes) {
        const F32 e = load(powers + j, Whole{}), t = mul(e, by);
        S32 q = to_nearest(t);
        if (__builtin_expect(any_beyond(abs(sub(t, to_float(q))), sure), 0))
          q = max(to_nearest(min(broadcast(255), div(div(e, broadcast(total[row])), broadcast(scale)))), broadcast_s32(0));
        narrow(to + j, q, Whole{});
      }
    }
  }
}

void soften(const AttentionArgs& args, int64_t rows, int64_t columns, int32_t* sums, int64_t pitch, const float* q_scale,
            const float* k_scale, const float* mask, int64_t mask_stride, uint8_t* p, int64_t p_pitch,
            float* p_scale) noexcept {
  const auto run = [&]<AttentionFactor kFactor>() {
    if (mask)
      soften_rows<kFactor, true>(args.factor, rows, columns, sums, pitch, q_scale, k_scale, mask, mask_stride, p, p_pitch,
                                 p_scale);
    else
      soften_rows<kFactor, false>(args.factor, rows, columns, sums, pitch, q_scale, k_scale, mask, mask_stride, p, p_pitch,
                                  p_scale);
  };
  if (args.factor_kind == AttentionFactor::multiply) return run.template operator()<AttentionFactor::multiply>();
  if (args.factor_kind == AttentionFactor::divide) return run.template operator()<AttentionFactor::divide>();
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
