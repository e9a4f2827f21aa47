// labels.csv: a line a sample, the columns named by the first line. `file` and `label` are read, others are passed over.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace zeropoint::data {

// File (relative to the folder, with /) -> label. Empty labels are left out. Throws Error kBadFile naming the line.
std::map<std::string, std::int64_t> parse_labels(std::string_view csv, const std::string& where);
std::map<std::string, std::int64_t> read_labels(const std::filesystem::path& path);

}  // namespace zeropoint::data
