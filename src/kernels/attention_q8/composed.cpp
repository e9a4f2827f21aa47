// Attention out of the functions of other families, for instruction sets without tiles: K and V of a head are packed as the
// weights of two integer convolutions, between which the softmax of a few rows stays in L1.
//
// Those multiply unsigned by signed bytes: Q is held as q + 128, and comp takes 128 * sum k away.
#include "kernels/attention_q8/composed.h"

#include <algorithm>
#include <array>

#include "kernels/attention_q8/attention_q8_functions.h"
#include "kernels/block_arithmetic.h"
#include "kernels/conv_q8/entries.h"
#include "kernels/layout/layout_functions.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kLine = 64, kGroup = 16;
constexpr std::int64_t kTileRows = 12;          // a multiple of those of the convolutions' tiles
constexpr std::int64_t kScoreBytes = 32 << 10;  // of the rows that are at work at once

struct Parts {
  const AttentionFunctions* functions;
  const LayoutFunctions* layout;
  std::size_t (*packed_bytes)(const ConvShape& shape);
  void (*pack)(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
  std::size_t (*workspace_bytes)(const ConvShape& shape, int workers);
  void (*multiply)(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;
};

ConvShape product(std::int64_t rows, std::int64_t k, std::int64_t columns, std::int64_t src_stride, std::int64_t dst_stride) {
  return {.w = rows, .c = k, .ow = rows, .o = columns, .src_stride = src_stride, .dst_stride = dst_stride};
}

// Of one worker. Bytes that convolutions read have a line before and behind them.
struct Workspace {
  std::int64_t columns, value_depth;  // whole groups of 16, at which rows of sums lie
  std::int64_t p_pitch, rows;         // rows at work at once
  std::int64_t k, v, v_columns, packed_k, packed_v, comp, no_comp, k_scale, v_scale, q, q_scale, sums, p, p_scale, scratch,
      bytes;
  ConvShape scores, values;

  Workspace(const Parts& parts, const AttentionShape& s)
      : columns(round_up(s.columns, kGroup)), value_depth(round_up(s.value_depth, kGroup)), p_pitch(columns + kLine) {
    rows = least(round_up(s.rows, kTileRows), most(kTileRows, kScoreBytes / (4 * columns) / kTileRows * kTileRows));
    scores = product(rows, s.depth, s.columns, s.depth, columns);
    values = product(rows, s.columns, s.value_depth, p_pitch, value_depth);
    std::int64_t at = 0;
    const auto take = [&](std::int64_t size) {
      const std::int64_t begin = at + kLine;
      at += round_up(size, kLine) + 2 * kLine;
      return begin;
    };
    k = take(s.columns * s.depth), v = take(s.columns * value_depth), v_columns = take(s.columns * s.value_depth);
    packed_k = take(static_cast<std::int64_t>(parts.packed_bytes(scores)));
    packed_v = take(static_cast<std::int64_t>(parts.packed_bytes(values)));
    comp = take(4 * columns), no_comp = take(4 * value_depth), k_scale = take(4 * columns), v_scale = take(4 * value_depth);
    q = take(rows * s.depth), q_scale = take(4 * rows);
    sums = take(4 * rows * most(columns, value_depth));
    p = take(rows * p_pitch), p_scale = take(4 * rows);
    scratch = take(static_cast<std::int64_t>(std::max(parts.workspace_bytes(scores, 1), parts.workspace_bytes(values, 1))));
    bytes = at;
  }
};

void run(const Parts& parts, const AttentionShape& s, const AttentionArgs& a, int worker, int workers) {
  const Workspace w(parts, s);
  const AttentionFunctions& functions = *parts.functions;
  auto* own = static_cast<std::uint8_t*>(a.workspace) + w.bytes * worker;
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(own + at); };
  const auto words = [&](std::int64_t at) { return reinterpret_cast<std::int32_t*>(own + at); };
  const auto bytes = [&](std::int64_t at) { return reinterpret_cast<std::int8_t*>(own + at); };
  std::fill_n(words(w.no_comp), w.value_depth, 0);
  const auto multiply = [&](ConvShape shape, std::int64_t rows, std::int64_t src, std::int64_t packed, std::int64_t comp) {
    shape.w = shape.ow = rows;
    ConvArgs args{.src = own + src, .packed = own + packed, .dst = own + w.sums, .workspace = own + w.scratch};
    args.comp = words(comp);
    args.output = ConvOutput::s32;
    parts.multiply(shape, args, 0, 1);
  };
  const std::int64_t pairs = s.batch * s.heads;
  for (std::int64_t pair = pairs * worker / workers; pair < pairs * (worker + 1) / workers; ++pair) {
    const auto at = [&](const AttentionShape::Strides& strides) {
      return pair / s.heads * strides.batch + pair % s.heads * strides.head;
    };
    functions.quantize_rows(a.k + at(s.k), s.k.row, s.columns, s.depth, 0, own + w.k, s.depth, floats(w.k_scale));
    for (std::int64_t j = 0; j < s.columns; ++j) {
      const std::int8_t* k = bytes(w.k) + j * s.depth;
      std::int32_t sum = 0;
      for (std::int64_t i = 0; i < s.depth; ++i) sum += k[i];
      words(w.comp)[j] = -128 * sum;
    }
    parts.pack(w.scores, bytes(w.k), nullptr, own + w.packed_k);
    functions.quantize_columns(a.v + at(s.v), s.v.row, s.columns, s.value_depth, bytes(w.v), w.value_depth, floats(w.v_scale));
    parts.layout->transpose({.rows = s.columns,
                             .columns = s.value_depth,
                             .src_row_stride = w.value_depth,
                             .dst_row_stride = s.columns,
                             .element_bytes = 1},
                            own + w.v, own + w.v_columns, 0, 1);
    parts.pack(w.values, bytes(w.v_columns), nullptr, own + w.packed_v);
    const float* mask = a.mask ? a.mask + at(s.mask) : nullptr;
    for (std::int64_t row = 0, count; row < s.rows; row += count) {
      count = least(w.rows, s.rows - row);
      functions.quantize_rows(a.q + at(s.q) + row * s.q.row, s.q.row, count, s.depth, 128, own + w.q, s.depth,
                              floats(w.q_scale));
      multiply(w.scores, count, w.q, w.packed_k, w.comp);
      functions.soften(a, count, s.columns, words(w.sums), w.columns, floats(w.q_scale), floats(w.k_scale),
                       mask ? mask + row * s.mask.row : nullptr, s.mask.row, own + w.p, w.p_pitch, floats(w.p_scale));
      multiply(w.values, count, w.p, w.packed_v, w.no_comp);
      functions.rescale(count, s.value_depth, words(w.sums), w.value_depth, floats(w.p_scale), floats(w.v_scale),
                        a.dst + at(s.dst) + row * s.dst.row, s.dst.row);
    }
  }
}

template <const Parts& kParts>
struct Composed {
  // Sums stay within s32: 128 * 128 * depth, 255 * 128 * columns.
  static bool supports(const AttentionShape& s) {
    return s.rows >= 4 && s.columns >= 1 && s.columns < 65000 && s.depth >= 1 && s.depth < 131072 && s.value_depth >= 1;
  }
  static std::size_t workspace_bytes(const AttentionShape& s, int workers) {
    return static_cast<std::size_t>(Workspace(kParts, s).bytes * workers);
  }
  static void run(const AttentionShape& s, const AttentionArgs& a, int worker, int workers) noexcept {
    kernels::run(kParts, s, a, worker, workers);
  }
  static constexpr AttentionKernel row(std::string_view name, Isa needs) {
    return {.name = name, .needs = needs, .supports = &supports, .workspace_bytes = &workspace_bytes, .run = &run};
  }
};

#if defined(__x86_64__)
constexpr Parts kAvx512vnni = {.functions = &attention_functions_avx512vnni,
                               .layout = &layout_avx512vnni,
                               .packed_bytes = &packed_bytes_dwords,
                               .pack = &pack_dwords,
                               .workspace_bytes = &conv_workspace_14x32x4_avx512vnni,
                               .multiply = &conv_u8s8s32_14x32x4_avx512vnni};
constexpr Parts kAvx2vnni = {.functions = &attention_functions_avx2,
                             .layout = &layout_avx2,
                             .packed_bytes = &packed_bytes_dwords,
                             .pack = &pack_dwords,
                             .workspace_bytes = &conv_workspace_6x16x4_avx2vnni,
                             .multiply = &conv_u8s8s32_6x16x4_avx2vnni};
constexpr Parts kAvx2 = {.functions = &attention_functions_avx2,
                         .layout = &layout_avx2,
                         .packed_bytes = &packed_bytes_words,
                         .pack = &pack_words,
                         .workspace_bytes = &conv_workspace_6x16x2_avx2,
                         .multiply = &conv_u8s8s32_6x16x2_avx2};
constexpr std::array kKernels = {Composed<kAvx512vnni>::row("attention_q8_avx512vnni", Isa::avx512vnni),
                                 Composed<kAvx2vnni>::row("attention_q8_avx2vnni", Isa::avx2vnni),
                                 Composed<kAvx2>::row("attention_q8_avx2", Isa::avx2)};
#elif defined(__aarch64__)
constexpr Parts kNeonI8mm = {.functions = &attention_functions_neon,
                             .layout = &layout_neon,
                             .packed_bytes = &packed_bytes_qwords,
                             .pack = &pack_qwords,
                             .workspace_bytes = &conv_workspace_6x16x8_neoni8mm,
                             .multiply = &conv_u8s8s32_6x16x8_neoni8mm};
constexpr Parts kNeonDot = {.functions = &attention_functions_neon,
                            .layout = &layout_neon,
                            .packed_bytes = &packed_bytes_dwords,
                            .pack = &pack_offset_dwords,
                            .workspace_bytes = &conv_workspace_6x16x4_neondot,
                            .multiply = &conv_u8s8s32_6x16x4_neondot};
constexpr Parts kNeon = {.functions = &attention_functions_neon,
                         .layout = &layout_neon,
                         .packed_bytes = &packed_bytes_words,
                         .pack = &pack_words,
                         .workspace_bytes = &conv_workspace_6x16x2_neon,
                         .multiply = &conv_u8s8s32_6x16x2_neon};
constexpr std::array kKernels = {Composed<kNeonI8mm>::row("attention_q8_neoni8mm", Isa::neoni8mm),
                                 Composed<kNeonDot>::row("attention_q8_neondot", Isa::neondot),
                                 Composed<kNeon>::row("attention_q8_neon", Isa::neon)};
#else
constexpr std::array<AttentionKernel, 0> kKernels = {};
#endif

}  // namespace

std::span<const AttentionKernel> composed_attention_q8_kernels() { return kKernels; }

}  // namespace zeropoint::kernels
