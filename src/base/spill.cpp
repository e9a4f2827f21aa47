#include "base/spill.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "base/aligned_buffer.h"

namespace zeropoint {
namespace {

constexpr std::size_t kSmallest = std::size_t{1} << 16;  // what is smaller is not worth a mapping

int unlinked_file(std::filesystem::path folder) {
  std::error_code error;
  if (folder.empty()) folder = std::filesystem::temp_directory_path(error);
  if (error) return -1;
  std::string name = (folder / "zeropoint.XXXXXX").string();
  const int file = ::mkostemp(name.data(), O_CLOEXEC);
  if (file >= 0) ::unlink(name.c_str());
  return file;
}

}  // namespace

Spill::Spill(std::size_t in_memory, std::filesystem::path folder) : left_(in_memory), folder_(std::move(folder)) {}

Spill::~Spill() {
  if (file_ >= 0) ::close(file_);
}

std::shared_ptr<const std::byte> Spill::copy(std::span<const std::byte> bytes) {
  const bool small = bytes.size() < kSmallest;
  if (!small) {
    const std::lock_guard lock(mutex_);
    if (bytes.size() > left_) {
      if (auto mapped = copy_to_file(bytes)) return mapped;
    } else {
      left_ -= bytes.size();
    }
  }
  std::shared_ptr<std::byte[]> buffer = allocate_aligned(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.get(), bytes.data(), bytes.size());
  return {buffer, buffer.get()};
}

// Written by pwrite() and not through the mapping, where a full disk would be a signal. Null when it does not go.
std::shared_ptr<const std::byte> Spill::copy_to_file(std::span<const std::byte> bytes) {
  if (file_ < 0) file_ = unlinked_file(folder_);
  if (file_ < 0) return nullptr;
  const std::size_t begin = size_;
  for (std::size_t done = 0; done < bytes.size();) {
    constexpr std::size_t kChunk = std::size_t{1} << 30;
    const ssize_t wrote =
        ::pwrite(file_, bytes.data() + done, std::min(kChunk, bytes.size() - done), static_cast<off_t>(begin + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return nullptr;
    done += static_cast<std::size_t>(wrote);
  }
  void* data = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, file_, static_cast<off_t>(begin));
  if (data == MAP_FAILED) return nullptr;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  size_ = (begin + bytes.size() + page - 1) / page * page;
  return {static_cast<const std::byte*>(data),
          [size = bytes.size()](const std::byte* mapped) { ::munmap(const_cast<std::byte*>(mapped), size); }};
}

}  // namespace zeropoint
