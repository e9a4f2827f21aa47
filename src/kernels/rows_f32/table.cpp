#include "kernels/rows_f32/rows_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr RowsF32Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "rows_f32_avx512vnni", .needs = Isa::avx512vnni, .functions = &rows_f32_avx512vnni},
    {.name = "rows_f32_avx2", .needs = Isa::avx2, .functions = &rows_f32_avx2},
#elif defined(__aarch64__)
    {.name = "rows_f32_neon", .needs = Isa::neon, .functions = &rows_f32_neon},
#endif
    {.name = "rows_f32_reference", .needs = Isa::scalar, .functions = &rows_f32_reference},
};

}  // namespace

std::span<const RowsF32Kernels> rows_f32_kernels() { return kKernels; }

const RowsF32Kernels& select_rows_f32(IsaSet isas) {
  for (const RowsF32Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
