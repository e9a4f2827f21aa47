#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kBlock = 16;                       // output channels of a block: the s32 lanes of a zmm register
constexpr std::int64_t kTileBlock = 32, kTileDepth = 64;  // output channels of two AMX tiles, and their bytes a row

// Writes header and zero points, in slots of whole blocks a group; returns where the weights go.
std::byte* pack_header(const ConvShape& s, std::int64_t block, const std::int8_t* weights,
                       const std::int32_t* weight_zero_points, void* packed) {
  const std::int64_t outputs = s.o / s.groups, slots = round_up(outputs, block);
  auto* header = static_cast<PackedHeader*>(packed);
  *header = make_header(s, weights, weight_zero_points);
  auto* slot = reinterpret_cast<std::int32_t*>(header + 1);
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t i = 0; i < slots; ++i)
      *slot++ = weight_zero_points && i < outputs ? weight_zero_points[g * outputs + i] : 0;
  return static_cast<std::byte*>(packed) + weights_offset(s.groups * slots);
}

// pack_tiles of a matrix, where the depth lies as it is used: dword by dword and without memory of its own, as this is also run
// between the products of two activations.
void pack_tiles_of_matrix(const ConvShape& s, const std::int8_t* weights, std::int8_t* out) {
  const std::int64_t depth = s.c / s.groups, outputs = s.o / s.groups;
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t block = 0; block < outputs; block += kTileBlock)
      for (std::int64_t step = 0; step < depth; step += kTileDepth)
        for (std::int64_t tile = block; tile < block + kTileBlock; tile += 16)
          for (std::int64_t k = step; k < step + kTileDepth; k += 4)
            for (std::int64_t o = tile; o < tile + 16; ++o, out += 4) {
              std::memset(out, 0, 4);
              if (o >= outputs || k >= depth) continue;
              const std::int8_t* row = weights + (g * outputs + o) * depth + k;
              if (k + 4 <= depth)
                std::memcpy(out, row, 4);
              else
                std::copy_n(row, depth - k, out);
            }
}

// The header of a matrix made at run time: its sums are bounded, not looked up.
std::uint8_t* matrix_header(const ConvShape& s, std::int64_t block, std::int32_t weight_zero_point, void* packed) {
  const std::int64_t slots = round_up(s.o, block);
  auto* header = static_cast<PackedHeader*>(packed);
  *header = {};
  header->has_weight_zero_points = weight_zero_point != 0;
  header->largest_sum =
      static_cast<std::int32_t>(std::min<std::int64_t>(s.c * 255 * 128, std::numeric_limits<std::int32_t>::max()));
  auto* slot = reinterpret_cast<std::int32_t*>(header + 1);
  std::fill_n(slot, s.o, weight_zero_point);
  std::fill(slot + s.o, slot + slots, 0);
  return static_cast<std::uint8_t*>(packed) + weights_offset(slots);
}

// kStep rows of 16 columns of a matrix, bytes of w + 128; w = 0 beyond its borders.
template <int kStep>
struct RowsOfMatrix {
  std::uint8_t bytes[kStep][16];

  RowsOfMatrix(const ConvShape& s, const std::uint8_t* matrix, std::int64_t k, std::int64_t o) {
    const std::int64_t columns = std::min<std::int64_t>(s.o - o, 16);
    for (int j = 0; j < kStep; ++j) {
      if (columns == 16 && k + j < s.c) {
        std::memcpy(bytes[j], matrix + (k + j) * s.o + o, 16);
        continue;
      }
      std::memset(bytes[j], 128, 16);
      if (columns > 0 && k + j < s.c) std::memcpy(bytes[j], matrix + (k + j) * s.o + o, static_cast<std::size_t>(columns));
    }
  }
  void add_to(std::int32_t* sums) const {
    for (int j = 0; j < kStep; ++j)
      for (int o = 0; o < 16; ++o) sums[o] += bytes[j][o];
  }
  // [16 outputs][kStep]
  void interleave(std::uint8_t flip, std::uint8_t* __restrict out) const {
    for (int o = 0; o < 16; ++o)
      for (int j = 0; j < kStep; ++j) out[o * kStep + j] = bytes[j][o] ^ flip;
  }
};

