// Depthwise convolution, u8 x s8 -> u8, f32 or s32: every output channel sees only the input channel of its number
// (groups = c = o). Shapes, arguments, epilogue and table rows are those of conv_q8; conv_q8_kernels() contains these rows.
#pragma once

#include "kernels/conv_q8/conv_q8.h"

namespace zeropoint::kernels {

std::span<const ConvKernel> depthwise_q8_kernels();  // best first; no reference: conv_q8's takes every shape

}  // namespace zeropoint::kernels
