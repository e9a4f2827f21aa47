#include "kernels/recurrent_f32/recurrent_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr RecurrentF32Kernels kKernels[] = {
#if defined(__x86_64__)
    {.name = "recurrent_f32_avx512vnni", .needs = Isa::avx512vnni, .functions = &recurrent_f32_avx512vnni},
    {.name = "recurrent_f32_avx2", .needs = Isa::avx2, .functions = &recurrent_f32_avx2},
#elif defined(__aarch64__)
    {.name = "recurrent_f32_neon", .needs = Isa::neon, .functions = &recurrent_f32_neon},
#endif
    {.name = "recurrent_f32_reference", .needs = Isa::scalar, .functions = &recurrent_f32_reference},
};

}  // namespace

std::span<const RecurrentF32Kernels> recurrent_f32_kernels() { return kKernels; }

const RecurrentF32Kernels& select_recurrent_f32(IsaSet isas) {
  for (const RecurrentF32Kernels& kernel : kKernels)
    if (isas.contains(kernel.needs)) return kernel;
  return *(std::end(kKernels) - 1);
}

}  // namespace zeropoint::kernels
