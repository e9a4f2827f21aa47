#include "data/zip.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::data {

struct ZipFile::Handle {
  zip_t* zip = nullptr;
  ~Handle() {
    if (zip != nullptr) zip_discard(zip);
  }
};

struct ZipStream::Handle {
  zip_file_t* file = nullptr;
  ~Handle() {
    if (file != nullptr) zip_fclose(file);
  }
};

ZipFile::ZipFile(const std::filesystem::path& path) : path_(path.string()), handle_(std::make_unique<Handle>()) {
  MappedFile::open(path);  // for errors of the file system, named as everywhere
  int code = 0;
  handle_->zip = zip_open(path_.c_str(), ZIP_RDONLY, &code);
  if (handle_->zip == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    throw Error(ErrorCode::kBadFile, path_, fmt::format("not a valid .npz archive: {}", reason));
  }
  const zip_int64_t count = zip_get_num_entries(handle_->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t facts;
    zip_stat_init(&facts);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(handle_->zip, static_cast<zip_uint64_t>(i), 0, &facts) != 0 || (facts.valid & kNeeded) != kNeeded)
      throw Error(ErrorCode::kBadFile, path_, fmt::format("not a valid .npz archive: {}", zip_strerror(handle_->zip)));
    members_.push_back({static_cast<std::uint64_t>(i), facts.name, facts.size, facts.comp_method == ZIP_CM_STORE});
  }
}

ZipFile::~ZipFile() = default;

const ZipMember* ZipFile::find(const std::string& name) const {
  const auto found = std::find_if(members_.begin(), members_.end(), [&](const ZipMember& m) { return m.name == name; });
  return found == members_.end() ? nullptr : &*found;
}

std::string ZipFile::where(const ZipMember& member) const { return fmt::format("{}, {}", path_, member.name); }

ZipStream::ZipStream(ZipFile& file, const ZipMember& member) : where_(file.where(member)), handle_(std::make_unique<Handle>()) {
  handle_->file = zip_fopen_index(file.handle_->zip, member.index, 0);
  if (handle_->file == nullptr) fail(zip_strerror(file.handle_->zip));
}

ZipStream::~ZipStream() = default;

void ZipStream::fail(const std::string& message) const {
  throw Error(ErrorCode::kBadFile, where_, fmt::format("cannot be read from the archive: {}", message));
}

void ZipStream::read(std::span<std::byte> target) {
  while (!target.empty()) {
    const zip_int64_t got = zip_fread(handle_->file, target.data(), target.size());
    if (got < 0) fail(zip_file_strerror(handle_->file));
    if (got == 0) fail("it ends too early");
    target = target.subspan(static_cast<std::size_t>(got));
  }
}

void ZipStream::seek(std::uint64_t offset) {
  if (zip_fseek(handle_->file, static_cast<zip_int64_t>(offset), SEEK_SET) != 0) fail(zip_file_strerror(handle_->file));
}

void ZipStream::expect_end() {
  std::array<std::byte, 16> rest;
  const zip_int64_t got = zip_fread(handle_->file, rest.data(), rest.size());
  if (got < 0) fail(zip_file_strerror(handle_->file));
  if (got > 0) fail("it is longer than its header says");
}

}  // namespace zeropoint::data
