// Geometry of sliding windows: Conv, ConvTranspose and pooling share it.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/operator.h"

namespace zeropoint::ops {

// Along one spatial axis.
struct WindowAxis {
  std::int64_t kernel = 1, stride = 1, dilation = 1;
  std::int64_t pad_begin = 0, pad_end = 0;
  std::int64_t input = 1, output = 1;  // -1: not known
};

// Reads kernel_shape (or `kernel` where the attribute is absent), strides, dilations, pads, auto_pad and ceil_mode for inputs
// of shape [N,C,...spatial]. Throws kBadAttribute or kBadShape, also when a window does not fit the padded input.
std::vector<WindowAxis> window_axes(const Node& node, std::span<const Dim> spatial, std::vector<std::int64_t> kernel);

// Exactly three axes, the missing ones in front with kernel, input and output 1, so that one loop nest serves 1-d to 3-d.
std::vector<WindowAxis> as_three(const Node& node, std::vector<WindowAxis> axes);

}  // namespace zeropoint::ops
