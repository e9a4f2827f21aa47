#include "kernels/pool_q8/pool_q8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/elementwise_q8/elementwise_q8.h"
#include "kernels/pool_f32/pool_f32.h"

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240613;

PoolShape make_shape(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t kernel, std::int64_t stride,
                     std::int64_t pad, std::int64_t dilation = 1, bool ceil_mode = false, std::int64_t gap = 0) {
  PoolShape s{.n = n, .h = h, .w = w, .c = c};
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.dilation_h = s.dilation_w = dilation;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = pad;
  const auto out = [&](std::int64_t in) {
    return (in + 2 * pad - (kernel - 1) * dilation - 1 + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  };
  s.oh = out(h);
  s.ow = out(w);
  s.src_pixel_stride = c + gap;
  s.dst_pixel_stride = c + 2 * gap;
  return s;
}

std::vector<PoolShape> shapes() {
  std::vector<PoolShape> list = {
      make_shape(1, 12, 12, 64, 3, 2, 1),
      make_shape(2, 7, 7, 40, 7, 1, 0),
      make_shape(1, 7, 7, 1280, 7, 1, 0),
      make_shape(1, 9, 11, 17, 2, 2, 0),
      make_shape(1, 9, 11, 17, 2, 2, 0, 1, true),
      make_shape(1, 8, 8, 33, 3, 2, 1, 1, true, 5),
      make_shape(3, 5, 5, 65, 3, 1, 1, 1, false, 3),
      make_shape(1, 10, 10, 16, 3, 1, 2, 2),
      make_shape(1, 3, 3, 8, 2, 2, 1, 1, true),
  };
  for (const std::int64_t c : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 32, 63, 64, 127, 128, 129})
    list.push_back(make_shape(1, 5, 4, c, 3, 1, 1));
  PoolShape lopsided = make_shape(1, 6, 6, 10, 2, 2, 0);
  lopsided.pad_bottom = lopsided.pad_right = 1;
  list.push_back(lopsided);
  PoolShape empty = make_shape(1, 2, 2, 5, 1, 1, 1);  // corner windows hold nothing but padding
  list.push_back(empty);
  for (std::size_t i = 0, count = list.size(); i < count; ++i) {
    list.push_back(list[i]);
    list.back().count_include_pad = true;
  }
  return list;
}

std::string describe(const PoolShape& s) {
  return "input " + std::to_string(s.n) + "x" + std::to_string(s.h) + "x" + std::to_string(s.w) + "x" + std::to_string(s.c) +
         ", kernel " + std::to_string(s.kernel_h) + ", stride " + std::to_string(s.stride_h) + ", pad " +
         std::to_string(s.pad_top) + (s.count_include_pad ? " counted" : "") + ", seed " + std::to_string(kSeed);
}

std::size_t src_size(const PoolShape& s) { return static_cast<std::size_t>(s.n * s.h * s.w * s.src_pixel_stride); }
std::size_t dst_size(const PoolShape& s) { return static_cast<std::size_t>(s.n * s.oh * s.ow * s.dst_pixel_stride); }

// Runs all workers, one after another.
template <class T, class Call>
std::vector<T> run(const PoolShape& s, int workers, const Call& call) {
  std::vector<T> dst(dst_size(s), T{77});
  for (int worker = 0; worker < workers; ++worker) call(dst.data(), worker, workers);
  return dst;
}

template <class T>
void expect_same(const std::vector<T>& actual, const std::vector<T>& expected) {
  ASSERT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(T)), 0);
}

class PoolQ8Entry : public testing::TestWithParam<const PoolQ8Kernels*> {};

TEST_P(PoolQ8Entry, EqualsReference) {
  if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  const PoolQ8Functions &fast = *GetParam()->functions, &reference = pool_q8_reference;
  std::mt19937 random(kSeed);
  for (const PoolShape& s : shapes()) {
    SCOPED_TRACE(describe(s));
    std::vector<std::uint8_t> src(src_size(s));
    for (auto& q : src) q = static_cast<std::uint8_t>(random());
    const DequantizeParams x{0.037F, static_cast<std::int32_t>(random() % 256)};
    for (const float scale : {0.037F, 0.0185F, 1e-4F}) {
      const QuantizeParams y = quantize_params(scale, static_cast<std::int32_t>(random() % 256), {3, 250});
      for (const int workers : {1, 3, 8}) {
        expect_same(run<std::uint8_t>(s, workers, [&](auto* dst, int w, int n) { fast.max_u8(s, src.data(), dst, w, n); }),
                    run<std::uint8_t>(s, 1, [&](auto* dst, int w, int n) { reference.max_u8(s, src.data(), dst, w, n); }));
        expect_same(
            run<std::uint8_t>(s, workers, [&](auto* dst, int w, int n) { fast.average_u8(s, x, y, src.data(), dst, w, n); }),
            run<std::uint8_t>(s, 1, [&](auto* dst, int w, int n) { reference.average_u8(s, x, y, src.data(), dst, w, n); }));
        expect_same(run<float>(s, workers, [&](auto* dst, int w, int n) { fast.average_f32(s, x, src.data(), dst, w, n); }),
                    run<float>(s, 1, [&](auto* dst, int w, int n) { reference.average_f32(s, x, src.data(), dst, w, n); }));
      }
    }
  }
}

