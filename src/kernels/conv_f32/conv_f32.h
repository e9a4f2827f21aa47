// fp32 convolution, channel-last: dense, grouped and depthwise; matmul as 1x1. See conv_f32_shape.h for formula and shapes.
//
// Our own entries add products with fma in one order (over kernel rows, kernel columns, then input channels), then the bias,
// the residual, the clamp: the same bytes on every ISA, for any number of workers, and whether a bias is fused or an Add of
// its own. oneDNN's entry is outside that promise (it differs between instruction sets).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "kernels/conv_f32/conv_f32_shape.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

// A convolution made ready: weights packed, code generated. Immutable: any number of threads may run it at once, each with its
// own scratch and dst.
class ConvF32 {
 public:
  virtual ~ConvF32() = default;

  virtual std::string_view name() const noexcept = 0;      // "conv_f32_avx512vnni", "onednn brgconv:avx512_core"
  virtual std::size_t scratch_bytes() const noexcept = 0;  // of one run, all workers together; 64-byte aligned
  // Once for each worker of `workers` (any number; best as many as `create` was told), sharing one scratch.
  // residual: null unless the epilogue has one that is not in place.
  virtual void run(const float* src, const float* residual, float* dst, void* scratch, int worker,
                   int workers) const noexcept = 0;

 protected:
  ConvF32() = default;
  ConvF32(const ConvF32&) = default;
  ConvF32& operator=(const ConvF32&) = default;
};

struct ConvF32Kernel {
  const char* name;  // "onednn", "conv_f32_avx512vnni", ..., "conv_f32_reference"
  Isa needs;
  bool library;  // not bit-reproducible across machines
  bool (*supports)(const ConvF32Shape& shape);
  // Weights and bias (may be null: zeros) are copied. May return null if the library refuses after all. Throws std::bad_alloc.
  std::unique_ptr<ConvF32> (*create)(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights,
                                     const float* bias, int workers);
};
std::span<const ConvF32Kernel> conv_f32_kernels();  // best first, reference last
// `library` false: only entries with the same bytes everywhere. A library is also passed over where `isas` is capped below what
// the machine has, since it would not keep to that.
const ConvF32Kernel& select_conv_f32(const ConvF32Shape& shape, IsaSet isas, bool library = true);

// Selects and creates, trying the next entry if one refuses. Never null.
std::unique_ptr<ConvF32> create_conv_f32(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights,
                                         const float* bias, int workers, IsaSet isas, bool library = true);

}  // namespace zeropoint::kernels
