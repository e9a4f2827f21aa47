// The functions behind the rows of the depthwise table; for table.cpp, pack.cpp and the kernel files.
#pragma once

#include "kernels/conv_q8/conv_args.h"

namespace zeropoint::kernels {

// How a kernel of 4-tap dwords walks a shape. A block is `rows` x `columns` outputs of 64 channels in registers, its inputs
// read in columns of 4 vertically adjacent bytes; rows = 0 means one output at a time, taps in any order, for what has no
// block.
struct DepthwiseBlock {
  int kernel, stride, rows, columns;
};
bool supports_depthwise(const ConvShape& shape);

// Strips of 64 channels. Register q of a strip (q = 0 ... 3) holds in lane i channel 16 * (i / 4) + 4 * q + i % 4, the order
// that unpacking bytes within 128-bit lanes makes and packing undoes. Two forms follow each other, lanes of 4 bytes in both:
//   blocks: [strip][q][4-row group][kw][output row of the block][lane], byte j = tap row 4 * group + j - stride * output row
//   single: [strip][ceil(kh * kw / 4)][q][lane], byte j = tap 4 * i + j
std::size_t packed_bytes_depthwise_dwords(const ConvShape& shape);
void pack_depthwise_dwords(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                           void* packed);
std::size_t depthwise_workspace_avx512vnni(const ConvShape& shape, int workers);
void depthwise_u8s8s32_2x4x64_avx512vnni(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Strips of 32 channels of w - weight_zero_point as s16; lane i of register q holds channel 16 * (i / 4) + 4 * q + i % 4 of the
// strip, i < 8. Two forms follow each other:
//   single: [strip][ceil(kh * kw / 2)][q][lane][tap 2 * i + j]
//   rows:   [strip][q][plane][kw][lane][j]; a plane is a pair of input rows, see DepthwisePlanes
std::size_t packed_bytes_depthwise_words(const ConvShape& shape);
void pack_depthwise_words(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                          void* packed);
std::size_t depthwise_workspace_avx2(const ConvShape& shape, int workers);
void depthwise_u8s8s32_1x1x32_avx2(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

// Strips of 16 channels, [strip][tap][channel] s16 of w - weight_zero_point.
std::size_t packed_bytes_depthwise_taps(const ConvShape& shape);
void pack_depthwise_taps(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                         void* packed);
std::size_t depthwise_workspace_neon(const ConvShape& shape, int workers);
void depthwise_u8s8s32_1x1x16_neon(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;

namespace {

[[maybe_unused]] constexpr DepthwiseBlock depthwise_block(const ConvShape& s) {
  if (s.kh != s.kw || s.stride_h != s.stride_w || s.dilation_h != 1 || s.dilation_w != 1) return {};
  if (s.kh == 3 && s.stride_h == 1) return {3, 1, 2, 4};
  if (s.kh == 3 && s.stride_h == 2) return {3, 2, 1, 4};
  if (s.kh == 5 && s.stride_h == 1) return {5, 1, 2, 4};
  if (s.kh == 5 && s.stride_h == 2) return {5, 2, 1, 4};
  return {};
}

// How a kernel of 2-tap words walks a shape by rows. Plane v is input rows v * stride - pad_top and the next one, interleaved.
// Output row y is made of planes y + at[p]; the taps of plane p are rows first[p] and first[p] + 1 of the kernel, where these
// are not of an earlier plane. count = 0: one output at a time.
struct DepthwisePlanes {
  int count, at[3], first[3];
};
[[maybe_unused]] constexpr DepthwisePlanes depthwise_planes(const ConvShape& s) {
  if (s.kh != s.kw || s.stride_h != s.stride_w || s.dilation_h != 1 || s.dilation_w != 1) return {};
  if (s.kh == 3 && s.stride_h == 1) return {2, {0, 1}, {0, 1}};
  if (s.kh == 3 && s.stride_h == 2) return {2, {0, 1}, {0, 2}};
  if (s.kh == 5 && s.stride_h == 1) return {3, {0, 2, 3}, {0, 2, 3}};
  if (s.kh == 5 && s.stride_h == 2) return {3, {0, 1, 2}, {0, 2, 4}};
  return {};
}

[[maybe_unused]] constexpr std::int64_t depthwise_strips(const ConvShape& s) { return (s.c + 63) / 64; }
[[maybe_unused]] constexpr std::int64_t depthwise_block_strip_bytes(const ConvShape& s) {
  const DepthwiseBlock b = depthwise_block(s);
  return 4 * (((b.rows - 1) * b.stride + b.kernel + 3) / 4) * s.kw * b.rows * 64;
}
[[maybe_unused]] constexpr std::int64_t depthwise_single_strip_bytes(const ConvShape& s) { return (s.kh * s.kw + 3) / 4 * 256; }

}  // namespace
}  // namespace zeropoint::kernels
