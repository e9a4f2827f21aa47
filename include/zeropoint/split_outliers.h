// Outlier channel splitting: a channel far larger than the others becomes several of ordinary size.
#pragma once

#include "zeropoint/graph.h"
#include "zeropoint/samples.h"
#include "zeropoint/steps.h"

namespace zeropoint {

struct SplitOutliersOptions {
  // Halve the outliers of weights (input channels of the layers that read a value) in place of those of activations.
  bool weights = false;
  double ratio = 0.02;   // channels are added up to this share of a value's channels, rounded up; 0 ... 1
  double threshold = 2;  // only while the largest channel is more than so many times the median; at least 1
  StepOptions run;
};

// Where channel c of a value is an outlier, its makers make it twice and its readers add both: x becomes x / 2 and x / 2, read by
// w and w (activations), or x and x, read by w / 2 and w / 2 (weights). Done to the largest part again and again. No node is
// added: layers become a little wider, and everything stays as integer as it was.
// Only values that layers without groups alone make and read (docs/channel_scaling.md). Gives a graph of the same float function,
// up to float rounding. Source: R. Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier
// Channel Splitting" (2019), equations 3 and 4. Throws Error kBadArgument for options out of bounds.
Graph split_outliers(Graph fused, const Samples& samples, const SplitOutliersOptions& options = {}, StepLog* log = nullptr);

}  // namespace zeropoint
