// What a quantized attention is given: plain data, safe to include in files of any instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

// Softmax(Q K^T * factor + mask) V for each batch and head: Q [rows, depth], K [columns, depth], V [columns, value_depth].
// Strides in elements; along depth, value_depth and the columns of a mask elements lie side by side.
struct AttentionShape {
  std::int64_t batch = 1, heads = 1, rows = 0, columns = 0, depth = 0, value_depth = 0;
  struct Strides {
    std::int64_t batch = 0, head = 0, row = 0;
  };
  Strides q, k, v, mask, dst;
};

// divide_by_parts: divide, where fma(x, inverse_high, x * inverse_low) gives the same (numerics::constant_division(factor)).
enum class AttentionFactor : std::uint8_t { none, multiply, divide, divide_by_parts };

// Everything is quantized on the way, symmetrically, each set of numbers by its own scale (NaN left out):
//   rows of Q and K, columns of V:  scale = max(max |x| / 127, FLT_MIN),  q = saturate(round_half_even(x / scale) + 128) - 128
//   rows of P:                      scale = max(max x / 255, FLT_MIN),    q = saturate(round_half_even(x / scale))
// Sums of products of integers are exact; the rest is rounded once an operation, in fp32:
//   s[i, j] = (float(sum q k) * q_scale[i]) * k_scale[j], times or by factor, + mask[i, j]
//   P = softmax of each row of s, as rows_f32 has it
//   dst[i, c] = (float(sum p v) * p_scale[i]) * v_scale[c]
struct AttentionArgs {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  const float* mask = nullptr;  // or null
  AttentionFactor factor_kind = AttentionFactor::none;
  float factor = 1, inverse_high = 0, inverse_low = 0;
  float* dst = nullptr;
  void* workspace = nullptr;  // workspace_bytes, 64-byte aligned, one for all workers; contents don't matter
};

}  // namespace zeropoint::kernels
