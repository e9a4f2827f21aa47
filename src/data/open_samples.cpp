#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/file.h"
#include "data/labels.h"
#include "data/npz.h"
#include "data/sample_axis.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;

enum class Kind : std::uint8_t { npy, npz, picture };
constexpr const char* kKindNames[] = {".npy files", ".npz files", "pictures"};

std::optional<Kind> kind_of(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (extension == ".npy") return Kind::npy;
  if (extension == ".npz") return Kind::npz;
  if (extension == ".png" || extension == ".jpg" || extension == ".jpeg") return Kind::picture;
  return std::nullopt;
}

struct Folder {
  Kind kind = Kind::npy;
  std::vector<std::string> files;  // relative, with /
};

Folder list_folder(const fs::path& path) {
  std::vector<std::pair<std::string, Kind>> found;
  std::error_code code;
  auto it = fs::recursive_directory_iterator(path, code);
  for (; !code && it != fs::recursive_directory_iterator(); it.increment(code)) {
    if (it->path().filename().string().starts_with('.')) {
      std::error_code ignored;
      if (it->is_directory(ignored)) it.disable_recursion_pending();
      continue;
    }
    const auto kind = kind_of(it->path());
    std::error_code status;
    if (kind && !it->is_directory(status)) found.emplace_back(it->path().lexically_relative(path).generic_string(), *kind);
  }
  if (code) throw Error(ErrorCode::kIo, path.string(), fmt::format("cannot be listed: {}", code.message()));
  if (found.empty())
    throw Error(ErrorCode::kBadSample, path.string(), "holds no samples (.npy, .npz, .png, .jpg or .jpeg files)");
  std::sort(found.begin(), found.end());
  Folder folder;
  folder.kind = found[0].second;
  for (auto& [file, kind] : found) {
    if (kind != folder.kind)
      throw Error(ErrorCode::kBadSample, path.string(),
                  fmt::format("holds {} and {} (such as '{}'); samples must be of one kind",
                              kKindNames[static_cast<int>(folder.kind)], kKindNames[static_cast<int>(kind)], file));
    folder.files.push_back(std::move(file));
  }
  return folder;
}

std::string names_of(const std::vector<ValueInfo>& inputs) {
  std::string names;
  for (const ValueInfo& input : inputs) names += (names.empty() ? "'" : ", '") + input.name + "'";
  return names;
}

const ValueInfo& only_input(const std::vector<ValueInfo>& inputs, const fs::path& path) {
  if (inputs.size() == 1) return inputs[0];
  throw Error(
      ErrorCode::kBadSample, path.string(),
      fmt::format("an .npy file holds one array, but the model has {} inputs ({}): use .npz files with arrays of these names",
                  inputs.size(), names_of(inputs)));
}

// Files of a folder, one sample each.
class FolderSamples : public Samples {
 public:
  FolderSamples(fs::path path, std::vector<std::string> files, const DataOptions& options)
      : path_(std::move(path)), files_(std::move(files)) {
    fs::path labels = options.labels;
    if (labels.empty() && fs::exists(path_ / "labels.csv")) labels = path_ / "labels.csv";
    if (!labels.empty()) labels_ = data::read_labels(labels);
  }
  std::size_t size() const override { return files_.size(); }
  std::string describe(std::size_t index) const override { return file(index).string(); }
  std::optional<std::int64_t> label(std::size_t index) const override {
    const auto found = labels_.find(files_.at(index));
    return found == labels_.end() ? std::nullopt : std::optional(found->second);
  }

 protected:
  fs::path file(std::size_t index) const { return path_ / files_.at(index); }

 private:
  fs::path path_;
  std::vector<std::string> files_;
  std::map<std::string, std::int64_t> labels_;
};

class NpyFolder final : public FolderSamples {
 public:
  NpyFolder(const fs::path& path, std::vector<std::string> files, const ValueInfo& input, const DataOptions& options)
      : FolderSamples(path, std::move(files), options), input_(input) {}
  Feeds get(std::size_t index) const override {
    Feeds feeds;
    feeds.emplace(input_.name, fit_input(read_npy(file(index)), input_, describe(index)));
    return feeds;
  }

 private:
  ValueInfo input_;
};

class NpzFolder final : public FolderSamples {
 public:
  NpzFolder(const fs::path& path, std::vector<std::string> files, const std::vector<ValueInfo>& inputs,
            const DataOptions& options)
      : FolderSamples(path, std::move(files), options), inputs_(inputs), most_bytes_(options.max_sample_bytes) {}
  Feeds get(std::size_t index) const override {
    data::ZipFile archive(file(index));
    const auto members = data::find_inputs(archive, inputs_, describe(index));
    Feeds feeds;
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      feeds.emplace(inputs_[i].name,
                    fit_input(data::read_member(archive, members[i], most_bytes_), inputs_[i], describe(index)));
    return feeds;
  }
  std::optional<std::int64_t> label(std::size_t index) const override {
    data::ZipFile archive(file(index));
    const auto labels = data::read_labels(archive, inputs_, most_bytes_);
    if (!labels) return FolderSamples::label(index);
    if (labels->size() != 1)
      throw Error(ErrorCode::kBadSample, describe(index), fmt::format("{} labels for one sample", labels->size()));
    return labels->front();
  }

