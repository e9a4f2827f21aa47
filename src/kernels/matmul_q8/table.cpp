#include <vector>

#include "kernels/matmul_q8/composed.h"
#include "kernels/matmul_q8/entries.h"

namespace zeropoint::kernels {
namespace {

#if defined(__x86_64__)
constexpr MatmulQ8Kernel kTiles = {.name = "matmul_u8s8f32_32x32x64_amxint8",
                                   .needs = Isa::amxint8,
                                   .supports = &supports_tiled_matmul,
                                   .packed_bytes = &matmul_packed_bytes_tiles,
                                   .pack = &matmul_pack_tiles,
                                   .workspace_bytes = &matmul_workspace_32x32x64_amxint8,
                                   .run = &matmul_u8s8f32_32x32x64_amxint8};
#endif

constexpr MatmulQ8Kernel kReference = {.name = "matmul_u8s8f32_reference",
                                       .needs = Isa::scalar,
                                       .supports = &supports_any_matmul,
                                       .packed_bytes = &matmul_packed_bytes_plain,
                                       .pack = &matmul_pack_plain,
                                       .workspace_bytes = &matmul_workspace_reference,
                                       .run = &matmul_u8s8f32_reference};

}  // namespace

std::span<const MatmulQ8Kernel> matmul_q8_kernels() {
  static const std::vector<MatmulQ8Kernel> all = [] {
    std::vector<MatmulQ8Kernel> kernels;
#if defined(__x86_64__)
    kernels.push_back(kTiles);
#endif
    const auto composed = composed_matmul_q8_kernels();
    kernels.insert(kernels.end(), composed.begin(), composed.end());
    kernels.push_back(kReference);
    return kernels;
  }();
  return all;
}

const MatmulQ8Kernel* select_matmul_q8(const MatmulQ8Shape& shape, IsaSet isas) {
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels())
    if (kernel.needs != Isa::scalar && isas.contains(kernel.needs) && kernel.supports(shape)) return &kernel;
  return nullptr;
}

}  // namespace zeropoint::kernels
