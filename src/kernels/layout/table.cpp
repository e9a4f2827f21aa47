#include "kernels/layout/layout.h"

namespace zeropoint::kernels {
namespace {

constexpr LayoutKernels kKernels[] = {
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
