// The rewrites behind fuse(), one a file, each with its page docs/passes/NAME.md. A pass returns whether it changed the graph.
// It needs the types that ops::infer_shapes writes. Names of graph inputs and outputs and of values that subgraphs read stay.
#pragma once

#include <cstdint>

#include "zeropoint/graph.h"

namespace zeropoint::passes {

// What all folded values together may take: a file of any size could ask for more than any machine has. Work is
// multiply-accumulates and bytes that are read and written.
struct FoldingBudget {
  explicit FoldingBudget(const Graph& graph);
  std::int64_t bytes, work;
};
bool fold_constants(Graph& graph, FoldingBudget& budget);

bool fold_constants(Graph& graph);    // evaluates what depends on constants and fixed shapes alone; infers types itself
bool inline_branches(Graph& graph);   // If with a constant condition -> the branch it takes
bool remove_identity(Graph& graph);   // nodes that give back their input
bool resolve_reshape(Graph& graph);   // computed target shapes -> constants, Flatten where it is one
bool fold_pad(Graph& graph);          // zero padding into Conv and AveragePool
bool fold_batchnorm(Graph& graph);    // BatchNormalization into Conv, ConvTranspose, Gemm
bool fold_scale(Graph& graph);        // per-channel Mul, Div, Add, Sub by constants into the same
bool fold_transpose(Graph& graph);    // between Flatten and a constant matrix: into its rows
bool simplify_matmul(Graph& graph);   // alpha, beta and transA of Gemm, leading ones of MatMul's constant
bool fuse_activation(Graph& graph);   // Relu and Clip in one form each, none that cannot act
bool remove_dead_code(Graph& graph);  // what no output needs

}  // namespace zeropoint::passes
