#include "data/sample_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>

#include "base/file.h"
#include "data/npz.h"

namespace zeropoint::data {
namespace {

// What cutting an array along its first axis gives.
struct Slices {
  Slices(const NpyHeader& header, const ValueInfo& input, const DataOptions& options, const std::string& where) {
    if (header.dims.empty())
      throw Error(ErrorCode::kBadSample, where, "a single number, where the first axis should count samples");
    if (header.fortran_order && header.dims.size() > 1)
      throw Error(ErrorCode::kBadSample, where, "is in Fortran order, so its samples lie scattered; save it in C order");
    slice = header;
    slice.fortran_order = false;
    count = static_cast<std::size_t>(header.dims[0]);
    // A sample keeps its axis as a batch of one where the model has a batch axis.
    if (input.type.shape && input.type.shape->size() + 1 == header.dims.size()) {
      slice.dims.erase(slice.dims.begin());
    } else {
      slice.dims[0] = 1;
    }
    slice.data_bytes = count == 0 ? 0 : header.data_bytes / count;
    if (slice.data_bytes > options.max_sample_bytes)
      throw Error(ErrorCode::kLimit, where,
                  fmt::format("{} bytes a sample; the limit is {}", slice.data_bytes, options.max_sample_bytes));
  }

  NpyHeader slice;
  std::size_t count = 0;
};

// One array of an archive. A stored member is read at any place; a compressed one in passing, with the last samples passed kept
// for threads that come a little late. Going back further starts again at the front.
class MemberSlices {
 public:
  MemberSlices(ZipFile& file, ZipMember member, const ValueInfo& input, const DataOptions& options)
      : file_(file),
        member_(std::move(member)),
        slices_(read_member_header(file, member_), input, options, file.where(member_)) {
    const std::size_t bytes = std::max<std::size_t>(slices_.slice.data_bytes, 1);
    most_passed_ = std::clamp<std::size_t>((std::size_t{64} << 20) / bytes, 1, 256);
  }

  std::size_t count() const { return slices_.count; }

  Tensor read(std::size_t index) {
    if (member_.stored) {
      ZipStream stream(file_, member_);
      stream.seek(slices_.slice.data_offset + index * slices_.slice.data_bytes);
      return read_npy_tensor(slices_.slice, [&](std::span<std::byte> target) { stream.read(target); });
    }
    std::vector<std::byte> bytes(slices_.slice.data_bytes);
    if (const auto passed = passed_.find(index); passed != passed_.end()) return npy_tensor(slices_.slice, passed->second);
    if (!stream_ || index < next_) {
      passed_.clear();
      stream_ = std::make_unique<ZipStream>(file_, member_);
      std::vector<std::byte> header(slices_.slice.data_offset);
      next_ = 0;
      stream_->read(header);
    }
    while (true) {
      try {
        stream_->read(bytes);
      } catch (...) {
        stream_.reset();
        throw;
      }
      passed_[next_] = bytes;
      if (passed_.size() > most_passed_) passed_.erase(passed_.begin());
      if (next_++ == index) return npy_tensor(slices_.slice, bytes);
    }
  }

 private:
  ZipFile& file_;
  ZipMember member_;
  Slices slices_;
  std::unique_ptr<ZipStream> stream_;
  std::size_t next_ = 0, most_passed_ = 1;
  std::map<std::size_t, std::vector<std::byte>> passed_;
};

class NpzAxisSamples final : public Samples {
 public:
  NpzAxisSamples(const std::filesystem::path& path, const std::vector<ValueInfo>& inputs, const DataOptions& options)
      : path_(path.string()), inputs_(inputs), file_(path) {
    const std::vector<ZipMember> members = find_inputs(file_, inputs, path_);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      slices_.emplace_back(file_, members[i], inputs[i], options);
      if (slices_[i].count() != slices_[0].count())
        throw Error(ErrorCode::kBadSample, path_,
                    fmt::format("'{}' has {} samples and '{}' has {}", inputs[0].name, slices_[0].count(), inputs[i].name,
                                slices_[i].count()));
    }
    labels_ = read_labels(file_, inputs, options.max_sample_bytes);
    if (labels_ && labels_->size() != size())
      throw Error(ErrorCode::kBadSample, path_, fmt::format("{} labels for {} samples", labels_->size(), size()));
  }

