#include "zeropoint/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <filesystem>
#include <random>

#include "calib/hash64.h"
#include "calib/rows.h"
#include "numerics/exact_sum.h"

namespace zeropoint {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kRowBytes = 200;

// What calibrate() keeps of one value, written as plainly as can be.
ValueStatistics observe(const std::vector<std::vector<float>>& samples) {
  ValueStatistics value;
  numerics::ExactSum min_sum, max_sum;
  calib::RowSample rows(kRowBytes);
  value.channel_axis = 1;
  value.channel_max = {0, 0};
  std::array<numerics::ExactSum, 2> mean_sums;
  for (const auto& sample : samples) {
    float low = INFINITY, high = -INFINITY;
    for (std::size_t i = 0; i < sample.size(); ++i) {
      low = std::min(low, sample[i]) + 0.0F;
      high = std::max(high, sample[i]) + 0.0F;
      value.channel_max[i % 2] = std::max(value.channel_max[i % 2], std::abs(sample[i]));
    }
    for (std::size_t c = 0; c < 2; ++c) {
      double sum = 0;
      std::size_t places = 0;
      for (std::size_t i = c; i < sample.size(); i += 2, ++places) sum += static_cast<double>(sample[i]);
      mean_sums[c].add(static_cast<float>(sum / static_cast<double>(std::max<std::size_t>(places, 1))));
    }
    value.histogram.add(sample);
    value.min = value.samples == 0 ? low : std::min(value.min, low);
    value.max = value.samples == 0 ? high : std::max(value.max, high);
    ++value.samples;
    min_sum.add(low);
    max_sum.add(high);
    rows.add(sample);
  }
  value.min_sum = min_sum.words();
  value.max_sum = max_sum.words();
  value.channel_mean_sum = {mean_sums[0].words(), mean_sums[1].words()};
  value.rows = rows.rows();
  return value;
}

using Sample = std::vector<float>;

Statistics state_of(const std::vector<Sample>& samples) {
  Statistics statistics;
  statistics.model_hash = "0123456789abcdef0123456789abcdef";
  statistics.isas = "scalar avx2";
  statistics.samples = samples.size();
  statistics.row_bytes = kRowBytes;
  std::vector<Sample> doubled = samples;
  for (Sample& sample : doubled) {
    statistics.samples_hash += calib::row_hash(sample);
    for (float& x : sample) x *= -0.5F;
  }
  statistics.values["a"] = observe(samples);
  statistics.values["b"] = observe(doubled);
  return statistics;
}

std::vector<Sample> random_samples(std::mt19937& random, std::size_t count) {
  std::vector<Sample> samples(count);
  std::normal_distribution<float> normal;
  for (Sample& sample : samples) {
    sample.resize(1 + random() % 30);
    for (float& x : sample) x = random() % 5 == 0 ? 0 : normal(random) * std::ldexp(1.0F, static_cast<int>(random() % 20) - 10);
    if (random() % 9 == 0) sample[0] = 1e4F;
    if (random() % 9 == 0) sample[0] = -FLT_MAX;
  }
  return samples;
}

// Part [begin, end) of a set.
Statistics part_of(const std::vector<Sample>& samples, std::size_t begin, std::size_t end) {
  Statistics part =
      state_of({samples.begin() + static_cast<std::ptrdiff_t>(begin), samples.begin() + static_cast<std::ptrdiff_t>(end)});
  part.progress = CalibrationProgress{samples.size(), 77, {}};
  if (begin != end) part.progress->done.push_back({begin, end});
  return part;
}

TEST(Statistics, MergingIsAssociativeAndCommutativeAndEqualsTheWhole) {
  constexpr unsigned kSeed = 41;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 100; ++round) {
    const auto samples = random_samples(random, 3 + random() % 20);
    std::size_t first = 1 + random() % (samples.size() - 1), second = 1 + random() % (samples.size() - 1);
    if (first > second) std::swap(first, second);
    const Statistics a = part_of(samples, 0, first), b = part_of(samples, first, second),
                     c = part_of(samples, second, samples.size());
    const std::string whole = serialize(state_of(samples));
    EXPECT_EQ(serialize(merge(merge(a, b), c)), whole);
    EXPECT_EQ(serialize(merge(a, merge(b, c))), whole);
    EXPECT_EQ(serialize(merge(merge(c, a), b)), whole);
    EXPECT_EQ(serialize(merge(b, a)), serialize(merge(a, b)));
  }
}

