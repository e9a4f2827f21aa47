// Layout family: batched transposes (NCHW <-> NHWC) and general strided copies. See layout_functions.h for the contracts.
#pragma once

#include <span>

#include "kernels/layout/layout_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct LayoutKernels {
  const char* name;
  Isa needs;
  const LayoutFunctions* functions;
};
std::span<const LayoutKernels> layout_kernels();  // best first, reference last
const LayoutKernels& select_layout(IsaSet isas);

// Dense shapes. `rows` x `columns` -> `columns` x `rows`, `batch` times.
TransposeShape dense_transpose(std::int64_t batch, std::int64_t rows, std::int64_t columns, int element_bytes);

// ONNX Transpose of a dense tensor: dst axis i is src axis perm[i]. Neighbouring axes that stay together are merged. rank <= 8
// (asserted); rank 0 and 1 are copies.
StridedCopy permutation(std::span<const std::int64_t> src_dims, std::span<const std::int64_t> perm, int element_bytes);

}  // namespace zeropoint::kernels
