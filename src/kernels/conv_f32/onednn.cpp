// fp32 convolution by oneDNN, channel-last, primitives and packed weights made once.
//
// OpenMP's threads keep their cores for milliseconds after each primitive, and a primitive waits for all of them: beside the
// engine's own threads, or other work on the machine, two threads are slower than one. So a convolution is divided here into
// one for each worker, which a primitive of one thread computes.
#if defined(ZEROPOINT_WITH_ONEDNN)

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/conv_f32/entries.h"

// Of the OpenMP runtime that oneDNN brings; <omp.h> itself is not there for every compiler.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);
}

namespace zeropoint::kernels {
namespace {

using dnnl::memory;

dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// A primitive runs for ever on as many threads as were set when it was created. The setting belongs to the calling thread but
// is seen by every user of OpenMP in it (torch, for one): put it back.
class OneThread {
 public:
  OneThread() : old_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(old_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int old_;
};

// [N, C, H, W] in oneDNN's order of axes, channel-last in memory, with a pixel stride.
memory::desc pixels(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, std::int64_t stride) {
  return {{n, c, h, w}, memory::data_type::f32, memory::dims{h * w * stride, 1, w * stride, stride}};
}

class Primitive {
 public:
  // `others` have the same weights: they are packed once for all that want the same layout.
  Primitive(const ConvF32Shape& s, const ConvF32Epilogue& epilogue, const float* weights, const float* bias,
            std::span<const std::unique_ptr<Primitive>> others)
      : bias_(static_cast<std::size_t>(s.oc)) {
    if (bias != nullptr) bias_.assign(bias, bias + s.oc);
    const OneThread set;

    const std::int64_t channels = s.ic / s.groups, filters = s.oc / s.groups;
    const memory::dims plain_dims = s.groups == 1 ? memory::dims{s.oc, channels, s.kernel_h, s.kernel_w}
                                                  : memory::dims{s.groups, filters, channels, s.kernel_h, s.kernel_w};
    const memory::desc plain(plain_dims, memory::data_type::f32,
                             s.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw);
    const memory::desc any(plain_dims, memory::data_type::f32, memory::format_tag::any);
    const memory::desc bias_desc({s.oc}, memory::data_type::f32, memory::format_tag::x);
    const memory::desc src = pixels(s.n, s.ic, s.h, s.w, s.src_pixel_stride);
    const memory::desc dst = pixels(s.n, s.oc, s.oh, s.ow, s.dst_pixel_stride);

    dnnl::post_ops post_ops;
    if (epilogue.residual && epilogue.in_place)
      post_ops.append_sum(1.0F);
    else if (epilogue.residual)
      post_ops.append_binary(dnnl::algorithm::binary_add, pixels(s.n, s.oc, s.oh, s.ow, s.residual_pixel_stride));
    constexpr float kInfinity = std::numeric_limits<float>::infinity(), kLargest = std::numeric_limits<float>::max();
    if (epilogue.low == 0 && epilogue.high == kInfinity)
      post_ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
    else if (epilogue.low != -kInfinity || epilogue.high != kInfinity)
      post_ops.append_eltwise(dnnl::algorithm::eltwise_clip, std::max(epilogue.low, -kLargest),
                              std::min(epilogue.high, kLargest));

    dnnl::primitive_attr attr;
    attr.set_post_ops(post_ops);
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own is not for use from several threads
    attr.set_fpmath_mode(dnnl::fpmath_mode::strict);        // an environment variable may ask for bf16 otherwise

    // The far padding follows from the output size (a floor leaves some of the stated padding unused).
    const auto far_padding = [](std::int64_t out, std::int64_t in, std::int64_t kernel, std::int64_t stride,
                                std::int64_t dilation, std::int64_t near_padding) {
      return (out - 1) * stride + (kernel - 1) * dilation + 1 - in - near_padding;
    };
    const memory::dims padding_far = {far_padding(s.oh, s.h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top),
                                      far_padding(s.ow, s.w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left)};
    const dnnl::convolution_forward::primitive_desc desc(
        cpu(), dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, any, bias_desc, dst,
        {s.stride_h, s.stride_w}, {s.dilation_h - 1, s.dilation_w - 1}, {s.pad_top, s.pad_left}, padding_far, attr);
    name_ = std::string("onednn ") + desc.impl_info_str();
    scratch_desc_ = desc.scratchpad_desc();
    src_desc_ = src;
    dst_desc_ = dst;
    if (epilogue.residual && !epilogue.in_place) residual_desc_ = pixels(s.n, s.oc, s.oh, s.ow, s.residual_pixel_stride);

    const auto same =
        std::ranges::find_if(others, [&](const auto& other) { return other->packed_.get_desc() == desc.weights_desc(); });
    if (same != others.end()) {
      packed_ = (*same)->packed_;
    } else {
      packed_ = memory(desc.weights_desc(), cpu());
      memory given(plain, cpu(), const_cast<float*>(weights));
      dnnl::stream stream(cpu());
      dnnl::reorder(given, packed_).execute(stream, given, packed_);
      stream.wait();
    }
    bias_memory_ = memory(bias_desc, cpu(), bias_.data());
    primitive_ = dnnl::convolution_forward(desc);
    idle_.push_back(std::make_unique<Arguments>(*this));  // the first run allocates nothing
  }

