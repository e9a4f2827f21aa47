// XXH3 of bytes and of whole graphs.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace zeropoint {

std::string hash_of(std::span<const std::byte> bytes);  // 128 bits as 32 hexadecimal digits

}  // namespace zeropoint
