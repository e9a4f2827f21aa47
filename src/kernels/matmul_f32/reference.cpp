// The definition of the product of two activations.
#include "kernels/matmul_f32/matmul_f32_functions.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

void run(const MatmulF32Shape& s, const float* a, const float* b, float* c, float*, int worker, int workers) noexcept {
  int64_t batches = 1;
  for (int axis = 0; axis < s.batch_rank; ++axis) batches *= s.batch[axis];
  const int64_t rows = batches * s.m;
  for (int64_t row = rows * worker / workers; row < rows * (worker + 1) / workers; ++row) {
    const int64_t m = row % s.m;
    int64_t rest = row / s.m, from_a = m * s.a_row, from_b = 0, to = m * s.c_row;
    for (int axis = s.batch_rank - 1; axis >= 0; --axis) {
      const int64_t i = rest % s.batch[axis];
      rest /= s.batch[axis];
      from_a += i * s.a_batch[axis];
      from_b += i * s.b_batch[axis];
      to += i * s.c_batch[axis];
    }
    for (int64_t n = 0; n < s.n; ++n) {
      float v = 0;
      for (int64_t k = 0; k < s.k; ++k) v = __builtin_fmaf(a[from_a + k * s.a_k], b[from_b + k * s.b_k + n * s.b_column], v);
      if (s.finish == MatmulFinish::multiply) v *= s.factor;
      if (s.finish == MatmulFinish::divide) v /= s.factor;
      c[to + n] = v;
    }
  }
}

}  // namespace

const MatmulF32Functions matmul_f32_reference = {.run = run};

}  // namespace zeropoint::kernels
