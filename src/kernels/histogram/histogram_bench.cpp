// Nanoseconds a value on ReLU of normal values (half exact zeros), on signed normal values and on a clamped activation; 64 K
// values (in L2) and 1 M. The drain is timed too. Run: kernels_bench --benchmark_filter=Histogram
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/histogram/histogram.h"

namespace zeropoint::kernels {
namespace {

enum class Data { relu, normal, relu6 };

const bool kRegistered = [] {
  for (const HistogramKernels& kernel : histogram_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    for (const auto& [data, data_name] :
         {std::pair{Data::relu, "relu"}, std::pair{Data::normal, "normal"}, std::pair{Data::relu6, "relu6"}})
      for (const std::int64_t count : {64 << 10, 1 << 20})
        benchmark::RegisterBenchmark(
            (std::string("Histogram/") + kernel.name + "/" + data_name + "/" + std::to_string(count >> 10) + "K").c_str(),
            [&kernel, count, kind = data](benchmark::State& state) {
              std::mt19937 random(1);
              std::normal_distribution<float> normal(0, kind == Data::relu6 ? 5.0F : 1.0F);
              std::vector<float> values(static_cast<std::size_t>(count));
              for (float& v : values) v = kind == Data::normal ? normal(random) : std::max(normal(random), 0.0F);
              if (kind == Data::relu6)
                for (float& v : values) v = std::min(v, 6.0F);
              HistogramTables tables;
              std::vector<std::uint32_t> counts(kHistogramBins);
              for (auto _ : state) {
                for (std::int64_t done = 0; done < count; done += kHistogramMostPending) {
                  kernel.functions->accumulate(tables.state, values.data() + done,
                                               std::min(count - done, kHistogramMostPending));
                  for (const OctaveRange range : {positive_octaves(tables.state), negative_octaves(tables.state)})
                    for (int octave = range.begin; octave < range.end; ++octave)
                      kernel.functions->drain(tables.state, octave, counts.data() + octave * kHistogramOctaveBins);
                  reset_histogram(tables.state);
                }
              }
              state.counters["ns_per_value"] = benchmark::Counter(static_cast<double>(state.iterations() * count) * 1e-9,
                                                                  benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
            });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
