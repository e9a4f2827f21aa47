// Lowering: a fused graph at fixed shapes -> a plan.
//
// Nodes are walked once, in order. A DequantizeLinear makes nothing by itself: its output is remembered as "quantized value,
// scale, zero point", and later nodes take what they can use: a convolution takes the integers, a table-driven function takes
// the 256 possible results, anything else asks for the floats and only then a step is made. docs/engine.md has the rules.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/tuning.h"
#include "zeropoint/graph.h"

namespace zeropoint::engine {

// Weights packed for a kernel, shared by the plans of a session and by sessions that share a cache, in several threads.
class PackCache {
 public:
  // The packed bytes under `key`, made by `make` when they are new.
  template <class Make>
  std::shared_ptr<const void> get(const std::string& key, const Make& make) {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[key];
    if (!entry) entry = make();
    return entry;
  }

  // 64-byte aligned memory for packed weights, kept as long as any of it. What goes beyond the reach of a TLB with small pages
  // lies together in huge ones.
  std::shared_ptr<std::byte> allocate(std::size_t bytes);
  std::size_t bytes() const {
    const std::lock_guard lock(mutex_);
    return allocated_;
  }

 private:
  mutable std::recursive_mutex mutex_;  // `make` allocates
  std::shared_ptr<std::byte> region_;
  std::size_t region_left_ = 0, allocated_ = 0;
  std::map<std::string, std::shared_ptr<const void>> entries_;
};

struct LowerOptions {
  int threads = 1;
  IsaSet isas;
  std::vector<std::string> taps;
  std::shared_ptr<const Tuning> tuning;  // null: all by the tables
};

// `graph` is fused, sorted and has the types of all values with fixed dimensions. Throws Error kUnsupported naming the node
// that cannot run, or kBadShape when a shape is not known.
Plan lower(const Graph& graph, const LowerOptions& options, PackCache& cache);

}  // namespace zeropoint::engine
