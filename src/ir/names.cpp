#include "ir/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace zeropoint {
namespace {

// Calls visit(name) for every value named in the graph or its subgraphs, absent optionals excepted; names may repeat.
template <class Visit>
void visit_names(const Graph& graph, const Visit& visit) {
  const auto visit_named = [&](const std::string& value) {
    if (!value.empty()) visit(value);
  };
  for (const ValueInfo& info : graph.inputs) visit_named(info.name);
  for (const ValueInfo& info : graph.outputs) visit_named(info.name);
  for (const auto& [value, tensor] : graph.initializers) visit_named(value);
  for (const auto& [value, type] : graph.types) visit_named(value);
  for (const Node& node : graph.nodes) {
    for (const std::string& value : node.inputs) visit_named(value);
    for (const std::string& value : node.outputs) visit_named(value);
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
        visit_names(**subgraph, visit);
  }
}

}  // namespace

NamePool::NamePool(const Graph& graph) {
  visit_names(graph, [&](const std::string& value) { next_.emplace(value, 1); });
}

NamePool NamePool::of_nodes(const Graph& graph) {
  NamePool pool;
  for (const Node& node : graph.nodes) pool.next_.emplace(node.name, 1);
  return pool;
}

std::string NamePool::take(const std::string& base) {
  if (next_.emplace(base, 1).second) return base;
  for (;;) {
    std::string candidate = fmt::format("{}_{}", base, next_[base]++);
    if (next_.emplace(candidate, 1).second) return candidate;
  }
}

std::string unused_name(const Graph& graph, const std::string& base) { return NamePool(graph).take(base); }

bool valid_utf8(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned lead = at(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (length == 0 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((at(i + k) & 0xc0) != 0x80) return false;
    // Overlong forms, surrogates, and beyond U+10FFFF.
    const unsigned second = at(i + 1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f))
      return false;
    i += length;
  }
  return true;
}

bool is_bare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/';
}

std::string in_quotes(std::string_view text) {
  const bool raw = valid_utf8(text);
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !raw)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string quoted_name(std::string_view text) {
  const bool bare = !text.empty() && std::all_of(text.begin(), text.end(), is_bare);
  return bare ? std::string(text) : in_quotes(text);
}

std::string quoted_symbol(std::string_view text) {
  const bool number = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return number ? in_quotes(text) : quoted_name(text);
}

}  // namespace zeropoint
