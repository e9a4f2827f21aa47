// Quantized attention: two products of activations in integers with the softmax between them, one step. See
// attention_q8_args.h for the formula. The same bytes as the operators one after another, on every instruction set, for any
// number of workers, who share batches and heads.
#pragma once

#include <span>
#include <string_view>

#include "kernels/attention_q8/attention_q8_args.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct AttentionKernel {
  std::string_view name;
  Isa needs;
  bool (*supports)(const AttentionShape& shape);
  std::size_t (*workspace_bytes)(const AttentionShape& shape, int workers);  // for all workers together
  void (*run)(const AttentionShape& shape, const AttentionArgs& args, int worker, int workers) noexcept;
};

std::span<const AttentionKernel> attention_q8_kernels();  // best first; the last is the reference, which takes every shape

// The first kernel that `isas` can run and that takes the shape; null where only the reference would: one step an operator is
// faster then.
const AttentionKernel* select_attention_q8(const AttentionShape& shape, IsaSet isas);

}  // namespace zeropoint::kernels
