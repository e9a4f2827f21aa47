#include "kernels/histogram/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240615;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Result {
  std::map<int, std::uint64_t> counts;  // by bin, non-zero ones
  std::uint64_t zeros, nans, infinities;
  std::uint32_t low, high;  // bits
  std::int64_t pending;
  friend bool operator==(const Result&, const Result&) = default;
};

// Drains and resets.
Result take(HistogramState& state, const HistogramFunctions& functions = histogram_reference) {
  Result result{{},
                state.zeros,
                state.nans,
                state.infinities,
                std::bit_cast<std::uint32_t>(state.low),
                std::bit_cast<std::uint32_t>(state.high),
                state.pending};
  for (const OctaveRange range : {positive_octaves(state), negative_octaves(state)})
    for (int octave = range.begin; octave < range.end; ++octave) {
      std::uint32_t counts[kHistogramOctaveBins] = {};
      const bool any = functions.drain(state, octave, counts);
      EXPECT_EQ(any, std::any_of(std::begin(counts), std::end(counts), [](std::uint32_t n) { return n != 0; }));
      for (int bin = 0; bin < kHistogramOctaveBins; ++bin)
        if (counts[bin] != 0) result.counts[octave * kHistogramOctaveBins + bin] = counts[bin];
    }
  reset_histogram(state);
  return result;
}

float float_of(std::uint_fast32_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits)); }

std::vector<float> activations(std::size_t count, std::mt19937& random, bool specials) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) {
    v = std::max(normal(random), 0.0F);
    if (random() % 4 == 0) v = normal(random) * std::exp2(static_cast<float>(random() % 60) - 40);
    if (random() % 8 == 0) v = 6;
    if (random() % 50 == 0) v = -0.0F;
    if (random() % 100 == 0) v = float_of(random() % 0x20000 | (random() % 2) << 31);  // subnormal
    if (specials && random() % 3000 == 0) v = float_of(0x7F800000 | random() % 3 * 17 | (random() % 2) << 31);
  }
  return values;
}

class HistogramEntry : public testing::TestWithParam<const HistogramKernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
};

TEST_P(HistogramEntry, EqualsReference) {
  std::mt19937 random(kSeed);
  HistogramTables fast, reference;
  for (const bool specials : {false, true})
    for (const std::int64_t n : {0, 1, 7, 8, 15, 16, 17, 100, 2047, 2048, 2049, 10000, 50000}) {
      const auto values = activations(static_cast<std::size_t>(n), random, specials);
      GetParam()->functions->accumulate(fast.state, values.data(), n);
      histogram_reference.accumulate(reference.state, values.data(), n);
      const Result actual = take(fast.state, *GetParam()->functions), expected = take(reference.state);
      EXPECT_EQ(actual.pending, n);
      EXPECT_TRUE(actual == expected) << n << " values, seed " << kSeed;
      EXPECT_TRUE(std::all_of(fast.state.counts, fast.state.counts + kHistogramTables * kHistogramBins,
                              [](std::uint16_t bin) { return bin == 0; }));
    }
}

TEST_P(HistogramEntry, DependsOnTheMultisetOnly) {
  std::mt19937 random(kSeed);
  auto values = activations(30000, random, true);
  HistogramTables tables;
  const auto whole = [&] {
    GetParam()->functions->accumulate(tables.state, values.data(), static_cast<std::int64_t>(values.size()));
    return take(tables.state);
  };
  const Result first = whole();
  std::shuffle(values.begin(), values.end(), random);
  EXPECT_TRUE(whole() == first) << kSeed;
  for (std::size_t begin = 0; begin < values.size();) {  // in pieces
    const std::size_t piece = std::min<std::size_t>(random() % 5000, values.size() - begin);
    GetParam()->functions->accumulate(tables.state, values.data() + begin, static_cast<std::int64_t>(piece));
    begin += piece;
  }
  EXPECT_TRUE(take(tables.state) == first) << kSeed;
}

