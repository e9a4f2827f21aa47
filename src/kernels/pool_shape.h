// Shape of a 2-D pooling, channel-last. Safe to include in files of any ISA.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

// src: [N, H, W, C], dst: [N, OH, OW, C]. Output (y, x) covers input rows y*stride_h - pad_top + i*dilation_h, i < kernel_h,
// and columns likewise; what lies outside the input takes no part. Strides in elements; pixel stride >= C, gaps stay untouched.
// OH and OW are the caller's (floor or ceil mode). Global pooling: kernel = input, no padding, OH = OW = 1.
struct PoolShape {
  std::int64_t n = 1, h = 1, w = 1, c = 1;
  std::int64_t oh = 1, ow = 1;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t src_pixel_stride = 1, dst_pixel_stride = 1;
  // Average only. false: divide by the number of input values in the window; true: by the number of positions of the window
  // that lie inside the padded input (so a window that overhangs by ceil mode counts less, as ONNX says).
  bool count_include_pad = false;
};

}  // namespace zeropoint::kernels
