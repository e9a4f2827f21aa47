// Antialiased resizing, byte for byte as Pillow's Image.resize on 8-bit pixels (its Resample.c is the specification).
//
// Each axis is a convolution: output i lies at c = (i + 0.5) * r in the input, r = input size / output size, and weighs the
// input pixels j with filter((j + 0.5 - c) / max(r, 1)) within the filter's support, normalized to 1. The weights are rounded
// to multiples of 2^-22; the sums are exact integers; each axis' result is rounded to 8 bits, the horizontal one first.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "zeropoint/data.h"

namespace zeropoint {
namespace {

constexpr int kWeightBits = 22;
constexpr std::int64_t kMostPixels = std::int64_t{1} << 27;

struct Kernel {
  double support;
  double (*weight)(double distance);
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -1/2.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

Kernel kernel_of(Preprocess::Filter filter) {
  return filter == Preprocess::Filter::bicubic ? Kernel{2, cubic} : Kernel{1, triangle};
}

// Which input pixels make each output pixel, and with what weights.
struct Taps {
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;  // `width` for each output
  std::size_t width;
};

Taps make_taps(int in, int out, const Kernel& kernel) {
  const double ratio = static_cast<double>(in) / out, stretch = std::max(ratio, 1.0);
  const double support = kernel.support * stretch, inverse = 1.0 / stretch;
  Taps taps;
  taps.width = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  taps.weights.assign(taps.width * static_cast<std::size_t>(out), 0);
  std::vector<double> exact(taps.width);
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * ratio;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(in, static_cast<int>(center + support + 0.5));
    double sum = 0;
    for (int j = first; j < last; ++j)
      sum += exact[static_cast<std::size_t>(j - first)] = kernel.weight((j - center + 0.5) * inverse);
    for (int j = first; j < last; ++j) {
      const auto k = static_cast<std::size_t>(j - first);
      const double scaled = (sum != 0 ? exact[k] / sum : exact[k]) * (1 << kWeightBits);
      taps.weights[static_cast<std::size_t>(i) * taps.width + k] =
          static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    taps.first.push_back(first);
    taps.count.push_back(last - first);
  }
  return taps;
}

std::uint8_t to_level(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

Picture resize_width(const Picture& from, int width, const Kernel& kernel) {
  const Taps taps = make_taps(from.width, width, kernel);
  Picture to{from.height, width,
             std::vector<std::uint8_t>(static_cast<std::size_t>(from.height) * static_cast<std::size_t>(width) * 3)};
  const auto in_row = static_cast<std::size_t>(from.width) * 3;
  std::uint8_t* out = to.rgb.data();
  for (int y = 0; y < from.height; ++y) {
    const std::uint8_t* row = from.rgb.data() + static_cast<std::size_t>(y) * in_row;
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x, out += 3) {
      const std::uint8_t* pixel = row + static_cast<std::size_t>(taps.first[x]) * 3;
      const std::int32_t* weight = taps.weights.data() + x * taps.width;
      std::int32_t r = kHalf, g = kHalf, b = kHalf;
      for (int k = 0; k < taps.count[x]; ++k, pixel += 3) {
        r += weight[k] * pixel[0];
        g += weight[k] * pixel[1];
        b += weight[k] * pixel[2];
      }
      out[0] = to_level(r);
      out[1] = to_level(g);
      out[2] = to_level(b);
    }
  }
  return to;
}

Picture resize_height(const Picture& from, int height, const Kernel& kernel) {
  const Taps taps = make_taps(from.height, height, kernel);
  const auto row_bytes = static_cast<std::size_t>(from.width) * 3;
  Picture to{height, from.width, std::vector<std::uint8_t>(static_cast<std::size_t>(height) * row_bytes)};
  std::vector<std::int32_t> sums(row_bytes);
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int k = 0; k < taps.count[y]; ++k) {
      const std::int32_t weight = taps.weights[y * taps.width + static_cast<std::size_t>(k)];
      const std::uint8_t* row = from.rgb.data() + static_cast<std::size_t>(taps.first[y] + k) * row_bytes;
      for (std::size_t x = 0; x < row_bytes; ++x) sums[x] += weight * row[x];
    }
    std::transform(sums.begin(), sums.end(), to.rgb.begin() + static_cast<std::ptrdiff_t>(y * row_bytes), to_level);
  }
  return to;
}

}  // namespace

Picture resize(const Picture& picture, int height, int width, Preprocess::Filter filter) {
  if (height < 1 || width < 1 || std::int64_t{height} * width > kMostPixels ||
      std::int64_t{picture.height} * width > kMostPixels)
    throw Error(
        ErrorCode::kLimit, "picture",
        fmt::format("cannot resize {} x {} pixels (height x width) to {} x {}", picture.height, picture.width, height, width));
  const Kernel kernel = kernel_of(filter);
  if (width == picture.width) return height == picture.height ? picture : resize_height(picture, height, kernel);
  Picture narrow = resize_width(picture, width, kernel);
  return height == picture.height ? narrow : resize_height(narrow, height, kernel);
}

}  // namespace zeropoint
