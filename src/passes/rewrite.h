// Bookkeeping of a rewrite: who makes and reads values, fresh names, renamed values, dropped nodes. The index is made once,
// when first asked for, so a pass over n nodes takes O(n log n), and next to nothing when there is nothing to rewrite.
#pragma once

#include <cstddef>
#include <memory_resource>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::passes {

class Rewrite {
 public:
  explicit Rewrite(Graph& graph) : graph_(graph), dropped_(graph.nodes.size(), false) {}

  // The node that makes a value; null for inputs, initializers and dropped nodes.
  Node* producer(const std::string& value);
  // How often a value is read: by inputs of nodes, by subgraphs, as an output.
  std::size_t reads(const std::string& value);
  // A graph output or read by a subgraph: its name must stay.
  bool pinned(const std::string& value) { return at(value).pinned; }
  // Read once, by a node: it may change or vanish with its reader.
  bool is_private(const std::string& value) { return reads(value) == 1 && !pinned(value); }

  // A name that no value has, and that no later call gives.
  std::string fresh_name(const std::string& base);
  // Whether a node may have its own form of this constant: copies of shared ones and the work for all forms have limits.
  bool may_replace(const std::string& initializer);
  // Stores a tensor for the one node that reads `old`: under that name when nothing else reads it, else under a fresh one.
  std::string replace_initializer(const std::string& old, Tensor tensor);

  // Lets all readers of the node's first output read `input` instead, and drops the node. Where the output's name must stay,
  // the input's producer takes it over; false, and nothing done, when it cannot.
  bool bypass(Node& node, const std::string& input);
  void drop(const Node& node);
  void set_input(Node& node, std::size_t position, const std::string& value);
  // `to`, whose first output only `from` reads, makes the first output of `from` from now on; `from` is dropped.
  void take_output(Node& to, const Node& from);

  void changed() { changed_ = true; }
  // Applies renames and drops nodes. True when anything changed.
  bool finish();

 private:
  static constexpr std::size_t kNoNode = static_cast<std::size_t>(-1);
  struct Value {
    std::size_t producer = kNoNode;
    std::size_t reads = 0;
    bool pinned = false;
    Value* renamed = nullptr;           // what readers read in its place
    const std::string* name = nullptr;  // its key
  };

  void make_index();
  Value& at(const std::string& value);  // after renames
  Value& entry(const std::string& name);
  static Value& last(Value& value);
  Node* producer_of(const Value& value) const;
  const std::string& resolve(const std::string& value);
  std::size_t index(const Node& node) const { return static_cast<std::size_t>(&node - graph_.nodes.data()); }

  Graph& graph_;
  std::pmr::monotonic_buffer_resource memory_;                    // a graph may have a million values
  std::pmr::unordered_map<std::string, Value> values_{&memory_};  // of everything that has a name
  std::unordered_map<std::string, std::size_t> suffix_;           // of the last fresh name
  std::size_t bytes_ = 0, work_left_ = 0;                         // of the constants, copies included; set by make_index
  std::vector<bool> dropped_;
  bool indexed_ = false;
  bool changed_ = false;
  bool renamed_ = false;
};

// The one element of a constant f32 tensor; nullopt for everything else.
std::optional<float> constant_scalar(const Graph& graph, const std::string& value);

}  // namespace zeropoint::passes
