// What one instruction set offers attention beside products of integers. Safe to include in files of any ISA.
#pragma once

#include "kernels/attention_q8/attention_q8_args.h"

namespace zeropoint::kernels {

struct AttentionFunctions {
  // q [rows][pitch] = rows of x by scales of their own, zero_point added: s8 with 0, u8 with 128.
  void (*quantize_rows)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count, std::int32_t zero_point,
                        std::uint8_t* q, std::int64_t pitch, float* scales) noexcept;
  // q [rows][pitch] s8 = columns of x by scales of their own; pitch and scales have room for whole groups of 16.
  void (*quantize_columns)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count, std::int8_t* q,
                           std::int64_t pitch, float* scales) noexcept;
  // sums [rows][pitch] of Q and K -> the bytes of P [rows][p_pitch] and their scales. Pitches and k_scale have room for whole
  // groups of 16; the sums are overwritten. A mask has mask_stride from row to row.
  void (*soften)(const AttentionArgs& args, std::int64_t rows, std::int64_t columns, std::int32_t* sums, std::int64_t pitch,
                 const float* q_scale, const float* k_scale, const float* mask, std::int64_t mask_stride, std::uint8_t* p,
                 std::int64_t p_pitch, float* p_scale) noexcept;
  // dst [rows][stride] = (float(sums [rows][pitch]) * p_scale of the row) * v_scale of the column.
  void (*rescale)(std::int64_t rows, std::int64_t columns, const std::int32_t* sums, std::int64_t pitch, const float* p_scale,
                  const float* v_scale, float* dst, std::int64_t stride) noexcept;
};

// One a file.
extern const AttentionFunctions attention_functions_avx2, attention_functions_avx512vnni, attention_functions_neon;

}  // namespace zeropoint::kernels