TEST(Statistics, RowSamplesMergeWithRowsOfDifferentSizes) {
  constexpr unsigned kSeed = 43;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 300; ++round) {
    const auto rows = random_samples(random, 40);
    calib::RowSample whole(kRowBytes), left(kRowBytes), right(kRowBytes), merged(kRowBytes);
    for (const Sample& row : rows) {
      whole.add(row);
      (random() % 2 != 0 ? left : right).add(row);
    }
    for (const auto* part : {&right, &left})
      for (const Sample& row : part->rows()) merged.add(row);
    ASSERT_EQ(merged.rows(), whole.rows());
    EXPECT_GE(whole.bytes(), kRowBytes);
    EXPECT_LT(whole.bytes() - whole.rows().back().size() * sizeof(float), kRowBytes);
  }
}

TEST(Statistics, RefusesToMergeWhatDoesNotBelongTogether) {
  std::mt19937 random(1);
  const auto samples = random_samples(random, 10), others = random_samples(random, 10);
  const auto refused = [](const Statistics& a, const Statistics& b, const char* reason) {
    for (const auto& [x, y] : {std::pair{&a, &b}, {&b, &a}}) {
      try {
        merge(*x, *y);
        ADD_FAILURE() << reason;
      } catch (const Error& error) {
        EXPECT_EQ(error.code, ErrorCode::kMismatch);
        EXPECT_THAT(error.what(), HasSubstr(reason));
      }
    }
  };
  const Statistics a = state_of(samples), b = state_of(others);
  EXPECT_EQ(merge(a, b).samples, 20U);
  Statistics changed = b;
  changed.model_hash = "x";
  refused(a, changed, "different models");
  changed = b;
  changed.values.erase("b");
  refused(a, changed, "different values");
  changed = b;
  changed.row_bytes = 7;
  refused(a, changed, "rows");
  changed = b;
  changed.values["a"].channel_axis = 2;
  refused(a, changed, "different axes");
  changed = b;
  changed.values["a"].channel_max.push_back(1);
  refused(a, changed, "channels");
  refused(a, a, "same samples");
  refused(part_of(samples, 0, 6), part_of(samples, 5, 10), "both hold sample 5");
  refused(part_of(samples, 0, 5), a, "merge all parts");
  changed = part_of(samples, 5, 10);
  changed.progress->set_hash = 78;
  refused(part_of(samples, 0, 5), changed, "different sample sets");
  changed = b;
  changed.isas = "scalar avx2 amxint8";
  refused(a, changed, "instruction sets");
  Statistics third = state_of(random_samples(random, 3));
  third.isas = "scalar neon";
  const MergeOptions mix{.mix_isas = true};
  EXPECT_EQ(merge(a, changed, mix).isas, "scalar avx2 amxint8");
  EXPECT_EQ(serialize(merge(merge(a, changed, mix), third, mix)), serialize(merge(a, merge(third, changed, mix), mix)));
}

TEST(Statistics, AveragesAreExact) {
  EXPECT_EQ(observe({{1e30F}, {-1e30F}, {6}}).mean_max(), 2.0);  // nothing is lost beside 1e30
  EXPECT_EQ(observe({{1, -1}, {3, -5}}).mean_max(), 2.0);
  EXPECT_EQ(observe({{1, -1}, {3, -5}}).mean_min(), -3.0);
  EXPECT_EQ(ValueStatistics().mean_min(), 0.0);
}

TEST(StatisticsFile, RoundTrips) {
  constexpr unsigned kSeed = 47;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 50; ++round) {
    const auto samples = random_samples(random, 1 + random() % 10);
    Statistics statistics = random() % 2 != 0 ? state_of(samples) : part_of(samples, 0, samples.size() - 1);
    statistics.values["b"].nans = random() % 3;
    const std::string bytes = serialize(statistics);
    const Statistics back = parse_statistics(bytes);
    EXPECT_EQ(back, statistics);
    EXPECT_EQ(serialize(back), bytes);
  }
  EXPECT_EQ(parse_statistics(serialize(Statistics())), Statistics());
}

TEST(StatisticsFile, SavesAndLoads) {
  std::mt19937 random(2);
  const Statistics statistics = state_of(random_samples(random, 4));
  const auto path = std::filesystem::temp_directory_path() / ("zeropoint_statistics_test_" + std::to_string(random()));
  save(statistics, path);
  EXPECT_EQ(load_statistics(path), statistics);
  EXPECT_EQ(statistics_hash(statistics).size(), 16U);
  std::filesystem::remove(path);
  EXPECT_THROW(load_statistics(path), Error);
}

