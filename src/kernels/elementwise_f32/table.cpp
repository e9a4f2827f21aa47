#include "kernels/elementwise_f32/elementwise_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr ElementwiseF32Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "elementwise_f32_avx512vnni", .needs = Isa::avx512vnni, .functions = &elementwise_f32_avx512vnni},
    {.name = "elementwise_f32_avx2", .needs = Isa::avx2, .functions = &elementwise_f32_avx2},
#elif defined(__aarch64__)
    {.name = "elementwise_f32_neon", .needs = Isa::neon, .functions = &elementwise_f32_neon},
#endif
    {.name = "elementwise_f32_reference", .needs = Isa::scalar, .functions = &elementwise_f32_reference},
};

}  // namespace

std::span<const ElementwiseF32Kernels> elementwise_f32_kernels() { return kKernels; }

const ElementwiseF32Kernels& select_elementwise_f32(IsaSet isas) {
  for (const ElementwiseF32Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
