// The definition of pooling for f32 tensors.
#include <limits>

#include "kernels/pool_f32/pool_f32_functions.h"
#include "kernels/pool_window.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

template <class Start, class Take, class Finish>
void pool(const PoolShape& s, const float* src, float* dst, int worker, int workers, const Start& start, const Take& take,
          const Finish& finish) noexcept {
  const PoolShare share = pool_share(s, 1, worker, workers);
  for (int64_t row = share.row_begin; row < share.row_end; ++row) {
    const int64_t image = row / s.oh;
    const PoolSpan rows = pool_rows(s, row % s.oh);
    for (int64_t out_x = 0; out_x < s.ow; ++out_x) {
      const PoolSpan columns = pool_columns(s, out_x);
      for (int64_t c = share.channel_begin; c < share.channel_end; ++c) {
        float v = start;
        for (int64_t i = 0; i < rows.end - rows.begin; ++i)
          for (int64_t j = 0; j < columns.end - columns.begin; ++j) {
            const int64_t y = rows.first + i * s.dilation_h, x = columns.first + j * s.dilation_w;
            v = take(v, src[((image * s.h + y) * s.w + x) * s.src_pixel_stride + c]);
          }
        dst[(row * s.ow + out_x) * s.dst_pixel_stride + c] = finish(v, pool_count(s, rows, columns));
      }
    }
  }
}

void max(const PoolShape& s, const float* src, float* dst, int worker, int workers) noexcept {
  pool(
      s, src, dst, worker, workers, -std::numeric_limits<float>::infinity(), [](float m, float x) { return x > m ? x : m; },
      [](float m, int64_t) { return m; });
}

void average(const PoolShape& s, const float* src, float* dst, int worker, int workers) noexcept {
  pool(
      s, src, dst, worker, workers, 0.0F, [](float sum, float x) { return sum + x; },
      [](float sum, int64_t count) { return count == 0 ? 0.0F : sum / static_cast<float>(count); });
}

}  // namespace

const PoolF32Functions pool_f32_reference = {.max = max, .average = average};

}  // namespace zeropoint::kernels
