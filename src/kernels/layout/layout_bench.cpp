// Bytes a second (read and written) of each entry. Run: kernels_bench --benchmark_filter=Layout
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/layout/layout.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  struct Case {
    const char* name;
    std::int64_t rows, columns;
    int bytes;
  };
  for (const LayoutKernels& kernel : layout_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    for (const Case& c : {Case{"3x50176_f32", 3, 50176, 4}, Case{"64x3136_f32", 64, 3136, 4}, Case{"3136x64_f32", 3136, 64, 4},
                          Case{"1280x49_f32", 1280, 49, 4}, Case{"64x3136_u8", 64, 3136, 1}, Case{"3136x64_u8", 3136, 64, 1}})
      benchmark::RegisterBenchmark(
          (std::string("Layout/") + kernel.name + "/" + c.name).c_str(), [&kernel, c](benchmark::State& state) {
            const TransposeShape shape = dense_transpose(1, c.rows, c.columns, c.bytes);
            std::vector<std::byte> src(static_cast<std::size_t>(c.rows * c.columns * c.bytes)), dst(src.size());
            for (auto _ : state) {
              kernel.functions->transpose(shape, src.data(), dst.data(), 0, 1);
              benchmark::ClobberMemory();
            }
            state.SetBytesProcessed(state.iterations() * 2 * static_cast<std::int64_t>(src.size()));
          });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
