// Elementwise family for 8-bit tensors. See elementwise_q8_functions.h for the contracts.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "numerics/quantize.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct ElementwiseQ8Kernels {
  const char* name;
  Isa needs;
  const ElementwiseQ8Functions* functions;
};
std::span<const ElementwiseQ8Kernels> elementwise_q8_kernels();  // best first, reference last
const ElementwiseQ8Kernels& select_elementwise_q8(IsaSet isas);

// Parameters of a quantizer with the saturation limits `limits` (of the type, or narrower for a fused ReLU/Clip).
// scale > 0 and finite. `exact_inverse` is decided here by trying the division-free form on every float near each of the
// thresholds between two quantized values, which is where an error of one ulp could show; up to 256 levels only.
QuantizeParams quantize_params(float scale, std::int32_t zero_point, numerics::Limits limits);

// ONNX DynamicQuantizeLinear: low <= high are the tensor's minimum and maximum. The range is widened to hold zero;
// scale = (high - low) / 255 (1 if that is 0), zero_point = clamp(round_half_even(0 - low / scale), 0, 255).
QuantizeParams dynamic_quantize_params(float low, float high);

// Of y = a + b; decides whether `short_sum` gives the same result for all 65,536 pairs, by trying them.
BinaryQ8 add_params(const DequantizeParams& a, const DequantizeParams& b, const QuantizeParams& y);

// table[q] = quantize(dequantize(q)): u8 -> u8 between two sets of parameters.
void requantize_table(const DequantizeParams& x, const QuantizeParams& y, std::uint8_t table[256]);

}  // namespace zeropoint::kernels
