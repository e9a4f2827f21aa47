// Uninitialized memory aligned to 64 bytes (a cache line and a zmm register), on huge pages when large.
#pragma once

#include <cstddef>
#include <memory>

namespace zeropoint {

struct AlignedDelete {
  void operator()(std::byte* data) const noexcept;
};
using AlignedBuffer = std::unique_ptr<std::byte[], AlignedDelete>;
// Whole huge pages where these take at most `spare` bytes more. Throws std::bad_alloc.
AlignedBuffer allocate_aligned(std::size_t bytes, std::size_t spare = 0);

}  // namespace zeropoint
