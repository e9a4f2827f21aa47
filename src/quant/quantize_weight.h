// One constant to integers: ranges, scales and values in one pass over memory, in blocks, so that weights of many gigabytes
// need little more memory than their integers.
#pragma once

#include <cstdint>
#include <optional>

#include "quant/constant_ranges.h"
#include "zeropoint/recipe.h"

namespace zeropoint::quant {

struct IntegerWeight {
  Tensor q;           // of the scheme's type, in the order asked for
  Tensor scale;       // f32: [] | [channels] | dimensions with the grouped axis divided by the group's size, rounded up
  Tensor zero_point;  // of q's type and scale's dimensions; undefined when symmetric
};

// `axis`: of the channels (PerChannel), or along which groups lie (PerGroup); the scheme's own axis is not looked at.
// `factor` multiplies the weights first. Same numbers as choose_qparams() and quantize_tensor() of the scheme, whatever the
// number of threads. Throws Error kNonFinite.
IntegerWeight quantize_weight(const Tensor& weight, const Scheme& scheme, std::int64_t axis, float factor = 1, int threads = 1);

// [K, N] <-> [N, K], 8-bit.
Tensor transposed_bytes(const Tensor& matrix);

}  // namespace zeropoint::quant
