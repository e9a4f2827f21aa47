// What a quantized matrix product with float results is given: plain data, safe to include in files of any instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

// dst [m, n] = src [m, k] x weights [n, k], row-major; strides in elements from one row to the next.
struct MatmulQ8Shape {
  std::int64_t m = 0, k = 0, n = 0;
  std::int64_t src_stride = 0, dst_stride = 0, residual_stride = 0;
  std::int64_t network_bytes = 0;  // the weights of all products that are met in turn with this one, or 0; it changes no result
};

// u8: the rows are quantized already. f32: each row is quantized by itself on the way, as dynamic quantization of rows does it:
//   row_scale = max(max |x| / 127, FLT_MIN), NaN left out;  q = saturate(round_half_even(x / row_scale) + 128)
enum class MatmulQ8Source : std::uint8_t { u8, f32 };

enum class MatmulQ8Function : std::uint8_t { none, gelu };

// acc = sum over k of q[row, k] * w[n, k], exact in s32. Then, each operation rounded once in fp32:
//   v = (float(acc + comp[n]) * row_scale[row]) * scale[n] + bias[n]
//   t = v > low ? (v < high ? v : high) : low
//   dst = function(t) + residual[row, n]                 gelu(t) = (0.5 * t) * (1 + erf(t / sqrt(2)))
// What is null leaves its operation out.
struct MatmulQ8Args {
  const void* src = nullptr;  // u8: 64 bytes before the first and behind the last element must be readable
  MatmulQ8Source source = MatmulQ8Source::u8;
  const float* row_scale = nullptr;  // [m] of u8 rows, or null
  const void* packed = nullptr;      // from MatmulQ8Kernel::pack, 64-byte aligned
  const std::int32_t* comp = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;  // or null
  float low = 0, high = 0;
  MatmulQ8Function function = MatmulQ8Function::none;
  const float* residual = nullptr;  // or null; may be dst, of equal strides
  float* dst = nullptr;
  void* workspace = nullptr;  // workspace_bytes, 64-byte aligned, one for all workers; contents don't matter
};

}  // namespace zeropoint::kernels
