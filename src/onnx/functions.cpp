#include "onnx/functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "ir/names.h"
#include "onnx/tensor.h"
#include "ops/opset/convert.h"

namespace zeropoint::onnx_file {
namespace {

constexpr std::size_t kMostNodes = std::size_t{1} << 20;
constexpr std::size_t kMostBytes = std::size_t{512} << 20;
constexpr std::size_t kDeepest = 100;
constexpr std::size_t kLongestPrefix = 200;  // names of deep calls do not grow without end

using Key = std::tuple<std::string, std::string, std::string>;  // domain, name, overload

std::string title(const Function& function) {
  return fmt::format("function {}", in_quotes(function.domain.empty() ? function.name : function.domain + "." + function.name));
}

// Names of a function's body in one call, and in the subgraphs around the present one.
struct Renaming {
  std::unordered_map<std::string, std::string> names = {};
  const Renaming* outer = nullptr;

  const std::string& at(const std::string& name) const {
    if (name.empty()) return name;
    for (const Renaming* scope = this; scope; scope = scope->outer)
      if (const auto found = scope->names.find(name); found != scope->names.end()) return found->second;
    throw Error(ErrorCode::kBadModel, "", fmt::format("{} is defined nowhere", in_quotes(name)));
  }
};

std::size_t cost(const Attribute& attribute) {
  if (const auto* text = std::get_if<std::string>(&attribute)) return text->size();
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute)) return 8 * list->size();
  if (const auto* list = std::get_if<std::vector<float>>(&attribute)) return 4 * list->size();
  if (const auto* list = std::get_if<std::vector<Tensor>>(&attribute)) return 64 * list->size();
  if (const auto* opaque = std::get_if<OpaqueAttribute>(&attribute)) return opaque->bytes.size();
  if (const auto* list = std::get_if<std::vector<std::string>>(&attribute)) {
    std::size_t sum = 0;
    for (const std::string& text : *list) sum += 32 + text.size();
    return sum;
  }
  return 0;
}

class Inliner {
 public:
  Inliner(Graph& graph, std::vector<Function> functions, const std::string& where) : graph_(graph), where_(where) {
    for (Function& function : functions) {
      Key key(function.domain, function.name, function.overload);
      const std::string called = title(function);
      if (!functions_.emplace(std::move(key), std::move(function)).second)
        fail(ErrorCode::kBadModel, called, "is defined a second time");
    }
  }

  void run() {
    join_opsets();
    NamePool names(graph_);
    names_ = &names;
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    graph_.nodes.reserve(nodes.size());
    for (Node& node : nodes) expand(std::move(node), graph_.nodes);
    forget_domains();
  }

 private:
  [[noreturn]] void fail(ErrorCode code, const std::string& place, const std::string& message) const {
    throw Error(code, fmt::format("{}, {}", where_, place), message);
  }

  const Function* called_by(const Node& node) const {
    std::string overload;
    if (!node.extra.empty()) overload = parse_extra<::onnx::NodeProto>(node.extra).overload();
    const auto found = functions_.find(Key(node.domain, node.op_type, overload));
    return found == functions_.end() ? nullptr : &found->second;
  }

