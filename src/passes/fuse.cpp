// fuse(): all passes in turn, until none changes anything. fold_constants() infers all types first, so in the last turn, too.
#include "ir/naming.h"
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
  naming_source(graph, [&] {
    for (bool changed = true; changed;) {
      changed = false;
      for (const auto pass : kPasses) {
        changed = pass(graph) || changed;
#ifndef NDEBUG
        verify(graph);
#endif
      }
    }
  });
  return graph;
}

}  // namespace zeropoint