 private:
  std::vector<ValueInfo> inputs_;
  std::uint64_t most_bytes_;
};

class PictureFolder final : public FolderSamples {
 public:
  PictureFolder(const fs::path& path, std::vector<std::string> files, const std::vector<ValueInfo>& inputs,
                const DataOptions& options)
      : FolderSamples(path, std::move(files), options), max_pixels_(options.max_pixels) {
    const fs::path how = options.preprocess.empty() ? path / "preprocess.json" : options.preprocess;
    if (!fs::exists(how))
      throw Error(
          ErrorCode::kBadSample, path.string(),
          "pictures need a preprocess.json that says how they become tensors, such as {\"resize\": {\"short_side\": 256, "
          "\"filter\": \"bilinear\"}, \"crop\": {\"height\": 224, \"width\": 224}, \"scale\": 0.00392157, "
          "\"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225]}");
    preprocess_ = parse_preprocess(read_file(how), how.string());
    if (preprocess_.input.empty() && inputs.size() != 1)
      throw Error(ErrorCode::kBadSample, how.string(),
                  fmt::format("/input must name one of the model's inputs: {}", names_of(inputs)));
    const auto input = std::find_if(inputs.begin(), inputs.end(), [&](const ValueInfo& i) {
      return preprocess_.input.empty() || i.name == preprocess_.input;
    });
    if (input == inputs.end())
      throw Error(ErrorCode::kBadSample, how.string(),
                  fmt::format("/input is '{}', but the model's inputs are {}", preprocess_.input, names_of(inputs)));
    if (inputs.size() != 1)
      throw Error(ErrorCode::kBadSample, path.string(),
                  fmt::format("pictures feed one input, but the model has {}: use .npz files", inputs.size()));
    input_ = *input;
  }
  Feeds get(std::size_t index) const override {
    const std::string where = describe(index);
    const auto bytes = MappedFile::open(file(index));
    Tensor tensor = preprocess(decode_picture(bytes->bytes(), where, max_pixels_), preprocess_, where);
    Feeds feeds;
    feeds.emplace(input_.name, fit_input(std::move(tensor), input_, where));
    return feeds;
  }

 private:
  ValueInfo input_;
  Preprocess preprocess_;
  std::uint64_t max_pixels_;
};

class MemorySamples final : public Samples {
 public:
  MemorySamples(std::vector<Feeds> feeds, std::vector<std::optional<std::int64_t>> labels)
      : feeds_(std::move(feeds)), labels_(std::move(labels)) {}
  std::size_t size() const override { return feeds_.size(); }
  Feeds get(std::size_t index) const override { return feeds_.at(index); }
  std::optional<std::int64_t> label(std::size_t index) const override {
    return index < labels_.size() ? labels_[index] : std::nullopt;
  }

 private:
  std::vector<Feeds> feeds_;
  std::vector<std::optional<std::int64_t>> labels_;
};

}  // namespace

std::unique_ptr<Samples> open_samples(const fs::path& path, const std::vector<ValueInfo>& inputs, const DataOptions& options) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) throw Error(ErrorCode::kIo, path.string(), "no such file or folder");
  if (inputs.empty()) throw Error(ErrorCode::kBadSample, path.string(), "the model has no inputs to feed");
  if (!fs::is_directory(status)) {
    const auto kind = kind_of(path);
    if (kind != Kind::npy && kind != Kind::npz)
      throw Error(ErrorCode::kBadSample, path.string(), "not a sample source: a folder, an .npz file or an .npy file");
    auto samples = kind == Kind::npy ? data::open_npy_axis(path, only_input(inputs, path), options)
                                     : data::open_npz_axis(path, inputs, options);
    if (samples->size() == 0) throw Error(ErrorCode::kBadSample, path.string(), "holds no samples");
    return samples;
  }
  Folder folder = list_folder(path);
  switch (folder.kind) {
    case Kind::npy:
      return std::make_unique<NpyFolder>(path, std::move(folder.files), only_input(inputs, path), options);
    case Kind::npz:
      return std::make_unique<NpzFolder>(path, std::move(folder.files), inputs, options);
    case Kind::picture:
      return std::make_unique<PictureFolder>(path, std::move(folder.files), inputs, options);
  }
  throw Error(ErrorCode::kInternal, path.string(), "an unknown kind of folder");
}

std::unique_ptr<Samples> memory_samples(std::vector<Feeds> feeds, const std::vector<ValueInfo>& inputs,
                                        std::vector<std::optional<std::int64_t>> labels) {
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    const std::string where = fmt::format("sample {}", i);
    for (const ValueInfo& input : inputs) {
      const auto found = feeds[i].find(input.name);
      if (found == feeds[i].end())
        throw Error(ErrorCode::kBadSample, where, fmt::format("no tensor for input '{}'", input.name));
      found->second = fit_input(std::move(found->second), input, where);
    }
    if (feeds[i].size() != inputs.size())
      throw Error(ErrorCode::kBadSample, where,
                  fmt::format("{} tensors for the model's inputs {}", feeds[i].size(), names_of(inputs)));
  }
  return std::make_unique<MemorySamples>(std::move(feeds), std::move(labels));
}

}  // namespace zeropoint
