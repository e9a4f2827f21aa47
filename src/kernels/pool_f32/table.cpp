#include "kernels/pool_f32/pool_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr PoolF32Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "pool_f32_avx512vnni", .needs = Isa::avx512vnni, .functions = &pool_f32_avx512vnni},
    {.name = "pool_f32_avx2", .needs = Isa::avx2, .functions = &pool_f32_avx2},
#elif defined(__aarch64__)
    {.name = "pool_f32_neon", .needs = Isa::neon, .functions = &pool_f32_neon},
#endif
    {.name = "pool_f32_reference", .needs = Isa::scalar, .functions = &pool_f32_reference},
};

}  // namespace

std::span<const PoolF32Kernels> pool_f32_kernels() { return kKernels; }

const PoolF32Kernels& select_pool_f32(IsaSet isas) {
  for (const PoolF32Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
