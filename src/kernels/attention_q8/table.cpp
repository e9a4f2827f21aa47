#include <vector>

#include "kernels/attention_q8/composed.h"
#include "kernels/attention_q8/entries.h"

namespace zeropoint::kernels {
namespace {

#if defined(__x86_64__)
constexpr AttentionKernel kTiles = {.name = "attention_q8_amxint8",
                                    .needs = Isa::amxint8,
                                    .supports = &supports_attention_amxint8,
                                    .workspace_bytes = &attention_workspace_amxint8,
                                    .run = &attention_q8_amxint8};
#endif

constexpr AttentionKernel kReference = {.name = "attention_q8_reference",
                                        .needs = Isa::scalar,
                                        .supports = &supports_any_attention,
                                        .workspace_bytes = &attention_workspace_reference,
                                        .run = &attention_q8_reference};

}  // namespace

std::span<const AttentionKernel> attention_q8_kernels() {
  static const std::vector<AttentionKernel> all = [] {
    std::vector<AttentionKernel> kernels;
#if defined(__x86_64__)
    kernels.push_back(kTiles);
#endif
    const auto composed = composed_attention_q8_kernels();
    kernels.insert(kernels.end(), composed.begin(), composed.end());
    kernels.push_back(kReference);
    return kernels;
  }();
  return all;
}

const AttentionKernel* select_attention_q8(const AttentionShape& shape, IsaSet isas) {
  for (const AttentionKernel& kernel : attention_q8_kernels())
    if (kernel.needs != Isa::scalar && isas.contains(kernel.needs) && kernel.supports(shape)) return &kernel;
  return nullptr;
}

}  // namespace zeropoint::kernels
