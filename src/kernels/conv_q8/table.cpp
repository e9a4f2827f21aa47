#include <iterator>
#include <vector>

#include "kernels/conv_q8/conv_q8.h"
#include "kernels/conv_q8/entries.h"
#include "kernels/depthwise_q8/depthwise_q8.h"

namespace zeropoint::kernels {
namespace {

constexpr ConvKernel kKernels[] = {
#if defined(__x86_64__)
    {.name = "conv_u8s8s32_32x32x64_amxint8",
     .needs = Isa::amxint8,
     .limits = "at least 12 output pixels; groups of at least 16 output channels",
     .supports = &supports_tiled_conv,
     .packed_bytes = &packed_bytes_tiles,
     .pack = &pack_tiles,
     .pack_matrix = &pack_matrix_tiles,
     .workspace_bytes = &conv_workspace_32x32x64_amxint8,
     .run = &conv_u8s8s32_32x32x64_amxint8,
     .adds = true},
    {.name = "conv_u8s8s32_14x32x4_avx512vnni",
     .needs = Isa::avx512vnni,
     .limits = "fewer than 2^30 pixels",
     .supports = &supports_blocked_conv,
     .packed_bytes = &packed_bytes_dwords,
     .pack = &pack_dwords,
     .pack_matrix = &pack_matrix_dwords,
     .workspace_bytes = &conv_workspace_14x32x4_avx512vnni,
     .run = &conv_u8s8s32_14x32x4_avx512vnni},
    {.name = "conv_u8s8s32_6x16x4_avx2vnni",
     .needs = Isa::avx2vnni,
     .limits = "fewer than 2^30 pixels",
     .supports = &supports_blocked_conv,
     .packed_bytes = &packed_bytes_dwords,
     .pack = &pack_dwords,
     .pack_matrix = &pack_matrix_dwords,
     .workspace_bytes = &conv_workspace_6x16x4_avx2vnni,
     .run = &conv_u8s8s32_6x16x4_avx2vnni},
    {.name = "conv_u8s8s32_1x16x4_avx2",
     .needs = Isa::avx2,
     .limits = "a matrix product of one row",
     .supports = &supports_vector_product,
     .packed_bytes = &packed_bytes_dwords,
     .pack = &pack_dwords,
     .pack_matrix = &pack_matrix_dwords,
     .workspace_bytes = &conv_workspace_1x16x4_avx2,
     .run = &conv_u8s8s32_1x16x4_avx2},
    {.name = "conv_u8s8s32_6x16x2_avx2",
     .needs = Isa::avx2,
     .limits = "fewer than 2^30 pixels",
     .supports = &supports_blocked_conv,
     .packed_bytes = &packed_bytes_words,
     .pack = &pack_words,
     .pack_matrix = &pack_matrix_words,
     .workspace_bytes = &conv_workspace_6x16x2_avx2,
     .run = &conv_u8s8s32_6x16x2_avx2},
#elif defined(__aarch64__)
    {.name = "conv_u8s8s32_6x16x8_neoni8mm",
     .needs = Isa::neoni8mm,
     .limits = "any shape",
     .supports = &supports_any_conv,
     .packed_bytes = &packed_bytes_qwords,
     .pack = &pack_qwords,
     .pack_matrix = &pack_matrix_qwords,
     .workspace_bytes = &conv_workspace_6x16x8_neoni8mm,
     .run = &conv_u8s8s32_6x16x8_neoni8mm},
    {.name = "conv_u8s8s32_6x16x4_neondot",
     .needs = Isa::neondot,
     .limits = "any shape",
     .supports = &supports_any_conv,
     .packed_bytes = &packed_bytes_dwords,
     .pack = &pack_offset_dwords,
     .pack_matrix = &pack_matrix_offset_dwords,
     .workspace_bytes = &conv_workspace_6x16x4_neondot,
     .run = &conv_u8s8s32_6x16x4_neondot},
    {.name = "conv_u8s8s32_6x16x2_neon",
     .needs = Isa::neon,
     .limits = "any shape",
     .supports = &supports_any_conv,
     .packed_bytes = &packed_bytes_words,
     .pack = &pack_words,
     .pack_matrix = &pack_matrix_words,
     .workspace_bytes = &conv_workspace_6x16x2_neon,
     .run = &conv_u8s8s32_6x16x2_neon},
#endif
    {.name = "conv_u8s8s32_reference",
     .needs = Isa::scalar,
     .limits = "any shape; not vectorized",
     .supports = &supports_any_conv,
     .packed_bytes = &packed_bytes_plain,
     .pack = &pack_plain,
     .pack_matrix = &pack_matrix_plain,
     .workspace_bytes = &no_workspace,
     .run = &conv_u8s8s32_reference},
};

}  // namespace

std::span<const ConvKernel> conv_q8_kernels() {
  static const std::vector<ConvKernel> all = [] {
    const auto depthwise = depthwise_q8_kernels();
    std::vector<ConvKernel> kernels(depthwise.begin(), depthwise.end());
    kernels.insert(kernels.end(), std::begin(kKernels), std::end(kKernels));
    return kernels;
  }();
  return all;
}

const ConvKernel* select_conv_q8(const ConvShape& shape, IsaSet isas) {
  for (const ConvKernel& kernel : conv_q8_kernels())
    if (isas.contains(kernel.needs) && kernel.supports(shape)) return &kernel;
  return &conv_q8_kernels().back();
}

}  // namespace zeropoint::kernels
