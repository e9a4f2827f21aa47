#include "kernels/pool_q8/pool_q8.h"

namespace zeropoint::kernels {
namespace {

constexpr PoolQ8Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "pool_q8_avx512vnni", .needs = Isa::avx512vnni, .functions = &pool_q8_avx512vnni},
    {.name = "pool_q8_avx2", .needs = Isa::avx2, .functions = &pool_q8_avx2},
#elif defined(__aarch64__)
    {.name = "pool_q8_neon", .needs = Isa::neon, .functions = &pool_q8_neon},
#endif
    {.name = "pool_q8_reference", .needs = Isa::scalar, .functions = &pool_q8_reference},
};

}  // namespace

std::span<const PoolQ8Kernels> pool_q8_kernels() { return kKernels; }

const PoolQ8Kernels& select_pool_q8(IsaSet isas) {
  for (const PoolQ8Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