  template <class Visit>
  static void each_node(const Graph& graph, const Visit& visit) {
    for (const Node& node : graph.nodes) {
      visit(node);
      for (const auto& [key, attribute] : node.attributes)
        if (const auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
          each_node(**subgraph, visit);
    }
  }

  // One version of each domain for the model and all functions that it reaches.
  void join_opsets() {
    std::vector<const Graph*> open = {&graph_};
    std::set<const Function*> reached;
    while (!open.empty()) {
      const Graph& body = *open.back();
      open.pop_back();
      each_node(body, [&](const Node& node) {
        const Function* function = called_by(node);
        if (function && reached.insert(function).second) open.push_back(&function->body);
      });
    }
    std::int64_t newest = graph_.opset();
    for (const Function* function : reached)
      for (const auto& [domain, version] : function->body.opsets) {
        if (domain.empty()) {
          newest = std::max(newest, version);
          continue;
        }
        const auto [found, added] = graph_.opsets.emplace(domain, version);
        if (!added && found->second != version && !is_function_domain(domain))
          fail(ErrorCode::kUnsupported, title(*function),
               fmt::format("uses version {} of the domain {}, the model {}", version, in_quotes(domain), found->second));
      }
    if (newest == graph_.opset()) return;
    if (graph_.opset() == 0) {
      graph_.opsets[""] = newest;
    } else {
      convert(graph_, newest, "graph");
    }
  }

  void convert(Graph& graph, std::int64_t opset, const std::string& place) const {
    try {
      ops::convert_opset(graph, opset);
    } catch (const Error& error) {
      fail(error.code, place, error.what());
    }
  }

  bool is_function_domain(const std::string& domain) const {
    return std::any_of(functions_.begin(), functions_.end(),
                       [&](const auto& entry) { return std::get<0>(entry.first) == domain; });
  }

  // The domains of functions alone are not imported any more.
  void forget_domains() {
    std::set<std::string> used;
    each_node(graph_, [&](const Node& node) { used.insert(node.domain); });
    for (const auto& [key, function] : functions_)
      if (const std::string& domain = function.domain; !domain.empty() && !used.contains(domain)) graph_.opsets.erase(domain);
  }

  void spend(std::size_t bytes) {
    bytes_ += bytes;
    if (++nodes_ > kMostNodes || bytes_ > kMostBytes)
      fail(ErrorCode::kLimit, title(*active_.back()),
           fmt::format("the functions would become more than {} nodes or {} MB", kMostNodes, kMostBytes >> 20));
  }

  bool has_calls(const Graph& graph) const {
    bool any = false;
    each_node(graph, [&](const Node& node) { any = any || called_by(node); });
    return any;
  }

  // Puts the node into `out`, or what it calls.
  void expand(Node node, std::vector<Node>& out) {
    for (auto& [key, attribute] : node.attributes) {
      auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute);
      if (!subgraph || !*subgraph || !has_calls(**subgraph)) continue;
      Graph expanded = **subgraph;
      std::vector<Node> nodes = std::move(expanded.nodes);
      expanded.nodes.clear();
      for (Node& each : nodes) expand(std::move(each), expanded.nodes);
      *subgraph = std::make_shared<const Graph>(std::move(expanded));
    }
    if (const Function* function = called_by(node)) {
      call(node, *function, out);
    } else {
      out.push_back(std::move(node));
    }
  }

  void call(const Node& node, const Function& function, std::vector<Node>& out) {
    const std::string place = describe(node);
    if (std::find(active_.begin(), active_.end(), &function) != active_.end())
      fail(ErrorCode::kBadModel, title(function), "calls itself");
    if (active_.size() >= kDeepest)
      fail(ErrorCode::kLimit, title(function), fmt::format("functions call each other more than {} deep", kDeepest));
    if (node.inputs.size() > function.body.inputs.size() || node.outputs.size() > function.body.outputs.size())
      fail(ErrorCode::kBadModel, place,
           fmt::format("has {} inputs and {} outputs, but its function {} and {}", node.inputs.size(), node.outputs.size(),
                       function.body.inputs.size(), function.body.outputs.size()));
    active_.push_back(&function);
    spend(64 * (function.body.inputs.size() + function.body.outputs.size()));

    Graph body = function.body;
    for (Node& inner : body.nodes) resolve(inner, node, function);
    if (body.opset() != 0 && body.opset() != graph_.opset())
      convert(body, graph_.opset(), fmt::format("{}, {}", place, title(function)));

    const std::string& label = node.name.empty() ? node.op_type : node.name;
    const std::string prefix = label.size() > kLongestPrefix ? "" : label + "/";
    Renaming renaming;
    for (std::size_t i = 0; i < body.inputs.size(); ++i) renaming.names[body.inputs[i].name] = node.input(i);
    std::vector<std::pair<std::string, std::string>> passed;  // outputs that are inputs
    for (std::size_t i = 0; i < body.outputs.size(); ++i) {
      const std::string& formal = body.outputs[i].name;
      const std::string actual = i < node.outputs.size() ? node.outputs[i] : "";
      if (renaming.names.contains(formal)) {
        passed.emplace_back(renaming.names[formal], actual);
      } else if (!actual.empty()) {
        renaming.names[formal] = actual;
      }
    }
    for (auto& [name, tensor] : body.initializers) {  // made by the conversion
      const std::string fresh = names_->take(prefix + name);
      renaming.names[name] = fresh;
      graph_.initializers.emplace(fresh, tensor);
    }
    define(body.nodes, prefix, renaming);
    for (Node& inner : body.nodes) {
      rename(inner, prefix, renaming);
      expand(std::move(inner), out);
    }
    for (const auto& [from, to] : passed) {
      if (to.empty()) continue;
      if (from.empty())
        fail(ErrorCode::kBadModel, place, fmt::format("its output {} is an input that is not given", in_quotes(to)));
      Node identity;
      identity.name = prefix + "Identity";
      identity.op_type = "Identity";
      identity.inputs = {from};
      identity.outputs = {to};
      out.push_back(std::move(identity));
    }
    active_.pop_back();
  }

