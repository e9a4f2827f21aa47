// What a quantized convolution is given: plain data, safe to include in files compiled for one instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/elementwise_q8/elementwise_q8_functions.h"

namespace zeropoint::kernels {

// 2-d convolution over channel-last pixels: src u8 [n, h, w, c], dst [n, oh, ow, o], weights s8 [o, c/groups, kh, kw].
// Input row of output row y and tap i: y * stride_h + i * dilation_h - pad_top; columns likewise. Rows and columns outside the
// picture read as the source zero point; how much is padded at the bottom and right follows from oh and ow.
// A matrix product [M, K] x [K, N] is n = 1, h = 1, w = ow = M, c = K, o = N.
struct ConvShape {
  std::int64_t n = 1, h = 1, w = 1, c = 1;
  std::int64_t oh = 1, ow = 1, o = 1;
  std::int64_t kh = 1, kw = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0;
  std::int64_t groups = 1;
  // Elements from one pixel to the next, at least c and o: larger ones read a slice of a wider tensor or write into one
  // (Concat in place). Bytes between the channels of neighbouring dst pixels are never written.
  std::int64_t src_stride = 1, dst_stride = 1;
};

enum class ConvOutput : std::uint8_t { u8, f32, s32 };

// With v = float(acc + comp[o]) * scale[o] and t = v > low ? (v < high ? v : high) : low:
//   u8   dst = round_half_even(t) + dst_zero_point     (numerics::requantize; low and high whole, within [-zp, 255 - zp])
//   f32  dst = t                                       (low = -inf, high = +inf for no limit), where before the limits v is
//        multiplied by row_scale[p] first and bias[o] is added last, if there are such, each rounded once:
//        v = (float(acc + comp[o]) * row_scale[p]) * scale[o] + bias[o]
//   s32  dst = acc + comp[o]                           (scale, low, high and dst_zero_point are not read)
// acc = sum of x * (w - weight_zero_point[o]) over all taps. A fused ReLU or Clip narrows low and high.
struct ConvArgs {
  const std::uint8_t* src = nullptr;  // 64 bytes before the first and after the last element must be readable
  const void* packed = nullptr;       // from ConvKernel::pack, 64-byte aligned
  void* dst = nullptr;                // of type `output`
  void* workspace = nullptr;  // ConvKernel::workspace_bytes, 64-byte aligned, one for all workers; contents don't matter
  const std::int32_t* comp = nullptr;  // [o], from fold_bias
  const float* scale = nullptr;        // [o]
  // What whoever runs next will read first, its packed weights: kernels that leave memory idle fetch it into L2 meanwhile.
  const void* next = nullptr;
  std::int64_t next_bytes = 0;
  const float* row_scale = nullptr;  // f32 output: one for each pixel (row of a matrix), or null
  const float* bias = nullptr;       // f32 output: [o] or null
  float low = 0, high = 0;
  std::int32_t src_zero_point = 0;  // what padding reads as, 0 ... 255
  std::int32_t dst_zero_point = 0;
  // u8 output of kernels that add (ConvKernel::adds): dst = what add_u8 makes of the result as a and of `residual` as b, which
  // has the strides of dst and may be dst. null: nothing is added. Must be a short_sum.
  const BinaryQ8* sum = nullptr;
  const std::uint8_t* residual = nullptr;
  ConvOutput output = ConvOutput::u8;
};

}  // namespace zeropoint::kernels