  const std::string& name() const { return name_; }
  std::size_t scratch_bytes() const { return scratch_desc_.get_size(); }

  void run(const float* src, const float* residual, float* dst, void* scratch) const noexcept {
    const OneThread set;
    std::unique_ptr<Arguments> arguments = borrow();
    arguments->src.set_data_handle(const_cast<float*>(src));
    arguments->dst.set_data_handle(dst);
    arguments->scratch.set_data_handle(scratch);
    if (residual_desc_) arguments->residual.set_data_handle(const_cast<float*>(residual));
    dnnl_primitive_execute(primitive_.get(), arguments->stream.get(), arguments->count, arguments->list.data());
    arguments->stream.wait();
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(arguments));
  }

 private:
  // oneDNN's handles of one run's buffers. Making them costs more than a small convolution: kept, one set a concurrent run.
  struct Arguments {
    explicit Arguments(const Primitive& conv)
        : stream(cpu()),
          src(conv.src_desc_, cpu(), nullptr),
          dst(conv.dst_desc_, cpu(), nullptr),
          scratch(conv.scratch_desc_, cpu(), nullptr) {
      list = {{{DNNL_ARG_SRC, src.get()},
               {DNNL_ARG_WEIGHTS, conv.packed_.get()},
               {DNNL_ARG_BIAS, conv.bias_memory_.get()},
               {DNNL_ARG_SCRATCHPAD, scratch.get()},
               {DNNL_ARG_DST, dst.get()},
               {}}};
      if (!conv.residual_desc_) return;
      residual = memory(conv.residual_desc_, cpu(), nullptr);
      list[static_cast<std::size_t>(count++)] = {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, residual.get()};
    }
    dnnl::stream stream;
    memory src, dst, scratch, residual;
    std::array<dnnl_exec_arg_t, 6> list;
    int count = 5;
  };

  std::unique_ptr<Arguments> borrow() const {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Arguments> arguments = std::move(idle_.back());
        idle_.pop_back();
        return arguments;
      }
    }
    return std::make_unique<Arguments>(*this);
  }

  std::string name_;
  std::vector<float> bias_;
  memory::desc src_desc_, dst_desc_, residual_desc_, scratch_desc_;
  memory packed_, bias_memory_;
  dnnl::convolution_forward primitive_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Arguments>> idle_;
};

// What one worker computes: a convolution of its own on the same memory, from these elements on.
struct Part {
  ConvF32Shape shape;
  std::int64_t src = 0, dst = 0, residual = 0;
};

// Of a matrix product, whose pixels need no neighbours.
Part part_of_pixels(const ConvF32Shape& s, Range64 range) {
  Part part{.shape = s,
            .src = range.begin * s.src_pixel_stride,
            .dst = range.begin * s.dst_pixel_stride,
            .residual = range.begin * s.residual_pixel_stride};
  part.shape.n = part.shape.h = part.shape.oh = 1;
  part.shape.w = part.shape.ow = range.end - range.begin;
  return part;
}

Part part_of_images(const ConvF32Shape& s, Range64 range) {
  Part part{.shape = s,
            .src = range.begin * s.h * s.w * s.src_pixel_stride,
            .dst = range.begin * s.oh * s.ow * s.dst_pixel_stride,
            .residual = range.begin * s.oh * s.ow * s.residual_pixel_stride};
  part.shape.n = range.end - range.begin;
  return part;
}

