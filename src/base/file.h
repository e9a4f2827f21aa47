// Files: mapped for reading, replaced whole for writing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace zeropoint {

// Read-only mapping of a whole file. Throws Error kIo.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Gives back the memory of whole pages inside `part`, which must lie in bytes(); a later read fetches them again. For passes
  // over files larger than memory should be.
  void forget(std::span<const std::byte> part) const noexcept;

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

std::string read_file(const std::filesystem::path& path);  // throws Error kIo

// Writes beside `path` into a temporary file and renames it onto `path`: readers see the old file or the new one, whole.
// Throws Error kIo (with the system's reason, such as a full disk) and removes the temporary file.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace zeropoint
