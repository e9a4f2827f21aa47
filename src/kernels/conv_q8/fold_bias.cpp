#include <algorithm>
#include <limits>

#include "kernels/conv_q8/conv_q8.h"

namespace zeropoint::kernels {

bool fold_bias(const ConvShape& s, const std::int8_t* weights, const std::int32_t* weight_zero_points,
               std::int32_t x_zero_point, const std::int32_t* bias, std::int32_t* comp) {
  const std::int64_t count = s.c / s.groups * s.kh * s.kw;
  const auto fits = [](std::int64_t v) {
    return v >= std::numeric_limits<std::int32_t>::min() && v <= std::numeric_limits<std::int32_t>::max();
  };
  for (std::int64_t o = 0; o < s.o; ++o) {
    const std::int64_t weight_zero_point = weight_zero_points ? weight_zero_points[o] : 0;
    const std::int64_t start = bias ? bias[o] : 0;
    std::int64_t sum = 0, least = start, most = start;
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t w = weights[o * count + k];
      const std::int64_t at_0 = -x_zero_point * (w - weight_zero_point);
      const std::int64_t at_255 = (255 - x_zero_point) * (w - weight_zero_point);
      sum += w;
      least += std::min(at_0, at_255);
      most += std::max(at_0, at_255);
    }
    const std::int64_t folded = start - x_zero_point * sum + count * x_zero_point * weight_zero_point;
    // Sums of products alone may wrap around: s32 additions are modular, only the end result has to fit.
    if (!fits(folded) || !fits(least) || !fits(most)) return false;
    comp[o] = static_cast<std::int32_t>(folded);
  }
  return true;
}

void transpose_weights(std::int64_t k, std::int64_t n, const std::int8_t* weights, std::int8_t* transposed) {
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = 0; j < n; ++j) transposed[j * k + i] = weights[i * n + j];
}

}  // namespace zeropoint::kernels