// Blocks of 16 output channels; in a block [channels / kStep][16 outputs][kStep], stored by `put` where it stands.
template <int kStep, class Put>
void pack_matrix_steps(const ConvShape& s, const std::uint8_t* matrix, std::int32_t* sums, const Put& put) {
  for (std::int64_t block = 0; block < s.o; block += kBlock) {
    std::fill_n(sums + block, kBlock, static_cast<std::int32_t>(-128 * round_up(s.c, kStep)));
    for (std::int64_t k = 0; k < s.c; k += kStep) {
      const RowsOfMatrix<kStep> rows(s, matrix, k, block);
      rows.add_to(sums + block);
      put(rows);
    }
  }
}

template <int kStep>
void pack_matrix_bytes(const ConvShape& s, std::uint8_t flip, const std::uint8_t* matrix, std::int32_t weight_zero_point,
                       std::int32_t* sums, void* packed) {
  std::uint8_t* out = matrix_header(s, kBlock, weight_zero_point, packed);
  pack_matrix_steps<kStep>(s, matrix, sums, [&](const RowsOfMatrix<kStep>& rows) {
    rows.interleave(flip, out);
    out += 16 * kStep;
  });
}

// Where weight k of a tap and output channel lies in [o][c][kh][kw], of a shape whose taps may be joined.
class StepWeights {
 public:
  explicit StepWeights(const ConvShape& s) : channels_(s.c / s.groups), kw_(s.kw), taps_(s.kh * s.kw), joined_(joins_taps(s)) {}
  std::int64_t index(std::int64_t o, std::int64_t tap, std::int64_t k) const {
    if (joined_) return (o * channels_ + k % channels_) * taps_ + tap * kw_ + k / channels_;
    return (o * channels_ + k) * taps_ + tap;
  }

 private:
  std::int64_t channels_, kw_, taps_;
  bool joined_;
};

// pack_steps of one tap: as pack_tiles_of_matrix.
template <int kStep, std::uint8_t kFlip>
void pack_steps_of_matrix(const ConvShape& s, const std::int8_t* weights, std::uint8_t* out) {
  const std::int64_t depth = s.c / s.groups, outputs = s.o / s.groups;
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t block = 0; block < outputs; block += kBlock)
      for (std::int64_t k = 0; k < depth; k += kStep)
        for (std::int64_t o = block; o < block + kBlock; ++o, out += kStep) {
          std::uint8_t step[kStep] = {};
          const std::int8_t* row = weights + (g * outputs + o) * depth + k;
          if (o < outputs && k + kStep <= depth)
            std::memcpy(step, row, kStep);
          else if (o < outputs)
            std::memcpy(step, row, static_cast<std::size_t>(depth - k));
          for (std::uint8_t& byte : step) byte ^= kFlip;
          std::memcpy(out, step, kStep);
        }
}

// Blocks of 16 output channels; in a block [tap][channels / step][16 outputs][step channels], of w + 128 if so wished.
std::size_t packed_bytes_steps(const ConvShape& given, std::int64_t step) {
  const ConvShape s = with_joined_taps(given);
  const std::int64_t slots = s.groups * round_up(s.o / s.groups, kBlock);
  return static_cast<std::size_t>(weights_offset(slots) + slots * s.kh * s.kw * round_up(s.c / s.groups, step));
}

template <int kStep, bool kOffset = false>
void pack_steps(const ConvShape& given, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  constexpr std::uint8_t kFlip = kOffset ? 0x80 : 0;
  const ConvShape s = with_joined_taps(given);
  const StepWeights place(given);
  const std::int64_t channels = s.c / s.groups, outputs = s.o / s.groups, taps = s.kh * s.kw;
  auto* out = reinterpret_cast<std::uint8_t*>(pack_header(given, kBlock, weights, weight_zero_points, packed));
  if (given.kh * given.kw == 1) return pack_steps_of_matrix<kStep, kFlip>(given, weights, out);
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t block = 0; block < outputs; block += kBlock)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t c = 0; c < channels; c += kStep)
          for (std::int64_t o = block; o < block + kBlock; ++o)
            for (std::int64_t k = c; k < c + kStep; ++k) {
              const std::int8_t w =
                  o < outputs && k < channels ? weights[place.index(g * outputs + o, tap, k)] : std::int8_t{0};
              *out++ = static_cast<std::uint8_t>(w) ^ kFlip;
            }
}

}  // namespace

