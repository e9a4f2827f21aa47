// Elementwise family for f32 tensors. See elementwise_f32_functions.h for the contracts.
#pragma once

#include <span>

#include "kernels/elementwise_f32/elementwise_f32_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct ElementwiseF32Kernels {
  const char* name;
  Isa needs;
  const ElementwiseF32Functions* functions;
};
std::span<const ElementwiseF32Kernels> elementwise_f32_kernels();  // best first, reference last
const ElementwiseF32Kernels& select_elementwise_f32(IsaSet isas);

// Broadcasting of two dense shapes by the rules of NumPy, neighbouring axes merged where possible. False if the shapes don't
// fit or the merged rank passes 8. `dims` of the result multiply to the output's size.
bool broadcast(std::span<const std::int64_t> a_dims, std::span<const std::int64_t> b_dims, BroadcastF32& shape);

}  // namespace zeropoint::kernels
