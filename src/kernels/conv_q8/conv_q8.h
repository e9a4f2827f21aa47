// Quantized convolution and matrix product: u8 activations x s8 weights -> u8, f32 or s32, channel-last.
//
//   acc[p, o] = sum over taps and channels of x * (w - wz[o]),  then the epilogue of ConvArgs with comp from fold_bias.
//
// Exact: every kernel gives the same bytes for the same arguments, whatever the instruction set, the number of workers and the
// batch. Dense, grouped and depthwise convolutions and 1x1/MatMul/Gemm are all one table; a row says which shapes it takes.
// Threading: run() computes the static part of `worker` of `workers`; parts are disjoint, no part waits for another.
// Overflow is excluded by fold_bias, so run() cannot fail.
#pragma once

#include <span>
#include <string_view>

#include "kernels/conv_q8/conv_args.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct ConvKernel {
  std::string_view name;  // "conv_u8s8s32_14x32x4_avx512vnni"
  Isa needs;
  std::string_view limits;  // which shapes it takes, in words, for explain()
  bool (*supports)(const ConvShape& shape);
  std::size_t (*packed_bytes)(const ConvShape& shape);
  // weights: [o, c/groups, kh, kw]; weight_zero_points: [o] in [-255, 255], or null when all are 0.
  void (*pack)(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points, void* packed);
  // Of a matrix that is made at run time, u8 [c][o] of w + 128, all columns with one zero point; for matrix products of one
  // group. Runs give what they give after `pack` of the same weights. Null: not for products. sums: [o rounded up to 32], of w
  // over c.
  void (*pack_matrix)(const ConvShape& shape, const std::uint8_t* matrix, std::int32_t weight_zero_point, std::int32_t* sums,
                      void* packed);
  std::size_t (*workspace_bytes)(const ConvShape& shape, int workers);  // for all workers together; may be 0
  void (*run)(const ConvShape& shape, const ConvArgs& args, int worker, int workers) noexcept;
  bool adds = false;  // takes ConvArgs::sum, where weights have no zero points
};

// Every kernel of this build, depthwise ones included, best first; the last is the reference, which takes every shape.
std::span<const ConvKernel> conv_q8_kernels();

// The first kernel that `isas` can run and that takes the shape; never null.
const ConvKernel* select_conv_q8(const ConvShape& shape, IsaSet isas);

// comp[o] = bias[o] - x_zero_point * sum(w[o]) + K * x_zero_point * wz[o], so that acc + comp is the exact
// bias[o] + sum((x - x_zero_point) * (w - wz[o])). bias and weight_zero_points may be null (zeros).
// False when comp[o], or acc + comp[o] for some input in 0 ... 255, does not fit into s32.
[[nodiscard]] bool fold_bias(const ConvShape& shape, const std::int8_t* weights, const std::int32_t* weight_zero_points,
                             std::int32_t x_zero_point, const std::int32_t* bias, std::int32_t* comp);

// [k, n] (MatMul, Gemm without transB) -> [n, k], the weight order of a 1x1 convolution.
void transpose_weights(std::int64_t k, std::int64_t n, const std::int8_t* weights, std::int8_t* transposed);

}  // namespace zeropoint::kernels
