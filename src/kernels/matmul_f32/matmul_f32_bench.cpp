// Multiply-accumulates a second of each entry; the ceiling is fma units * lanes * clock (AVX-512: 32 a cycle).
// Run: kernels_bench --benchmark_filter=MatmulF32
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/matmul_f32/matmul_f32.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  struct Case {
    const char* name;
    std::int64_t batch, m, n, k;
    bool flip_b;
  };
  for (const MatmulF32Kernels& kernel : matmul_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    for (const Case& c :
         {Case{"scores_12x128x128x32", 12, 128, 128, 32, true}, Case{"mix_12x128x32x128", 12, 128, 32, 128, false},
          Case{"scores_4x50x50x16", 4, 50, 50, 16, true}, Case{"square_384", 1, 384, 384, 384, false}})
      benchmark::RegisterBenchmark(
          (std::string("MatmulF32/") + kernel.name + "/" + c.name).c_str(), [&kernel, c](benchmark::State& state) {
            MatmulF32Shape s{.batch_rank = 1, .batch = {c.batch}, .m = c.m, .n = c.n, .k = c.k};
            s.a_batch[0] = c.m * c.k;
            s.b_batch[0] = c.n * c.k;
            s.c_batch[0] = c.m * c.n;
            s.a_row = c.k;
            s.b_k = c.flip_b ? 1 : c.n;
            s.b_column = c.flip_b ? c.k : 1;
            s.c_row = c.n;
            const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
            std::vector<float> a(size(c.batch * c.m * c.k), 0.5F), b(size(c.batch * c.n * c.k), 0.25F),
                out(size(c.batch * c.m * c.n)), scratch(matmul_f32_scratch_bytes(s, 1) / sizeof(float));
            for (auto _ : state) {
              kernel.functions->run(s, a.data(), b.data(), out.data(), scratch.data(), 0, 1);
              benchmark::ClobberMemory();
            }
            state.SetItemsProcessed(state.iterations() * c.batch * c.m * c.n * c.k);
          });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
