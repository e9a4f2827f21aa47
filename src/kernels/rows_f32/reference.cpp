// The definition of the functions of rows.
#include <cmath>
#include <limits>

#include "kernels/rows_f32/rows_f32_functions.h"
#include "numerics/elementary.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

// The order of numerics::lane_sum, of values that are computed on the way.
template <class Value>
float lane_sum(int64_t count, const Value& value) {
  float lanes[16] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i % 16] += value(i);
  for (int apart = 8; apart > 0; apart /= 2)
    for (int lane = 0; lane < apart; ++lane) lanes[lane] += lanes[lane + apart];
  return lanes[0];
}

void softmax(bool logarithm, const float* src, float* dst, int64_t rows, int64_t width) noexcept {
  for (int64_t r = 0; r < rows; ++r, src += width, dst += width) {
    float most = src[0];
    for (int64_t i = 0; i < width; ++i) most = src[i] > most || src[i] != src[i] ? src[i] : most;
    const float sum = lane_sum(width, [&](int64_t i) { return numerics::exp(src[i] - most); });
    const float log_sum = logarithm ? numerics::log(sum) : 0;
    for (int64_t i = 0; i < width; ++i) {
      const float x = src[i] - most;
      dst[i] = logarithm ? x - log_sum : numerics::exp(x) / sum;
    }
  }
}

void normalize(const NormalizeF32& params, const float* src, const float* scale, const float* bias, float* dst, int64_t rows,
               int64_t width) noexcept {
  for (int64_t r = 0; r < rows; ++r, src += width, dst += width) {
    const auto count = static_cast<float>(width);
    const float mean = params.center ? lane_sum(width, [&](int64_t i) { return src[i]; }) / count : 0;
    const float square = lane_sum(width, [&](int64_t i) { return (src[i] - mean) * (src[i] - mean); }) / count;
    const float deviation = std::sqrt(square + params.epsilon), inverse = 1.0F / deviation;
    for (int64_t i = 0; i < width; ++i) {
      const float d = src[i] - mean;
      float y = params.divide ? d / deviation : d * inverse;
      if (scale != nullptr) y = y * scale[i];
      if (bias != nullptr) y = y + bias[i];
      dst[i] = y;
    }
  }
}

template <class Value>
float reduced(ReduceF32 op, int64_t count, const Value& value) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (op) {
    case ReduceF32::sum:
      return lane_sum(count, value);
    case ReduceF32::mean:
      return lane_sum(count, value) / static_cast<float>(count);
    case ReduceF32::sum_square:
      return lane_sum(count, [&](int64_t i) { return value(i) * value(i); });
    case ReduceF32::l2:
      return std::sqrt(lane_sum(count, [&](int64_t i) { return value(i) * value(i); }));
    case ReduceF32::max:
    case ReduceF32::min:
      break;
  }
  const bool largest = op == ReduceF32::max;
  float best = largest ? -kInfinity : kInfinity;
  for (int64_t i = 0; i < count; ++i) {
    const float x = value(i);
    if (best != best) continue;  // NaN wins
    if (x != x || (largest ? x > best : x < best)) best = x;
  }
  return best;
}

void reduce(ReduceF32 op, const float* src, float* dst, int64_t rows, int64_t width) noexcept {
  for (int64_t r = 0; r < rows; ++r) dst[r] = reduced(op, width, [&](int64_t i) { return src[r * width + i]; });
}

void reduce_columns(ReduceF32 op, const float* src, float* dst, int64_t outer, int64_t length, int64_t inner, int64_t begin,
                    int64_t end) noexcept {
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = begin; i < end; ++i)
      dst[o * inner + i] = reduced(op, length, [&](int64_t k) { return src[(o * length + k) * inner + i]; });
}

}  // namespace

float log_of_row_sum(float sum) noexcept { return numerics::log(sum); }

const RowsF32Functions rows_f32_reference = {
    .softmax = softmax, .normalize = normalize, .reduce = reduce, .reduce_columns = reduce_columns};

}  // namespace zeropoint::kernels