  std::size_t size() const override { return slices_.empty() ? 0 : slices_[0].count(); }
  Feeds get(std::size_t index) const override {
    if (index >= size()) throw Error(ErrorCode::kBadArgument, describe(index), fmt::format("there are {} samples", size()));
    Feeds feeds;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      std::unique_lock lock(mutex_);
      Tensor tensor = slices_[i].read(index);
      lock.unlock();
      feeds.emplace(inputs_[i].name, fit_input(std::move(tensor), inputs_[i], describe(index)));
    }
    return feeds;
  }
  std::string describe(std::size_t index) const override { return fmt::format("{}, sample {}", path_, index); }
  std::optional<std::int64_t> label(std::size_t index) const override {
    return labels_ ? std::optional((*labels_).at(index)) : std::nullopt;
  }

 private:
  std::string path_;
  std::vector<ValueInfo> inputs_;
  mutable std::mutex mutex_;  // guards file_ and slices_
  ZipFile file_;
  mutable std::vector<MemberSlices> slices_;
  std::optional<std::vector<std::int64_t>> labels_;
};

// Read, not mapped: a mapping of a large set would count as memory of this process.
class NpyAxisSamples final : public Samples {
 public:
  NpyAxisSamples(const std::filesystem::path& path, const ValueInfo& input, const DataOptions& options)
      : path_(path), input_(input), slices_(read_header(path), input, options, path.string()) {}

  std::size_t size() const override { return slices_.count; }
  Feeds get(std::size_t index) const override {
    if (index >= size()) throw Error(ErrorCode::kBadArgument, describe(index), fmt::format("there are {} samples", size()));
    const NpyHeader& slice = slices_.slice;
    std::ifstream file(path_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(slice.data_offset + index * slice.data_bytes));
    Tensor tensor = read_npy_tensor(slice, [&](std::span<std::byte> target) {
      if (!file.read(reinterpret_cast<char*>(target.data()), static_cast<std::streamsize>(target.size())))
        throw Error(ErrorCode::kIo, describe(index), "cannot be read");
    });
    Feeds feeds;
    feeds.emplace(input_.name, fit_input(std::move(tensor), input_, describe(index)));
    return feeds;
  }
  std::string describe(std::size_t index) const override { return fmt::format("{}, sample {}", path_.string(), index); }

 private:
  static NpyHeader read_header(const std::filesystem::path& path) {
    const auto file = MappedFile::open(path);  // only the pages of the header are touched
    NpyHeader header = parse_npy_header(file->bytes(), path.string());
    const std::size_t held = file->bytes().size() - header.data_offset;
    if (held != header.data_bytes)
      throw Error(ErrorCode::kBadFile, path.string(),
                  fmt::format("{} bytes of data where {} {} needs {}", held, name(header.dtype), to_string(header.dims),
                              header.data_bytes));
    return header;
  }

  std::filesystem::path path_;
  ValueInfo input_;
  Slices slices_;
};

}  // namespace

std::unique_ptr<Samples> open_npz_axis(const std::filesystem::path& path, const std::vector<ValueInfo>& inputs,
                                       const DataOptions& options) {
  return std::make_unique<NpzAxisSamples>(path, inputs, options);
}

std::unique_ptr<Samples> open_npy_axis(const std::filesystem::path& path, const ValueInfo& input, const DataOptions& options) {
  return std::make_unique<NpyAxisSamples>(path, input, options);
}

}  // namespace zeropoint::data
