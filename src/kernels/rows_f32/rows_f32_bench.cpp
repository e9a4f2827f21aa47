// Elements a second of each entry on rows in L2 (1024 x 128); the ceiling of the reductions is the bandwidth of L2.
// Run: kernels_bench --benchmark_filter=RowsF32
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/rows_f32/rows_f32.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  constexpr std::int64_t kRows = 1024, kWidth = 128;
  for (const RowsF32Kernels& kernel : rows_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const RowsF32Functions& k = *kernel.functions;
    const auto add = [&](const char* name, const auto& body) {
      benchmark::RegisterBenchmark((std::string("RowsF32/") + kernel.name + "/" + name).c_str(), [=](benchmark::State& state) {
        std::vector<float> src(kRows * kWidth, 0.5F), dst(kRows * kWidth), row(kWidth, 1.5F);
        for (auto _ : state) {
          body(src.data(), row.data(), dst.data());
          benchmark::ClobberMemory();
        }
        state.SetItemsProcessed(state.iterations() * kRows * kWidth);
      });
    };
    add("softmax", [=](const float* src, const float*, float* dst) { k.softmax(false, src, dst, kRows, kWidth); });
    add("layer_norm",
        [=](const float* src, const float* row, float* dst) { k.normalize({}, src, row, row, dst, kRows, kWidth); });
    add("sum", [=](const float* src, const float*, float* dst) { k.reduce(ReduceF32::sum, src, dst, kRows, kWidth); });
    add("sum_columns", [=](const float* src, const float*, float* dst) {
      k.reduce_columns(ReduceF32::sum, src, dst, 8, kRows / 8, kWidth, 0, kWidth);
    });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
