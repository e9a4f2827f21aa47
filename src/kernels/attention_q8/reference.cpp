// The definition of the family.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "kernels/attention_q8/entries.h"
#include "kernels/rows_f32/rows_f32_functions.h"
#include "numerics/quantize.h"

namespace zeropoint::kernels {
namespace {

// `count` numbers, `step` apart. Returns the scale.
float quantize_signed(const float* x, std::int64_t step, std::int64_t count, float* q) {
  float most = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (std::abs(x[i * step]) > most) most = std::abs(x[i * step]);
  const float scale = std::max(most / 127.0F, FLT_MIN);
  for (std::int64_t i = 0; i < count; ++i)
    q[i * step] = static_cast<float>(numerics::quantize(x[i * step], scale, 128, {0, 255}) - 128);
  return scale;
}

float dot(const float* a, const float* b, std::int64_t b_step, std::int64_t count) {  // of integers: exact
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<std::int64_t>(a[i]) * static_cast<std::int64_t>(b[i * b_step]);
  return static_cast<float>(static_cast<std::int32_t>(sum));
}

std::int64_t floats(const AttentionShape& s) { return s.columns * (s.depth + s.value_depth + 2) + s.depth + s.value_depth; }

}  // namespace

bool supports_any_attention(const AttentionShape&) { return true; }

std::size_t attention_workspace_reference(const AttentionShape& s, int workers) {
  return static_cast<std::size_t>(floats(s) * 4 * workers);
}

void attention_q8_reference(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
  float* k = static_cast<float*>(a.workspace) + floats(s) * worker;
  float* v = k + s.columns * s.depth;
  float* k_scale = v + s.columns * s.value_depth;
  float* row = k_scale + s.columns;
  float* q = row + s.columns;
  float* v_scale = q + s.depth;
  const std::int64_t pairs = s.batch * s.heads;
  for (std::int64_t pair = pairs * worker / workers; pair < pairs * (worker + 1) / workers; ++pair) {
    const std::int64_t batch = pair / s.heads, head = pair % s.heads;
    const auto at = [&](const AttentionShape::Strides& strides) { return batch * strides.batch + head * strides.head; };
    for (std::int64_t j = 0; j < s.columns; ++j) {
      std::copy_n(a.k + at(s.k) + j * s.k.row, s.depth, k + j * s.depth);
      std::copy_n(a.v + at(s.v) + j * s.v.row, s.value_depth, v + j * s.value_depth);
      k_scale[j] = quantize_signed(k + j * s.depth, 1, s.depth, k + j * s.depth);
    }
    for (std::int64_t c = 0; c < s.value_depth; ++c) v_scale[c] = quantize_signed(v + c, s.value_depth, s.columns, v + c);
    for (std::int64_t i = 0; i < s.rows; ++i) {
      std::copy_n(a.q + at(s.q) + i * s.q.row, s.depth, q);
      const float q_scale = quantize_signed(q, 1, s.depth, q);
      for (std::int64_t j = 0; j < s.columns; ++j) {
        const float scaled = dot(q, k + j * s.depth, 1, s.depth) * q_scale;
        row[j] = scaled * k_scale[j];
        if (a.factor_kind == AttentionFactor::multiply) row[j] = row[j] * a.factor;
        if (a.factor_kind == AttentionFactor::divide || a.factor_kind == AttentionFactor::divide_by_parts)
          row[j] = row[j] / a.factor;
        if (a.mask) row[j] = row[j] + a.mask[at(s.mask) + i * s.mask.row + j];
      }
      rows_f32_reference.softmax(false, row, row, 1, s.columns);
      float most = row[0];
      for (std::int64_t j = 1; j < s.columns; ++j)
        if (row[j] > most || std::isnan(row[j])) most = row[j];  // NaN wins, as in ReduceMax
      const float ratio = most / 255.0F, p_scale = ratio < FLT_MIN ? FLT_MIN : ratio;
      for (std::int64_t j = 0; j < s.columns; ++j)
        row[j] = static_cast<float>(numerics::quantize(row[j], p_scale, 0, {0, 255}));
      for (std::int64_t c = 0; c < s.value_depth; ++c) {
        const float scaled = dot(row, v + c, s.value_depth, s.columns) * p_scale;
        a.dst[at(s.dst) + i * s.dst.row + c] = scaled * v_scale[c];
      }
    }
  }
}

}  // namespace zeropoint::kernels
