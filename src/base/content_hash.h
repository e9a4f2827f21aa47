// 128 bits that two different contents do not share.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace zeropoint {

std::string content_hash(std::span<const std::byte> bytes);  // 32 hexadecimal digits; XXH3

}  // namespace zeropoint
