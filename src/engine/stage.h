// Stage: a graph that runs. At each set of input shapes it is one plan, or a chain of plans where shapes depend on data:
//
//   head plan -> edge nodes (NonZero, If, Loop, a Reshape by a computed shape, ...) -> the rest, a stage of its own
//
// The edge nodes run on tensors; what they make are inputs of the rest, which plans when it sees their shapes. Subgraphs of If,
// Loop and Scan are stages of their own, with the outer values that they read as further inputs. Plans are cached by input
// shapes, so a network whose shapes repeat plans once.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "base/thread_pool.h"
#include "engine/lower.h"
#include "engine/plan.h"
#include "engine/tap.h"
#include "zeropoint/graph.h"

namespace zeropoint::engine {

struct StageOptions {
  LowerOptions lower;
  bool profile = false;               // time every step
  std::function<bool()> interrupted;  // asked between steps; true: throw Error kInterrupted
};

// The chain of plans that was used last.
struct StageSummary {
  std::vector<StepInfo> steps;
  std::set<const PackCache*> packs;  // that hold the weights
  std::size_t arena_bytes = 0;       // with the kernels' scratch
  std::int64_t integer_macs = 0, total_macs = 0;
};

class Stage {
 public:
  // `graph` is fused and sorted. Throws Error kUnsupported naming the node that can never run.
  Stage(Graph graph, StageOptions options, ThreadPool& pool, std::shared_ptr<PackCache> packs);
  ~Stage();

  const Graph& graph() const { return graph_; }
  // Plans for these shapes of the inputs, as far as they tell.
  void prepare(const std::vector<Dims>& dims);
  bool planned() const { return !plans_.empty(); }

  // Outputs in the graph's order. Inputs have the types of graph().inputs.
  std::vector<Tensor> run(std::span<const Tensor> in, const Observe* observe = nullptr);
  // The same without allocation where these shapes were seen and no shape depends on data. kBadArgument when an output has
  // another type or shape than `out` has.
  ErrorCode run(std::span<const Tensor> in, std::span<Tensor> out);

  StageSummary summary() const;  // of the plan that was used last; empty before
 private:
  struct Ready;  // for one set of input shapes
  struct EdgeNode;

  Ready& ready_for(std::span<const Tensor> in);
  Ready& plan(const std::vector<Dims>& dims);
  void point(Ready& ready, std::span<const Tensor> in, std::span<Tensor> out) const;
  void execute(Ready& ready, const Observe* observe);
  std::vector<Tensor> run_edge(EdgeNode& edge, std::span<const Tensor> inputs);
  std::vector<Tensor> run_body(EdgeNode& edge, const Graph& graph, std::span<const Tensor> inputs,
                               std::span<const Tensor> read);

  Graph graph_;
  StageOptions options_;
  ThreadPool& pool_;
  std::shared_ptr<PackCache> packs_;
  std::shared_ptr<BufferPool> buffers_ = BufferPool::make();  // of large outputs
  std::list<std::unique_ptr<Ready>> plans_;                   // most recently used first
};

}  // namespace zeropoint::engine
