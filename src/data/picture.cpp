#include <fmt/format.h>

#include <cstring>

#include "data/decode.h"

namespace zeropoint {

void data::check_pixels(std::uint64_t width, std::uint64_t height, std::uint64_t max_pixels, const std::string& where) {
  if (width == 0 || height == 0) throw Error(ErrorCode::kBadFile, where, "a picture without pixels");
  if (width > max_pixels / height)
    throw Error(ErrorCode::kLimit, where, fmt::format("{} x {} pixels; the limit is {}", width, height, max_pixels));
}

Picture decode_picture(std::span<const std::byte> bytes, const std::string& where, std::uint64_t max_pixels) {
  constexpr unsigned char kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'}, kJpeg[] = {0xFF, 0xD8, 0xFF};
  const auto starts = [&](std::span<const unsigned char> magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (starts(kPng)) return data::decode_png(bytes, where, max_pixels);
  if (starts(kJpeg)) return data::decode_jpeg(bytes, where, max_pixels);
  throw Error(ErrorCode::kBadFile, where, bytes.empty() ? "an empty file, not a picture" : "neither a PNG nor a JPEG picture");
}

}  // namespace zeropoint
