// Scaling channels of the float graph so that 8 bits fit them better, without changing what it computes: layers on both sides of
// a value take factors into their weights. All functions take a fused graph and give one of the same float function, up to one
// rounding of each constant. docs/channel_scaling.md says where channels can be scaled; elsewhere the graph stays as it is.
#pragma once

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"
#include "zeropoint/samples.h"
#include "zeropoint/steps.h"

namespace zeropoint {

// Channels behind a Clip with an upper limit (ReLU6) can be scaled only where the limit never acts, as it is one number for all.
// With a margin m of 1 and more, a channel counts as such when m times its largest value on the samples stays within the limit,
// before and after scaling; the float function is then the same as long as values stay within m times those. 0: none is scaled.
struct ClipMargin {
  double margin = 0;
  const Samples* samples = nullptr;                          // needed when the margin is not 0
  StepOptions options;
};

// Factors for which the weights of both layers have the same range in each channel:
//   s[c] = sqrt(r1[c] r2[c]) / r2[c],  W1[c] and b1[c] divided by s[c], the inputs c of W2 multiplied,
// r the largest |w| of output channel c of the first and of input channel c of the second layer, repeated over the network until
// no factor changes by more than 0.1 %. Where several layers make or read the channels, r is the largest over them, each as a
// share of its layer's largest. Gains where weights have one scale a tensor; scales per channel need it less.
// Source: M. Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (2019), equation 11.
// Throws Error kBadArgument for a margin without samples, or one that is neither 0 nor 1 and more.
Graph cross_layer_equalization(Graph fused, const ClipMargin& clips = {}, StepLog* log = nullptr);

// Factors by which channels of activations come to agree: s[c] = (m[c] / max m)^strength, m the largest |x| of channel c on the
// samples. 1: all channels get the range of the largest; the weights that read them take the difference. Channels that are
// always 0 stay. Source: the migration of SmoothQuant (below, equation 3) for any layer, with the weights' ranges left out.
// Throws Error kBadArgument for a strength outside [0, 1].
Graph equalize_activations(Graph fused, const Samples& samples, double strength = 0.5, const ClipMargin& clips = {},
                           StepLog* log = nullptr);

}  // namespace zeropoint
