// The file of a Statistics value:
//
//   "ZPSTATS\n"  version u32  payload size u64  payload  XXH3-64 of all before u64          (little-endian)
//
// In the payload integers are LEB128 in their shortest form, floats 4 bytes, strings a length and bytes, lists a length and
// items, everything in the order of the struct and maps ascending: equal statistics have equal bytes. Reading checks every
// rule that a state made by calibrate() keeps, since range choosers rely on them.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "calib/hash64.h"
#include "calib/rows.h"
#include "numerics/exact_sum.h"
#include "zeropoint/statistics.h"

namespace zeropoint {
namespace {

constexpr std::string_view kMagic = "ZPSTATS\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 8 + 4 + 8, kChecksumBytes = 8;
constexpr std::uint64_t kMostCount = std::uint64_t{1} << 63;

class Writer {
 public:
  template <class T>
  void fixed(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    out_.append(bytes, sizeof value);
  }
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  void text(const std::string& value) {
    number(value.size());
    out_ += value;
  }
  void floats(const std::vector<float>& values) {
    number(values.size());
    for (const float v : values) fixed(v);
  }
  std::string& bytes() { return out_; }

 private:
  std::string out_;
};

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  [[noreturn]] void fail(const std::string& message) const { throw Error(ErrorCode::kBadFile, where_, message); }
  void require(bool condition, const char* message) const {
    if (!condition) fail(std::string("not valid statistics: ") + message);
  }
  template <class T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      require(shift < 63 || byte <= 1, "a number is too large");
      require(byte != 0 || shift == 0, "a number is longer than needed");
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }
  // A count of items that take at least `item_bytes` each: never more than the file can hold.
  std::size_t length(std::size_t item_bytes) {
    const std::uint64_t value = number();
    require(value <= bytes_.size() / item_bytes, "a list is longer than the file");
    return static_cast<std::size_t>(value);
  }
  std::string text() { return std::string(take(length(1))); }
  std::vector<float> floats() {
    std::vector<float> values(length(sizeof(float)));
    const auto bytes = take(values.size() * sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  bool done() const { return bytes_.empty(); }

 private:
  std::string_view take(std::size_t size) {
    require(size <= bytes_.size(), "it ends too early");
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  std::string_view bytes_;
  const std::string& where_;
};

void write(Writer& out, const ValueStatistics& value) {
  out.number(value.samples);
  out.number(value.nans);
  out.number(value.infinities);
  out.fixed(value.min);
  out.fixed(value.max);
  out.number(value.zeros());
  out.number(value.histogram.octaves().size());
  for (const auto& [octave, counts] : value.histogram.octaves()) {
    out.number(octave);
    for (const std::uint64_t count : counts) out.number(count);
  }
  for (const auto* sum : {&value.min_sum, &value.max_sum})
    for (const std::uint64_t word : *sum) out.fixed(word);
  out.fixed(value.channel_axis);
  out.floats(value.channel_max);
  for (const auto& sum : value.channel_mean_sum)
    for (const std::uint64_t word : sum) out.fixed(word);
  out.number(value.rows.size());
  for (const auto& row : value.rows) out.floats(row);
}

Histogram read_histogram(Reader& in) {
  Histogram histogram;
  const std::uint64_t zeros = in.number();
  in.require(zeros <= kMostCount, "a count is too large");
  histogram.add_zeros(zeros);
  const std::size_t octaves = in.length(1 + Histogram::kBins);
  int last = -1;
  for (std::size_t i = 0; i < octaves; ++i) {
    const std::uint64_t octave = in.number();
    in.require(octave < 511 && octave != 255, "an octave does not exist");
    in.require(static_cast<int>(octave) > last, "octaves are out of order");
    last = static_cast<int>(octave);
    bool filled = false;
    for (std::uint32_t bin = 0; bin < Histogram::kBins; ++bin) {
      const std::uint64_t count = in.number();
      if (count == 0) continue;
      in.require(count <= kMostCount - histogram.count(), "a count is too large");
      auto bits = (static_cast<std::uint32_t>(octave) << 23) | (bin << 15);
      if ((bits << 1) == 0) bits |= 1;  // the bin next to zero does not hold zero
      histogram.add(std::bit_cast<float>(bits), count);
      filled = true;
    }
    in.require(filled, "an octave is empty");
  }
  return histogram;
}

// The bin that holds x: comparable over the signs.
bool same_bin(float x, double low, double high) { return low <= static_cast<double>(x) && static_cast<double>(x) <= high; }

void check_range(const Reader& in, const ValueStatistics& value) {
  in.require(std::isfinite(value.min) && std::isfinite(value.max) && value.min <= value.max,
             "a range is not finite or reversed");
  if (value.count() == 0) {
    in.require(
        value.samples == 0 && std::bit_cast<std::uint32_t>(value.min) == 0 && std::bit_cast<std::uint32_t>(value.max) == 0,
        "a range without values");
    return;
  }
  in.require(value.samples > 0 && value.samples <= value.count(), "more samples than values");
  // Negative zero would give equal statistics other bytes.
  in.require((value.min != 0 || !std::signbit(value.min)) && (value.max != 0 || !std::signbit(value.max)),
             "a range ends at -0");
  const HistogramView whole(value.histogram, -INFINITY, INFINITY);
  const HistogramBin &first = whole.bins().front(), &last = whole.bins().back();
  in.require(same_bin(value.min, first.low, first.high) && same_bin(value.max, last.low, last.high),
             "a range differs from its histogram");
}

void check_sums(const Reader& in, const ValueStatistics& value) {
  // Half an ulp of the quotient may step over a bound.
  const double low = static_cast<double>(value.min), high = static_cast<double>(value.max);
  const double slack = 1e-12 * std::max(std::abs(low), std::abs(high));
  for (const double mean : {value.mean_min(), value.mean_max()})
    in.require(mean >= low - slack && mean <= high + slack, "an average lies outside of its range");
  in.require(value.mean_min() <= value.mean_max() + slack, "averages are reversed");
  if (value.samples == 0)
    in.require(value.min_sum == value.max_sum && value.min_sum == std::array<std::uint64_t, 6>{}, "a sum without values");
}

ValueStatistics read_value(Reader& in, std::uint64_t row_bytes) {
  ValueStatistics value;
  value.samples = in.number();
  value.nans = in.number();
  value.infinities = in.number();
  in.require(value.nans <= kMostCount && value.infinities <= kMostCount, "a count is too large");
  value.min = in.fixed<float>();
  value.max = in.fixed<float>();
  value.histogram = read_histogram(in);
  for (auto* sum : {&value.min_sum, &value.max_sum})
    for (std::uint64_t& word : *sum) word = in.fixed<std::uint64_t>();
  check_range(in, value);
  check_sums(in, value);
  value.channel_axis = in.fixed<std::int64_t>();
  in.require(value.channel_axis >= -64 && value.channel_axis < 64, "a channel axis does not exist");
  value.channel_max = in.floats();
  const float largest = std::max(-value.min, value.max);
  for (const float x : value.channel_max)
    in.require(x >= 0 && x <= largest && !std::signbit(x), "a channel's maximum lies outside of the range");
  value.channel_mean_sum.resize(value.channel_max.size());
  for (auto& sum : value.channel_mean_sum)
    for (std::uint64_t& word : sum) word = in.fixed<std::uint64_t>();
  const std::vector<double> means = value.channel_means();
  for (std::size_t c = 0; c < means.size(); ++c)  // fp32 sums may round past the bound
    in.require(std::abs(means[c]) <= static_cast<double>(value.channel_max[c]) * (1 + 1e-5) + 1e-44,
               "a channel's mean lies outside of the range");
  const std::size_t rows = in.length(1 + sizeof(float));
  calib::RowSample sample(row_bytes);
  for (std::size_t i = 0; i < rows; ++i) {
    value.rows.push_back(in.floats());
    for (const float x : value.rows.back()) in.require(x >= value.min && x <= value.max, "a row lies outside of the range");
    sample.add(value.rows.back());
  }
  in.require(sample.rows() == value.rows, "rows are out of order or too many");
  return value;
}

CalibrationProgress read_progress(Reader& in) {
  CalibrationProgress progress;
  progress.total = in.number();
  progress.set_hash = in.fixed<std::uint64_t>();
  std::uint64_t last = 0;
  for (std::size_t i = in.length(2); i > 0; --i) {
    const std::uint64_t begin = in.number(), end = in.number();
    in.require(begin < end && end <= progress.total && (progress.done.empty() || begin > last),
               "sample ranges are out of order");
    in.require(begin != 0 || end != progress.total, "a complete set is marked as a part");
    progress.done.push_back({begin, end});
    last = end;
  }
  return progress;
}

}  // namespace

std::string serialize(const Statistics& statistics) {
  Writer payload;
  payload.text(statistics.model_hash);
  payload.text(statistics.isas);
  payload.number(statistics.samples);
  payload.fixed(statistics.samples_hash);
  payload.number(statistics.row_bytes);
  payload.number(statistics.progress ? 1 : 0);
  if (statistics.progress) {
    payload.number(statistics.progress->total);
    payload.fixed(statistics.progress->set_hash);
    payload.number(statistics.progress->done.size());
    for (const auto& [begin, end] : statistics.progress->done) {
      payload.number(begin);
      payload.number(end);
    }
  }
  payload.number(statistics.values.size());
  for (const auto& [name, value] : statistics.values) {
    payload.text(name);
    write(payload, value);
  }

  Writer file;
  file.bytes() = kMagic;
  file.fixed(kVersion);
  file.fixed(static_cast<std::uint64_t>(payload.bytes().size()));
  file.bytes() += payload.bytes();
  file.fixed(calib::hash64(std::as_bytes(std::span(file.bytes()))));
  return std::move(file.bytes());
}

Statistics parse_statistics(std::string_view bytes, const std::string& where) {
  Reader header(bytes, where);
  if (bytes.size() < kHeaderBytes + kChecksumBytes || bytes.substr(0, kMagic.size()) != kMagic)
    header.fail("not a zeropoint statistics file");
  std::uint32_t version = 0;
  std::uint64_t size = 0, checksum = 0;
  std::memcpy(&version, bytes.data() + 8, sizeof version);
  std::memcpy(&size, bytes.data() + 12, sizeof size);
  std::memcpy(&checksum, bytes.data() + bytes.size() - kChecksumBytes, sizeof checksum);
  if (version != kVersion)
    header.fail(fmt::format("statistics of version {}; this program reads version {}", version, kVersion));
  if (size != bytes.size() - kHeaderBytes - kChecksumBytes)
    header.fail(fmt::format("truncated or damaged: {} bytes where {} were written", bytes.size(),
                            size <= (std::uint64_t{1} << 62) ? size + kHeaderBytes + kChecksumBytes : size));
  if (checksum != calib::hash64(std::as_bytes(std::span(bytes).first(bytes.size() - kChecksumBytes))))
    header.fail("damaged: the checksum differs");

  Reader in(bytes.substr(kHeaderBytes, static_cast<std::size_t>(size)), where);
  Statistics statistics;
  statistics.model_hash = in.text();
  statistics.isas = in.text();
  statistics.samples = in.number();
  in.require(statistics.samples <= kMostCount, "a count is too large");
  statistics.samples_hash = in.fixed<std::uint64_t>();
  statistics.row_bytes = in.number();
  const std::uint64_t partial = in.number();
  in.require(partial <= 1, "a flag is neither 0 nor 1");
  if (partial == 1) statistics.progress = read_progress(in);
  const std::size_t values = in.length(1);
  for (std::size_t i = 0; i < values; ++i) {
    std::string name = in.text();
    in.require(statistics.values.empty() || name > statistics.values.rbegin()->first, "values are out of order");
    ValueStatistics value = read_value(in, statistics.row_bytes);
    in.require(value.samples <= statistics.samples, "a value has more samples than the set");
    statistics.values.emplace_hint(statistics.values.end(), std::move(name), std::move(value));
  }
  in.require(in.done(), "bytes are left over");
  return statistics;
}

}  // namespace zeropoint
