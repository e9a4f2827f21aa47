// Dense and grouped convolution by tiles of registers over a panel: what the files of AVX2 and NEON share.
// Everything here has internal linkage: each file owns its copy, compiled with its own flags.
//
// A tile is up to 6 pixels x 16 output channels, its sums in registers. Its inputs are first copied into a panel in L1,
// [pixel][tap][channels], in the element type that the instruction wants: this takes care of strides, dilation and padding and
// is small beside the products. `Dot` names the element, how many channels a step holds, and the multiply-add:
//   Element, kChannels    a step of the depth is kChannels elements of each pixel; the channels of a tap are padded to it
//   kCopied, copy()       copies so many channels of a pixel into the panel
//   kNeedsSums, total()   whether weight zero points meet sums of inputs in the tile; else packing has subtracted them
//   kWeightOffset         what packing has added to each weight, those of padding too; if not 0, every tile needs sums
//   Requantize            what the epilogue knows of all outputs, made once a run
//   kInPlace              products of matrices need no panel: a row of src is one, up to bytes that meet zero weights
//   kDepthPart            steps that a tile does before all other blocks do them too, so that they stay in L1
#pragma once

#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

constexpr int kBlock = 16, kMostRows = 6;
constexpr std::int64_t kPanelSlack = 32;               // elements that copies may write past a row
constexpr std::int64_t kWeightChunkBytes = 768 << 10;  // weights that all tiles use before the next ones: within L2

template <class Dot>
struct Geometry {
  std::int64_t channels, outputs, taps, steps, blocks, block_bytes, panel_pitch;

  explicit Geometry(const ConvShape& s)  // taps joined
      : channels(s.c / s.groups),
        outputs(s.o / s.groups),
        taps(s.kh * s.kw),
        steps((channels + Dot::kChannels - 1) / Dot::kChannels),
        blocks((outputs + kBlock - 1) / kBlock),
        block_bytes(taps * steps * Dot::kChannels * static_cast<std::int64_t>(sizeof(typename Dot::Element)) * kBlock),
        panel_pitch(round_up(taps * steps * Dot::kChannels + kPanelSlack, 32)) {}

  std::int64_t panel_bytes() const {
    return kMostRows * panel_pitch * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  }
  std::int64_t parts() const { return taps * steps <= Dot::kDepthPart ? 1 : (taps * steps - 1) / Dot::kDepthPart + 1; }
  std::int64_t chunk() const { return block_bytes > kWeightChunkBytes ? 1 : kWeightChunkBytes / block_bytes; }  // blocks
  std::int64_t carried_bytes() const { return parts() > 1 ? chunk() * kMostRows * kBlock * 4 : 0; }
  std::int64_t outside_bytes() const { return round_up(channels + 64, 64); }
  std::int64_t worker_bytes() const { return panel_bytes() + outside_bytes() + carried_bytes(); }
};

template <class Dot>
struct Tile {
  const ConvArgs* args;
  const typename Dot::Requantize* requantize;
  const typename Dot::Element* panel;
  std::int64_t panel_pitch, steps;  // steps of all taps
  const std::int8_t* weights;
  const std::int32_t* weight_zero_points;   // of the block's channels
  const std::int32_t* sums;                 // [rows], or null
  const std::int32_t* carried_in;           // [rows][kBlock] sums of the depth before, or null at its start
  std::int32_t* carried_out;                // where they go, or null at its end
  std::int64_t pixel, channel, dst_stride;  // of the first row, of the block's first output
  int rows, channels;
};

// Of the instruction set: sums, epilogue and stores of a tile of kRows rows.
template <class Dot, int kRows>
void compute_tile(const Tile<Dot>& t);

template <class Dot>
void run_tile(const Tile<Dot>& t) {
  switch (t.rows) {
    case 1:
      return compute_tile<Dot, 1>(t);
    case 2:
      return compute_tile<Dot, 2>(t);
    case 3:
      return compute_tile<Dot, 3>(t);
    case 4:
      return compute_tile<Dot, 4>(t);
    case 5:
      return compute_tile<Dot, 5>(t);
    default:
      return compute_tile<Dot, 6>(t);
  }
}

[[maybe_unused]] std::int32_t plain_total(const std::uint8_t* in, std::int64_t count) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < count; ++k) sum += in[k];
  return sum;
}