PackedHeader make_header(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points) {
  const std::int64_t depth = s.c / s.groups * s.kh * s.kw;
  std::int64_t largest = 0;
  for (std::int64_t o = 0; o < s.o; ++o) {
    std::int32_t sum = 0;  // as fold_bias lets depths be
    for (std::int64_t k = 0; k < depth; ++k) sum += std::abs(std::int32_t{weights[o * depth + k]});
    largest = std::max(largest, 255 * std::int64_t{sum});
  }
  PackedHeader header{};
  header.has_weight_zero_points =
      weight_zero_points && std::any_of(weight_zero_points, weight_zero_points + s.o, [](std::int32_t z) { return z != 0; });
  header.largest_sum = static_cast<std::int32_t>(std::min<std::int64_t>(largest, std::numeric_limits<std::int32_t>::max()));
  return header;
}

bool supports_blocked_conv(const ConvShape& s) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // pixel numbers are computed in s32 lanes
  return (s.n * s.h + s.pad_top + s.kh * s.dilation_h + s.oh * s.stride_h) *
                 (s.w + s.pad_left + s.kw * s.dilation_w + s.ow * s.stride_w) <
             kMost &&
         s.n * s.oh * s.ow < kMost && s.src_stride < kMost;
}

bool supports_vector_product(const ConvShape& s) { return is_matrix_product(s) && s.groups == 1 && s.n * s.oh * s.ow == 1; }

std::size_t packed_bytes_dwords(const ConvShape& s) { return packed_bytes_steps(s, 4); }
void pack_dwords(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  pack_steps<4>(s, weights, weight_zero_points, packed);
}
void pack_offset_dwords(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  pack_steps<4, true>(s, weights, weight_zero_points, packed);
}

std::size_t packed_bytes_qwords(const ConvShape& s) { return packed_bytes_steps(s, 8); }
void pack_qwords(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  pack_steps<8>(s, weights, weight_zero_points, packed);
}

void pack_matrix_dwords(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                        void* packed) {
  pack_matrix_bytes<4>(s, 0x80, matrix, weight_zero_point, sums, packed);
}
void pack_matrix_offset_dwords(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point,
                               std::int32_t* sums, void* packed) {
  pack_matrix_bytes<4>(s, 0, matrix, weight_zero_point, sums, packed);
}
void pack_matrix_qwords(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                        void* packed) {
  pack_matrix_bytes<8>(s, 0x80, matrix, weight_zero_point, sums, packed);
}

void pack_matrix_words(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed) {
  auto* out = reinterpret_cast<std::int16_t*>(matrix_header(s, kBlock, weight_zero_point, packed));
  std::int64_t k = 0;
  pack_matrix_steps<2>(s, matrix, sums, [&](const RowsOfMatrix<2>& rows) {
    for (int j = 0; j < 2; ++j) {
      const int taken = k + j < s.c ? 128 + weight_zero_point : 128;  // zeros beyond the depth
      for (int o = 0; o < 16; ++o) out[2 * o + j] = static_cast<std::int16_t>(rows.bytes[j][o] - taken);
    }
    out += 32;
    k = k + 2 < s.c ? k + 2 : 0;
  });
}

std::size_t packed_bytes_words(const ConvShape& given) {
  const ConvShape s = with_joined_taps(given);
  const std::int64_t slots = s.groups * round_up(s.o / s.groups, kBlock);
  return static_cast<std::size_t>(weights_offset(slots) + 2 * slots * s.kh * s.kw * round_up(s.c / s.groups, 2));
}

