// Steps that go through the layers in topological order, each with the inputs that the quantized layers before it make.
#pragma once

#include "quant/steps.h"

namespace zeropoint::quant {

void gptq_step(Rounding& rounding, const Step& step, const StepContext& context);
void adaround_step(Rounding& rounding, const Step& step, const StepContext& context);
// Takes the mean difference of each layer's output, float to quantized, off its bias: inputs come from the network quantized
// and corrected up to there. Source: M. Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
// (2019), appendix D.
void empirical_bias_correction_step(Rounding& rounding, const Step& step, const StepContext& context);

}  // namespace zeropoint::quant
