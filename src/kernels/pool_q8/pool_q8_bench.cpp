// Elements read a second by each entry, u8 and f32. Run: kernels_bench --benchmark_filter=Pool
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/elementwise_q8/elementwise_q8.h"
#include "kernels/pool_f32/pool_f32.h"
#include "kernels/pool_q8/pool_q8.h"

namespace zeropoint::kernels {
namespace {

PoolShape square(std::int64_t size, std::int64_t channels, std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  PoolShape s{.h = size, .w = size, .c = channels};
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = pad;
  s.oh = s.ow = (size + 2 * pad - kernel) / stride + 1;
  s.src_pixel_stride = s.dst_pixel_stride = channels;
  return s;
}

template <class T, class Body>
void add(const std::string& name, const PoolShape& s, const Body& body) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    std::vector<T> src(static_cast<std::size_t>(s.h * s.w * s.c), T{3}), dst(src.size());
    for (auto _ : state) {
      body(src.data(), dst.data());
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * s.h * s.w * s.c);
  });
}

const bool kRegistered = [] {
  const PoolShape stem = square(112, 64, 3, 2, 1), global = square(7, 1280, 7, 1, 0);
  const DequantizeParams x{0.02F, 3};
  const QuantizeParams y = quantize_params(0.02F, 3, {0, 255});
  for (const PoolQ8Kernels& kernel : pool_q8_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const PoolQ8Functions& k = *kernel.functions;
    const std::string prefix = std::string("Pool/") + kernel.name + "/";
    add<std::uint8_t>(prefix + "max_3x3s2_112x64", stem, [=](auto* src, auto* dst) { k.max_u8(stem, src, dst, 0, 1); });
    add<std::uint8_t>(prefix + "global_7x1280", global,
                      [=](auto* src, auto* dst) { k.average_u8(global, x, y, src, dst, 0, 1); });
  }
  for (const PoolF32Kernels& kernel : pool_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const PoolF32Functions& k = *kernel.functions;
    const std::string prefix = std::string("Pool/") + kernel.name + "/";
    add<float>(prefix + "max_3x3s2_112x64", stem, [=](auto* src, auto* dst) { k.max(stem, src, dst, 0, 1); });
    add<float>(prefix + "global_7x1280", global, [=](auto* src, auto* dst) { k.average(global, src, dst, 0, 1); });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
