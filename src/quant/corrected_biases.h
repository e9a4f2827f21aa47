// The step bias_correction, which public correct_biases() does of a graph alone.
#pragma once

#include "quant/steps.h"

namespace zeropoint::quant {

void bias_correction_step(Rounding& rounding, const Step& step, const StepContext& context);

}  // namespace zeropoint::quant
