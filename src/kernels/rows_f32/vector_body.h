// Functions of rows in vectors of any width: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/rows_f32/rows_f32_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"
#include "kernels/vector_groups.h"

namespace zeropoint::kernels {
namespace {

inline float largest(const float* src, int64_t width) {  // of rows with NaN: anything
  Lanes16 most = lanes_of(-__builtin_inff());
  for_each_group(
      width, [&](int64_t i, int v, auto part) { most.v[v] = max(most.v[v], within(load(src + i, part), most.v[v], part)); });
  return fold(most, [](F32 a, F32 b) { return max(a, b); });
}

void softmax(bool logarithm, const float* src, float* dst, int64_t rows, int64_t width) noexcept {
  const F32 zero = broadcast(0.0F);
  for (int64_t r = 0; r < rows; ++r, src += width, dst += width) {
    const F32 most = broadcast(largest(src, width));
    Lanes16 sums = lanes_of(0);
    for_each_group(width, [&](int64_t i, int v, auto part) {
      const F32 x = sub(load(src + i, part), most), power = exp_of_negative(x);
      sums.v[v] = add(sums.v[v], within(power, zero, part));
      store(dst + i, logarithm ? x : power, part);
    });
    const float sum = sum_of(sums);
    if (logarithm) {
      const F32 less = broadcast(log_of_row_sum(sum));
      for_each_vector(0, width, [&](int64_t i, auto part) { store(dst + i, sub(load(dst + i, part), less), part); });
    } else {
      const F32 by = broadcast(sum);
      for_each_vector(0, width, [&](int64_t i, auto part) { store(dst + i, div(load(dst + i, part), by), part); });
    }
  }
}

// kRows of them at once: the additions of one row wait for each other.
template <int kRows>
void normalize_rows(const NormalizeF32& params, const float* src, const float* scale, const float* bias, float* dst,
                    int64_t width) {
  const auto count = static_cast<float>(width);
  F32 mean[kRows], by[kRows];
  Lanes16 sums[kRows];
  for (int r = 0; r < kRows; ++r) mean[r] = broadcast(0.0F), sums[r] = lanes_of(0);
  if (params.center) {
    for_each_group(width, [&](int64_t i, int v, auto part) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r].v[v] = add(sums[r].v[v], load(src + r * width + i, part));
    });
    for (int r = 0; r < kRows; ++r) mean[r] = broadcast(sum_of(sums[r]) / count), sums[r] = lanes_of(0);
  }
  for_each_group(width, [&](int64_t i, int v, auto part) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const F32 d = within(sub(load(src + r * width + i, part), mean[r]), broadcast(0.0F), part);
      sums[r].v[v] = add(sums[r].v[v], mul(d, d));
    }
  });
  for (int r = 0; r < kRows; ++r) {
    const float deviation = __builtin_sqrtf(sum_of(sums[r]) / count + params.epsilon);
    by[r] = broadcast(params.divide ? deviation : 1.0F / deviation);
  }
  const auto finish = [&](const auto& normalized) {
    const auto each = [&](const auto& result) {  // result(normalized, i, part)
      for (int r = 0; r < kRows; ++r)
        for_each_vector(0, width, [&](int64_t i, auto part) {
          store(dst + r * width + i, result(normalized(load(src + r * width + i, part), r), i, part), part);
        });
    };
    if (scale != nullptr && bias != nullptr)
      each([&](F32 x, int64_t i, auto part) { return add(mul(x, load(scale + i, part)), load(bias + i, part)); });
    else if (scale != nullptr)
      each([&](F32 x, int64_t i, auto part) { return mul(x, load(scale + i, part)); });
    else if (bias != nullptr)
      each([&](F32 x, int64_t i, auto part) { return add(x, load(bias + i, part)); });
    else
      each([](F32 x, int64_t, auto) { return x; });
  };
  if (params.divide)
    finish([&](F32 x, int r) { return div(sub(x, mean[r]), by[r]); });
  else
    finish([&](F32 x, int r) { return mul(sub(x, mean[r]), by[r]); });
}

void normalize(const NormalizeF32& params, const float* src, const float* scale, const float* bias, float* dst, int64_t rows,
               int64_t width) noexcept {
  constexpr int kAtOnce = 4;
  int64_t r = 0;
  for (; r + kAtOnce <= rows; r += kAtOnce)
    normalize_rows<kAtOnce>(params, src + r * width, scale, bias, dst + r * width, width);
  for (; r < rows; ++r) normalize_rows<1>(params, src + r * width, scale, bias, dst + r * width, width);
}

