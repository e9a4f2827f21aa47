#include "kernels/histogram/histogram.h"

namespace zeropoint::kernels {
namespace {

constexpr HistogramKernels kKernels[] = {
    {.name = "histogram_reference", .needs = Isa::scalar, .functions = &histogram_reference},
};

}  // namespace

std::span<const HistogramKernels> histogram_kernels() { return kKernels; }

const HistogramKernels& select_histogram(IsaSet isas) {
  for (const HistogramKernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
