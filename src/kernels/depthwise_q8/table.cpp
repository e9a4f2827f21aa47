#include "kernels/depthwise_q8/depthwise_q8.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

#if defined(__x86_64__) || defined(__aarch64__)
constexpr ConvKernel kKernels[] = {
#if defined(__x86_64__)
    {.name = "depthwise_u8s8s32_2x4x64_avx512vnni",
     .needs = Isa::avx512vnni,
     .limits = "groups = input channels = output channels; 3x3 and 5x5 of stride 1 and 2 are fastest",
     .supports = &supports_depthwise,
     .packed_bytes = &packed_bytes_depthwise_dwords,
     .pack = &pack_depthwise_dwords,
     .workspace_bytes = &depthwise_workspace_avx512vnni,
     .run = &depthwise_u8s8s32_2x4x64_avx512vnni},
    {.name = "depthwise_u8s8s32_1x1x32_avx2",
     .needs = Isa::avx2,
     .limits = "groups = input channels = output channels",
     .supports = &supports_depthwise,
     .packed_bytes = &packed_bytes_depthwise_words,
     .pack = &pack_depthwise_words,
     .workspace_bytes = &depthwise_workspace_avx2,
     .run = &depthwise_u8s8s32_1x1x32_avx2},
#else
    {.name = "depthwise_u8s8s32_1x1x16_neon",
     .needs = Isa::neon,
     .limits = "groups = input channels = output channels",
     .supports = &supports_depthwise,
     .packed_bytes = &packed_bytes_depthwise_taps,
     .pack = &pack_depthwise_taps,
     .workspace_bytes = &depthwise_workspace_neon,
     .run = &depthwise_u8s8s32_1x1x16_neon},
#endif
};
#endif

}  // namespace

std::span<const ConvKernel> depthwise_q8_kernels() {
#if defined(__x86_64__) || defined(__aarch64__)
  return kKernels;
#else
  return {};
#endif
}

}  // namespace zeropoint::kernels