void reduce(ReduceF32 op, const float* src, float* dst, int64_t rows, int64_t width) noexcept {
  const auto count = static_cast<float>(width);
  if (op == ReduceF32::max || op == ReduceF32::min) {
    const bool upwards = op == ReduceF32::max;
    const F32 start = broadcast(upwards ? -__builtin_inff() : __builtin_inff());
    for (int64_t r = 0; r < rows; ++r, src += width) {
      Lanes16 best = lanes_of(0), nan = lanes_of(0);
      for (F32& v : best.v) v = start;
      for_each_group(width, [&](int64_t i, int v, auto part) {
        const F32 x = within(load(src + i, part), start, part);
        best.v[v] = upwards ? max(x, best.v[v]) : min(x, best.v[v]);  // NaN is left out
        nan.v[v] = add(nan.v[v], mul(within(x, broadcast(0.0F), part), broadcast(0.0F)));
      });
      const float value = fold(best, [&](F32 a, F32 b) { return upwards ? max(a, b) : min(a, b); });
      // 0 * x is NaN for infinities too: look closely then.
      if (sum_of(nan) == 0.0F)
        dst[r] = value;
      else
        rows_f32_reference.reduce(op, src, dst + r, 1, width);
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, src += width) {
    Lanes16 sums = lanes_of(0);
    if (op == ReduceF32::sum_square || op == ReduceF32::l2)
      for_each_group(width, [&](int64_t i, int v, auto part) {
        const F32 x = load(src + i, part);
        sums.v[v] = add(sums.v[v], mul(x, x));
      });
    else
      for_each_group(width, [&](int64_t i, int v, auto part) { sums.v[v] = add(sums.v[v], load(src + i, part)); });
    const float sum = sum_of(sums);
    dst[r] = op == ReduceF32::mean ? sum / count : op == ReduceF32::l2 ? __builtin_sqrtf(sum) : sum;
  }
}

// One vector of columns; the 16 lanes of the sum are 16 vectors.
template <bool kSquare, class Extent>
inline F32 sum_column(const float* src, int64_t length, int64_t inner, Extent part) {
  F32 lanes[kGroup];
#pragma GCC unroll 16
  for (int lane = 0; lane < kGroup; ++lane) lanes[lane] = broadcast(0.0F);
  const auto accumulate = [&](int lane, int64_t k) {
    const F32 x = load(src + k * inner, part);
    lanes[lane] = add(lanes[lane], kSquare ? mul(x, x) : x);
  };
  int64_t k = 0;
  for (; k + kGroup <= length; k += kGroup)
#pragma GCC unroll 16
    for (int lane = 0; lane < kGroup; ++lane) accumulate(lane, k + lane);
#pragma GCC unroll 16
  for (int lane = 0; lane < kGroup; ++lane)
    if (k + lane < length) accumulate(lane, k + lane);
#pragma GCC unroll 4
  for (int apart = kGroup / 2; apart > 0; apart /= 2)
#pragma GCC unroll 8
    for (int lane = 0; lane < apart; ++lane) lanes[lane] = add(lanes[lane], lanes[lane + apart]);
  return lanes[0];
}

void reduce_columns(ReduceF32 op, const float* src, float* dst, int64_t outer, int64_t length, int64_t inner, int64_t begin,
                    int64_t end) noexcept {
  if (op == ReduceF32::max || op == ReduceF32::min)
    return rows_f32_reference.reduce_columns(op, src, dst, outer, length, inner, begin, end);
  const F32 count = broadcast(static_cast<float>(length));
  const bool squares = op == ReduceF32::sum_square || op == ReduceF32::l2;
  for (int64_t o = 0; o < outer; ++o)
    for_each_vector(begin, end, [&](int64_t i, auto part) {
      const float* column = src + o * length * inner + i;
      F32 sum = squares ? sum_column<true>(column, length, inner, part) : sum_column<false>(column, length, inner, part);
      if (op == ReduceF32::mean) sum = div(sum, count);
      if (op == ReduceF32::l2) sum = sqrt(sum);
      store(dst + o * inner + i, sum, part);
    });
}

}  // namespace
}  // namespace zeropoint::kernels
