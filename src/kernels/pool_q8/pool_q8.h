// Pooling family for u8 tensors, channel-last. See pool_q8_functions.h and pool_shape.h for the contracts.
#pragma once

#include <span>

#include "kernels/pool_q8/pool_q8_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct PoolQ8Kernels {
  const char* name;
  Isa needs;
  const PoolQ8Functions* functions;
};
std::span<const PoolQ8Kernels> pool_q8_kernels();  // best first, reference last
const PoolQ8Kernels& select_pool_q8(IsaSet isas);

}  // namespace zeropoint::kernels
