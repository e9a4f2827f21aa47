#include <cstring>

#include "kernels/conv_q8/packed.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t channel_of(const ConvShape& s, std::int64_t strip, std::int64_t q, std::int64_t lane) {
  const std::int64_t c = 64 * strip + 16 * (lane / 4) + 4 * q + lane % 4;
  return s.c == 32 ? c % 32 : c;
}

}  // namespace

bool supports_depthwise(const ConvShape& s) { return s.groups == s.c && s.c == s.o; }

std::size_t packed_bytes_depthwise_dwords(const ConvShape& s) {
  const std::int64_t strips = depthwise_strips(s);
  return static_cast<std::size_t>(weights_offset(64 * strips) +
                                  strips * (depthwise_block_strip_bytes(s) + depthwise_single_strip_bytes(s)));
}

void pack_depthwise_dwords(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                           void* packed) {
  const std::int64_t strips = depthwise_strips(s), taps = s.kh * s.kw;
  std::memset(packed, 0, packed_bytes_depthwise_dwords(s));
  auto* header = static_cast<PackedHeader*>(packed);
  *header = make_header(s, weights, weight_zero_points);
  if (weight_zero_points) std::memcpy(header + 1, weight_zero_points, static_cast<std::size_t>(s.o) * 4);

  auto* out = static_cast<std::int8_t*>(packed) + weights_offset(64 * strips);
  const DepthwiseBlock block = depthwise_block(s);
  const std::int64_t row_groups = ((block.rows - 1) * block.stride + block.kernel + 3) / 4;
  for (std::int64_t strip = 0; strip < strips && block.rows; ++strip)
    for (std::int64_t q = 0; q < 4; ++q)
      for (std::int64_t group = 0; group < row_groups; ++group)
        for (std::int64_t x = 0; x < s.kw; ++x)
          for (std::int64_t row = 0; row < block.rows; ++row)
            for (std::int64_t lane = 0; lane < 16; ++lane)
              for (std::int64_t j = 0; j < 4; ++j, ++out) {
                const std::int64_t c = channel_of(s, strip, q, lane), y = 4 * group + j - block.stride * row;
                if (c < s.c && y >= 0 && y < s.kh) *out = weights[c * taps + y * s.kw + x];
              }
  for (std::int64_t strip = 0; strip < strips; ++strip)
    for (std::int64_t tap = 0; tap < taps; tap += 4)
      for (std::int64_t q = 0; q < 4; ++q)
        for (std::int64_t lane = 0; lane < 16; ++lane)
          for (std::int64_t j = 0; j < 4; ++j, ++out) {
            const std::int64_t c = channel_of(s, strip, q, lane);
            if (c < s.c && tap + j < taps) *out = weights[c * taps + tap + j];
          }
}

std::size_t packed_bytes_depthwise_words(const ConvShape& s) {
  const std::int64_t slots = round_up(s.c, 32);
  const std::int64_t pairs = (s.kh * s.kw + 1) / 2 + depthwise_planes(s).count * s.kw;  // of both forms
  return static_cast<std::size_t>(weights_offset(slots) + slots * pairs * 4);
}

void pack_depthwise_words(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                          void* packed) {
  const std::int64_t slots = round_up(s.c, 32), taps = s.kh * s.kw;
  std::memset(packed, 0, packed_bytes_depthwise_words(s));
  *static_cast<PackedHeader*>(packed) = make_header(s, weights, weight_zero_points);
  const auto weight = [&](std::int64_t c, std::int64_t tap) {
    return static_cast<std::int16_t>(weights[c * taps + tap] - (weight_zero_points ? weight_zero_points[c] : 0));
  };
  auto* out = reinterpret_cast<std::int16_t*>(static_cast<std::byte*>(packed) + weights_offset(slots));
  for (std::int64_t strip = 0; strip < slots; strip += 32)
    for (std::int64_t tap = 0; tap < taps; tap += 2)
      for (std::int64_t q = 0; q < 4; ++q)
        for (std::int64_t lane = 0; lane < 8; ++lane)
          for (std::int64_t j = 0; j < 2; ++j, ++out) {
            const std::int64_t c = strip + 16 * (lane / 4) + 4 * q + lane % 4;
            if (c < s.c && tap + j < taps) *out = weight(c, tap + j);
          }
  const DepthwisePlanes planes = depthwise_planes(s);
  for (std::int64_t strip = 0; strip < slots; strip += 32)
    for (std::int64_t q = 0; q < 4; ++q)
      for (int plane = 0; plane < planes.count; ++plane)
        for (std::int64_t x = 0; x < s.kw; ++x)
          for (std::int64_t lane = 0; lane < 8; ++lane)
            for (std::int64_t j = 0; j < 2; ++j, ++out) {
              const std::int64_t c = strip + 16 * (lane / 4) + 4 * q + lane % 4, y = planes.first[plane] + j;
              if (c < s.c && y >= 2 * plane && y < s.kh) *out = weight(c, y * s.kw + x);
            }
}

std::size_t packed_bytes_depthwise_taps(const ConvShape& s) {
  return static_cast<std::size_t>(round_up(s.c, 16) * s.kh * s.kw * 2);
}

void pack_depthwise_taps(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  const std::int64_t taps = s.kh * s.kw;
  auto* out = static_cast<std::int16_t*>(packed);
  for (std::int64_t strip = 0; strip < s.c; strip += 16)
    for (std::int64_t tap = 0; tap < taps; ++tap)
      for (std::int64_t c = strip; c < strip + 16; ++c) {
        const int zero_point = c < s.c && weight_zero_points ? weight_zero_points[c] : 0;
        *out++ = c < s.c ? static_cast<std::int16_t>(weights[c * taps + tap] - zero_point) : std::int16_t{0};
      }
}

}  // namespace zeropoint::kernels
