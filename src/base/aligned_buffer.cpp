#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace zeropoint {

void AlignedDelete::operator()(std::byte* data) const noexcept { std::free(data); }

AlignedBuffer allocate_aligned(std::size_t bytes, std::size_t spare) {
  constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  std::size_t rounded = (bytes + kLine) / kLine * kLine;
  if (const std::size_t missing = (kHugePage - rounded % kHugePage) % kHugePage; missing <= spare) rounded += missing;
  const std::size_t alignment = rounded >= kHugePage ? kHugePage : kLine;
  void* data = nullptr;
  if (::posix_memalign(&data, alignment, rounded) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) ::madvise(data, rounded, MADV_HUGEPAGE);
#endif
  return AlignedBuffer(static_cast<std::byte*>(data));
}

}  // namespace zeropoint
