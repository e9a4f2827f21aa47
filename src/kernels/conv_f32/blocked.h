// Our own fp32 convolution: what table.cpp prepares and one instruction set runs. Safe to include in files of any ISA.
//
// Every output value is one chain: 0, then v = fma(x, w, v) over kernel rows, kernel columns, input channels of its group, with
// x = 0 outside the input; then the bias; then the residual; then the clamp. Vectors run over output channels, so the chain is
// the same whatever their width.
#pragma once

#include <stdint.h>

#include "kernels/conv_f32/conv_f32_shape.h"

namespace zeropoint::kernels {

struct BlockedConvF32 {
  ConvF32Shape shape;
  ConvF32Epilogue epilogue;
  // Dense and grouped: the output channels of a group are cut into blocks of `block` vectors (the last one of what is left),
  // zero padded to whole vectors: [group][block][kernel row][kernel column][input channel][lane of the block]. Depthwise:
  // [kernel row][kernel column][channel], channels padded to whole vectors.
  const float* weights;
  const float* bias;   // [group][channel], each group padded to whole vectors
  const float* zeros;  // as many as a group has input channels (depthwise: all channels) in whole vectors
};

struct ConvF32Functions {
  int lanes;  // floats a vector
  int block;  // vectors a block of output channels
  void (*dense)(const BlockedConvF32& conv, const float* src, const float* residual, float* dst, int worker,
                int workers) noexcept;
  void (*depthwise)(const BlockedConvF32& conv, const float* src, const float* residual, float* dst, int worker,
                    int workers) noexcept;
};

// One a file; table.cpp lists them.
extern const ConvF32Functions conv_f32_avx2, conv_f32_avx512vnni, conv_f32_neon;

}  // namespace zeropoint::kernels
