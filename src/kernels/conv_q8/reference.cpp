// The definition of the family: seven loops, one output at a time.
#include <cstring>

#include "kernels/conv_q8/entries.h"
#include "kernels/conv_q8/packed.h"
#include "numerics/quantize.h"

namespace zeropoint::kernels {
namespace {

std::int64_t accumulate(const ConvShape& s, const ConvArgs& a, const std::int8_t* w, std::int32_t weight_zero_point,
                        std::int64_t image, std::int64_t oy, std::int64_t ox, std::int64_t group) {
  const std::int64_t channels = s.c / s.groups;
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < s.kh; ++i) {
    const std::int64_t iy = oy * s.stride_h + i * s.dilation_h - s.pad_top;
    for (std::int64_t j = 0; j < s.kw; ++j) {
      const std::int64_t ix = ox * s.stride_w + j * s.dilation_w - s.pad_left;
      const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
      const std::uint8_t* pixel = inside ? a.src + ((image * s.h + iy) * s.w + ix) * s.src_stride + group * channels : nullptr;
      for (std::int64_t k = 0; k < channels; ++k) {
        const std::int32_t x = inside ? pixel[k] : a.src_zero_point;
        sum += x * (w[(k * s.kh + i) * s.kw + j] - weight_zero_point);
      }
    }
  }
  return sum;
}

void store(const ConvArgs& a, std::int64_t pixel, std::int64_t o, std::int64_t index, std::int32_t total) {
  if (a.output == ConvOutput::s32) {
    static_cast<std::int32_t*>(a.dst)[index] = total;
    return;
  }
  const bool is_f32 = a.output == ConvOutput::f32;
  const float rows = static_cast<float>(total) * (is_f32 && a.row_scale ? a.row_scale[pixel] : 1.0F);
  const float product = rows * a.scale[o];
  const float v = is_f32 && a.bias ? product + a.bias[o] : product;
  const float clamped = v > a.low ? (v < a.high ? v : a.high) : a.low;
  if (a.output == ConvOutput::f32) {
    static_cast<float*>(a.dst)[index] = clamped;
  } else {
    const auto rounded = static_cast<std::int32_t>(numerics::round_half_even(clamped));
    static_cast<std::uint8_t*>(a.dst)[index] = static_cast<std::uint8_t>(rounded + a.dst_zero_point);
  }
}

}  // namespace

bool supports_any_conv(const ConvShape&) { return true; }

std::size_t no_workspace(const ConvShape&, int) { return 0; }

std::size_t packed_bytes_plain(const ConvShape& s) {
  return static_cast<std::size_t>(weights_offset(s.o) + s.o * (s.c / s.groups) * s.kh * s.kw);
}

void pack_plain(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed) {
  auto* header = static_cast<PackedHeader*>(packed);
  *header = {};
  header->has_weight_zero_points = weight_zero_points != nullptr;
  if (weight_zero_points) std::memcpy(header + 1, weight_zero_points, static_cast<std::size_t>(s.o) * 4);
  std::memcpy(static_cast<std::byte*>(packed) + weights_offset(s.o), weights,
              static_cast<std::size_t>(s.o * (s.c / s.groups) * s.kh * s.kw));
}

void pack_matrix_plain(const ConvShape& s, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                       void* packed) {
  auto* header = static_cast<PackedHeader*>(packed);
  *header = {};
  header->has_weight_zero_points = 1;
  auto* zero_points = reinterpret_cast<std::int32_t*>(header + 1);
  auto* weights = reinterpret_cast<std::int8_t*>(static_cast<std::byte*>(packed) + weights_offset(s.o));
  for (std::int64_t o = 0; o < s.o; ++o) {
    zero_points[o] = weight_zero_point;
    sums[o] = 0;
    for (std::int64_t k = 0; k < s.c; ++k, ++weights) {
      *weights = static_cast<std::int8_t>(matrix[k * s.o + o] - 128);
      sums[o] += *weights;
    }
  }
}

void conv_u8s8s32_reference(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.o);
  const std::int64_t channels = s.c / s.groups, group_outputs = s.o / s.groups;
  const Portion pixels = part(s.n * s.oh * s.ow, worker, workers);
  for (std::int64_t p = pixels.begin; p < pixels.end; ++p) {
    const std::int64_t image = p / (s.oh * s.ow), oy = p / s.ow % s.oh, ox = p % s.ow;
    for (std::int64_t o = 0; o < s.o; ++o) {
      const std::int32_t weight_zero_point = header->has_weight_zero_points ? weight_zero_points[o] : 0;
      const std::int64_t sum =
          accumulate(s, a, weights + o * channels * s.kh * s.kw, weight_zero_point, image, oy, ox, o / group_outputs);
      store(a, p, o, p * s.dst_stride + o, static_cast<std::int32_t>(sum + a.comp[o]));
    }
  }
}

}  // namespace zeropoint::kernels
