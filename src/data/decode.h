// The picture formats, one file each; decode_picture() chooses by the first bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "zeropoint/data.h"

namespace zeropoint::data {

// Throws Error kLimit when a picture has too many pixels, kBadFile when it has none.
void check_pixels(std::uint64_t width, std::uint64_t height, std::uint64_t max_pixels, const std::string& where);

Picture decode_png(std::span<const std::byte> bytes, const std::string& where, std::uint64_t max_pixels);
Picture decode_jpeg(std::span<const std::byte> bytes, const std::string& where, std::uint64_t max_pixels);

}  // namespace zeropoint::data
