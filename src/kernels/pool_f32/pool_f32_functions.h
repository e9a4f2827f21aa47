// Pooling of f32 tensors: what one instruction set offers. Safe to include in files of any ISA.
//
// `worker` of `workers` does its share of the outputs; the same bytes on every ISA and for any number of workers.
#pragma once

#include <cstdint>

#include "kernels/pool_shape.h"

namespace zeropoint::kernels {

struct PoolF32Functions {
  // Maximum of the window, starting from -inf: m = x > m ? x : m in row-major order of the window. A window without input
  // values gives -inf; NaN is passed over.
  void (*max)(const PoolShape& shape, const float* src, float* dst, int worker, int workers) noexcept;

  // (sum over the window, one fp32 addition a value, in row-major order, starting from 0) / float(count); count 0 gives 0.
  void (*average)(const PoolShape& shape, const float* src, float* dst, int worker, int workers) noexcept;
};

// One a file; table.cpp lists them.
extern const PoolF32Functions pool_f32_reference, pool_f32_avx2, pool_f32_avx512vnni, pool_f32_neon;

}  // namespace zeropoint::kernels
