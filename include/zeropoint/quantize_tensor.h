// Tensor level: real numbers to integers and back. real = scale * (q - zero_point).
#pragma once

#include <cstdint>
#include <optional>

#include "zeropoint/qparams.h"
#include "zeropoint/tensor.h"

namespace zeropoint {

// The values that q may take, both included: 0 ... 255.
struct IntegerLimits {
  std::int32_t low = 0, high = 0;
  friend bool operator==(const IntegerLimits&, const IntegerLimits&) = default;
};
// Of n bits, n = 2 ... 16: [0, 2^n - 1]; signed [-2^(n-1), 2^(n-1) - 1]; symmetric (always signed) without the lowest value.
// Throws Error kBadArgument for another n.
IntegerLimits limits_of_bits(int bits, bool is_signed, bool symmetric);
// Of a type of 2 ... 16 bits, in full. Throws Error kBadType.
IntegerLimits limits_of(DType dtype);
// Of the type, or of `bits` where they are fewer: [0, 2^bits - 1] of an unsigned type, else [-2^(bits-1), 2^(bits-1) - 1].
IntegerLimits limits_of(const QParams& qparams);

// Of a weight with these parameters: where they are symmetric (a signed type, every zero point 0), without the lowest value, so
// that kernels may count on its absence.
IntegerLimits limits_of_weight(const QParams& qparams);

// Dimensions of the scale of an x with dimensions `dims`: [] | [C] | dims with dims[axis] divided by the group's size, rounded
// up (the last group may be shorter). Throws Error kBadArgument when the axis is not one of x.
Dims scale_dims(const Dims& dims, const Granularity& granularity);

// q = saturate(round_half_even(x / scale) + zero_point), of qparams.dtype; NaN gives the lowest value. x: f32.
// Saturates at `limits`, or where there are none at limits_of(qparams). Throws Error kBadShape when the sizes of scale and
// zero_point don't fit x.
Tensor quantize_tensor(const Tensor& x, const QParams& qparams, std::optional<IntegerLimits> limits = std::nullopt);

// x = scale * (q - zero_point) as f32, one rounding.
Tensor dequantize_tensor(const Tensor& q, const QParams& qparams);

}  // namespace zeropoint
