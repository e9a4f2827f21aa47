// Bias correction: takes the error that quantized weights make on average out of the output.
#pragma once

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/statistics.h"

namespace zeropoint {

// b[o] += sum over i and taps of (w - w_quantized)[o, i, tap] * mean(x[i]), for every Conv, Gemm and MatMul whose input and
// weights are in `qparams`; mean(x[i]) is the mean of input channel i in the float graph (Statistics: channel_means). Nodes
// without a bias get one; a MatMul has one in the Add behind it, and is left alone without.
// Throws Error kMismatch when the statistics hold no means of an input's channels.
// Source: M. Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (2019), section 4.2, with
// means measured instead of derived from BatchNorm.
Graph correct_biases(Graph graph, const QParamsMap& qparams, const Statistics& statistics);

}  // namespace zeropoint
