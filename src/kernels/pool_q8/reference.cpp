// The definition of pooling for u8 tensors.
#include "kernels/pool_q8/pool_q8_functions.h"
#include "kernels/pool_window.h"
#include "numerics/quantize.h"

namespace zeropoint::kernels {
namespace {

using std::int32_t, std::int64_t, std::uint8_t;

template <class Out, class Window>
void pool(const PoolShape& s, Out* dst, int worker, int workers, const Window& window) noexcept {
  const PoolShare share = pool_share(s, 1, worker, workers);
  for (int64_t row = share.row_begin; row < share.row_end; ++row) {
    const int64_t image = row / s.oh;
    const PoolSpan rows = pool_rows(s, row % s.oh);
    for (int64_t x = 0; x < s.ow; ++x) {
      const PoolSpan columns = pool_columns(s, x);
      for (int64_t c = share.channel_begin; c < share.channel_end; ++c)
        dst[(row * s.ow + x) * s.dst_pixel_stride + c] = window(image, rows, columns, c);
    }
  }
}

template <class Take>
void visit(const PoolShape& s, const uint8_t* src, int64_t image, const PoolSpan& rows, const PoolSpan& columns, int64_t c,
           const Take& take) {
  for (int64_t i = 0; i < rows.end - rows.begin; ++i)
    for (int64_t j = 0; j < columns.end - columns.begin; ++j) {
      const int64_t y = rows.first + i * s.dilation_h, x = columns.first + j * s.dilation_w;
      take(src[((image * s.h + y) * s.w + x) * s.src_pixel_stride + c]);
    }
}

void max_u8(const PoolShape& s, const uint8_t* src, uint8_t* dst, int worker, int workers) noexcept {
  pool(s, dst, worker, workers, [&](int64_t image, const PoolSpan& rows, const PoolSpan& columns, int64_t c) {
    uint8_t highest = 0;
    visit(s, src, image, rows, columns, c, [&](uint8_t q) { highest = q > highest ? q : highest; });
    return highest;
  });
}

float average(const PoolShape& s, const DequantizeParams& x, const uint8_t* src, int64_t image, const PoolSpan& rows,
              const PoolSpan& columns, int64_t c) {
  int32_t sum = 0;
  visit(s, src, image, rows, columns, c, [&](uint8_t q) { sum += q - x.zero_point; });
  const int64_t count = pool_count(s, rows, columns);
  return count == 0 ? 0.0F : (static_cast<float>(sum) * x.scale) / static_cast<float>(count);
}

void average_f32(const PoolShape& s, const DequantizeParams& x, const uint8_t* src, float* dst, int worker,
                 int workers) noexcept {
  pool(s, dst, worker, workers, [&](int64_t image, const PoolSpan& rows, const PoolSpan& columns, int64_t c) {
    return average(s, x, src, image, rows, columns, c);
  });
}

void average_u8(const PoolShape& s, const DequantizeParams& x, const QuantizeParams& y, const uint8_t* src, uint8_t* dst,
                int worker, int workers) noexcept {
  pool(s, dst, worker, workers, [&](int64_t image, const PoolSpan& rows, const PoolSpan& columns, int64_t c) {
    const float v = average(s, x, src, image, rows, columns, c);
    return static_cast<uint8_t>(numerics::quantize(v, y.scale, y.zero_point, {y.low, y.high}));
  });
}

}  // namespace

const PoolQ8Functions pool_q8_reference = {.max_u8 = max_u8, .average_u8 = average_u8, .average_f32 = average_f32};

}  // namespace zeropoint::kernels
