#include "kernels/elementwise_q8/elementwise_q8.h"

namespace zeropoint::kernels {
namespace {

constexpr ElementwiseQ8Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "elementwise_q8_avx512vnni", .needs = Isa::avx512vnni, .functions = &elementwise_q8_avx512vnni},
    {.name = "elementwise_q8_avx2", .needs = Isa::avx2, .functions = &elementwise_q8_avx2},
#elif defined(__aarch64__)
    {.name = "elementwise_q8_neon", .needs = Isa::neon, .functions = &elementwise_q8_neon},
#endif
    {.name = "elementwise_q8_reference", .needs = Isa::scalar, .functions = &elementwise_q8_reference},
};

}  // namespace

std::span<const ElementwiseQ8Kernels> elementwise_q8_kernels() { return kKernels; }

const ElementwiseQ8Kernels& select_elementwise_q8(IsaSet isas) {
  for (const ElementwiseQ8Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
