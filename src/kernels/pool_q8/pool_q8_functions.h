// Pooling of u8 tensors: what one instruction set offers. Safe to include in files of any ISA.
//
// `worker` of `workers` does its share of the outputs (rows, or channels where rows are few); workers = 1 does everything.
// The same bytes on every ISA and for any number of workers.
#pragma once

#include <cstdint>

#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/pool_shape.h"

namespace zeropoint::kernels {

struct PoolQ8Functions {
  // Maximum of the window; a window without any input value gives 0.
  void (*max_u8)(const PoolShape& shape, const std::uint8_t* src, std::uint8_t* dst, int worker, int workers) noexcept;

  // v = (float(sum(q - x.zero_point)) * x.scale) / float(count), summed exactly in s32 over the input values of the window
  // (kernel_h * kernel_w <= 2^22); count as PoolShape says; count 0 gives v = 0.  y = quantize(v).
  void (*average_u8)(const PoolShape& shape, const DequantizeParams& x, const QuantizeParams& y, const std::uint8_t* src,
                     std::uint8_t* dst, int worker, int workers) noexcept;
  void (*average_f32)(const PoolShape& shape, const DequantizeParams& x, const std::uint8_t* src, float* dst, int worker,
                      int workers) noexcept;  // v itself
};

// One a file; table.cpp lists them.
extern const PoolQ8Functions pool_q8_reference, pool_q8_avx2, pool_q8_avx512vnni, pool_q8_neon;

}  // namespace zeropoint::kernels
