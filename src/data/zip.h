// Zip archives (.npz) by libzip, read piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace zeropoint::data {

struct ZipMember {
  std::uint64_t index = 0;
  std::string name;
  std::uint64_t size = 0;  // decompressed, as the archive says
  bool stored = false;     // not compressed: any place can be read at once
};

// For one thread at a time. Throws Error kIo, or kBadFile naming the file and member.
class ZipFile {
 public:
  explicit ZipFile(const std::filesystem::path& path);
  ~ZipFile();
  ZipFile(const ZipFile&) = delete;
  ZipFile& operator=(const ZipFile&) = delete;

  const std::vector<ZipMember>& members() const { return members_; }
  const ZipMember* find(const std::string& name) const;  // null when there is none
  std::string where(const ZipMember& member) const;      // "data.npz, images.npy"

 private:
  friend class ZipStream;
  struct Handle;
  std::string path_;
  std::unique_ptr<Handle> handle_;
  std::vector<ZipMember> members_;
};

// Reads a member from its start.
class ZipStream {
 public:
  ZipStream(ZipFile& file, const ZipMember& member);
  ~ZipStream();
  ZipStream(const ZipStream&) = delete;
  ZipStream& operator=(const ZipStream&) = delete;

  void read(std::span<std::byte> target);  // all of it, or throws
  void seek(std::uint64_t offset);         // stored members only
  void expect_end();                       // reads on to the end, which checks the checksum; throws when data are left

 private:
  [[noreturn]] void fail(const std::string& message) const;
  struct Handle;
  std::string where_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace zeropoint::data
