#include "kernels/conv_f32/conv_f32.h"
#include "kernels/conv_f32/entries.h"

namespace zeropoint::kernels {
namespace {

bool any(const ConvF32Shape&) { return true; }

#if defined(__x86_64__)
constexpr char kAvx512Name[] = "conv_f32_avx512vnni", kAvx2Name[] = "conv_f32_avx2";
#elif defined(__aarch64__)
constexpr char kNeonName[] = "conv_f32_neon";
#endif

template <const char* kName, const ConvF32Functions& kFunctions>
std::unique_ptr<ConvF32> blocked(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights,
                                 const float* bias, int) {
  return create_conv_f32_blocked(kName, kFunctions, shape, epilogue, weights, bias);
}

constexpr ConvF32Kernel kKernels[] = {
#if defined(ZEROPOINT_WITH_ONEDNN)
    {.name = "onednn", .needs = Isa::avx2, .library = true, .supports = onednn_supports, .create = create_conv_f32_onednn},
#endif
#if defined(__x86_64__)
    {.name = kAvx512Name,
     .needs = Isa::avx512vnni,
     .library = false,
     .supports = any,
     .create = blocked<kAvx512Name, conv_f32_avx512vnni>},
    {.name = kAvx2Name, .needs = Isa::avx2, .library = false, .supports = any, .create = blocked<kAvx2Name, conv_f32_avx2>},
#elif defined(__aarch64__)
    {.name = kNeonName, .needs = Isa::neon, .library = false, .supports = any, .create = blocked<kNeonName, conv_f32_neon>},
#endif
    {.name = "conv_f32_reference",
     .needs = Isa::scalar,
     .library = false,
     .supports = any,
     .create = create_conv_f32_reference},
};

// A library chooses its instruction set by itself, once for the process: it may run only where its choice is allowed.
bool allows_library(IsaSet isas) { return isas.contains(Isa::avx512vnni) == detected_isas().contains(Isa::avx512vnni); }

bool fits(const ConvF32Kernel& kernel, const ConvF32Shape& shape, IsaSet isas, bool library) {
  return isas.contains(kernel.needs) && (!kernel.library || (library && allows_library(isas))) && kernel.supports(shape);
}

}  // namespace

std::span<const ConvF32Kernel> conv_f32_kernels() { return kKernels; }

const ConvF32Kernel& select_conv_f32(const ConvF32Shape& shape, IsaSet isas, bool library) {
  for (const ConvF32Kernel& kernel : kKernels)
    if (fits(kernel, shape, isas, library)) return kernel;
  return *(std::end(kKernels) - 1);
}

std::unique_ptr<ConvF32> create_conv_f32(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue, const float* weights,
                                         const float* bias, int workers, IsaSet isas, bool library) {
  for (const ConvF32Kernel& kernel : kKernels)
    if (fits(kernel, shape, isas, library))
      if (auto conv = kernel.create(shape, epilogue, weights, bias, workers)) return conv;
  return create_conv_f32_reference(shape, epilogue, weights, bias, workers);
}

}  // namespace zeropoint::kernels
