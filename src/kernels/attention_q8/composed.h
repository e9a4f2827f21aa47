// The rows of the kernel table that are made of other families' functions (composed.cpp).
#pragma once

#include "kernels/attention_q8/attention_q8.h"

namespace zeropoint::kernels {

std::span<const AttentionKernel> composed_attention_q8_kernels();  // best first

}  // namespace zeropoint::kernels
