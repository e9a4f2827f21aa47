#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "zeropoint/error.h"

namespace zeropoint {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int code) {
  throw Error(ErrorCode::kIo, path.string(), what + ": " + std::strerror(code));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void check_regular(const std::filesystem::path& path, const struct stat& facts) {
  if (S_ISDIR(facts.st_mode)) throw Error(ErrorCode::kIo, path.string(), "is a folder, not a file");
  if (!S_ISREG(facts.st_mode)) throw Error(ErrorCode::kIo, path.string(), "is not a regular file");
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Looked at before it is opened, as opening alone can move a device, and again afterwards, as it may have been exchanged.
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) fail(path, "cannot open", errno);
  check_regular(path, facts);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO without writer would block
  if (file.get() < 0) fail(path, "cannot open", errno);
  if (::fstat(file.get(), &facts) != 0) fail(path, "cannot read", errno);
  check_regular(path, facts);
  auto mapped = std::shared_ptr<MappedFile>(new MappedFile);
  mapped->size_ = static_cast<std::size_t>(facts.st_size);
  if (mapped->size_ > 0) {
    void* data = ::mmap(nullptr, mapped->size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) {
      mapped->size_ = 0;
      fail(path, "cannot map", errno);
    }
    mapped->data_ = static_cast<const std::byte*>(data);
  }
  return mapped;
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::forget(std::span<const std::byte> part) const noexcept {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = static_cast<std::size_t>(part.data() - data_);
  const std::size_t first = (begin + page - 1) / page * page, last = (begin + part.size()) / page * page;
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

std::string read_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ReplacementFile::ReplacementFile(const std::filesystem::path& target) : path_(target) {
  // A link stays a link: the file that it names is replaced.
  std::error_code ignored;
  if (std::filesystem::is_symlink(target, ignored)) path_ = std::filesystem::weakly_canonical(target, ignored);
  struct stat facts{};
  const bool exists = ::stat(path_.c_str(), &facts) == 0;
  if (exists && !S_ISREG(facts.st_mode))
    throw Error(ErrorCode::kIo, path_.string(), S_ISDIR(facts.st_mode) ? "is a folder" : "is not a regular file");

  // open() in place of mkstemp(): the system then applies the umask, which a library cannot ask for without setting it.
  std::random_device random;
  for (int attempt = 0; attempt < 100 && file_ < 0; ++attempt) {
    temporary_ = path_.string() + "." + std::to_string(random()) + ".tmp";
    file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0 && errno != EEXIST) break;
  }
  if (file_ < 0) fail(path_, "cannot write", errno);
  if (exists && ::fchmod(file_, facts.st_mode & 07777) != 0) {
    const int code = errno;
    discard();
    fail(path_, "cannot keep the mode of", code);
  }
}

ReplacementFile::~ReplacementFile() { discard(); }

void ReplacementFile::discard() noexcept {
  if (file_ >= 0) ::close(std::exchange(file_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void ReplacementFile::write(std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    constexpr std::size_t kChunk = std::size_t{1} << 30;
    const ssize_t wrote = ::write(file_, bytes.data() + done, std::min(kChunk, bytes.size() - done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail(path_, "cannot write", errno);
    done += static_cast<std::size_t>(wrote);
  }
  size_ += bytes.size();
}

void ReplacementFile::pad_to(std::uint64_t offset) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (size_ < offset)
    write(std::span(kZeros).first(static_cast<std::size_t>(std::min<std::uint64_t>(kZeros.size(), offset - size_))));
}

void ReplacementFile::sync() {
  if (::fsync(file_) != 0 || ::close(std::exchange(file_, -1)) != 0) fail(path_, "cannot write", errno);
}

void ReplacementFile::commit() {
  if (file_ >= 0) sync();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "cannot replace", errno);
  temporary_.clear();
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  ReplacementFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace zeropoint
