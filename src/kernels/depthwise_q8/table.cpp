#include "kernels/depthwise_q8/depthwise_q8.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

#if defined(__x86_64__)
constexpr ConvKernel kKernels[] = {
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
};
#endif

}  // namespace

std::span<const ConvKernel> depthwise_q8_kernels() {
#if defined(__x86_64__)
  return kKernels;
#else
  return {
      {.name = "depthwise_u8s8s32_1x1x32_avx2",
       .needs = Isa::avx2,
       .limits = "groups = input channels = output channels",
       .supports = &supports_depthwise,
       .packed_bytes = &packed_bytes_depthwise_words,
       .pack = &pack_depthwise_words,
       .workspace_bytes = &depthwise_workspace_avx2,
       .run = &depthwise_u8s8s32_1x1x32_avx2},
  };
#endif
}

}  // namespace zeropoint::kernels