void pack_words(const ConvShape& given, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  const ConvShape s = with_joined_taps(given);
  const StepWeights place(given);
  const std::int64_t channels = s.c / s.groups, outputs = s.o / s.groups, taps = s.kh * s.kw;
  auto* out = reinterpret_cast<std::int16_t*>(pack_header(given, kBlock, weights, weight_zero_points, packed));
  if (given.kh * given.kw == 1) {
    for (std::int64_t g = 0; g < s.groups; ++g)
      for (std::int64_t block = 0; block < outputs; block += kBlock)
        for (std::int64_t k = 0; k < channels; k += 2)
          for (std::int64_t o = block; o < block + kBlock; ++o, out += 2) {
            const std::int8_t* row = weights + (g * outputs + o) * channels + k;
            const int zero_point = weight_zero_points && o < outputs ? weight_zero_points[g * outputs + o] : 0;
            out[0] = static_cast<std::int16_t>(o < outputs ? row[0] - zero_point : 0);
            out[1] = static_cast<std::int16_t>(o < outputs && k + 1 < channels ? row[1] - zero_point : 0);
          }
    return;
  }
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t block = 0; block < outputs; block += kBlock)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t c = 0; c < channels; c += 2)
          for (std::int64_t o = block; o < block + kBlock; ++o)
            for (std::int64_t k = c; k < c + 2; ++k) {
              const bool present = o < outputs && k < channels;
              const int zero_point = present && weight_zero_points ? weight_zero_points[g * outputs + o] : 0;
              const int w = present ? weights[place.index(g * outputs + o, tap, k)] - zero_point : 0;
              *out++ = static_cast<std::int16_t>(w);
            }
}

bool supports_tiled_conv(const ConvShape& s) { return s.n * s.oh * s.ow >= 12 && (s.groups == 1 || s.o / s.groups >= 16); }

std::size_t packed_bytes_tiles(const ConvShape& s) {
  const std::int64_t slots = s.groups * round_up(s.o / s.groups, kTileBlock);
  const DepthRuns runs = depth_runs(folded(s));
  return static_cast<std::size_t>(weights_offset(slots) + slots * runs.count * round_up(runs.bytes, kTileDepth));
}

void pack_tiles(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  const std::int64_t channels = s.c / s.groups, outputs = s.o / s.groups, taps = s.kh * s.kw, depth = channels * taps;
  auto* out = reinterpret_cast<std::int8_t*>(pack_header(s, kTileBlock, weights, weight_zero_points, packed));
  if (taps == 1) return pack_tiles_of_matrix(s, weights, out);
  // Of each byte of the padded depth its place within an output's weights [channel][tap], or -1.
  const ConvShape shape = folded(s);
  const DepthRuns runs = depth_runs(shape);
  const std::int64_t pixel = shape.c / shape.groups, rows = folded_rows(s);
  std::vector<std::int64_t> places;
  for (std::int64_t run = 0; run < runs.count; ++run)
    for (std::int64_t byte = 0; byte < round_up(runs.bytes, kTileDepth); ++byte) {
      const std::int64_t tap = run * (runs.bytes / pixel) + byte / pixel;  // of the folded kernel
      std::int64_t y = tap / s.kw, c = byte % pixel;
      if (rows > 1) y = y * rows + c / 4, c %= 4;
      places.push_back(byte < runs.bytes && y < s.kh && c < channels ? c * taps + y * s.kw + tap % s.kw : -1);
    }
  for (std::int64_t g = 0; g < s.groups; ++g)
    for (std::int64_t block = 0; block < outputs; block += kTileBlock)
      for (std::size_t step = 0; step < places.size(); step += kTileDepth)
        for (std::int64_t tile = block; tile < block + kTileBlock; tile += 16)
          for (std::size_t row = step; row < step + kTileDepth; row += 4)
            for (std::int64_t o = tile; o < tile + 16; ++o)
              for (std::size_t k = row; k < row + 4; ++k)
                *out++ = o < outputs && places[k] >= 0 ? weights[(g * outputs + o) * depth + places[k]] : std::int8_t{0};
}

void pack_matrix_tiles(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed) {
  std::uint8_t* out = matrix_header(s, kTileBlock, weight_zero_point, packed);
  std::fill_n(sums, round_up(s.o, kTileBlock), static_cast<std::int32_t>(-128 * round_up(s.c, kTileDepth)));
  for (std::int64_t block = 0; block < s.o; block += kTileBlock)
    for (std::int64_t step = 0; step < s.c; step += kTileDepth)
      for (std::int64_t tile = block; tile < block + kTileBlock; tile += 16)
        for (std::int64_t k = step; k < step + kTileDepth; k += 4, out += 64) {
          const RowsOfMatrix<4> rows(s, matrix, k, tile);
          rows.add_to(sums + tile);
          rows.interleave(0x80, out);
        }
}

}  // namespace zeropoint::kernels
