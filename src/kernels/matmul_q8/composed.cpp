// Products out of the functions of other families, for instruction sets without tiles: rows are quantized into the workspace,
// the integer convolution multiplies them by a slab of columns, and what its epilogue does not know (GELU, the residual)
// follows while these few rows are in L1 or L2.
//
// A slab is a convolution of its own, packed apart, whose weights stay in L2 while all rows pass by.
#include "kernels/matmul_q8/composed.h"

#include <array>

#include "kernels/block_arithmetic.h"
#include "kernels/conv_q8/entries.h"
#include "kernels/elementwise_f32/elementwise_f32_functions.h"
#include "kernels/elementwise_q8/elementwise_q8_functions.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kLine = 64;
constexpr std::int64_t kColumns = 64;            // slabs are multiples of
constexpr std::int64_t kMostColumns = 256;       // long rows of results for the functions that follow
constexpr std::int64_t kFewSlabs = 8;            // for workers to share
constexpr std::int64_t kSlabBytes = 256 << 10;   // of bytes, not words
constexpr std::int64_t kRowsBytes = 1280 << 10;  // quantized rows at once
constexpr std::int64_t kTileRows = 12;           // a multiple of those of the convolutions' tiles
constexpr std::int64_t kStagedBytes = 48 << 10;  // results that wait for the residual