TEST_P(HistogramEntry, SignOfZeroLimits) {
  HistogramTables tables;
  std::vector<float> values(64, -0.0F);
  for (const float other : {0.0F, -0.0F}) {
    values[20] = other;
    GetParam()->functions->accumulate(tables.state, values.data(), 64);
    const Result result = take(tables.state);
    EXPECT_EQ(result.low, 0U);
    EXPECT_EQ(result.high, 0U);
    EXPECT_EQ(result.zeros, 64U);
  }
}

TEST_P(HistogramEntry, ChannelSummary) {
  std::mt19937 random(kSeed);
  for (const std::int64_t channels : {1, 3, 4, 7, 8, 9, 16, 17, 31, 64, 65})
    for (const std::int64_t rows : {0, 1, 15, 16, 17, 32, 45}) {
      const auto values = activations(static_cast<std::size_t>(channels * rows), random, false);
      std::vector<float> maxima(static_cast<std::size_t>(channels) + 16, 0.5F), expected_maxima = maxima;
      std::vector<double> sums(maxima.size(), 0.25), expected_sums = sums;
      GetParam()->functions->channel_summary(values.data(), rows, channels, maxima.data(), sums.data());
      histogram_reference.channel_summary(values.data(), rows, channels, expected_maxima.data(), expected_sums.data());
      EXPECT_EQ(maxima, expected_maxima) << rows << " x " << channels << ", seed " << kSeed;
      EXPECT_EQ(sums, expected_sums) << rows << " x " << channels << ", seed " << kSeed;
    }
  const float with_nan[] = {1, std::nanf(""), -3, 2};
  float maxima[] = {0, 0};
  double sums[] = {0, 0};
  GetParam()->functions->channel_summary(with_nan, 2, 2, maxima, sums);
  EXPECT_EQ(maxima[0], 3);
  EXPECT_EQ(maxima[1], 2);
}

std::vector<const HistogramKernels*> entries() {
  std::vector<const HistogramKernels*> list;
  for (const HistogramKernels& kernel : histogram_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, HistogramEntry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(HistogramSelect, FollowsTheMask) {
  EXPECT_STREQ(select_histogram(IsaSet()).name, "histogram_reference");
  for (const HistogramKernels& kernel : histogram_kernels())
    EXPECT_STREQ(select_histogram(implied_isas(kernel.needs)).name, kernel.name);
}

TEST(HistogramReference, HandMade) {
  HistogramTables tables;
  const float values[] = {1.0F, 1.001F, 1.00390625F, -1.0F, 0.0F, -0.0F, kInfinity, -kInfinity, std::nanf(""), 1e-45F};
  histogram_reference.accumulate(tables.state, values, 10);
  const Result result = take(tables.state);
  // 1.0 is exponent 127: octave 127 of the positive, 127 + 256 of the negative values; 1 + 2^-8 opens the second bin.
  const std::map<int, std::uint64_t> expected = {{0, 1}, {127 * 256, 2}, {127 * 256 + 1, 1}, {(127 + 256) * 256, 1}};
  EXPECT_EQ(result.counts, expected);
  EXPECT_EQ(result.zeros, 2U);
  EXPECT_EQ(result.infinities, 2U);
  EXPECT_EQ(result.nans, 1U);
  EXPECT_EQ(std::bit_cast<float>(result.low), -1.0F);
  EXPECT_EQ(std::bit_cast<float>(result.high), 1.00390625F);

  // 16 rows are one run: 1 is lost beside 2^24 in it, and kept in the next one.
  std::vector<float> rows(17, 0);
  rows[0] = 16777216;
  rows[15] = 1;
  rows[16] = -1;
  float most = 0;
  double sum = 0;
  histogram_reference.channel_summary(rows.data(), 17, 1, &most, &sum);
  EXPECT_EQ(most, 16777216);
  EXPECT_EQ(sum, 16777215);
}

}  // namespace
}  // namespace zeropoint::kernels