  // Attributes that refer to those of the call get their values, or vanish.
  void resolve(Node& inner, const Node& call, const Function& function) const {
    for (auto entry = inner.attributes.begin(); entry != inner.attributes.end();) {
      if (auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&entry->second); subgraph && *subgraph) {
        Graph resolved = **subgraph;
        for (Node& each : resolved.nodes) resolve(each, call, function);
        *subgraph = std::make_shared<const Graph>(std::move(resolved));
      }
      const auto* opaque = std::get_if<OpaqueAttribute>(&entry->second);
      const std::string reference = opaque ? parse_extra<::onnx::AttributeProto>(opaque->bytes).ref_attr_name() : "";
      if (reference.empty()) {
        ++entry;
        continue;
      }
      const Attribute* value = call.find(reference);
      if (!value)
        if (const auto found = function.defaults.find(reference); found != function.defaults.end()) value = &found->second;
      if (value) {
        entry->second = *value;
        ++entry;
      } else {
        entry = inner.attributes.erase(entry);
      }
    }
  }

  void define(const std::vector<Node>& nodes, const std::string& prefix, Renaming& renaming) {
    for (const Node& node : nodes)
      for (const std::string& output : node.outputs)
        if (!output.empty() && !renaming.names.contains(output)) renaming.names.emplace(output, names_->take(prefix + output));
  }

  void rename(Node& node, const std::string& prefix, const Renaming& renaming) {
    std::size_t bytes = 256 + node.extra.size();
    node.name = prefix + (node.name.empty() ? node.op_type : node.name);
    for (auto* list : {&node.inputs, &node.outputs})
      for (std::string& name : *list) {
        name = std::string(renaming.at(name));
        bytes += 32 + name.size();
      }
    for (auto& [key, attribute] : node.attributes) {
      bytes += 64 + cost(attribute);
      if (auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute); subgraph && *subgraph)
        *subgraph = std::make_shared<const Graph>(renamed(**subgraph, prefix, renaming));
    }
    spend(bytes + node.name.size());
  }

  Graph renamed(Graph graph, const std::string& prefix, const Renaming& outer) {
    Renaming renaming{.outer = &outer};
    for (const ValueInfo& input : graph.inputs) renaming.names.emplace(input.name, names_->take(prefix + input.name));
    for (const auto& [name, tensor] : graph.initializers) renaming.names.emplace(name, names_->take(prefix + name));
    define(graph.nodes, prefix, renaming);
    for (Node& node : graph.nodes) rename(node, prefix, renaming);
    for (auto* list : {&graph.inputs, &graph.outputs})
      for (ValueInfo& info : *list) info.name = std::string(renaming.at(info.name));
    const auto keys = [&](auto& map) {
      std::remove_reference_t<decltype(map)> result;
      for (auto& [name, value] : map)
        if (const auto found = renaming.names.find(name); found != renaming.names.end())
          result.emplace(found->second, std::move(value));
      map = std::move(result);
    };
    keys(graph.initializers);
    keys(graph.initializer_extras);
    keys(graph.types);
    keys(graph.type_extras);
    return graph;
  }

  Graph& graph_;
  const std::string& where_;
  std::map<Key, Function> functions_;
  NamePool* names_ = nullptr;
  std::vector<const Function*> active_;
  std::size_t nodes_ = 0, bytes_ = 0;
};

}  // namespace

void inline_functions(Graph& graph, std::vector<Function> functions, const std::string& where) {
  if (!functions.empty()) Inliner(graph, std::move(functions), where).run();
}

}  // namespace zeropoint::onnx_file
