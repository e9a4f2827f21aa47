#include "kernels/histogram/histogram.h"

namespace zeropoint::kernels {
namespace {

constexpr HistogramKernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "histogram_avx512vnni", .needs = Isa::avx512vnni, .functions = &histogram_avx512vnni},
    {.name = "histogram_avx2", .needs = Isa::avx2, .functions = &histogram_avx2},
#elif defined(__aarch64__)
    {.name = "histogram_neon", .needs = Isa::neon, .functions = &histogram_neon},
#endif
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
