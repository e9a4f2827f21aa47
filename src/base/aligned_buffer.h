// Uninitialized memory aligned to 64 bytes (a cache line and a zmm register), on huge pages when large.
#pragma once

#include <cstddef>
#include <memory>

namespace zeropoint {

struct AlignedDelete {
  void operator()(std::byte* data) const noexcept;
};
using AlignedBuffer = std::unique_ptr<std::byte[], AlignedDelete>;
AlignedBuffer allocate_aligned(std::size_t bytes);  // throws std::bad_alloc

}  // namespace zeropoint
