// Quantized matrix products whose results are floats: what transformers are made of. One step does what a graph says with many
// operators (quantize rows, multiply, rescale, bias, ReLU or GELU, residual add); see matmul_q8_args.h for the formula.
//
// Exact: the same bytes as these operators one after another, on every instruction set, for any number of workers.
// Threading: run() computes the static part of `worker` of `workers`; parts are disjoint, no part waits for another.
#pragma once

#include <span>
#include <string_view>

#include "kernels/matmul_q8/matmul_q8_args.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct MatmulQ8Kernel {
  std::string_view name;
  Isa needs;
  bool (*supports)(const MatmulQ8Shape& shape);
  std::size_t (*packed_bytes)(const MatmulQ8Shape& shape);
  void (*pack)(const MatmulQ8Shape& shape, const std::int8_t* weights, void* packed);  // weights: [n, k]
  std::size_t (*workspace_bytes)(const MatmulQ8Shape& shape, int workers);             // for all workers together
  void (*run)(const MatmulQ8Shape& shape, const MatmulQ8Args& args, int worker, int workers) noexcept;
};

std::span<const MatmulQ8Kernel> matmul_q8_kernels();  // best first; the last is the reference, which takes every shape

// The first kernel that `isas` can run and that takes the shape; null where only the reference would: one step an operator is
// faster then.
const MatmulQ8Kernel* select_matmul_q8(const MatmulQ8Shape& shape, IsaSet isas);

}  // namespace zeropoint::kernels
