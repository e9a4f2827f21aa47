// Session: compiles a graph once and runs it many times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint {

class Session;

struct SessionOptions {
  int threads = 0;                     // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;          // the environment's ZEROPOINT_MAX_ISA also caps
  std::map<std::string, Dims> shapes;  // fixes symbolic dimensions of inputs
  bool profile = false;                // time every step
  // Measure at construction, at the declared shapes (open dimensions as 1), which kernels run fastest here; what was found is
  // kept in a file of `tuning_folder` (empty: $XDG_CACHE_HOME/zeropoint/tuning or ~/.cache/zeropoint/tuning) for this model,
  // processor and number of threads. Results have the same bytes with and without. docs/engine.md.
  bool autotune = false;
  std::filesystem::path tuning_folder;
  // Another session, which may run meanwhile: weights that both pack alike are in memory once, as long as either lives. For
  // several sessions of one model; asked for, since weights are told apart by a hash that is no proof against forgery.
  const Session* share_weights_with = nullptr;  // read at construction
  // Asked by run() between steps, on its caller's thread; where it says true, run() throws Error kInterrupted.
  std::function<bool()> interrupted;
};

// One step of the compiled plan, for explain(), profiles and reports.
struct StepInfo {
  std::string name;       // of the node(s) that it came from
  std::string op;         // "Conv+Relu"
  std::string kernel;     // "conv_u8s8_avx512vnni_14x32"
  bool integer = false;   // arithmetic in integers
  std::int64_t macs = 0;  // at the shapes of the last run, or of the declared ones
  std::string reason;     // why not the faster way; empty when there is none
  double seconds = 0;     // summed over runs, when profiled
  std::string sum_node;   // of a residual sum that it computes, too; empty: none
  std::string sum_op;     // the sum's end of `op`: "Add+Relu"
};

class Session {
 public:
  explicit Session(const Graph& graph, SessionOptions options = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  const std::vector<ValueInfo>& inputs() const;
  const std::vector<ValueInfo>& outputs() const;

  // Outputs in the graph's order. Throws Error kBadSample on a missing, extra or misshaped input. Not thread-safe.
  std::vector<Tensor> run(const Feeds& feeds);
  // The same without allocation once a shape has been seen: `in` in the order of inputs(), `out` preallocated.
  [[nodiscard]] ErrorCode run(std::span<const Tensor> in, std::span<Tensor> out) noexcept;

  std::vector<StepInfo> steps() const;
  std::string explain() const;       // a line a step, then coverage and float islands
  double integer_coverage() const;   // share of multiply-accumulates in integers, 0 ... 1
  std::size_t weight_bytes() const;  // of weights packed for the engine's own kernels, by all sessions that share them
  std::size_t arena_bytes() const;   // planned for activations and scratch, at the last shapes

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  friend class TapSession;
};

}  // namespace zeropoint
