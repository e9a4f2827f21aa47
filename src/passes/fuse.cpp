// fuse(): all passes in turn, until none changes anything. fold_constants() infers all types first, so in the last turn, too.
#include "ir/naming.h"
#include "ops/operator.h"
#include "passes/passes.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

constexpr bool (*kPasses[])(Graph&) = {
    passes::inline_branches, passes::remove_identity,  passes::resolve_reshape, passes::fold_pad,
    passes::fold_transpose,  passes::simplify_matmul,  passes::fold_batchnorm,  passes::fold_scale,
    passes::fuse_activation, passes::remove_dead_code,
};

// Most networks take three turns; one that makes a branch known in each would take any number. Nodes count in each turn.
constexpr std::size_t kMostTurns = 16, kMostVisits = std::size_t{1} << 23;

}  // namespace

Graph fuse(Graph graph) {
  naming_source(graph, [&] {
    passes::FoldingBudget budget(graph);
    std::size_t turns = 0, visits = 0;
    for (bool changed = true; changed && turns < kMostTurns && visits < kMostVisits; ++turns) {
      visits += graph.nodes.size();
      changed = passes::fold_constants(graph, budget);
#ifndef NDEBUG
      verify(graph);
#endif
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
