#include "onnx/external_data.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::onnx_file {
namespace {

std::uint64_t number(const std::string& text, const std::string& where, const std::string& key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(ErrorCode::kBadModel, where, fmt::format("the {} '{}' of its external data is not a number", key, text));
  return value;
}

std::shared_ptr<const MappedFile> open(const std::filesystem::path& folder, const std::string& location,
                                       const std::string& where) {
  const std::filesystem::path relative(location);
  const auto refuse = [&](const char* why) {
    throw Error(ErrorCode::kUnsupported, where, fmt::format("its external data '{}' {}", location, why));
  };
  if (location.empty() || relative.is_absolute() || location.find('\0') != std::string::npos)
    refuse("is not a file relative to the model's folder");
  std::filesystem::path path = folder;
  for (const std::filesystem::path& part : relative) {
    if (part == "..") refuse("lies outside the model's folder");
    path /= part;
    std::error_code error;
    const auto status = std::filesystem::symlink_status(path, error);
    if (status.type() == std::filesystem::file_type::not_found)
      throw Error(ErrorCode::kIo, where, fmt::format("its external data '{}' is missing", path.string()));
    if (status.type() == std::filesystem::file_type::symlink) refuse("is reached through a link");
  }
  if (!std::filesystem::is_regular_file(path)) refuse("is not a regular file");
  return MappedFile::open(path);
}

}  // namespace

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
  if (!opened) opened = open(*source.folder, location, where);
  const auto bytes = static_cast<const MappedFile*>(opened.get())->bytes();
  if (offset > bytes.size() || (length && *length > bytes.size() - offset))
    throw Error(
        ErrorCode::kBadFile, where,
        fmt::format("its data end at byte {} of '{}', which has {}", offset + length.value_or(0), location, bytes.size()));
  const auto begin = static_cast<std::size_t>(offset);
  return {bytes.subspan(begin, length ? static_cast<std::size_t>(*length) : bytes.size() - begin), opened};
}

}  // namespace zeropoint::onnx_file
