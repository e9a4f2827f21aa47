// From ranges of real numbers to quantization parameters: of one range, of a constant, and of a whole graph.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/recipe.h"
#include "zeropoint/statistics.h"

namespace zeropoint {

struct Range {
  float min = 0, max = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

struct ScaleZeroPoint {
  float scale = 1;
  std::int32_t zero_point = 0;
  float real_zero_point = 0;                                 // before its rounding; textbooks use it, no runtime does
};

// Asymmetric: with min <= 0 <= max (the range is widened until it contains 0),
//   scale = (max - min) / (high - low),  zero_point = low + round_half_even(-min / scale).
// Symmetric (low = -high): scale = max(-min, max) / high, zero_point 0.
// A power of two: the least that is not below that scale, so that nothing of the range is clipped.
// The scale is at least FLT_MIN; a range of only 0 gets scale 1 and zero point 0. All steps are done in fp32, since that is what
// ONNX's DynamicQuantizeLinear does: static and dynamic parameters of one range are the same bits. (In double the scale could
// differ by its last bit, and with it values at ties.) Throws Error kNonFinite on NaN or infinity.
ScaleZeroPoint choose_scale(Range range, IntegerLimits limits, bool symmetric, bool power_of_two = false);
QParams choose_qparams(Range range, const Scheme& scheme);   // one scale, whatever the granularity

// Parameters of a constant from its values, for each tensor, channel or group by itself; the ranges by scheme.range: min_max or
// mse. Throws Error kNonFinite, or kBadArgument for another method.
QParams choose_qparams(const Tensor& x, const Scheme& scheme);

// What q may take under a scheme: symmetric ones leave out the lowest value, so that -q is always there too.
IntegerLimits limits_of(const Scheme& scheme);

// Names of the methods by which an activation's range can be chosen, in the order of the documentation.
const std::vector<std::string>& range_methods();
const std::vector<std::string>& weight_range_methods();
bool is_range_method(std::string_view method);

// The textbook's call: everything in one step, for any width.
struct TensorScheme {
  int bits = 8;                                              // 2 ... 16
  bool symmetric = false;
  bool is_signed = false;                                    // asymmetric: [-2^(n-1), 2^(n-1) - 1] in place of [0, 2^n - 1]
  bool real_zero_point = false;                              // q = round(x / scale + real zero point): the textbook's form
  Granularity granularity = PerTensor{};
  std::string range = "min_max";                             // or mse
};
struct QuantizedTensor {
  Tensor q;                                                  // u8 or s8, of 9 bits and more u16 or s16
  QParams qparams;
  std::vector<float> real_zero_point;                        // filled when asked for; dequantize with it in place of the integer
};
QuantizedTensor quantize_tensor(const Tensor& x, const TensorScheme& scheme);
Tensor dequantize_tensor(const QuantizedTensor& quantized);

// Values of a fused graph whose statistics choose_qparams needs: those that get a quantizer, without the ones that take their
// range from another (a MaxPool's output has its input's). For CalibrateOptions::values.
std::vector<std::string> quantizable_values(const Graph& graph, const Recipe& recipe);

// Applies the recipe's steps that follow calibration, to the graph for which `qparams` were chosen. Throws Error kBadArgument
// for a step that needs samples.
Graph apply_steps(Graph graph, const QParamsMap& qparams, const Statistics& statistics, const Recipe& recipe);

// Parameters of every value and weight to be quantized, chosen by the recipe's last rule that matches a node. Values that must
// agree (Concat's inputs and output, in and out of MaxPool, Reshape, ...) share theirs. Biases are not in the map: theirs
// follow from it (s32, zero point 0, scale x_scale * w_scale[c]). docs/passes/insert_qdq.md has the rules of placement.
// A weight channel's scale is widened where the sum of its products and bias could pass 32 bits.
// Throws Error: kMismatch (statistics of another graph, or without a value that is needed), kNonFinite naming initializer and
// node, kUnsupported when the graph is quantized already.
QParamsMap choose_qparams(const Graph& graph, const Statistics& statistics, const Recipe& recipe);

}  // namespace zeropoint
