#include "kernels/attention_q8/attention_q8.h"
#include "kernels/attention_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr AttentionKernel kKernels[] = {
#if defined(__x86_64__)
    {.name = "attention_q8_amxint8",
     .needs = Isa::amxint8,
     .supports = &supports_attention_amxint8,
     .workspace_bytes = &attention_workspace_amxint8,
     .run = &attention_q8_amxint8},
    {.name = "attention_q8_avx512vnni",
     .needs = Isa::avx512vnni,
     .supports = &supports_composed_attention,
     .workspace_bytes = &attention_workspace_composed,
     .run = &attention_q8_avx512vnni},
    {.name = "attention_q8_avx2",
     .needs = Isa::avx2,
     .supports = &supports_composed_attention,
     .workspace_bytes = &attention_workspace_composed,
     .run = &attention_q8_avx2},
#elif defined(__aarch64__)
    {.name = "attention_q8_neon",
     .needs = Isa::neon,
     .supports = &supports_composed_attention,
     .workspace_bytes = &attention_workspace_composed,
     .run = &attention_q8_neon},
#endif
    {.name = "attention_q8_reference",
     .needs = Isa::scalar,
     .supports = &supports_any_attention,
     .workspace_bytes = &attention_workspace_reference,
     .run = &attention_q8_reference},
};

}  // namespace

std::span<const AttentionKernel> attention_q8_kernels() { return kKernels; }

const AttentionKernel* select_attention_q8(const AttentionShape& shape, IsaSet isas) {
  for (const AttentionKernel& kernel : attention_q8_kernels())
    if (kernel.needs != Isa::scalar && isas.contains(kernel.needs) && kernel.supports(shape)) return &kernel;
  return nullptr;
}

}  // namespace zeropoint::kernels
