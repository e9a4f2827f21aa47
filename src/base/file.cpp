#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail(path, "cannot open", errno);
  struct stat facts{};
  if (::fstat(file.get(), &facts) != 0) fail(path, "cannot read", errno);
  if (S_ISDIR(facts.st_mode)) throw Error(ErrorCode::kIo, path.string(), "is a folder, not a file");
  if (!S_ISREG(facts.st_mode)) throw Error(ErrorCode::kIo, path.string(), "is not a regular file");
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

void write_file(const std::filesystem::path& target, std::span<const std::byte> bytes) {
  // A link stays a link: the file that it names is replaced.
  std::error_code ignored;
  std::filesystem::path path = target;
  if (std::filesystem::is_symlink(target, ignored)) path = std::filesystem::weakly_canonical(target, ignored);
  struct stat facts{};
  const bool exists = ::stat(path.c_str(), &facts) == 0;
  if (exists && !S_ISREG(facts.st_mode))
    throw Error(ErrorCode::kIo, path.string(), S_ISDIR(facts.st_mode) ? "is a folder" : "is not a regular file");

  // open() in place of mkstemp(): the system then applies the umask, which a library cannot ask for without setting it.
  std::string name;
  int fd = -1;
  std::random_device random;
  for (int attempt = 0; attempt < 100 && fd < 0; ++attempt) {
    name = path.string() + "." + std::to_string(random()) + ".tmp";
    fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) break;
  }
  Descriptor file(fd);
  if (file.get() < 0) fail(path, "cannot write", errno);
  const auto give_up = [&](const std::string& what) {
    const int code = errno;
    ::unlink(name.c_str());
    fail(path, what, code);
  };
  for (std::size_t done = 0; done < bytes.size();) {
    constexpr std::size_t kChunk = std::size_t{1} << 30;
    const ssize_t wrote = ::write(file.get(), bytes.data() + done, std::min(kChunk, bytes.size() - done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) give_up("cannot write");
    done += static_cast<std::size_t>(wrote);
  }
  if (exists && ::fchmod(file.get(), facts.st_mode & 07777) != 0) give_up("cannot keep the mode of");
  if (::fsync(file.get()) != 0 || file.close() != 0) give_up("cannot write");
  if (::rename(name.c_str(), path.c_str()) != 0) give_up("cannot replace");
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace zeropoint
