// The rows of the kernel table that are made of other families' functions (composed.cpp).
#pragma once

#include "kernels/matmul_q8/matmul_q8.h"

namespace zeropoint::kernels {

std::span<const MatmulQ8Kernel> composed_matmul_q8_kernels();  // best first

}  // namespace zeropoint::kernels
