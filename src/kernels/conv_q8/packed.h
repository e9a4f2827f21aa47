// What every packed weight buffer of this family starts with, and how work is cut; for files of any instruction set.
// Everything here has internal linkage: each file owns its copy, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv_q8/conv_args.h"

namespace zeropoint::kernels {

// A packed buffer is this header, then the zero points s32[slots], then the weights from weights_offset(slots) on.
// slots = groups * output channels of a group, rounded up to whole blocks.
struct PackedHeader {
  std::int32_t has_weight_zero_points;
  std::int32_t largest_sum;  // no |sum of x * w| of any output exceeds it (s32's largest value: not known)
  std::int32_t unused[14];
};
PackedHeader make_header(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points);

namespace {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

[[maybe_unused]] constexpr std::int64_t weights_offset(std::int64_t slots) {
  return static_cast<std::int64_t>(sizeof(PackedHeader)) + round_up(slots * 4, 64);
}

// Part `index` of `count` things cut into `parts` runs whose lengths differ by one at most.
struct Part {
  std::int64_t begin, end;
};
[[maybe_unused]] constexpr Part part(std::int64_t count, std::int64_t index, std::int64_t parts) {
  return {count * index / parts, count * (index + 1) / parts};
}

[[maybe_unused]] constexpr bool is_matrix_product(const ConvShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 && s.pad_left == 0 && s.oh == s.h &&
         s.ow == s.w;
}

// The depth of a dense convolution, as weights are packed for tiles: runs of input bytes that are contiguous in a row of the
// picture, a row of taps where columns are not dilated, else a tap. Each run is padded with zero weights to whole steps of 64.
struct DepthRuns {
  std::int64_t count, bytes, each_row;  // each_row: runs of a row of taps
};
[[maybe_unused]] constexpr DepthRuns depth_runs(const ConvShape& s) {
  const std::int64_t channels = s.c / s.groups;
  if (s.dilation_w == 1 || s.kw == 1) return {.count = s.kh, .bytes = s.kw * channels, .each_row = 1};
  return {.count = s.kh * s.kw, .bytes = channels, .each_row = s.kw};
}

// A first convolution has too few channels to fill the depth of a tile. Its picture is copied in another form: four bytes a
// pixel, and 2 or 4 neighbouring rows in one, pixel by pixel; 1: as it is. Rows of outputs share such rows where these are as
// many as the vertical stride; 4 hold all rows of a small kernel.
[[maybe_unused]] constexpr std::int64_t folded_rows(const ConvShape& s) {
  if (s.groups != 1 || s.c > 4 || s.dilation_h != 1 || s.dilation_w != 1 || s.kh == 1 || s.kw == 1) return 1;
  if (s.kh <= 4 && s.kw <= 4) return 4;
  return s.stride_h == 2 && s.kw <= 8 ? 2 : 1;
}
// The convolution over the folded picture: channel 4 * row + c, absent ones have zero weights. Row y of it is rows
// y * stride_h - pad_top ... of the original.
[[maybe_unused]] constexpr ConvShape folded(const ConvShape& s) {
  const std::int64_t rows = folded_rows(s);
  if (rows == 1) return s;
  ConvShape result = s;
  result.c = result.src_stride = 4 * rows;
  result.kh = (s.kh + rows - 1) / rows;
  result.h = s.oh + result.kh - 1;
  result.stride_h = 1;
  result.pad_top = 0;
  return result;
}

// Which pixels and which blocks of output channels (numbered through all groups) a worker computes.
struct Split {
  Part pixels, blocks;
};
// By pixels; by channels when pixels are few, or when weights outweigh the input and each worker had better read only its own.
[[maybe_unused]] constexpr Split split_work(const ConvShape& s, std::int64_t blocks, std::int64_t weight_bytes,
                                            std::int64_t tile_rows, int worker, int workers) {
  const std::int64_t pixels = s.n * s.oh * s.ow;
  const bool by_blocks =
      workers > 1 && blocks >= 2 * workers && (pixels < 4 * tile_rows * workers || weight_bytes > 4 * s.n * s.h * s.w * s.c);
  if (by_blocks) return {{0, pixels}, part(blocks, worker, workers)};
  return {part(pixels, worker, workers), {0, blocks}};
}

}  // namespace
}  // namespace zeropoint::kernels
