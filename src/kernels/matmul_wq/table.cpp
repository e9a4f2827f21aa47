#include "kernels/matmul_wq/matmul_wq.h"

namespace zeropoint::kernels {
namespace {

constexpr MatmulWqKernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "matmul_wq_avx512vnni", .needs = Isa::avx512vnni, .functions = &matmul_wq_avx512vnni},
    {.name = "matmul_wq_avx2", .needs = Isa::avx2, .functions = &matmul_wq_avx2},
#elif defined(__aarch64__)
    {.name = "matmul_wq_neon", .needs = Isa::neon, .functions = &matmul_wq_neon},
#endif
    {.name = "matmul_wq_reference", .needs = Isa::scalar, .functions = &matmul_wq_reference},
};

}  // namespace

std::span<const MatmulWqKernels> matmul_wq_kernels() { return kKernels; }

const MatmulWqKernels& select_matmul_wq(IsaSet isas) {
  for (const MatmulWqKernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

std::int64_t packed_wq_bytes(const WqShape& s) { return s.panels() * kWqPanel * (s.bits == 8 ? s.k : (s.k + 1) / 2); }
std::int64_t packed_wq_parameters(const WqShape& s) { return s.panels() * kWqPanel * s.blocks(); }

}  // namespace zeropoint::kernels
