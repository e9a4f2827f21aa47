// The definition of the family, one output at a time.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/matmul_q8/entries.h"
#include "numerics/elementary.h"
#include "numerics/quantize.h"

namespace zeropoint::kernels {
namespace {

float gelu(float x) { return (0.5F * x) * (1.0F + numerics::erf(x / 1.4142135623730951F)); }

// Returns the scale.
float quantize_row(const float* x, std::int64_t count, std::uint8_t* q) {
  float most = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (std::abs(x[i]) > most) most = std::abs(x[i]);
  const float scale = std::max(most / 127.0F, FLT_MIN);
  for (std::int64_t i = 0; i < count; ++i) q[i] = static_cast<std::uint8_t>(numerics::quantize(x[i], scale, 128, {0, 255}));
  return scale;
}

}  // namespace

bool supports_any_matmul(const MatmulQ8Shape&) { return true; }

std::size_t matmul_packed_bytes_plain(const MatmulQ8Shape& s) { return static_cast<std::size_t>(s.n * s.k); }

void matmul_pack_plain(const MatmulQ8Shape& s, const std::int8_t* weights, void* packed) {
  std::memcpy(packed, weights, matmul_packed_bytes_plain(s));
}

std::size_t matmul_workspace_reference(const MatmulQ8Shape& s, int workers) {
  return static_cast<std::size_t>((s.k + 63) / 64 * 64 * workers);
}

void matmul_u8s8f32_reference(const MatmulQ8Shape& s, const MatmulQ8Args& a, int worker, int workers) noexcept {
  auto* own = static_cast<std::uint8_t*>(a.workspace) + (s.k + 63) / 64 * 64 * worker;
  const auto* weights = static_cast<const std::int8_t*>(a.packed);
  for (std::int64_t row = s.m * worker / workers; row < s.m * (worker + 1) / workers; ++row) {
    const std::uint8_t* q = own;
    float row_scale = 1;
    if (a.source == MatmulQ8Source::f32) {
      row_scale = quantize_row(static_cast<const float*>(a.src) + row * s.src_stride, s.k, own);
    } else {
      q = static_cast<const std::uint8_t*>(a.src) + row * s.src_stride;
      if (a.row_scale) row_scale = a.row_scale[row];
    }
    for (std::int64_t n = 0; n < s.n; ++n) {
      std::int64_t acc = a.comp[n];
      for (std::int64_t k = 0; k < s.k; ++k) acc += q[k] * weights[n * s.k + k];
      const float scaled = static_cast<float>(static_cast<std::int32_t>(acc)) * row_scale;
      const float product = scaled * a.scale[n];
      const float v = a.bias ? product + a.bias[n] : product;
      float t = v > a.low ? (v < a.high ? v : a.high) : a.low;
      if (a.function == MatmulQ8Function::gelu) t = gelu(t);
      if (a.residual) t = t + a.residual[row * s.residual_stride + n];
      a.dst[row * s.dst_stride + n] = t;
    }
  }
}

}  // namespace zeropoint::kernels
