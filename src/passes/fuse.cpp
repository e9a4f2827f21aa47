// fuse(): all passes in turn, until none changes anything.
#include "ops/operator.h"
#include "passes/passes.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

constexpr bool (*kPasses[])(Graph&) = {
    passes::fold_constants,  passes::inline_branches,  passes::remove_identity, passes::resolve_reshape,
    passes::fold_pad,        passes::simplify_matmul,  passes::fold_batchnorm,  passes::fold_scale,
    passes::fuse_activation, passes::remove_dead_code,
};

}  // namespace

Graph fuse(Graph graph) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto pass : kPasses) {
      changed = pass(graph) || changed;
#ifndef NDEBUG
      verify(graph);
#endif
    }
  }
  ops::infer_shapes(graph);
  return graph;
}

}  // namespace zeropoint
