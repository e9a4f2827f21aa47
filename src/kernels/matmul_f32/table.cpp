#include "kernels/matmul_f32/matmul_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr MatmulF32Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "matmul_f32_avx512vnni", .needs = Isa::avx512vnni, .functions = &matmul_f32_avx512vnni},
    {.name = "matmul_f32_avx2", .needs = Isa::avx2, .functions = &matmul_f32_avx2},
#elif defined(__aarch64__)
    {.name = "matmul_f32_neon", .needs = Isa::neon, .functions = &matmul_f32_neon},
#endif
    {.name = "matmul_f32_reference", .needs = Isa::scalar, .functions = &matmul_f32_reference},
};

}  // namespace

std::span<const MatmulF32Kernels> matmul_f32_kernels() { return kKernels; }

const MatmulF32Kernels& select_matmul_f32(IsaSet isas) {
  for (const MatmulF32Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
