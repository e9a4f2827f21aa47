// The definition of the fp32 convolution.
#include <cmath>
#include <vector>

#include "kernels/conv_f32/entries.h"

namespace zeropoint::kernels {
namespace {

class Reference final : public ConvF32 {
 public:
  Reference(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights, const float* bias)
      : shape_(shape),
        epilogue_(epilogue),
        weights_(weights, weights + shape.oc * (shape.ic / shape.groups) * shape.kernel_h * shape.kernel_w),
        bias_(static_cast<std::size_t>(shape.oc), kNoBias) {
    if (bias != nullptr) bias_.assign(bias, bias + shape.oc);
  }

  std::string_view name() const noexcept override { return "conv_f32_reference"; }
  std::size_t scratch_bytes() const noexcept override { return 0; }

  void run(const float* src, const float* residual, float* dst, void*, int worker, int workers) const noexcept override {
    const ConvF32Shape& s = shape_;
    const std::int64_t pixels = s.n * s.oh * s.ow;
    for (std::int64_t p = pixels * worker / workers; p < pixels * (worker + 1) / workers; ++p)
      for (std::int64_t o = 0; o < s.oc; ++o) {
        float v = sum(src, p / (s.oh * s.ow), p / s.ow % s.oh, p % s.ow, o);
        if (epilogue_.residual)
          v = v + (epilogue_.in_place ? dst[p * s.dst_pixel_stride + o] : residual[p * s.residual_pixel_stride + o]);
        dst[p * s.dst_pixel_stride + o] = v < epilogue_.low ? epilogue_.low : (v > epilogue_.high ? epilogue_.high : v);
      }
  }

 private:
  float sum(const float* src, std::int64_t image, std::int64_t out_y, std::int64_t out_x, std::int64_t o) const {
    const ConvF32Shape& s = shape_;
    const std::int64_t channels = s.ic / s.groups, first = o / (s.oc / s.groups) * channels;
    float v = 0;
    for (std::int64_t ky = 0; ky < s.kernel_h; ++ky)
      for (std::int64_t kx = 0; kx < s.kernel_w; ++kx) {
        const std::int64_t y = out_y * s.stride_h - s.pad_top + ky * s.dilation_h;
        const std::int64_t x = out_x * s.stride_w - s.pad_left + kx * s.dilation_w;
        const bool inside = y >= 0 && y < s.h && x >= 0 && x < s.w;
        const float* pixel = inside ? src + ((image * s.h + y) * s.w + x) * s.src_pixel_stride + first : nullptr;
        for (std::int64_t i = 0; i < channels; ++i)
          v = std::fma(inside ? pixel[i] : 0.0F,
                       weights_[static_cast<std::size_t>(((o * channels + i) * s.kernel_h + ky) * s.kernel_w + kx)], v);
      }
    return v + bias_[static_cast<std::size_t>(o)];
  }

  ConvF32Shape shape_;
  ConvF32Epilogue epilogue_;
  std::vector<float> weights_, bias_;
};

}  // namespace

std::unique_ptr<ConvF32> create_conv_f32_reference(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue,
                                                   const float* weights, const float* bias, int) {
  return std::make_unique<Reference>(shape, epilogue, weights, bias);
}

}  // namespace zeropoint::kernels
