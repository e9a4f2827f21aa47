// SmoothQuant: moves part of the spread of activations' channels into the weights that read them.
#pragma once

#include <optional>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"
#include "zeropoint/samples.h"
#include "zeropoint/steps.h"

namespace zeropoint {

struct SmoothQuantOptions {
  // 0: all of the spread stays with the activations, 1: all goes to the weights. Unset: for each activation that of 0, 0.1 ... 1 at
  // which its readers' outputs, quantized, come nearest to float on rows of the samples, or no factors at all.
  std::optional<double> alpha;
  // Where the nodes that make an activation can't take the factors: a Mul in front of its readers. One more operator in float
  // each; without, such activations stay as they are.
  bool explicit_mul = false;
  // How the products will be quantized, by the recipe's rules. None: u8 over the whole range, s8 by channel.
  const Recipe* recipe = nullptr;
  StepOptions run;
};

// For each activation X that only Gemm and MatMul by constant matrices W read:
//   s[j] = max |X[j]|^alpha / max |W[j]|^(1 - alpha),  X[j] divided by s[j], row j of all W multiplied,
// where what makes X (LayerNormalization's scale and bias, or the layer before) takes the factors in (docs/channel_scaling.md).
// Gives a graph of the same float function, up to one rounding of each constant.
// Source: G. Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (2022),
// equation 4. Throws Error kBadArgument for an alpha outside [0, 1].
Graph smooth_quant(Graph fused, const Samples& samples, const SmoothQuantOptions& options = {}, StepLog* log = nullptr);

}  // namespace zeropoint
