// The definition of the family, one output at a time.
#include <cmath>

#include "kernels/matmul_wq/matmul_wq.h"

namespace zeropoint::kernels {
namespace {

void run(const WqShape& s, const WqArgs& a, int worker, int workers) noexcept {
  const std::int64_t steps = s.bits == 8 ? s.k : (s.k + 1) / 2;
  const std::int64_t begin = s.panels() * worker / workers * kWqPanel;
  std::int64_t end = s.panels() * (worker + 1) / workers * kWqPanel;
  if (end > s.n) end = s.n;
  for (std::int64_t m = 0; m < a.m; ++m)
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t panel = n / kWqPanel, c = n % kWqPanel;
      float sum = 0;
      for (std::int64_t k = 0; k < s.k; ++k) {
        const std::int64_t at = (panel * s.blocks() + k / s.block) * kWqPanel + c, step = s.bits == 8 ? k : k / 2;
        const unsigned byte = a.q[(panel * steps + step) * kWqPanel + c];
        const unsigned q = s.bits == 8 ? byte : k % 2 == 0 ? byte & 15U : byte >> 4;
        sum = std::fmaf(a.x[m * s.k + k], (static_cast<float>(q) - a.zero[at]) * a.scale[at], sum);
      }
      if (a.bias) sum = sum + a.bias[n];
      a.y[m * s.n + n] = sum > a.low ? (sum < a.high ? sum : a.high) : a.low;
    }
}

}  // namespace

const MatmulWqFunctions matmul_wq_reference = {.run = run};

}  // namespace zeropoint::kernels
