// The functions behind the rows of the kernel table; for table.cpp and the kernel files.
#pragma once

#include "kernels/matmul_q8/matmul_q8_args.h"

namespace zeropoint::kernels {

bool supports_any_matmul(const MatmulQ8Shape& shape);
std::size_t matmul_packed_bytes_plain(const MatmulQ8Shape& shape);
void matmul_pack_plain(const MatmulQ8Shape& shape, const std::int8_t* weights, void* packed);
std::size_t matmul_workspace_reference(const MatmulQ8Shape& shape, int workers);
void matmul_u8s8f32_reference(const MatmulQ8Shape& shape, const MatmulQ8Args& args, int worker, int workers) noexcept;

// Blocks of 32 columns; in a block [step of 64][2][16][16 columns][4] s8, padded with zeros to whole steps and blocks.
bool supports_tiled_matmul(const MatmulQ8Shape& shape);
std::size_t matmul_packed_bytes_tiles(const MatmulQ8Shape& shape);
void matmul_pack_tiles(const MatmulQ8Shape& shape, const std::int8_t* weights, void* packed);
// Whether results are too many to stay in the caches, and lie such that whole lines can bypass them.
bool matmul_streams(const MatmulQ8Shape& shape, const float* dst);
std::size_t matmul_workspace_32x32x64_amxint8(const MatmulQ8Shape& shape, int workers);
void matmul_u8s8f32_32x32x64_amxint8(const MatmulQ8Shape& shape, const MatmulQ8Args& args, int worker, int workers) noexcept;

}  // namespace zeropoint::kernels