struct Parts {
  const ElementwiseQ8Functions* q8;
  const ElementwiseF32Functions* f32;
  std::size_t (*packed_bytes)(const ConvShape& shape);
  void (*pack)(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
  std::size_t (*workspace_bytes)(const ConvShape& shape, int workers);
  void (*multiply)(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;
  bool one_row = false;  // the convolution takes no more
};

ConvShape product(std::int64_t rows, std::int64_t k, std::int64_t columns, std::int64_t src_stride, std::int64_t dst_stride) {
  return {.w = rows, .c = k, .ow = rows, .o = columns, .src_stride = src_stride, .dst_stride = dst_stride};
}

struct Geometry {
  std::int64_t columns, slabs;  // of a slab but the last
  std::int64_t slab_bytes;      // packed
  std::int64_t pitch, chunk;    // of quantized rows; rows at once
  std::int64_t staged;          // rows of results at once
  std::int64_t scales_at, staged_at, scratch_at, worker_bytes;

  Geometry(const Parts& parts, const MatmulQ8Shape& s) {
    const std::int64_t fit = kSlabBytes / s.k / kColumns * kColumns;
    columns = round_up(divide_up(s.n, kFewSlabs), kColumns);
    columns = most(kColumns, least(columns, least(fit, kMostColumns)));
    slabs = divide_up(s.n, columns);
    columns = least(columns, s.n);
    slab_bytes = round_up(static_cast<std::int64_t>(parts.packed_bytes(product(1, s.k, columns, s.k, columns))), kLine);
    pitch = round_up(s.k, kLine) + kLine;  // a large power of two would map all rows to a few sets of L1
    chunk = least(s.m, most(kTileRows, kRowsBytes / pitch / kTileRows * kTileRows));
    staged = least(chunk, most(kTileRows, kStagedBytes / (4 * columns) / kTileRows * kTileRows));
    const ConvShape all = product(chunk, s.k, columns, pitch, columns);
    scales_at = kLine + chunk * pitch + kLine;
    staged_at = scales_at + round_up(4 * chunk, kLine);
    scratch_at = staged_at + round_up(4 * staged * columns, kLine);
    worker_bytes = scratch_at + round_up(static_cast<std::int64_t>(parts.workspace_bytes(all, 1)), kLine);
  }
  std::int64_t width(const MatmulQ8Shape& s, std::int64_t slab) const { return least(columns, s.n - slab * columns); }
};

// Which rows and slabs a worker computes: by columns, so that each reads only its own weights, or by rows or both where that
// leaves the busiest one clearly less work.
struct Split {
  std::int64_t first_row, last_row, first_slab, last_slab;
};
Split split_work(const MatmulQ8Shape& s, std::int64_t slabs, int worker, int workers) {
  const std::int64_t tiles = divide_up(s.m, kTileRows);
  const auto most_work = [&](std::int64_t columns) { return divide_up(tiles, workers / columns) * divide_up(slabs, columns); };
  std::int64_t columns = workers;
  for (std::int64_t other = workers - 1; other >= 1; --other)
    if (workers % other == 0 && 10 * most_work(other) < 9 * most_work(columns)) columns = other;
  const std::int64_t column = worker % columns, row = worker / columns, rows = workers / columns;
  return {.first_row = tiles * row / rows * kTileRows,
          .last_row = least(s.m, tiles * (row + 1) / rows * kTileRows),
          .first_slab = slabs * column / columns,
          .last_slab = slabs * (column + 1) / columns};
}

void run(const Parts& parts, const MatmulQ8Shape& s, const MatmulQ8Args& a, int worker, int workers) {
  const Geometry g(parts, s);
  const Split split = split_work(s, g.slabs, worker, workers);
  if (split.first_slab == split.last_slab) return;
  auto* own = static_cast<std::uint8_t*>(a.workspace) + g.worker_bytes * worker;
  std::uint8_t* quantized = own + kLine;
  auto* scales = reinterpret_cast<float*>(own + g.scales_at);
  auto* staged = reinterpret_cast<float*>(own + g.staged_at);
  const auto* packed = static_cast<const std::uint8_t*>(a.packed);
  const bool follows = a.function != MatmulQ8Function::none || a.residual != nullptr;
  const UnaryF32 gelu{.op = UnaryOp::gelu, .alpha = 1.4142135623730951F};
  const BinaryF32 sum{.op = BinaryOp::add};

  for (std::int64_t begin = split.first_row, end; begin < split.last_row; begin = end) {
    end = least(split.last_row, begin + g.chunk);
    const std::uint8_t* rows = quantized;
    std::int64_t pitch = g.pitch;
    const float* row_scale = scales;
    if (a.source == MatmulQ8Source::f32) {
      for (std::int64_t row = begin; row < end; ++row)
        scales[row - begin] = parts.q8->quantize_row_u8(static_cast<const float*>(a.src) + row * s.src_stride,
                                                        quantized + (row - begin) * pitch, s.k);
    } else {
      rows = static_cast<const std::uint8_t*>(a.src) + begin * s.src_stride, pitch = s.src_stride;
      row_scale = a.row_scale ? a.row_scale + begin : nullptr;
    }
    for (std::int64_t slab = split.first_slab; slab < split.last_slab; ++slab) {
      const std::int64_t column = slab * g.columns, width = g.width(s, slab);
      for (std::int64_t first = begin, count; first < end; first += count) {
        count = follows ? least(g.staged, end - first) : end - first;
        float* dst = a.dst + first * s.dst_stride + column;
        float* to = a.residual ? staged : dst;
        const std::int64_t to_stride = a.residual ? width : s.dst_stride;
        ConvArgs args{.src = rows + (first - begin) * pitch,
                      .packed = packed + slab * g.slab_bytes,
                      .dst = to,
                      .workspace = own + g.scratch_at,
                      .comp = a.comp + column,
                      .scale = a.scale + column};
        args.row_scale = row_scale ? row_scale + (first - begin) : nullptr;
        args.bias = a.bias ? a.bias + column : nullptr;
        args.low = a.low, args.high = a.high;
        args.output = ConvOutput::f32;
        parts.multiply(product(count, s.k, width, pitch, to_stride), args, 0, 1);
        if (!follows) continue;
        const float* residual = a.residual ? a.residual + first * s.residual_stride + column : nullptr;
        for (std::int64_t row = 0; row < count; ++row, to += to_stride, dst += s.dst_stride) {
          if (a.function == MatmulQ8Function::gelu) parts.f32->unary(gelu, to, to, width);
          if (residual) parts.f32->binary(sum, to, residual + row * s.residual_stride, dst, width);
        }
      }
    }
  }
}

template <const Parts& kParts>
struct Composed {
  static bool supports(const MatmulQ8Shape& s) {
    const ConvShape all = product(s.m, s.k, least(s.n, kMostColumns), most(s.src_stride, s.k), s.dst_stride);
    return s.m >= 1 && s.k >= 1 && s.n >= 1 && (kParts.one_row ? s.m == 1 : supports_blocked_conv(all));
  }
  static std::size_t packed_bytes(const MatmulQ8Shape& s) {
    const Geometry g(kParts, s);
    return static_cast<std::size_t>(g.slabs * g.slab_bytes);
  }
  static void pack(const MatmulQ8Shape& s, const std::int8_t* weights, void* packed) {
    const Geometry g(kParts, s);
    for (std::int64_t slab = 0; slab < g.slabs; ++slab)
      kParts.pack(product(1, s.k, g.width(s, slab), s.k, g.columns), weights + slab * g.columns * s.k, nullptr,
                  static_cast<std::byte*>(packed) + slab * g.slab_bytes);
  }
  static std::size_t workspace_bytes(const MatmulQ8Shape& s, int workers) {
    return static_cast<std::size_t>(Geometry(kParts, s).worker_bytes * workers);
  }
  static void run(const MatmulQ8Shape& s, const MatmulQ8Args& a, int worker, int workers) noexcept {
    kernels::run(kParts, s, a, worker, workers);
  }
  static constexpr MatmulQ8Kernel row(std::string_view name, Isa needs) {
    return {.name = name,
            .needs = needs,
            .supports = &supports,
            .packed_bytes = &packed_bytes,
            .pack = &pack,
            .workspace_bytes = &workspace_bytes,
            .run = &run};
  }
};

#if defined(__x86_64__)
constexpr Parts kAvx512vnni = {.q8 = &elementwise_q8_avx512vnni,
                               .f32 = &elementwise_f32_avx512vnni,
                               .packed_bytes = &packed_bytes_dwords,
                               .pack = &pack_dwords,
                               .workspace_bytes = &conv_workspace_14x32x4_avx512vnni,
                               .multiply = &conv_u8s8s32_14x32x4_avx512vnni};
constexpr Parts kAvx2vnni = {.q8 = &elementwise_q8_avx2,
                             .f32 = &elementwise_f32_avx2,
                             .packed_bytes = &packed_bytes_dwords,
                             .pack = &pack_dwords,
                             .workspace_bytes = &conv_workspace_6x16x4_avx2vnni,
                             .multiply = &conv_u8s8s32_6x16x4_avx2vnni};
constexpr Parts kAvx2OneRow = {.q8 = &elementwise_q8_avx2,
                               .f32 = &elementwise_f32_avx2,
                               .packed_bytes = &packed_bytes_dwords,
                               .pack = &pack_dwords,
                               .workspace_bytes = &conv_workspace_1x16x4_avx2,
                               .multiply = &conv_u8s8s32_1x16x4_avx2,
                               .one_row = true};
constexpr Parts kAvx2 = {.q8 = &elementwise_q8_avx2,
                         .f32 = &elementwise_f32_avx2,
                         .packed_bytes = &packed_bytes_words,
                         .pack = &pack_words,
                         .workspace_bytes = &conv_workspace_6x16x2_avx2,
                         .multiply = &conv_u8s8s32_6x16x2_avx2};
constexpr std::array kKernels = {Composed<kAvx512vnni>::row("matmul_u8s8f32_14x32x4_avx512vnni", Isa::avx512vnni),
                                 Composed<kAvx2vnni>::row("matmul_u8s8f32_6x16x4_avx2vnni", Isa::avx2vnni),
                                 Composed<kAvx2OneRow>::row("matmul_u8s8f32_1x16x4_avx2", Isa::avx2),
                                 Composed<kAvx2>::row("matmul_u8s8f32_6x16x2_avx2", Isa::avx2)};
#elif defined(__aarch64__)
constexpr Parts kNeonI8mm = {.q8 = &elementwise_q8_neon,
                             .f32 = &elementwise_f32_neon,
                             .packed_bytes = &packed_bytes_qwords,
                             .pack = &pack_qwords,
                             .workspace_bytes = &conv_workspace_6x16x8_neoni8mm,
                             .multiply = &conv_u8s8s32_6x16x8_neoni8mm};
constexpr Parts kNeonDot = {.q8 = &elementwise_q8_neon,
                            .f32 = &elementwise_f32_neon,
                            .packed_bytes = &packed_bytes_dwords,
                            .pack = &pack_offset_dwords,
                            .workspace_bytes = &conv_workspace_6x16x4_neondot,
                            .multiply = &conv_u8s8s32_6x16x4_neondot};
constexpr Parts kNeon = {.q8 = &elementwise_q8_neon,
                         .f32 = &elementwise_f32_neon,
                         .packed_bytes = &packed_bytes_words,
                         .pack = &pack_words,
                         .workspace_bytes = &conv_workspace_6x16x2_neon,
                         .multiply = &conv_u8s8s32_6x16x2_neon};
constexpr std::array kKernels = {Composed<kNeonI8mm>::row("matmul_u8s8f32_6x16x8_neoni8mm", Isa::neoni8mm),
                                 Composed<kNeonDot>::row("matmul_u8s8f32_6x16x4_neondot", Isa::neondot),
                                 Composed<kNeon>::row("matmul_u8s8f32_6x16x2_neon", Isa::neon)};
#else
constexpr std::array<MatmulQ8Kernel, 0> kKernels = {};
#endif

}  // namespace

std::span<const MatmulQ8Kernel> composed_matmul_q8_kernels() { return kKernels; }

}  // namespace zeropoint::kernels
