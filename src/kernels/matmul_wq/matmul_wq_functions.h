// f32 activations times integer weights that stay integers in memory: what one instruction set offers.
// Safe to include in files of any ISA.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

// y[m, n] = sum over k ascending of x[m, k] * w(k, n), each term joined by fma to the sum so far, starting from 0;
// w(k, n) = (float(q[k, n]) - zero[b, n]) * scale[b, n], each rounded once, b = k / block.
// Then y + bias[n] (if there is one), then t = y > low ? (y < high ? y : high) : low.
struct WqShape {
  std::int64_t k = 0, n = 0;
  std::int64_t block = 0;  // rows of q that share parameters; k for one set a column. With 4 bits even, or at least k.
  int bits = 8;            // 4 or 8
  std::int64_t blocks() const { return (k + block - 1) / block; }
  std::int64_t panels() const { return (n + 31) / 32; }
};
inline constexpr std::int64_t kWqPanel = 32;  // columns that lie together

struct WqArgs {
  const float* x = nullptr;  // [m, k]
  std::int64_t m = 0;
  const std::uint8_t* q = nullptr;                // from pack_wq: [panel][k or pairs of k][32]
  const float *scale = nullptr, *zero = nullptr;  // from pack_wq: [panel][block][32]
  const float* bias = nullptr;                    // [panel][32] or null
  float low = 0, high = 0;
  float* y = nullptr;        // [m, n]
  float* scratch = nullptr;  // wq_scratch_bytes, one for all workers
};

struct MatmulWqFunctions {
  // The columns of `worker` of `workers`, all rows.
  void (*run)(const WqShape& shape, const WqArgs& args, int worker, int workers) noexcept;
};

// From so many rows on a panel is made real once, in scratch, for all of them.
inline constexpr std::int64_t kWqManyRows = 24;
inline std::int64_t wq_scratch_bytes(const WqShape& shape, std::int64_t m, int workers) {
  return m < kWqManyRows ? 0 : shape.k * kWqPanel * 4 * workers;
}

extern const MatmulWqFunctions matmul_wq_reference, matmul_wq_avx2, matmul_wq_avx512vnni, matmul_wq_neon;

}  // namespace zeropoint::kernels
