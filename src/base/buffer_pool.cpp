#include "base/buffer_pool.h"

#include <algorithm>

namespace zeropoint {

std::shared_ptr<std::byte[]> BufferPool::take(std::size_t bytes) {
  AlignedBuffer buffer;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& idle) { return idle.first == bytes; });
    if (found != idle_.end()) {
      buffer = std::move(found->second);
      idle_.erase(found);
    }
  }
  if (!buffer) buffer = allocate_aligned(bytes);
  std::byte* data = buffer.get();
  auto give_back = [pool = weak_from_this(), bytes](std::byte* used) noexcept {
    AlignedBuffer own(used);
    if (const auto alive = pool.lock()) alive->put_back(bytes, std::move(own));
  };
  buffer.release();
  return {data, std::move(give_back)};  // calls give_back itself when it has no memory for its count
}

void BufferPool::put_back(std::size_t bytes, AlignedBuffer buffer) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    idle_.emplace_back(bytes, std::move(buffer));
    if (idle_.size() > kMostIdle) idle_.pop_front();
  } catch (...) {  // no memory to remember it: it is freed
  }
}

}  // namespace zeropoint
