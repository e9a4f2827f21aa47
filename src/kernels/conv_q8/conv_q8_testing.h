// Random problems for tests and benches of the quantized convolutions: owns the buffers, runs a kernel, compares with the
// reference. Inputs end (or start) 64 bytes before an unreadable page, so a read beyond the promised slack crashes.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/conv_q8/conv_q8.h"

namespace zeropoint::kernels {

inline std::string describe(const ConvShape& shape);  // "n1 7x7x32 -> 7x7x64 k3x3 s1x1 d1x1 p1,1 g1 strides 32,64"

// A shape as convolutions are usually given; strides are tight.
struct ConvSize {
  std::int64_t n = 1, h = 1, w = 1, c = 1, o = 1;
  std::int64_t kh = 1, kw = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0, groups = 1;
};
inline ConvShape make_shape(const ConvSize& size);
inline ConvShape matrix_product(std::int64_t m, std::int64_t k, std::int64_t n);

struct ConvOptions {
  ConvOutput output = ConvOutput::u8;
  enum class Values { bell, uniform, extremes, least_weights, largest_sums } values = Values::uniform;
  bool weight_zero_points = false;
  bool one_weight_zero_point = false;  // of all channels, as a matrix made at run time has
  bool zero_point_0 = false;           // of dst, as behind a fused ReLU
  bool narrow_limits = false;          // as a fused Clip leaves them
  bool large_scales = false;           // products beyond the range of s32
  bool negative_scales = false;        // some of them: nobody should, but files may
  bool bias = false;                   // of f32 output, and
  bool row_scale = false;              // a factor for each pixel
  bool guard_start = false;            // the unreadable page stands before the input instead of behind it
};

class GuardedBuffer {
 public:
  GuardedBuffer(std::size_t bytes, std::size_t slack, bool guard_start);
  ~GuardedBuffer();
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  std::uint8_t* data() { return data_; }

 private:
  std::uint8_t* map_ = nullptr;
  std::uint8_t* data_ = nullptr;
  std::size_t map_bytes_ = 0;
};

class ConvProblem {
 public:
  ConvProblem(const ConvShape& shape, const ConvOptions& options, std::uint64_t seed);

  // Packs weights, makes the workspace. `as_matrix`: by pack_matrix; throws where its sums are wrong.
  void prepare(const ConvKernel& kernel, int workers, bool as_matrix = false);
  void run(int worker, int workers);         // after prepare
  std::vector<std::uint8_t> output() const;  // all bytes of dst, gaps between pixels and 64 behind it included
  // Clears dst, prepares, runs each worker in turn.
  std::vector<std::uint8_t> result(const ConvKernel& kernel, int workers, bool as_matrix = false);

  const ConvShape& shape() const { return shape_; }
  double operations() const;  // 2 per multiplication

 private:
  void pack_matrix();