// Copies the inputs of pixels [first, first + rows) of one group; sums (or null) gets the total of each pixel.
template <class Dot>
void fill_panel(const ConvShape& shape, const Geometry<Dot>& g, const std::uint8_t* src, const std::uint8_t* outside,
                const Position& first, int rows, typename Dot::Element* panel, std::int32_t* sums) {
  const ConvShape s = shape;  // a copy that the stores of bytes cannot change
  const std::int64_t channels = g.channels, tap_elements = g.steps * Dot::kChannels;
  if (is_matrix_product(s)) {
    for (int r = 0; r < rows; ++r, panel += g.panel_pitch) {
      const std::uint8_t* in = src + (first.number + r) * s.src_stride;
      for (std::int64_t c = 0; c < channels; c += Dot::kCopied) Dot::copy(panel + c, in + c);
      if constexpr (Dot::kWeightOffset != 0)
        for (std::int64_t k = channels; k < tap_elements; ++k) panel[k] = 0;
      if constexpr (Dot::kNeedsSums)
        if (sums) sums[r] = Dot::total(in, channels);
    }
    return;
  }
  // Where pixels and taps have no gaps, a row of taps is one run of bytes.
  const std::int64_t at_once = s.dilation_w == 1 && s.src_stride == channels && tap_elements == channels ? s.kw : 1;
  const std::int64_t tap_step = s.dilation_w * s.src_stride, row_step = s.dilation_h * s.w * s.src_stride;
  std::int64_t image = first.image, oy = first.y, ox = first.x;
  for (int r = 0; r < rows; ++r) {
    const std::int64_t y = oy * s.stride_h - s.pad_top, x = ox * s.stride_w - s.pad_left;
    typename Dot::Element* out = panel + r * g.panel_pitch;
    std::int32_t sum = 0;
    const auto copy_tap = [&](const std::uint8_t* in, std::int64_t count) __attribute__((always_inline)) {
      // Whole vectors: what they write too much is overwritten by the next tap or meets zero weights.
      std::int64_t c = 0;
      do Dot::copy(out + c, in + c);
      while ((c += Dot::kCopied) < count);
      if constexpr (Dot::kWeightOffset != 0)
        for (std::int64_t k = channels; k < tap_elements; ++k) out[k] = 0;
      if constexpr (Dot::kNeedsSums)
        if (sums) sum += Dot::total(in, count);
    };
    if (y >= 0 && x >= 0 && y + (s.kh - 1) * s.dilation_h < s.h && x + (s.kw - 1) * s.dilation_w < s.w) {
      const std::uint8_t* row = src + ((image * s.h + y) * s.w + x) * s.src_stride;
      for (std::int64_t i = 0; i < s.kh; ++i, row += row_step) {
        const std::uint8_t* in = row;
        for (std::int64_t j = 0; j < s.kw; j += at_once, out += at_once * tap_elements, in += tap_step)
          copy_tap(in, at_once * channels);
      }
    } else {
      for (std::int64_t i = 0; i < s.kh; ++i) {
        const std::int64_t iy = y + i * s.dilation_h;
        const bool in_rows = iy >= 0 && iy < s.h;
        const std::uint8_t* row = src + (image * s.h + iy) * s.w * s.src_stride;
        for (std::int64_t j = 0; j < s.kw; ++j, out += tap_elements) {
          const std::int64_t ix = x + j * s.dilation_w;
          copy_tap(in_rows && ix >= 0 && ix < s.w ? row + ix * s.src_stride : outside, channels);
        }
      }
    }
    if (sums) sums[r] = sum;
    if (++ox == s.ow) {
      ox = 0;
      if (++oy == s.oh) oy = 0, ++image;
    }
  }
}

template <class Dot>
std::int64_t conv_worker_bytes(const ConvShape& s) {
  return Geometry<Dot>(with_joined_taps(s)).worker_bytes() + joined_picture_bytes(s);
}

