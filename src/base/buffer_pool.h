// Buffers that go round: a large fresh one costs a page fault for every 4 KB of it, one that was used before costs nothing.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "base/aligned_buffer.h"

namespace zeropoint {

// take() may be called by several threads, and buffers may be dropped by others, also after the pool is gone.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> make() { return std::shared_ptr<BufferPool>(new BufferPool()); }

  // 64-byte aligned, contents undefined. Comes back to the pool when its last owner drops it.
  std::shared_ptr<std::byte[]> take(std::size_t bytes);

 private:
  static constexpr std::size_t kMostIdle = 8;  // the one that was idle for longest leaves first

  BufferPool() = default;
  void put_back(std::size_t bytes, AlignedBuffer buffer) noexcept;

  std::mutex mutex_;
  std::deque<std::pair<std::size_t, AlignedBuffer>> idle_;
};

}  // namespace zeropoint
