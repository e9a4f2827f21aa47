// Attention out of the functions of other families, for instruction sets without tiles: small integers held as floats multiply
// exactly by fma as long as their sums stay below 2^24, and fp32 products are as quick there as the conversions that integer
// ones would need. One head at a time, so everything stays in L2.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "kernels/attention_q8/entries.h"
#include "kernels/elementwise_f32/elementwise_f32_functions.h"
#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/matmul_f32/matmul_f32_functions.h"
#include "kernels/rows_f32/rows_f32_functions.h"

namespace zeropoint::kernels {
namespace {

constexpr float kInfinity = __builtin_inff();

struct Families {
  const MatmulF32Functions* matmul;
  const ElementwiseQ8Functions* q8;
  const ElementwiseF32Functions* f32;
  const RowsF32Functions* rows;
};

struct Workspace {
  std::int64_t k, v, q, scores, values, k_scale, v_scale, q_scale, p_scale, row, bytes_row, scratch, floats;
  MatmulF32Shape first, second;

  explicit Workspace(const AttentionShape& s) {
    first = {.m = s.rows, .n = s.columns, .k = s.depth, .a_row = s.depth, .b_k = 1, .b_column = s.depth, .c_row = s.columns};
    second = {.m = s.rows,
              .n = s.value_depth,
              .k = s.columns,
              .a_row = s.columns,
              .b_k = s.value_depth,
              .b_column = 1,
              .c_row = s.value_depth};
    std::int64_t at = 0;
    const auto take = [&](std::int64_t count) {
      const std::int64_t begin = at;
      at += (count + 15) / 16 * 16 + 16;
      return begin;
    };
    const std::int64_t widest = std::max({s.columns, s.depth, s.value_depth});
    k = take(s.columns * s.depth), v = take(s.columns * s.value_depth), q = take(s.rows * s.depth);
    scores = take(s.rows * s.columns), values = take(s.rows * s.value_depth);
    k_scale = take(s.columns), v_scale = take(s.value_depth), q_scale = take(s.rows), p_scale = take(s.rows);
    row = take(widest), bytes_row = take((widest + 3) / 4);
    scratch = take(static_cast<std::int64_t>(std::max(matmul_f32_scratch_bytes(first, 1), matmul_f32_scratch_bytes(second, 1)) /
                                             sizeof(float)));
    floats = at;
  }
};

// Integers of x / scale, as floats; zero_point of the bytes between is 128 or 0.
void quantize(const Families& f, float scale, std::int32_t zero_point, const float* x, std::int64_t count, float* y,
              std::uint8_t* bytes) {
  QuantizeParams params;
  params.scale = scale, params.zero_point = zero_point;
  f.q8->quantize_u8(params, x, bytes, count);
  f.q8->dequantize_u8({.scale = 1, .zero_point = zero_point}, bytes, y, count);
}

float quantize_row(const Families& f, const float* x, std::int64_t count, float* y, std::uint8_t* bytes) {
  float low = 0, high = 0;
  f.q8->min_max_f32(x, count, &low, &high);
  const float scale = std::max(std::max(-low, high) / 127.0F, FLT_MIN);
  quantize(f, scale, 128, x, count, y, bytes);
  return scale;
}

void run(const Families& f, const AttentionShape& s, const AttentionArgs& a, int worker, int workers) {
  const Workspace w(s);
  float* own = static_cast<float*>(a.workspace) + w.floats * worker;
  float *k = own + w.k, *v = own + w.v, *q = own + w.q, *scores = own + w.scores, *values = own + w.values, *row = own + w.row;
  float *k_scale = own + w.k_scale, *v_scale = own + w.v_scale, *q_scale = own + w.q_scale, *p_scale = own + w.p_scale;
  auto* bytes = reinterpret_cast<std::uint8_t*>(own + w.bytes_row);
  const auto with = [](BinaryOp op) { return BinaryF32{.op = op, .low = -kInfinity, .high = kInfinity}; };
  const BinaryF32 times = with(BinaryOp::mul), plus = with(BinaryOp::add), by = with(BinaryOp::div);
  const std::int64_t pairs = s.batch * s.heads;
  for (std::int64_t pair = pairs * worker / workers; pair < pairs * (worker + 1) / workers; ++pair) {
    const auto at = [&](const AttentionShape::Strides& strides) {
      return pair / s.heads * strides.batch + pair % s.heads * strides.head;
    };
    const float *from_v = a.v + at(s.v), *mask = a.mask ? a.mask + at(s.mask) : nullptr;
    for (std::int64_t j = 0; j < s.columns; ++j)
      k_scale[j] = quantize_row(f, a.k + at(s.k) + j * s.k.row, s.depth, k + j * s.depth, bytes);
    std::fill_n(v_scale, s.value_depth, 0.0F);
    for (std::int64_t j = 0; j < s.columns; ++j)
      for (std::int64_t c = 0; c < s.value_depth; ++c) {
        const float size = std::abs(from_v[j * s.v.row + c]);
        v_scale[c] = size > v_scale[c] ? size : v_scale[c];  // NaN is left out
      }
    for (std::int64_t c = 0; c < s.value_depth; ++c) v_scale[c] = std::max(v_scale[c] / 127.0F, FLT_MIN);
    for (std::int64_t j = 0; j < s.columns; ++j) {
      f.f32->binary(by, from_v + j * s.v.row, v_scale, row, s.value_depth);
      quantize(f, 1, 128, row, s.value_depth, v + j * s.value_depth, bytes);
    }
    for (std::int64_t i = 0; i < s.rows; ++i)
      q_scale[i] = quantize_row(f, a.q + at(s.q) + i * s.q.row, s.depth, q + i * s.depth, bytes);
    f.matmul->run(w.first, q, k, scores, own + w.scratch, 0, 1);
    for (std::int64_t i = 0; i < s.rows; ++i) {
      float* x = scores + i * s.columns;
      f.f32->binary_scalar(times, x, q_scale[i], false, x, s.columns);
      f.f32->binary(times, x, k_scale, x, s.columns);
      if (a.factor_kind != AttentionFactor::none)
        f.f32->binary_scalar(a.factor_kind == AttentionFactor::multiply ? times : by, x, a.factor, false, x, s.columns);
      if (mask) f.f32->binary(plus, x, mask + i * s.mask.row, x, s.columns);
      f.rows->softmax(false, x, x, 1, s.columns);
      float low = 0, high = 0;
      f.q8->min_max_f32(x, s.columns, &low, &high);
      const float ratio = (std::isnan(x[0]) ? x[0] : high) / 255.0F;  // one NaN in the row makes all of it NaN
      p_scale[i] = ratio < FLT_MIN ? FLT_MIN : ratio;
      quantize(f, p_scale[i], 0, x, s.columns, x, bytes);
    }
    f.matmul->run(w.second, scores, v, values, own + w.scratch, 0, 1);
    for (std::int64_t i = 0; i < s.rows; ++i) {
      float* y = a.dst + at(s.dst) + i * s.dst.row;
      f.f32->binary_scalar(times, values + i * s.value_depth, p_scale[i], false, y, s.value_depth);
      f.f32->binary(times, y, v_scale, y, s.value_depth);
    }
  }
}

}  // namespace

bool supports_composed_attention(const AttentionShape& s) {
  constexpr std::int64_t kExact = 1 << 24;
  return s.rows >= 4 && 128 * 128 * s.depth <= kExact && 255 * 128 * s.columns <= kExact;
}

std::size_t attention_workspace_composed(const AttentionShape& s, int workers) {
  return static_cast<std::size_t>(Workspace(s).floats * workers) * sizeof(float);
}

#if defined(__x86_64__)
void attention_q8_avx512vnni(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
  run({&matmul_f32_avx512vnni, &elementwise_q8_avx512vnni, &elementwise_f32_avx512vnni, &rows_f32_avx512vnni}, s, a, worker,
      workers);
}
void attention_q8_avx2(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
  run({&matmul_f32_avx2, &elementwise_q8_avx2, &elementwise_f32_avx2, &rows_f32_avx2}, s, a, worker, workers);
}
#elif defined(__aarch64__)
void attention_q8_neon(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
  run({&matmul_f32_neon, &elementwise_q8_neon, &elementwise_f32_neon, &rows_f32_neon}, s, a, worker, workers);
}
#endif

}  // namespace zeropoint::kernels
