#include "kernels/layout/layout.h"

namespace zeropoint::kernels {
namespace {

constexpr LayoutKernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "layout_avx512vnni", .needs = Isa::avx512vnni, .functions = &layout_avx512vnni},
    {.name = "layout_avx2", .needs = Isa::avx2, .functions = &layout_avx2},
#elif defined(__aarch64__)
    {.name = "layout_neon", .needs = Isa::neon, .functions = &layout_neon},
#endif
    {.name = "layout_reference", .needs = Isa::scalar, .functions = &layout_reference},
};

}  // namespace

std::span<const LayoutKernels> layout_kernels() { return kKernels; }

const LayoutKernels& select_layout(IsaSet isas) {
  for (const LayoutKernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
