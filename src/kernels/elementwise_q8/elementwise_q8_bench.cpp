// Elements a second of each entry: in L1 (8 K), L2 (256 K) and beyond (4 M). Run: kernels_bench
// --benchmark_filter=ElementwiseQ8
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/elementwise_q8/elementwise_q8.h"

namespace zeropoint::kernels {
namespace {

struct Buffers {
  explicit Buffers(std::size_t count)
      : f(count), a(count), b(count), dst(count + 64), wide(count), acc(count), bias(256), bias_as_double(256) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& v : f) v = normal(random);
    for (std::size_t i = 0; i < count; ++i) {
      a[i] = static_cast<std::uint8_t>(random());
      b[i] = static_cast<std::uint8_t>(random());
      acc[i] = static_cast<std::int32_t>(random() % 20000) - 10000;
    }
  }
  std::vector<float> f;
  std::vector<std::uint8_t> a, b, dst;
  std::vector<std::uint16_t> wide;
  std::vector<std::int32_t> acc;
  std::vector<std::int64_t> bias;
  std::vector<double> bias_as_double;
};

template <class Body>
void add(const std::string& name, std::int64_t count, const Body& body) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    Buffers buffers(static_cast<std::size_t>(count));
    for (auto _ : state) {
      body(buffers);
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * count);
  });
}

const bool kRegistered = [] {
  for (const ElementwiseQ8Kernels& kernel : elementwise_q8_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const ElementwiseQ8Functions& k = *kernel.functions;
    for (const std::int64_t count : {8 << 10, 256 << 10, 4 << 20}) {
      const std::string prefix = std::string("ElementwiseQ8/") + kernel.name + "/",
                        suffix = "/" + std::to_string(count >> 10) + "K";
      QuantizeParams y = quantize_params(0.021F, 117, {0, 255}), divided = y;
      divided.exact_inverse = false;
      const BinaryQ8 binary{.a = {0.013F, 120}, .b = {0.017F, 3}, .y = y};
      add(prefix + "quantize_u8" + suffix, count, [=](Buffers& x) { k.quantize_u8(y, x.f.data(), x.dst.data(), count); });
      add(prefix + "quantize_u8_divided" + suffix, count,
          [=](Buffers& x) { k.quantize_u8(divided, x.f.data(), x.dst.data(), count); });
      add(prefix + "dequantize_u8" + suffix, count,
          [=](Buffers& x) { k.dequantize_u8(binary.a, x.a.data(), x.f.data(), count); });
      add(prefix + "lookup_u8" + suffix, count, [=](Buffers& x) { k.lookup_u8(x.b.data(), x.a.data(), x.dst.data(), count); });
      add(prefix + "add_u8" + suffix, count,
          [=](Buffers& x) { k.add_u8(binary, x.a.data(), x.b.data(), x.dst.data(), count); });
      add(prefix + "mul_channel_u8" + suffix, count,
          [=](Buffers& x) { k.mul_channel_u8(binary, x.a.data(), x.b.data(), x.dst.data(), count / 256, 256); });
      add(prefix + "epilogue_u8" + suffix, count,
          [=](Buffers& x) { k.epilogue_u8({256, x.acc.data(), x.f.data()}, y, x.acc.data(), x.dst.data(), count / 256); });
      add(prefix + "quantize_u16" + suffix, count,
          [=](Buffers& x) { k.quantize_u16(quantize_params(0.0001F, 32000, {0, 65535}), x.f.data(), x.wide.data(), count); });
      add(prefix + "split_u16" + suffix, count,
          [=](Buffers& x) { k.split_u16(0, x.wide.data(), x.a.data(), x.dst.data(), count); });
      add(prefix + "join_u16" + suffix, count, [=](Buffers& x) {
        JoinS32 params{.planes = 2,
                       .shifts = {0, 8},
                       .channels = 256,
                       .bias = x.bias.data(),
                       .scale = x.f.data(),
                       .low = 0,
                       .high = 65535};
        params.sums[0] = params.sums[1] = x.acc.data();
        params.bias_as_double = x.bias_as_double.data();
        k.join_u16(params, x.wide.data(), count / 256);
      });
      add(prefix + "min_max_f32" + suffix, count, [=](Buffers& x) {
        float low = 0, high = 0;
        k.min_max_f32(x.f.data(), count, &low, &high);
        benchmark::DoNotOptimize(low + high);
      });
    }
    const std::int64_t image = 224 * 224;
    for (const std::int64_t stride : {3, 4})
      add(std::string("ElementwiseQ8/") + kernel.name + "/quantize_planes_u8/3x224x224/stride" + std::to_string(stride),
          3 * image, [=](Buffers& x) {
            k.quantize_planes_u8(quantize_params(0.02F, 114, {0, 255}), 3, x.f.data(), image, x.a.data(), 3, image);
          });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
