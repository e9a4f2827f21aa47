// Names: which are taken, and how they are written in text.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "zeropoint/graph.h"

namespace zeropoint {

// Gives out names that no value of a graph (or of its subgraphs) has, each once. Building it costs one walk over the graph, a
// name then takes constant time: for passes that add many values, where unused_name() would walk the graph again each time.
class NamePool {
 public:
  explicit NamePool(const Graph& graph);
  static NamePool of_nodes(const Graph& graph);  // names of its own nodes instead
  std::string take(const std::string& base);     // `base`, or `base_1`, ...
  void give_back(const std::string& name) { next_.erase(name); }
  bool has(const std::string& name) const { return next_.contains(name); }

 private:
  NamePool() = default;
  std::unordered_map<std::string, std::size_t> next_;  // taken name -> suffix to try next
};

bool valid_utf8(std::string_view text);

// In double quotes, with \" \\ \n \r \t, and \xHH for other control characters (and for all bytes from 0x80 on when the text is
// not UTF-8).
std::string in_quotes(std::string_view text);
// As it is when made of letters, digits and _ . / only, else quoted.
std::string quoted_name(std::string_view text);
// The same for the name of an unknown dimension, which must not look like a number.
std::string quoted_symbol(std::string_view text);
bool is_bare(char c);  // may stand in a name without quotes

// "a list of integers": the alternative of Attribute with that index.
std::string_view kind_name(std::size_t kind);

}  // namespace zeropoint
