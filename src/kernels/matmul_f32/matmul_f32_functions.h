// Products of two fp32 matrices that are both made at run time (attention), in batches, through strides. Safe to include in
// files of any ISA.
//
// c[m][n] = finish(chain), chain: v = 0, then v = fma(a[m][k], b[k][n], v) for ascending k. finish multiplies by or divides by
// `factor`: one rounding. The same bytes on every ISA and for any number of workers. Strides in elements, any sign, 0 repeats;
// those of c must not overlap and its columns lie together.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

enum class MatmulFinish : std::uint8_t { none, multiply, divide };

inline constexpr int kMaxMatmulBatch = 6;
struct MatmulF32Shape {
  int batch_rank = 0;
  std::int64_t batch[kMaxMatmulBatch] = {};
  std::int64_t a_batch[kMaxMatmulBatch] = {}, b_batch[kMaxMatmulBatch] = {}, c_batch[kMaxMatmulBatch] = {};
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t a_row = 0, a_k = 1;
  std::int64_t b_k = 0, b_column = 1;
  std::int64_t c_row = 0;
  MatmulFinish finish = MatmulFinish::none;
  float factor = 1;
};

// Columns of b that are packed at a time, in any ISA: at most.
inline constexpr std::int64_t kMatmulPanel = 64;
inline std::size_t matmul_f32_scratch_bytes(const MatmulF32Shape& shape, int workers) {
  return static_cast<std::size_t>(shape.k * kMatmulPanel) * sizeof(float) * static_cast<std::size_t>(workers);
}

struct MatmulF32Functions {
  // scratch: matmul_f32_scratch_bytes(shape, workers), 64-byte aligned, shared by the workers.
  void (*run)(const MatmulF32Shape& shape, const float* a, const float* b, float* c, float* scratch, int worker,
              int workers) noexcept;
};

// One a file; table.cpp lists them.
extern const MatmulF32Functions matmul_f32_reference, matmul_f32_avx2, matmul_f32_avx512vnni, matmul_f32_neon;

}  // namespace zeropoint::kernels
