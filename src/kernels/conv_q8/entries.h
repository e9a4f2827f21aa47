// The functions behind the rows of the kernel table, one block an instruction set; for table.cpp and the kernel files.
#pragma once

#include "kernels/conv_q8/conv_args.h"

namespace zeropoint::kernels {

bool supports_any_conv(const ConvShape& shape);
bool supports_blocked_conv(const ConvShape& shape);
std::size_t no_workspace(const ConvShape& shape, int workers);

std::size_t packed_bytes_plain(const ConvShape& shape);
void pack_plain(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
void pack_matrix_plain(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed);
void conv_u8s8s32_reference(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Blocks of 16 output channels; in a block [tap][channels / 4][16 outputs][4 channels] s8, channels padded with zeros to 4.
std::size_t packed_bytes_dwords(const ConvShape& shape);
void pack_dwords(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
void pack_matrix_dwords(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                        void* packed);
std::size_t conv_workspace_14x32x4_avx512vnni(const ConvShape& shape, int workers);
void conv_u8s8s32_14x32x4_avx512vnni(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// By vpdpbusd on ymm registers, over the same packed weights.
std::size_t conv_workspace_6x16x4_avx2vnni(const ConvShape& shape, int workers);
void conv_u8s8s32_6x16x4_avx2vnni(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Like dwords, of w + 128 as u8, padding included: udot takes no signed weights, and 128 * sum x is subtracted with zero
// points.
void pack_offset_dwords(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                        void* packed);
void pack_matrix_offset_dwords(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point,
                               std::int32_t* sums, void* packed);
std::size_t conv_workspace_6x16x4_neondot(const ConvShape& shape, int workers);
void conv_u8s8s32_6x16x4_neondot(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Like dwords, in steps of 8 channels.
std::size_t packed_bytes_qwords(const ConvShape& shape);
void pack_qwords(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
void pack_matrix_qwords(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                        void* packed);
std::size_t conv_workspace_6x16x8_neoni8mm(const ConvShape& shape, int workers);
void conv_u8s8s32_6x16x8_neoni8mm(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Blocks of 16 output channels; in a block [tap][channels / 2][16 outputs][2 channels] s16 of w - weight_zero_point.
std::size_t packed_bytes_words(const ConvShape& shape);
void pack_words(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
void pack_matrix_words(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed);
std::size_t conv_workspace_6x16x2_avx2(const ConvShape& shape, int workers);
void conv_u8s8s32_6x16x2_avx2(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;
// Of one row, by AVX2, over weights packed as dwords.
bool supports_vector_product(const ConvShape& shape);
std::size_t conv_workspace_1x16x4_avx2(const ConvShape& shape, int workers);
void conv_u8s8s32_1x16x4_avx2(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;
std::size_t conv_workspace_6x16x2_neon(const ConvShape& shape, int workers);
void conv_u8s8s32_6x16x2_neon(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Blocks of 32 output channels; in a block [step of 64][2][16][16 outputs][4] s8 over depth = tap * channels + channel, padded
// with zeros to whole steps.
bool supports_tiled_conv(const ConvShape& shape);
std::size_t packed_bytes_tiles(const ConvShape& shape);
void pack_tiles(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
void pack_matrix_tiles(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed);
std::size_t conv_workspace_32x32x64_amxint8(const ConvShape& shape, int workers);
void conv_u8s8s32_32x32x64_amxint8(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

}  // namespace zeropoint::kernels
