// Large byte strings that need not stay in memory: beyond an allowance they lie in a temporary file, mapped.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>

namespace zeropoint {

// The file is unlinked from the beginning, so that a crash leaves nothing behind. Where it cannot be written (no such folder, a
// full disk), memory is used. Its methods may be called from several threads; copies outlive the Spill.
class Spill {
 public:
  // `in_memory` bytes are kept in memory before the file is used; an empty `folder` stands for the system's temporary one.
  explicit Spill(std::size_t in_memory = std::size_t{256} << 20, std::filesystem::path folder = {});
  ~Spill();
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;

  // A copy of `bytes`, at least 64-byte aligned, not to be written to.
  std::shared_ptr<const std::byte> copy(std::span<const std::byte> bytes);

 private:
  std::shared_ptr<const std::byte> copy_to_file(std::span<const std::byte> bytes);

  std::mutex mutex_;
  std::size_t left_;
  std::filesystem::path folder_;
  int file_ = -1;
  std::size_t size_ = 0;
};

}  // namespace zeropoint
