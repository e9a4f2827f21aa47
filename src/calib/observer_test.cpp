#include "calib/observer.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>
#include <thread>

namespace zeropoint::calib {
namespace {

std::vector<float> random_values(std::mt19937& random, std::size_t count, float huge = 0) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& x : values) x = random() % 3 == 0 ? 0 : normal(random);
  if (huge != 0)
    for (float& x : values)
      if (random() % 4 == 0) x = huge;
  return values;
}

// [N,C,inner] -> [N,inner,C]
std::vector<float> channel_last(const std::vector<float>& values, std::size_t channels, std::size_t inner) {
  std::vector<float> turned(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t s = i % inner, c = i / inner % channels, n = i / inner / channels;
    turned[(n * inner + s) * channels + c] = values[i];
  }
  return turned;
}

struct Case {
  std::size_t n, c, h, w;
};
constexpr Case kCases[] = {{1, 1, 1, 1},   {1, 3, 5, 7},    {2, 3, 4, 4},     {1, 17, 1, 1},    {1, 3, 150, 151},
                           {3, 5, 40, 41}, {1, 96, 30, 40}, {1, 4200, 3, 11}, {1, 70000, 1, 3}, {1, 64, 40, 40}};

TEST(ValueObserver, LayoutDoesNotShowAndPartsAddUp) {
  constexpr unsigned kSeed = 71;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  Scratch scratch(allowed_isas()), plain_scratch{IsaSet()};
  for (const Case& shape : kCases) {
    for (const float huge : {0.0F, -FLT_MAX, 1e4F, INFINITY, NAN}) {
      const auto values = random_values(random, shape.n * shape.c * shape.h * shape.w, huge);
      const auto turned = channel_last(values, shape.c, shape.h * shape.w);
      const Dims dims{static_cast<std::int64_t>(shape.n), static_cast<std::int64_t>(shape.c),
                      static_cast<std::int64_t>(shape.h), static_cast<std::int64_t>(shape.w)};
      const ValueObserver::Wanted wanted{.channel_axis = 1, .row_bytes = 400};
      ValueObserver rows(wanted), pixels(wanted), plain(wanted);
      const Seen seen = rows.add({0, values, dims, false}, scratch);
      pixels.add({0, turned, dims, true}, scratch);
      plain.add({0, turned, dims, true}, plain_scratch);
      const std::string trace = to_string(dims) + " with " + std::to_string(huge);
      const ValueStatistics statistics = rows.statistics();
      EXPECT_TRUE(statistics == pixels.statistics()) << trace;
      EXPECT_TRUE(statistics == plain.statistics()) << trace << ": the instruction set shows";

      Histogram histogram;
      histogram.add(values);
      EXPECT_TRUE(statistics.histogram == histogram) << trace;
      EXPECT_EQ(seen.count, histogram.count());
      EXPECT_EQ(seen.count + seen.nans + seen.infinities, values.size());
      const std::vector<double> means = statistics.channel_means();
      if (seen.count == 0) continue;
      ASSERT_EQ(means.size(), shape.c);
      std::vector<double> sums(shape.c);
      std::vector<float> most(shape.c);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t c = i / (shape.h * shape.w) % shape.c;
        if (!std::isfinite(values[i])) continue;
        sums[c] += static_cast<double>(values[i]);
        most[c] = std::max(most[c], std::abs(values[i]));
      }
      EXPECT_TRUE(statistics.channel_max == most) << trace;
      for (std::size_t c = 0; c < shape.c; ++c)
        ASSERT_NEAR(means[c], sums[c] / static_cast<double>(shape.n * shape.h * shape.w), 1e-5 * static_cast<double>(most[c]))
            << trace;
    }
  }
}

TEST(ValueObserver, LastAxisOfAMatrix) {
  const std::vector<float> values{1, -2, 3, -4, 5, 6};
  const Dims dims{1, 2, 3};
  Scratch scratch(allowed_isas());
  ValueObserver observer({.channel_axis = -1, .row_bytes = 0});
  observer.add({0, values, dims, false}, scratch);
  EXPECT_EQ(observer.statistics().channel_max, (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(observer.statistics().channel_means(), (std::vector<double>{-1.5, 1.5, 4.5}));
  const std::vector<float> other(8, 1);
  const Dims other_dims{1, 2, 4};
  EXPECT_THROW(observer.add({0, other, other_dims, false}, scratch), Error);
}

TEST(ValueObserver, EmptyAndScalarValues) {
  Scratch scratch(allowed_isas());
  ValueObserver observer({.channel_axis = 1, .row_bytes = 100});
  const Dims none{1, 0, 3}, scalar{};
  observer.add({0, {}, none, true}, scratch);
  EXPECT_EQ(observer.statistics().samples, 0U);
  const float value = -0.0F;
  observer.add({0, {&value, 1}, scalar, false}, scratch);
  EXPECT_EQ(observer.statistics().samples, 1U);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(observer.statistics().min), 0U);
  EXPECT_EQ(observer.statistics().zeros(), 1U);
}

// A checkpoint and what follows it are one.
TEST(ValueObserver, GoesOnFromEarlierStatistics) {
  std::mt19937 random(73);
  Scratch scratch(allowed_isas());
  const Dims dims{1, 4, 25};
  const ValueObserver::Wanted wanted{.channel_axis = 1, .row_bytes = 300};
  ValueObserver whole(wanted), first(wanted), second(wanted);
  for (int i = 0; i < 10; ++i) {
    const auto values = random_values(random, 100);
    whole.add({0, values, dims, false}, scratch);
    if (i == 5) second.add(first.statistics());
    (i < 5 ? first : second).add({0, values, dims, false}, scratch);
  }
  EXPECT_TRUE(second.statistics() == whole.statistics());
}

TEST(ValueObserver, ThreadsAddToOne) {
  std::mt19937 random(79);
  std::vector<std::vector<float>> tensors;
  for (int i = 0; i < 40; ++i) tensors.push_back(random_values(random, 3000));
  const Dims dims{1, 30, 100};
  const ValueObserver::Wanted wanted{.channel_axis = 1, .row_bytes = 1000};
  ValueObserver alone(wanted), together(wanted);
  Scratch scratch(allowed_isas());
  for (const auto& tensor : tensors) alone.add({0, tensor, dims, false}, scratch);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Scratch own(allowed_isas());
      for (std::size_t i = t; i < tensors.size(); i += 4) together.add({0, tensors[i], dims, false}, own);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(together.statistics() == alone.statistics());
}

}  // namespace
}  // namespace zeropoint::calib