std::string message_of(std::string_view bytes) {
  try {
    parse_statistics(bytes, "s.stats");
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadFile) << error.what();
    EXPECT_EQ(error.where, "s.stats");
    return error.what();
  }
  return "";
}

// With a right checksum again, so that what is behind it is reached.
std::string sealed(std::string bytes) {
  bytes.resize(bytes.size() - 8);
  const std::uint64_t hash = calib::hash64(std::as_bytes(std::span(bytes)));
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(hash >> (8 * i));
  return bytes;
}

TEST(StatisticsFile, DamageIsNamed) {
  std::mt19937 random(3);
  const std::string whole = serialize(state_of(random_samples(random, 4)));
  EXPECT_THAT(message_of(""), HasSubstr("not a zeropoint statistics file"));
  EXPECT_THAT(message_of("something else that is long enough to be one of them"), HasSubstr("not a zeropoint statistics file"));
  EXPECT_THAT(message_of(whole.substr(0, whole.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(message_of(whole + "x"), HasSubstr("truncated or damaged"));
  std::string version = whole;
  version[8] = 2;
  EXPECT_THAT(message_of(sealed(version)), HasSubstr("version 2"));
  for (std::size_t i = 20; i < whole.size(); i += 7) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_THAT(message_of(damaged), HasSubstr("checksum"));
  }
}

// Whatever a file says, it is refused or keeps the rules: range choosers need not check again.
TEST(StatisticsFile, HostileFilesAreRefusedOrConsistent) {
  constexpr unsigned kSeed = 53;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const auto samples = random_samples(random, 5);
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = serialize(round % 2 != 0 ? state_of(samples) : part_of(samples, 1, 3));
    for (std::size_t i = 1 + random() % 3; i > 0; --i) {
      const std::size_t place = 20 + random() % (bytes.size() - 28);
      const std::size_t kind = random() % 3;
      bytes[place] = static_cast<char>(kind == 0 ? random() : kind == 1 ? 0xFF : bytes[place] ^ (1 << random() % 8));
    }
    try {
      const Statistics statistics = parse_statistics(sealed(bytes));
      ++accepted;
      EXPECT_EQ(serialize(statistics), sealed(bytes));  // one file for each state
      for (const auto& [name, value] : statistics.values) {
        const HistogramView view = value.view();
        EXPECT_EQ(view.count(), value.count());
        EXPECT_EQ(view.min(), static_cast<double>(value.min));
        EXPECT_EQ(view.max(), static_cast<double>(value.max));
        EXPECT_TRUE(std::isfinite(view.quantile(0.5)));
        EXPECT_LE(value.mean_min(), value.mean_max() + 1e-6 * std::abs(value.mean_max()));
      }
    } catch (const Error& error) {
      ASSERT_EQ(error.code, ErrorCode::kBadFile) << error.what();
    }
  }
  EXPECT_GT(accepted, 20);  // changed counts are valid states
}

TEST(StatisticsFile, ClaimedSizesAllocateNothing) {
  // The number of values says 2^56, in a file of a few bytes.
  Statistics empty;
  std::string bytes = serialize(empty);
  ASSERT_EQ(bytes[bytes.size() - 9], 0);  // number of values
  bytes.erase(bytes.size() - 9, 1);
  bytes.insert(bytes.size() - 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F");
  bytes[12] = static_cast<char>(bytes.size() - 28);
  EXPECT_THAT(message_of(sealed(bytes)), HasSubstr("longer than the file"));
}

TEST(StatisticsText, Summaries) {
  std::mt19937 random(4);
  Statistics statistics = state_of(random_samples(random, 4));
  statistics.values["a"].nans = 3;
  EXPECT_THAT(to_text(statistics), AllOf(HasSubstr("4 samples (complete), 2 values"), HasSubstr("median"), HasSubstr("3 NaN")));
  EXPECT_THAT(to_json(statistics), AllOf(HasSubstr("\"99.9\""), HasSubstr("\"samples\": 4"), HasSubstr("\"complete\": true")));
  const auto part = part_of(random_samples(random, 4), 1, 3);
  EXPECT_THAT(to_text(part), HasSubstr("2 of 4 of the set"));
  EXPECT_THAT(to_json(part), HasSubstr("\"total\": 4"));
}

}  // namespace
}  // namespace zeropoint
