#include "onnx/external_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/file.h"
#include "ir/names.h"
#include "zeropoint/error.h"

namespace zeropoint::onnx_file {
namespace {

std::uint64_t number(const std::string& text, const std::string& where, const std::string& key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(ErrorCode::kBadModel, where,
                fmt::format("the {} {} of its external data is not a number", key, in_quotes(text)));
  return value;
}

constexpr std::string_view kHeaderStart = "zeropoint external data ";

std::shared_ptr<const MappedFile> open(const Source& source, const std::string& location, const std::string& where) {
  namespace fs = std::filesystem;
  const fs::path relative(location);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kUnsupported, where, fmt::format("its external data {} {}", in_quotes(location), why));
  };
  if (location.empty() || relative.is_absolute() || location.find('\0') != std::string::npos)
    refuse("is not a file relative to the model's folder");
  fs::path path = *source.folder;
  bool link = false;
  for (const fs::path& part : relative) {
    if (part == "..") refuse("lies outside the model's folder");
    path /= part;
    std::error_code error;
    const auto status = fs::symlink_status(path, error);
    if (status.type() == fs::file_type::not_found && !link)
      throw Error(ErrorCode::kIo, where, fmt::format("its external data {} is missing", in_quotes(path.string())));
    link = link || status.type() == fs::file_type::symlink;
  }
  if (link) {
    // Where the user's own link to the model leads, its data may lie too.
    std::error_code error;
    const fs::path target = fs::canonical(path, error);
    if (error || !source.link_folder || target.parent_path() != *source.link_folder)
      refuse("is reached through a link; put a copy of the file there (cp -L), beside a copy of the model");
    path = target;
  }
  std::error_code error;
  if (!fs::is_regular_file(path, error)) refuse("is not a regular file");
  return MappedFile::open(path);
}

}  // namespace

std::string data_header(std::string_view id) {
  std::string header = fmt::format("{}{}\n", kHeaderStart, id);
  header.resize(kDataHeaderSize, '\0');
  return header;
}

void check_data_id(std::span<const std::byte> file, const std::string& id, const std::string& location,
                   const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), std::min<std::size_t>(file.size(), kDataHeaderSize));
  if (!text.starts_with(kHeaderStart)) return;  // another program's
  if (text.substr(0, text.find('\n')).substr(kHeaderStart.size()) != id)
    throw Error(ErrorCode::kMismatch, where,
                fmt::format("its external data {} was written with another model: one of the two files was replaced, or saving "
                            "was interrupted",
                            in_quotes(location)));
}

ExternalBytes external_bytes(const ::onnx::TensorProto& proto, Source& source, const std::string& what) {
  const std::string where = fmt::format("{}, {}", source.where, what);
  if (!source.folder)
    throw Error(ErrorCode::kUnsupported, where,
                "its data lie in another file, but the model came as bytes: load it from its folder");
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = number(entry.value(), where, "offset");
    if (entry.key() == "length") length = number(entry.value(), where, "length");
  }
  auto& opened = source.opened[location];
  if (!opened) {
    const auto file = open(source, location, where);
    check_data_id(file->bytes(), source.data_id, location, where);
    opened = file;
  }
  const auto bytes = static_cast<const MappedFile*>(opened.get())->bytes();
  if (offset > bytes.size() || (length && *length > bytes.size() - offset))
    throw Error(ErrorCode::kBadFile, where,
                fmt::format("{} bytes from byte {} on are not in {}, which has {}", length.value_or(0), offset,
                            in_quotes(location), bytes.size()));
  const auto begin = static_cast<std::size_t>(offset);
  return {bytes.subspan(begin, length ? static_cast<std::size_t>(*length) : bytes.size() - begin), opened};
}

}  // namespace zeropoint::onnx_file
