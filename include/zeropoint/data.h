// Where samples come from: folders of .npy, .npz or pictures, one .npy or .npz with a sample axis, or memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint {

struct DataOptions {
  std::filesystem::path preprocess;                         // of pictures; empty: preprocess.json in the folder
  std::filesystem::path labels;                             // empty: labels.csv in the folder, when there is one
  std::uint64_t max_sample_bytes = std::uint64_t{1} << 31;  // of one array of a sample, decompressed
  std::uint64_t max_pixels = std::uint64_t{1} << 27;        // of one picture
};

// What `path` is decides:
//   folder of .npy     one sample a file, for models with one input
//   folder of .npz     one sample a file, arrays named as the inputs
//   folder of pictures .png, .jpg and .jpeg, made into tensors as preprocess.json says (docs/data.md)
//   file .npz          arrays named as the inputs whose first axis counts samples, read when asked for; `labels` if present
//   file .npy          the same for models with one input
// Folders are read with their subfolders, in the order of the paths' bytes. Elements are cast to the input's type when that is
// exact, and from f64 to f32; a missing leading axis of 1 is added. Throws Error kIo, kBadFile or kBadSample naming the file;
// what depends on a sample's contents is found by get().
std::unique_ptr<Samples> open_samples(const std::filesystem::path& path, const std::vector<ValueInfo>& inputs,
                                      const DataOptions& options = {});

// Samples in memory, checked and cast as above.
std::unique_ptr<Samples> memory_samples(std::vector<Feeds> feeds, const std::vector<ValueInfo>& inputs,
                                        std::vector<std::optional<std::int64_t>> labels = {});

// Some samples of a set, in the order of `indices`. Refers to `samples`, which must live longer.
class Subset final : public Samples {
 public:
  Subset(const Samples& samples, std::vector<std::size_t> indices);  // throws Error kBadArgument on an index out of range
  std::size_t size() const override { return indices_.size(); }
  Feeds get(std::size_t index) const override { return samples_->get(indices_.at(index)); }
  std::string describe(std::size_t index) const override { return samples_->describe(indices_.at(index)); }
  std::optional<std::int64_t> label(std::size_t index) const override { return samples_->label(indices_.at(index)); }

 private:
  const Samples* samples_;
  std::vector<std::size_t> indices_;
};

// `count` of `size` indices, ascending: the first `count` places of a Fisher-Yates shuffle of 0 ... size-1 in which place i
// swaps with i + next() % (size - i), next() being SplitMix64 seeded with `seed`. The same on every platform. All of them when
// count >= size.
std::vector<std::size_t> draw(std::size_t size, std::size_t count, std::uint64_t seed);
// The indices below `size` that are not in `indices` (ascending), ascending.
std::vector<std::size_t> complement(std::size_t size, const std::vector<std::size_t>& indices);

// .npy files (format versions 1 to 3; little-endian; C or Fortran order): b8, f16, f32, f64, s8 ... s64, u8 ... u64.
// Throw Error kBadFile naming `where`; read_npy also kIo.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& where = "npy");
Tensor read_npy(const std::filesystem::path& path);
std::string serialize_npy(const Tensor& tensor);  // bf16 and types below 8 bits: Error kUnsupported
void write_npy(const Tensor& tensor, const std::filesystem::path& path);

// The tensor as the input wants it (see open_samples). Throws Error kBadSample, `where` naming the sample.
Tensor fit_input(Tensor tensor, const ValueInfo& input, const std::string& where);
// Throws Error kNonFinite naming `where`, the input and the place of the first NaN or infinity.
void check_finite(const Feeds& feeds, const std::string& where);

// How a picture becomes a tensor: resize, crop, then (pixel * scale - mean) / std in fp32, operation by operation.
struct Preprocess {
  enum class Filter : std::uint8_t { bilinear, bicubic };
  enum class Colors : std::uint8_t { rgb, bgr, gray };
  std::string input;          // empty: the model's only input
  int short_side = 0;         // resize to this shorter side, keeping the aspect; 0: no
  int height = 0, width = 0;  // or resize to exactly this; 0: no
  Filter filter = Filter::bilinear;
  int crop_height = 0, crop_width = 0;  // central; 0: no
  Colors colors = Colors::rgb;
  bool channel_last = false;  // NHWC
  float scale = 1;
  std::array<float, 3> mean{}, std{1, 1, 1};  // in the order of `colors`
};
Preprocess parse_preprocess(std::string_view json, const std::string& where = "preprocess");  // Error kBadFile: JSON pointer

// 8-bit pixels, rows from the top, red green blue.
struct Picture {
  int height = 0, width = 0;
  std::vector<std::uint8_t> rgb;
};
// PNG or JPEG: palettes, grey and 16 bits become 8-bit RGB, transparency is composed on white, EXIF rotation is ignored.
// Throws Error kBadFile, kLimit naming `where`.
Picture decode_picture(std::span<const std::byte> bytes, const std::string& where = "picture",
                       std::uint64_t max_pixels = std::uint64_t{1} << 27);
// Antialiased, the same bytes as Pillow's Image.resize.
Picture resize(const Picture& picture, int height, int width, Preprocess::Filter filter);
Tensor preprocess(const Picture& picture, const Preprocess& how,
                  const std::string& where = "picture");  // [1,C,H,W] or [1,H,W,C]

}  // namespace zeropoint
