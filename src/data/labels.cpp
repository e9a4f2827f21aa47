#include "data/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::data {
namespace {

// Splits CSV as RFC 4180: fields in quotes may hold commas, line ends and doubled quotes.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& where) : text_(text), where_(where) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }
  bool next(std::vector<std::string>& row) {
    row.clear();
    if (at_ >= text_.size()) return false;
    line_ = next_line_;
    while (true) {
      row.push_back(field());
      if (at_ >= text_.size()) return true;
      const char separator = text_[at_++];
      if (separator == ',') continue;
      if (separator == '\r' && at_ < text_.size() && text_[at_] == '\n') ++at_;
      ++next_line_;
      return true;
    }
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kBadFile, where_, fmt::format("line {}: {}", line_, message));
  }

 private:
  std::string field() {
    std::string value;
    if (at_ < text_.size() && text_[at_] == '"') {
      for (++at_;; ++at_) {
        if (at_ >= text_.size()) fail("a quoted field does not end");
        if (text_[at_] == '"' && (at_ + 1 >= text_.size() || text_[at_ + 1] != '"')) break;
        if (text_[at_] == '"') ++at_;
        if (text_[at_] == '\n') ++next_line_;
        value += text_[at_];
      }
      ++at_;
      if (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\r' && text_[at_] != '\n')
        fail("text follows a quoted field");
      return value;
    }
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\r' && text_[at_] != '\n') value += text_[at_++];
    return value;
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0, line_ = 1, next_line_ = 1;
};

}  // namespace

std::map<std::string, std::int64_t> parse_labels(std::string_view csv, const std::string& where) {
  CsvReader reader(csv, where);
  std::vector<std::string> row;
  if (!reader.next(row)) reader.fail("the file is empty; its first line must name the columns: file,label");
  const auto column = [&](std::string_view name) {
    const auto found = std::find(row.begin(), row.end(), name);
    if (found == row.end()) reader.fail(fmt::format("no column '{}'; the first line must name the columns: file,label", name));
    return static_cast<std::size_t>(found - row.begin());
  };
  const std::size_t file = column("file"), label = column("label"), columns = row.size();
  std::map<std::string, std::int64_t> labels;
  while (reader.next(row)) {
    if (row.size() == 1 && row[0].empty()) continue;
    if (row.size() != columns) reader.fail(fmt::format("{} fields where the first line has {}", row.size(), columns));
    const std::string& text = row[label];
    if (text.empty()) continue;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      reader.fail(fmt::format("the label '{}' is not a whole number", text));
    if (!labels.emplace(row[file], value).second) reader.fail(fmt::format("'{}' has a label already", row[file]));
  }
  return labels;
}

std::map<std::string, std::int64_t> read_labels(const std::filesystem::path& path) {
  return parse_labels(read_file(path), path.string());
}

}  // namespace zeropoint::data
