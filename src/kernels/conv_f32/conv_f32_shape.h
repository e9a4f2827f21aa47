// Shape of an fp32 convolution. Safe to include in files of any ISA.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

// src: [N, H, W, IC], dst and residual: [N, OH, OW, OC], channel-last. weights: [OC, IC/groups, KH, KW] as in ONNX; bias: [OC].
// Pixel strides in elements; pixels are strided evenly: element (n, y, x, c) at ((n*H + y)*W + x)*pixel_stride + c.
// What lies outside the input reads as 0.
// MatMul/Gemm [M,K]x[K,N]: n = h = 1, w = ow = M, ic = K, oc = N, weights transposed to [N,K].
struct ConvF32Shape {
  std::int64_t n = 1, h = 1, w = 1, ic = 1;
  std::int64_t oh = 1, ow = 1, oc = 1;
  std::int64_t groups = 1;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t src_pixel_stride = 1, dst_pixel_stride = 1, residual_pixel_stride = 1;
};

// dst = clamp(conv + bias [+ residual]), clamp(x) = x < low ? low : (x > high ? high : x).
struct ConvF32Epilogue {
  bool residual = false;
  // The residual is dst itself: run() ignores its residual argument and finds the values in dst. Saves a pass over memory.
  bool in_place = false;
  float low = -__builtin_inff(), high = __builtin_inff();
};

}  // namespace zeropoint::kernels
