// Functions of rows: softmax, normalization, reductions. See rows_f32_functions.h for the contracts.
#pragma once

#include <span>

#include "kernels/rows_f32/rows_f32_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct RowsF32Kernels {
  const char* name;
  Isa needs;
  const RowsF32Functions* functions;
};
std::span<const RowsF32Kernels> rows_f32_kernels();  // best first, reference last
const RowsF32Kernels& select_rows_f32(IsaSet isas);

}  // namespace zeropoint::kernels
