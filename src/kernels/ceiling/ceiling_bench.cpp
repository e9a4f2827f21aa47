// GOP/s of each ceiling loop, one thread: kernels_bench --benchmark_filter=ceiling
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/ceiling/ceiling.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  for (const CeilingLoop& loop : ceiling_loops())
    if (detected_isas().contains(loop.needs))
      benchmark::RegisterBenchmark(std::string(loop.name).c_str(), [&loop](benchmark::State& state) {
        Ceiling ceiling(loop, 1);
        for (auto _ : state) ceiling.measure(0);
        state.counters["best_GOP/s"] = 1e-9 * ceiling.operations_per_second();
      });
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
