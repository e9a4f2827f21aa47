#include "zeropoint/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "base/file.h"
#include "calib/hash64.h"
#include "calib/rows.h"
#include "numerics/exact_sum.h"

namespace zeropoint {
namespace {

[[noreturn]] void mismatch(const std::string& message) { throw Error(ErrorCode::kMismatch, "statistics", message); }

double mean(const std::array<std::uint64_t, 6>& sum, std::uint64_t samples) {
  return samples == 0 ? 0 : numerics::ExactSum(sum).value() / static_cast<double>(samples);
}

std::array<std::uint64_t, 6> add_sums(const std::array<std::uint64_t, 6>& a, const std::array<std::uint64_t, 6>& b) {
  numerics::ExactSum sum(a);
  sum.add(numerics::ExactSum(b));
  return sum.words();
}

// The union of two lists of instruction sets, in the order of the enumeration, so that merging commutes.
std::string join_isas(const std::string& a, const std::string& b) {
  if (a == b) return a;
  std::set<std::pair<int, std::string>> names;
  for (const auto& list : {a, b}) {
    std::istringstream words(list);
    for (std::string word; words >> word;) {
      const auto isa = parse_isa(word);
      names.emplace(isa ? static_cast<int>(*isa) : 255, word);
    }
  }
  std::string joined;
  for (const auto& [order, word] : names) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

ValueStatistics merge_values(const std::string& name, const ValueStatistics& a, const ValueStatistics& b,
                             std::uint64_t row_bytes) {
  ValueStatistics sum = a;
  sum.samples += b.samples;
  sum.nans += b.nans;
  sum.infinities += b.infinities;
  if (a.samples == 0) {
    sum.min = b.min;
    sum.max = b.max;
  } else if (b.samples != 0) {
    sum.min = std::min(a.min, b.min);
    sum.max = std::max(a.max, b.max);
  }
  sum.histogram.merge(b.histogram);
  sum.min_sum = add_sums(a.min_sum, b.min_sum);
  sum.max_sum = add_sums(a.max_sum, b.max_sum);
  if (a.channel_axis != b.channel_axis) mismatch(fmt::format("value '{}' has its channels along different axes", name));
  if (a.channel_max.empty()) {
    sum.channel_max = b.channel_max;
    sum.channel_mean_sum = b.channel_mean_sum;
  } else if (!b.channel_max.empty()) {
    if (a.channel_max.size() != b.channel_max.size() || a.channel_mean_sum.size() != b.channel_mean_sum.size())
      mismatch(fmt::format("value '{}' has {} channels in one and {} in the other", name, a.channel_max.size(),
                           b.channel_max.size()));
    for (std::size_t c = 0; c < a.channel_max.size(); ++c) {
      sum.channel_max[c] = std::max(a.channel_max[c], b.channel_max[c]);
      sum.channel_mean_sum.at(c) = add_sums(a.channel_mean_sum[c], b.channel_mean_sum[c]);
    }
  }
  if (!a.rows.empty() || !b.rows.empty()) {
    calib::RowSample rows(row_bytes);
    for (const auto* part : {&a.rows, &b.rows})
      for (const auto& row : *part) rows.add(row);
    sum.rows = rows.rows();
  }
  return sum;
}

std::optional<CalibrationProgress> merge_progress(const CalibrationProgress& a, const CalibrationProgress& b) {
  if (a.total != b.total || a.set_hash != b.set_hash)
    mismatch(fmt::format("they are parts of different sample sets ({} and {} samples, or other files)", a.total, b.total));
  CalibrationProgress sum = a;
  sum.done.insert(sum.done.end(), b.done.begin(), b.done.end());
  std::sort(sum.done.begin(), sum.done.end());
  std::vector<std::array<std::uint64_t, 2>> joined;
  for (const auto& range : sum.done) {
    if (!joined.empty() && range[0] < joined.back()[1])
      mismatch(fmt::format("both hold sample {}: merge each shard once", range[0]));
    if (!joined.empty() && range[0] == joined.back()[1]) {
      joined.back()[1] = range[1];
    } else {
      joined.push_back(range);
    }
  }
  if (joined.size() == 1 && joined[0] == std::array<std::uint64_t, 2>{0, sum.total}) return std::nullopt;
  sum.done = std::move(joined);
  return sum;
}

}  // namespace

double ValueStatistics::mean_min() const { return mean(min_sum, samples); }
double ValueStatistics::mean_max() const { return mean(max_sum, samples); }
std::vector<double> ValueStatistics::channel_means() const {
  std::vector<double> means;
  for (const auto& sum : channel_mean_sum) means.push_back(mean(sum, samples));
  return means;
}

const ValueStatistics* Statistics::find(const std::string& value) const {
  const auto found = values.find(value);
  return found == values.end() ? nullptr : &found->second;
}

Statistics merge(const Statistics& a, const Statistics& b, const MergeOptions& options) {
  if (a.model_hash != b.model_hash)
    mismatch(fmt::format("they are of different models ({} and {})", a.model_hash, b.model_hash));
  if (a.isas != b.isas && !options.mix_isas)
    mismatch(
        fmt::format("their floats were computed by different instruction sets ({}; {}), so they can differ in last bits: "
                    "calibrate with a common --max-isa, or allow mixing (--mix-isas)",
                    a.isas, b.isas));
  if (a.row_bytes != b.row_bytes)
    mismatch(fmt::format("they keep {} and {} bytes of rows of a value", a.row_bytes, b.row_bytes));
  if (a.values.size() != b.values.size() || !std::equal(a.values.begin(), a.values.end(), b.values.begin(),
                                                        [](const auto& x, const auto& y) { return x.first == y.first; }))
    mismatch(fmt::format("they observed different values ({} and {})", a.values.size(), b.values.size()));
  for (const auto& [part, other] : {std::pair{&a, &b}, {&b, &a}})
    if (part->progress && part->samples == 0 && !other->progress) return *other;  // an empty part adds nothing
  if (a.progress.has_value() != b.progress.has_value())
    mismatch("one is a part of a sample set and the other a whole set: merge all parts of the set first");
  if (!a.progress && !options.same_samples && a.samples == b.samples && a.samples_hash == b.samples_hash)
    mismatch("both hold the same samples");

  Statistics sum;
  sum.model_hash = a.model_hash;
  sum.isas = join_isas(a.isas, b.isas);
  sum.samples = a.samples + b.samples;
  sum.samples_hash = a.samples_hash + b.samples_hash;
  sum.row_bytes = a.row_bytes;
  if (a.progress) sum.progress = merge_progress(*a.progress, *b.progress);
  for (const auto& [name, value] : a.values)
    sum.values.emplace(name, merge_values(name, value, b.values.at(name), a.row_bytes));
  return sum;
}

std::string statistics_hash(const Statistics& statistics) {
  const std::string bytes = serialize(statistics);
  return fmt::format("{:016x}", calib::hash64(std::as_bytes(std::span(bytes))));
}

void save(const Statistics& statistics, const std::filesystem::path& path) { write_file(path, serialize(statistics)); }

Statistics load_statistics(const std::filesystem::path& path) { return parse_statistics(read_file(path), path.string()); }

}  // namespace zeropoint
