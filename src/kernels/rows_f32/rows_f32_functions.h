// Functions of rows of fp32 numbers: softmax, normalization, reductions. Safe to include in files of any ISA.
//
// Sums have the fixed shape of numerics/lane_sum.h, powers are numerics::exp(float), no fma: the results are those of the
// references in src/ops (Softmax, LayerNormalization, ReduceMean, ...), the same bytes on every ISA. Rows lie one behind the
// other without gaps; dst may be src where both have the same shape. Threads share the rows.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

// y = (x - mean) * inverse * scale + bias with inverse = 1 / sqrt(mean of (x - mean)^2 + epsilon); each operation rounds.
struct NormalizeF32 {
  float epsilon = 1e-5F;
  bool center = true;   // false: mean is taken as 0 (RMSNorm)
  bool divide = false;  // (x - mean) / sqrt(...) instead of the product with its inverse
};

enum class ReduceF32 : std::uint8_t { sum, mean, max, min, sum_square, l2 };  // NaN wins in max and min; l2: root of sum_square

struct RowsF32Functions {
  void (*softmax)(bool logarithm, const float* src, float* dst, std::int64_t rows, std::int64_t width) noexcept;
  // scale and bias: [width]; either may be null. dst may be src, here and above.
  void (*normalize)(const NormalizeF32& params, const float* src, const float* scale, const float* bias, float* dst,
                    std::int64_t rows, std::int64_t width) noexcept;
  // dst[r] = op over row r. width >= 1.
  void (*reduce)(ReduceF32 op, const float* src, float* dst, std::int64_t rows, std::int64_t width) noexcept;
  // dst[o][i] = op over src[o][0 ... length - 1][i] for o < outer, begin <= i < end of inner. length >= 1.
  void (*reduce_columns)(ReduceF32 op, const float* src, float* dst, std::int64_t outer, std::int64_t length,
                         std::int64_t inner, std::int64_t begin, std::int64_t end) noexcept;
};

// One a file; table.cpp lists them.
extern const RowsF32Functions rows_f32_reference, rows_f32_avx2, rows_f32_avx512vnni, rows_f32_neon;

// numerics::log, for files of any ISA.
float log_of_row_sum(float sum) noexcept;

}  // namespace zeropoint::kernels
