// Files: mapped for reading, replaced whole for writing.
#pragma once

#include <cstddef>
#include <cstdint>
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

// A file written beside `target` under a temporary name, which takes the target's place in commit(): readers see the old file
// or the new one, whole. Not committed, it vanishes. Throws Error kIo with the system's reason, such as a full disk.
class ReplacementFile {
 public:
  explicit ReplacementFile(const std::filesystem::path& target);
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void pad_to(std::uint64_t offset);  // with zeros
  std::uint64_t size() const { return size_; }
  void sync();    // what was written is on the disk; nothing more can be written
  void commit();  // sync() and rename

 private:
  void discard() noexcept;

  std::filesystem::path path_;
  std::string temporary_;
  int file_ = -1;
  std::uint64_t size_ = 0;
};

// One ReplacementFile.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace zeropoint
