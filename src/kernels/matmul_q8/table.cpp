#include "kernels/matmul_q8/entries.h"
#include "kernels/matmul_q8/matmul_q8.h"

namespace zeropoint::kernels {
namespace {

constexpr MatmulQ8Kernel kKernels[] = {
#if defined(__x86_64__)
    {.name = "matmul_u8s8f32_32x32x64_amxint8",
     .needs = Isa::amxint8,
     .supports = &supports_tiled_matmul,
     .packed_bytes = &matmul_packed_bytes_tiles,
     .pack = &matmul_pack_tiles,
     .workspace_bytes = &matmul_workspace_32x32x64_amxint8,
     .run = &matmul_u8s8f32_32x32x64_amxint8},
#endif
    {.name = "matmul_u8s8f32_reference",
     .needs = Isa::scalar,
     .supports = &supports_any_matmul,
     .packed_bytes = &matmul_packed_bytes_plain,
     .pack = &matmul_pack_plain,
     .workspace_bytes = &matmul_workspace_reference,
     .run = &matmul_u8s8f32_reference},
};

}  // namespace

std::span<const MatmulQ8Kernel> matmul_q8_kernels() { return kKernels; }

const MatmulQ8Kernel* select_matmul_q8(const MatmulQ8Shape& shape, IsaSet isas) {
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels())
    if (kernel.needs != Isa::scalar && isas.contains(kernel.needs) && kernel.supports(shape)) return &kernel;
  return nullptr;
}

}  // namespace zeropoint::kernels
