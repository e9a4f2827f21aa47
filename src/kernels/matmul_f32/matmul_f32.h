// Products of two activations. See matmul_f32_functions.h for the contract.
#pragma once

#include <span>

#include "kernels/matmul_f32/matmul_f32_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct MatmulF32Kernels {
  const char* name;
  Isa needs;
  const MatmulF32Functions* functions;
};
std::span<const MatmulF32Kernels> matmul_f32_kernels();  // best first, reference last
const MatmulF32Kernels& select_matmul_f32(IsaSet isas);

}  // namespace zeropoint::kernels