// Of one image.
Part part_of_rows(Part part, Range64 range) {
  const ConvF32Shape s = part.shape;
  const std::int64_t from = range.begin * s.stride_h - s.pad_top;
  const std::int64_t to = (range.end - 1) * s.stride_h - s.pad_top + (s.kernel_h - 1) * s.dilation_h + 1;
  const std::int64_t begin = std::max<std::int64_t>(0, from), end = std::min(s.h, to);
  part.src += begin * s.w * s.src_pixel_stride;
  part.dst += range.begin * s.ow * s.dst_pixel_stride;
  part.residual += range.begin * s.ow * s.residual_pixel_stride;
  part.shape.h = end - begin;  // not above 0: rows that see nothing but padding
  part.shape.oh = range.end - range.begin;
  part.shape.pad_top = begin - from;
  part.shape.pad_bottom = std::max<std::int64_t>(0, to - s.h);
  return part;
}

// Never by channels: for outputs wider than its own a primitive falls back to oneDNN's reference.
std::vector<Part> divide(const ConvF32Shape& s, int workers) {
  if (workers == 1) return {{.shape = s}};
  constexpr std::int64_t kPixels = 8;  // of a register block
  const bool product =
      s.groups == 1 && s.kernel_h * s.kernel_w == 1 && s.stride_h * s.stride_w == 1 && s.h == s.oh && s.w == s.ow;
  std::vector<Part> parts;
  for (int worker = 0; worker < workers; ++worker) {
    const auto add = [&](std::int64_t count, std::int64_t grain, auto part_of) {
      const Range64 range = partition(count, worker, workers, grain);
      if (range.begin < range.end) parts.push_back(part_of(s, range));
    };
    if (product) {
      add(s.n * s.oh * s.ow, kPixels, part_of_pixels);
    } else if (s.n >= workers) {
      add(s.n, 1, part_of_images);
    } else {  // some workers an image
      const std::int64_t image = worker * s.n / workers;
      const auto first = static_cast<int>((image * workers + s.n - 1) / s.n);
      const auto last = static_cast<int>(((image + 1) * workers + s.n - 1) / s.n);
      const Range64 rows = partition(s.oh, worker - first, last - first);
      if (rows.begin < rows.end) parts.push_back(part_of_rows(part_of_images(s, {image, image + 1}), rows));
    }
  }
  if (std::ranges::any_of(parts, [](const Part& part) { return part.shape.h < 1; })) return {{.shape = s}};
  return parts;
}

class OneDnn final : public ConvF32 {
 public:
  OneDnn(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights, const float* bias, int workers) {
    for (const Part& part : divide(shape, workers)) {
      primitives_.push_back(std::make_unique<Primitive>(part.shape, epilogue, weights, bias, std::span(primitives_)));
      parts_.push_back(part);
      scratch_.push_back(scratch_bytes_);
      scratch_bytes_ += (primitives_.back()->scratch_bytes() + 63) / 64 * 64;
    }
  }

  std::string_view name() const noexcept override { return primitives_.front()->name(); }
  std::size_t scratch_bytes() const noexcept override { return scratch_bytes_; }

  void run(const float* src, const float* residual, float* dst, void* scratch, int worker,
           int workers) const noexcept override {
    for (auto i = static_cast<std::size_t>(worker); i < parts_.size(); i += static_cast<std::size_t>(workers)) {
      const Part& part = parts_[i];
      primitives_[i]->run(src + part.src, residual == nullptr ? nullptr : residual + part.residual, dst + part.dst,
                          static_cast<std::byte*>(scratch) + scratch_[i]);
    }
  }

 private:
  std::vector<Part> parts_;
  std::vector<std::unique_ptr<Primitive>> primitives_;  // of the parts
  std::vector<std::size_t> scratch_;                    // where that of each part begins
  std::size_t scratch_bytes_ = 0;
};

}  // namespace

bool onednn_supports(const ConvF32Shape&) { return true; }

std::unique_ptr<ConvF32> create_conv_f32_onednn(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue,
                                                const float* weights, const float* bias, int workers) {
  try {
    return std::make_unique<OneDnn>(shape, epilogue, weights, bias, workers);
  } catch (const dnnl::error&) {
    return nullptr;  // a shape it has no implementation for
  }
}

}  // namespace zeropoint::kernels

#endif