// The pixels and blocks of `split`.
template <class Dot>
void run_split(const ConvShape& s, const ConvArgs& a, const typename Dot::Requantize& requantize, const Split& split,
               std::uint8_t* scratch) {
  const Geometry<Dot> g(s);
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.groups * g.blocks * kBlock);
  auto* panel = reinterpret_cast<typename Dot::Element*>(scratch);
  std::uint8_t* outside = scratch + g.panel_bytes();
  __builtin_memset(outside, a.src_zero_point, static_cast<std::size_t>(g.outside_bytes()));
  auto* carried = reinterpret_cast<std::int32_t*>(outside + g.outside_bytes());

  const std::int64_t row_count = split.pixels.end - split.pixels.begin, tiles = (row_count + kMostRows - 1) / kMostRows;
  if (tiles == 0) return;
  const std::int64_t least_rows = row_count / tiles, longer = row_count % tiles;
  const std::int64_t chunk = g.chunk(), parts = g.parts(), steps = g.taps * g.steps;
  constexpr std::int64_t kStepBytes = kBlock * Dot::kChannels * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  const bool with_sums = Dot::kWeightOffset != 0 || (Dot::kNeedsSums && header->has_weight_zero_points);
  const bool in_place = Dot::kInPlace && is_matrix_product(s) && !with_sums;
  std::int32_t sums[kMostRows];
  for (std::int64_t begin = split.blocks.begin, end; begin < split.blocks.end; begin = end) {
    const std::int64_t group = begin / g.blocks;
    end = begin + chunk;
    if (end > (group + 1) * g.blocks) end = (group + 1) * g.blocks;
    if (end > split.blocks.end) end = split.blocks.end;
    Position first(s, split.pixels.begin);
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const int count = static_cast<int>(least_rows + (tile < longer ? 1 : 0));
      const std::uint8_t* src = a.src + group * g.channels;
      const auto* rows_in = panel;
      std::int64_t pitch = g.panel_pitch;
      if (in_place) {
        rows_in = reinterpret_cast<const typename Dot::Element*>(src + first.number * s.src_stride), pitch = s.src_stride;
      } else {
        fill_panel(s, g, src, outside, first, count, panel, with_sums ? sums : nullptr);
      }
      for (std::int64_t part_index = 0; part_index < parts; ++part_index) {
        const Portion depth = parts == 1 ? Portion{0, steps} : part(steps, part_index, parts);
        for (std::int64_t block = begin; block < end; ++block) {
          const std::int64_t in_group = (block - group * g.blocks) * kBlock, channel = group * g.outputs + in_group;
          const std::int64_t left = g.outputs - in_group;
          std::int32_t* own = carried + (block - begin) * kMostRows * kBlock;
          run_tile(Tile<Dot>{.args = &a,
                             .requantize = &requantize,
                             .panel = rows_in + depth.begin * Dot::kChannels,
                             .panel_pitch = pitch,
                             .steps = depth.end - depth.begin,
                             .weights = weights + block * g.block_bytes + depth.begin * kStepBytes,
                             .weight_zero_points = weight_zero_points + block * kBlock,
                             .sums = with_sums ? sums : nullptr,
                             .carried_in = part_index > 0 ? own : nullptr,
                             .carried_out = part_index + 1 < parts ? own : nullptr,
                             .pixel = first.number,
                             .channel = channel,
                             .dst_stride = s.dst_stride,
                             .rows = count,
                             .channels = left < kBlock ? static_cast<int>(left) : kBlock});
        }
      }
      first.advance(s, count);
    }
  }
}

template <class Dot>
void run_conv(const ConvShape& given, const ConvArgs& a, int worker, int workers) {
  const ConvShape s = with_joined_taps(given);
  const Geometry<Dot> g(s);
  const typename Dot::Requantize requantize(a, *static_cast<const PackedHeader*>(a.packed), s.o);
  const std::int64_t all_blocks = s.groups * g.blocks;
  const Split split = split_work(given, all_blocks, kBlock, all_blocks * g.block_bytes, kMostRows, worker, workers);
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + conv_worker_bytes<Dot>(given) * worker;
  if (!joins_taps(given)) return run_split<Dot>(s, a, requantize, split, scratch);
  for_each_joined_picture(given, a, split, scratch + g.worker_bytes(), [&](const ConvArgs& one, const Split& part_of_one) {
    run_split<Dot>(s, one, requantize, part_of_one, scratch);
  });
}

}  // namespace
}  // namespace zeropoint::kernels