  ConvShape shape_;
  ConvArgs args_;
  const ConvKernel* kernel_ = nullptr;
  GuardedBuffer src_;
  std::vector<std::int8_t> weights_;
  std::vector<std::int32_t> weight_zero_points_, comp_;
  std::vector<float> scale_, bias_, row_scale_;
  std::vector<std::uint8_t> dst_;
  AlignedBuffer packed_, workspace_;
};

inline constexpr std::size_t kSlackBytes = 64;  // what the contract lets kernels read around src
inline constexpr std::uint8_t kUntouched = 0xA5;

inline std::size_t src_bytes(const ConvShape& s) {
  return static_cast<std::size_t>((s.n * s.h * s.w - 1) * s.src_stride + s.c);
}

inline int uniform(std::mt19937_64& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
}

inline std::uint8_t random_input(std::mt19937_64& random, ConvOptions::Values values) {
  switch (values) {
    case ConvOptions::Values::bell:
      return static_cast<std::uint8_t>(
          std::clamp(uniform(random, 0, 127) + uniform(random, 0, 127) + uniform(random, 0, 127) - 150, 0, 255));
    case ConvOptions::Values::uniform:
      return static_cast<std::uint8_t>(uniform(random, 0, 255));
    case ConvOptions::Values::extremes:
      return uniform(random, 0, 1) ? 255 : 0;
    case ConvOptions::Values::least_weights:
      return 255;
    case ConvOptions::Values::largest_sums:
      return static_cast<std::uint8_t>(uniform(random, 250, 255));
  }
  return 0;
}

inline std::int8_t random_weight(std::mt19937_64& random, ConvOptions::Values values) {
  switch (values) {
    case ConvOptions::Values::bell:
      return static_cast<std::int8_t>(uniform(random, 0, 84) + uniform(random, 0, 84) + uniform(random, 0, 84) - 127);
    case ConvOptions::Values::uniform:
      return static_cast<std::int8_t>(uniform(random, -128, 127));
    case ConvOptions::Values::extremes:
      return uniform(random, 0, 1) ? 127 : -128;
    case ConvOptions::Values::least_weights:
      return -128;
    case ConvOptions::Values::largest_sums:
      return static_cast<std::int8_t>(uniform(random, 122, 127));
  }
  return 0;
}

inline std::string describe(const ConvShape& s) {
  return fmt::format("n{} {}x{}x{} -> {}x{}x{} k{}x{} s{}x{} d{}x{} p{},{} g{} strides {},{}", s.n, s.h, s.w, s.c, s.oh, s.ow,
                     s.o, s.kh, s.kw, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left, s.groups,
                     s.src_stride, s.dst_stride);
}

inline ConvShape make_shape(const ConvSize& z) {
  const auto outputs = [](std::int64_t in, std::int64_t pads, std::int64_t k, std::int64_t stride, std::int64_t dilation) {
    return (in + pads - (k - 1) * dilation - 1) / stride + 1;
  };
  return {.n = z.n,
          .h = z.h,
          .w = z.w,
          .c = z.c,
          .oh = outputs(z.h, z.pad_top + z.pad_bottom, z.kh, z.stride_h, z.dilation_h),
          .ow = outputs(z.w, z.pad_left + z.pad_right, z.kw, z.stride_w, z.dilation_w),
          .o = z.o,
          .kh = z.kh,
          .kw = z.kw,
          .stride_h = z.stride_h,
          .stride_w = z.stride_w,
          .dilation_h = z.dilation_h,
          .dilation_w = z.dilation_w,
          .pad_top = z.pad_top,
          .pad_left = z.pad_left,
          .groups = z.groups,
          .src_stride = z.c,
          .dst_stride = z.o};
}

inline ConvShape matrix_product(std::int64_t m, std::int64_t k, std::int64_t n) { return make_shape({.w = m, .c = k, .o = n}); }

inline GuardedBuffer::GuardedBuffer(std::size_t bytes, std::size_t slack, bool guard_start) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inner = (bytes + 2 * slack + page - 1) / page * page;
  map_bytes_ = inner + 2 * page;
  void* map = mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  map_ = static_cast<std::uint8_t*>(map);
  mprotect(map_, page, PROT_NONE);
  mprotect(map_ + page + inner, page, PROT_NONE);
  data_ = guard_start ? map_ + page + slack : map_ + page + inner - slack - bytes;
}

inline GuardedBuffer::~GuardedBuffer() { munmap(map_, map_bytes_); }

inline ConvProblem::ConvProblem(const ConvShape& shape, const ConvOptions& options, std::uint64_t seed)
    : shape_(shape), src_(src_bytes(shape), kSlackBytes, options.guard_start) {
  std::mt19937_64 random(seed);
  const std::int64_t depth = shape.c / shape.groups * shape.kh * shape.kw;
  for (std::size_t i = 0; i < src_bytes(shape); ++i) src_.data()[i] = random_input(random, options.values);
  std::fill_n(src_.data() + src_bytes(shape), kSlackBytes, std::uint8_t{0xFF});
  std::fill_n(src_.data() - kSlackBytes, kSlackBytes, std::uint8_t{0xFF});
  weights_.resize(static_cast<std::size_t>(shape.o * depth));
  for (auto& w : weights_) w = random_weight(random, options.values);
  const bool extreme = options.values == ConvOptions::Values::extremes || options.values == ConvOptions::Values::least_weights;
  args_.src_zero_point = extreme ? uniform(random, 0, 1) * 255 : uniform(random, 0, 255);
  // 0 is what a fused ReLU leaves, and some kernels have a shorter epilogue for it.
  args_.dst_zero_point = extreme ? uniform(random, 0, 1) * 255 : uniform(random, 0, 1) * uniform(random, 0, 255);
  std::vector<std::int32_t> bias;
  // Scales bring the typical sum into the range of u8, so that rounding matters and some outputs are clamped.
  const double spread = (extreme ? 8000 : 2500) * std::sqrt(static_cast<double>(depth)) + 1;
  const bool largest = options.values == ConvOptions::Values::largest_sums;
  if (largest) args_.src_zero_point = 0;
  for (std::int64_t o = 0; o < shape.o; ++o) {
    if (options.weight_zero_points) weight_zero_points_.push_back(uniform(random, -255, 255));
    if (options.one_weight_zero_point)
      weight_zero_points_.push_back(o == 0 ? uniform(random, -128, 127) : weight_zero_points_.front());
    bias.push_back(uniform(random, -5000, 5000));
    if (largest) {  // results all over u8, so that an error of a sum shows
      scale_.push_back(static_cast<float>(uniform(random, 1, 250) / (31000.0 * static_cast<double>(depth))));
      continue;
    }
    const double factor = (options.large_scales ? 1e6 : 1.0) * uniform(random, 20, 200);
    const double sign = options.negative_scales && uniform(random, 0, 1) ? -1 : 1;
    // Powers of two make ties.
    scale_.push_back(
        static_cast<float>(sign * (o % 3 == 0 ? std::exp2(std::round(std::log2(factor / spread))) : factor / spread)));
  }
  comp_.resize(static_cast<std::size_t>(shape.o));
  const std::int32_t* zero_points = weight_zero_points_.empty() ? nullptr : weight_zero_points_.data();
  if (!fold_bias(shape, weights_.data(), zero_points, args_.src_zero_point, bias.data(), comp_.data()))
    throw std::overflow_error("the sums of this problem do not fit: " + describe(shape));

  if (options.zero_point_0) args_.dst_zero_point = 0;
  args_.output = options.output;
  if (options.output == ConvOutput::u8) {
    const int low = options.narrow_limits ? uniform(random, 0, 255) : 0;
    const int high = options.narrow_limits ? uniform(random, low, 255) : 255;
    args_.low = static_cast<float>(low - args_.dst_zero_point);
    args_.high = static_cast<float>(high - args_.dst_zero_point);
  } else {
    args_.low = options.narrow_limits ? 0.0F : -std::numeric_limits<float>::infinity();
    args_.high = options.narrow_limits ? 6.25F : std::numeric_limits<float>::infinity();
  }
  const std::size_t element = options.output == ConvOutput::u8 ? 1 : 4;
  const auto pixels = static_cast<std::size_t>(shape.n * shape.oh * shape.ow);
  dst_.assign(pixels * static_cast<std::size_t>(shape.dst_stride) * element + 64, kUntouched);
  args_.src = src_.data();
  args_.dst = dst_.data();
  args_.comp = comp_.data();
  args_.scale = options.output == ConvOutput::s32 ? nullptr : scale_.data();
  for (std::int64_t o = 0; options.bias && o < shape.o; ++o)
    bias_.push_back(static_cast<float>(uniform(random, -1000, 1000)) / 64);
  for (std::size_t p = 0; options.row_scale && p < pixels; ++p)
    row_scale_.push_back(static_cast<float>(uniform(random, 1, 1000)) / 300);
  args_.bias = options.bias ? bias_.data() : nullptr;
  args_.row_scale = options.row_scale ? row_scale_.data() : nullptr;
}

