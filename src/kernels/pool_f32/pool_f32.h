// Pooling family for f32 tensors, channel-last. See pool_f32_functions.h and pool_shape.h for the contracts.
#pragma once

#include <span>

#include "kernels/pool_f32/pool_f32_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct PoolF32Kernels {
  const char* name;
  Isa needs;
  const PoolF32Functions* functions;
};
std::span<const PoolF32Kernels> pool_f32_kernels();  // best first, reference last
const PoolF32Kernels& select_pool_f32(IsaSet isas);

}  // namespace zeropoint::kernels
