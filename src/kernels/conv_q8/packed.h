// What every packed weight buffer of this family starts with, and how work is cut; for files of any instruction set.
// Everything here has internal linkage: each file owns its copy, compiled with its own flags.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_arithmetic.h"
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

[[maybe_unused]] constexpr std::int64_t weights_offset(std::int64_t slots) {
  return static_cast<std::int64_t>(sizeof(PackedHeader)) + round_up(slots * 4, 64);
}

// Portion `index` of `count` things cut into `parts` runs whose lengths differ by one at most.
struct Portion {
  std::int64_t begin, end;
};
[[maybe_unused]] constexpr Portion part(std::int64_t count, std::int64_t index, std::int64_t parts) {
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

// Few channels would leave steps of several channels partly empty. Then the taps of a row are joined to one of kw * c channels,
// bytes that lie side by side in a copy of the picture with its border. For the kernels in steps; tiles have folded_rows.
[[maybe_unused]] constexpr bool joins_taps(const ConvShape& s) {
  return s.groups == 1 && s.c < 8 && s.c % 4 != 0 && s.kw > 1 && s.dilation_w == 1;
}
// The convolution over the copy of one picture, whose pixels overlap; else the shape itself.
[[maybe_unused]] constexpr ConvShape with_joined_taps(const ConvShape& s) {
  if (!joins_taps(s)) return s;
  ConvShape result = s;
  result.n = 1;
  result.h = (s.oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
  result.w = (s.ow - 1) * s.stride_w + s.kw;
  result.c = s.kw * s.c, result.kw = 1, result.src_stride = s.c;
  result.pad_top = result.pad_left = 0;
  return result;
}
[[maybe_unused]] constexpr std::int64_t joined_picture_bytes(const ConvShape& s) {
  if (!joins_taps(s)) return 0;
  const ConvShape joined = with_joined_taps(s);
  return round_up(joined.h * joined.w * s.c + 64, 64);  // 64 bytes behind it may be read
}
// Copies what output rows [begin, end) of an image need into `picture`.
[[maybe_unused]] inline void copy_joined_picture(const ConvShape& s, const ConvArgs& a, std::int64_t image, std::int64_t begin,
                                                 std::int64_t end, std::uint8_t* picture) {
  const ConvShape joined = with_joined_taps(s);
  const std::int64_t inside = s.pad_left + s.w < joined.w ? s.pad_left + s.w : joined.w;  // columns up to here, if any
  for (std::int64_t y = begin * s.stride_h; y < (end - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1; ++y) {
    const std::int64_t iy = y - s.pad_top, pitch = joined.w * s.c;
    std::uint8_t* out = picture + y * pitch;
    if (iy < 0 || iy >= s.h || s.pad_left >= inside) {
      __builtin_memset(out, a.src_zero_point, static_cast<std::size_t>(pitch));
      continue;
    }
    const std::uint8_t* in = a.src + (image * s.h + iy) * s.w * s.src_stride;
    __builtin_memset(out, a.src_zero_point, static_cast<std::size_t>(s.pad_left * s.c));
    if (s.src_stride == s.c) {
      __builtin_memcpy(out + s.pad_left * s.c, in, static_cast<std::size_t>((inside - s.pad_left) * s.c));
    } else {
      for (std::int64_t x = s.pad_left; x < inside; ++x, in += s.src_stride)
        __builtin_memcpy(out + x * s.c, in, static_cast<std::size_t>(s.c));
    }
    __builtin_memset(out + inside * s.c, a.src_zero_point, static_cast<std::size_t>((joined.w - inside) * s.c));
  }
}

// An output pixel. Tiles follow each other without divisions, of which several would take longer than the rest of a short tile.
struct Position {
  std::int64_t number, image, y, x;

  Position(const ConvShape& s, std::int64_t pixel)
      : number(pixel), image(pixel / (s.oh * s.ow)), y(pixel / s.ow % s.oh), x(pixel % s.ow) {}
  void advance(const ConvShape& s, std::int64_t pixels) {
    number += pixels;
    if (is_matrix_product(s)) return;  // numbers are enough
    for (x += pixels; x >= s.ow; x -= s.ow)
      if (++y == s.oh) y = 0, ++image;
  }
};

// Which pixels and which blocks of output channels (numbered through all groups) a worker computes.
struct Split {
  Portion pixels, blocks;
};
struct SplitRule {
  std::int64_t few_tiles = 4;     // of pixels a worker: fewer are split by channels
  std::int64_t shared_bytes = 0;  // weights up to here are near for all workers
};
// By pixels; by channels when pixels are few, or when weights outweigh the input and each worker had better read only its own.
// Where that leaves some of many workers with clearly more work than need be, they form a grid of both. Cuts between channels
// lie on cache lines of u8 results where blocks are many: no two workers write into one line at every pixel.
[[maybe_unused]] constexpr Split split_work(const ConvShape& s, std::int64_t blocks, std::int64_t block_channels,
                                            std::int64_t weight_bytes, std::int64_t tile_rows, int worker, int workers,
                                            const SplitRule& rule = {}) {
  const std::int64_t pixels = s.n * s.oh * s.ow, tiles = (pixels + tile_rows - 1) / tile_rows;
  const bool heavy = weight_bytes > rule.shared_bytes && weight_bytes > 4 * s.n * s.h * s.w * s.c;
  const bool by_blocks = workers > 1 && blocks >= 2 * workers && (pixels < rule.few_tiles * tile_rows * workers || heavy);
  std::int64_t columns = by_blocks ? workers : 1;
  const auto blocks_together = [&](std::int64_t of_columns) -> std::int64_t {
    return block_channels < 64 && blocks * block_channels >= 256 * of_columns ? 64 / block_channels : 1;
  };
  const auto most_work = [&](std::int64_t of_columns) {
    const std::int64_t rows = workers / of_columns, unit = blocks_together(of_columns), units = (blocks + unit - 1) / unit;
    return ((tiles + rows - 1) / rows) * ((units + of_columns - 1) / of_columns) * unit;
  };
  for (std::int64_t other = 1; workers > 2 && other <= workers; ++other)
    if (workers % other == 0 && 10 * most_work(other) < 9 * most_work(columns)) columns = other;
  const std::int64_t unit = blocks_together(columns);
  const Portion units = part((blocks + unit - 1) / unit, worker % columns, columns);
  return {part(pixels, worker / columns, workers / columns),
          {units.begin * unit, units.end * unit < blocks ? units.end * unit : blocks}};
}

// Calls run(args of one picture, its part of the split) for the copy of every picture.
template <class Run>
void for_each_joined_picture(const ConvShape& s, const ConvArgs& a, const Split& split, std::uint8_t* picture, const Run& run) {
  const std::int64_t pixels = s.oh * s.ow, element = a.output == ConvOutput::u8 ? 1 : 4;
  if (split.blocks.begin >= split.blocks.end) return;
  for (std::int64_t image = split.pixels.begin / pixels; image * pixels < split.pixels.end; ++image) {
    const std::int64_t begin = split.pixels.begin - image * pixels, end = split.pixels.end - image * pixels;
    const Split own = {{begin > 0 ? begin : 0, end < pixels ? end : pixels}, split.blocks};
    copy_joined_picture(s, a, image, own.pixels.begin / s.ow, (own.pixels.end - 1) / s.ow + 1, picture);
    ConvArgs one = a;
    one.src = picture;
    one.dst = static_cast<std::uint8_t*>(a.dst) + image * pixels * s.dst_stride * element;
    if (a.row_scale) one.row_scale = a.row_scale + image * pixels;
    run(one, own);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