inline void ConvProblem::pack_matrix() {
  const auto depth = static_cast<std::size_t>(shape_.c), outputs = static_cast<std::size_t>(shape_.o);
  std::vector<std::uint8_t> matrix(depth * outputs);
  std::vector<std::int32_t> sums((outputs + 31) / 32 * 32), expected(outputs);
  for (std::size_t o = 0; o < outputs; ++o)
    for (std::size_t k = 0; k < depth; ++k) {
      const std::int8_t w = weights_[o * depth + k];
      matrix[k * outputs + o] = static_cast<std::uint8_t>(w + 128);
      expected[o] += w;
    }
  kernel_->pack_matrix(shape_, matrix.data(), weight_zero_points_.empty() ? 0 : weight_zero_points_.front(), sums.data(),
                       packed_.get());
  sums.resize(outputs);
  if (sums != expected) throw std::logic_error("wrong sums of columns: " + describe(shape_));
}

inline void ConvProblem::prepare(const ConvKernel& kernel, int workers, bool as_matrix) {
  kernel_ = &kernel;
  packed_ = allocate_aligned(kernel.packed_bytes(shape_));
  if (as_matrix)
    pack_matrix();
  else
    kernel.pack(shape_, weights_.data(), weight_zero_points_.empty() ? nullptr : weight_zero_points_.data(), packed_.get());
  const std::size_t bytes = kernel.workspace_bytes(shape_, workers);
  workspace_ = allocate_aligned(bytes + 1);
  std::fill_n(reinterpret_cast<std::uint8_t*>(workspace_.get()), bytes, std::uint8_t{0x5A});
  args_.packed = packed_.get();
  args_.workspace = workspace_.get();
}

inline void ConvProblem::run(int worker, int workers) { kernel_->run(shape_, args_, worker, workers); }

inline std::vector<std::uint8_t> ConvProblem::output() const { return dst_; }

inline std::vector<std::uint8_t> ConvProblem::result(const ConvKernel& kernel, int workers, bool as_matrix) {
  std::fill(dst_.begin(), dst_.end(), kUntouched);
  prepare(kernel, workers, as_matrix);
  for (int worker = 0; worker < workers; ++worker) run(worker, workers);
  return dst_;
}

inline double ConvProblem::operations() const {
  return 2.0 * static_cast<double>(shape_.n * shape_.oh * shape_.ow * shape_.o) *
         static_cast<double>(shape_.c / shape_.groups * shape_.kh * shape_.kw);
}

}  // namespace zeropoint::kernels