class PoolF32Entry : public testing::TestWithParam<const PoolF32Kernels*> {};

TEST_P(PoolF32Entry, EqualsReference) {
  if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  const PoolF32Functions &fast = *GetParam()->functions, &reference = pool_f32_reference;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  for (const PoolShape& s : shapes()) {
    SCOPED_TRACE(describe(s));
    std::vector<float> src(src_size(s));
    for (float& v : src) v = random() % 50 == 0 ? std::nanf("") : normal(random);
    for (const int workers : {1, 3, 8}) {
      expect_same(run<float>(s, workers, [&](auto* dst, int w, int n) { fast.max(s, src.data(), dst, w, n); }),
                  run<float>(s, 1, [&](auto* dst, int w, int n) { reference.max(s, src.data(), dst, w, n); }));
      expect_same(run<float>(s, workers, [&](auto* dst, int w, int n) { fast.average(s, src.data(), dst, w, n); }),
                  run<float>(s, 1, [&](auto* dst, int w, int n) { reference.average(s, src.data(), dst, w, n); }));
    }
  }
}

template <class Kernel>
std::vector<const Kernel*> entries(std::span<const Kernel> table) {
  std::vector<const Kernel*> list;
  for (const Kernel& kernel : table) list.push_back(&kernel);
  return list;
}
const auto kEntryName = [](const auto& instance) { return std::string(instance.param->name); };
INSTANTIATE_TEST_SUITE_P(Table, PoolQ8Entry, testing::ValuesIn(entries(pool_q8_kernels())), kEntryName);
INSTANTIATE_TEST_SUITE_P(Table, PoolF32Entry, testing::ValuesIn(entries(pool_f32_kernels())), kEntryName);

TEST(PoolSelect, FollowsTheMask) {
  EXPECT_STREQ(select_pool_q8(IsaSet()).name, "pool_q8_reference");
  EXPECT_STREQ(select_pool_f32(IsaSet()).name, "pool_f32_reference");
  for (const PoolQ8Kernels& kernel : pool_q8_kernels())
    EXPECT_STREQ(select_pool_q8(implied_isas(kernel.needs)).name, kernel.name);
  for (const PoolF32Kernels& kernel : pool_f32_kernels())
    EXPECT_STREQ(select_pool_f32(implied_isas(kernel.needs)).name, kernel.name);
}

// 3x3 input 1..9, kernel 2, stride 2, ceil mode, padding 1 before: windows {1} {2,3} {4,7} {5,6,8,9}.
TEST(PoolReference, HandMade) {
  PoolShape s{.h = 3,
              .w = 3,
              .oh = 2,
              .ow = 2,
              .kernel_h = 2,
              .kernel_w = 2,
              .stride_h = 2,
              .stride_w = 2,
              .pad_top = 1,
              .pad_left = 1};
  const std::uint8_t src[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::uint8_t highest[4];
  pool_q8_reference.max_u8(s, src, highest, 0, 1);
  EXPECT_EQ(std::vector<std::uint8_t>(highest, highest + 4), (std::vector<std::uint8_t>{1, 3, 7, 9}));
  float average[4];
  pool_q8_reference.average_f32(s, {1.0F, 0}, src, average, 0, 1);
  EXPECT_EQ(std::vector<float>(average, average + 4), (std::vector<float>{1, 2.5F, 5.5F, 7}));
  s.count_include_pad = true;
  pool_q8_reference.average_f32(s, {1.0F, 0}, src, average, 0, 1);
  EXPECT_EQ(std::vector<float>(average, average + 4), (std::vector<float>{0.25F, 1.25F, 2.75F, 7}));
}

}  // namespace
}  // namespace zeropoint::kernels
