#include "quant/costs.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "numerics/elementary.h"
#include "ops/operator.h"
#include "quant/cost_table.h"
#include "quant/operator_rules.h"
#include "quant/rule_matcher.h"

namespace zeropoint::quant {
namespace {

// Where `x` lies on an ascending axis: between points `at` and `at + 1`, `part` of the way in logarithms; `beyond`: times the
// last point.
struct Position {
  std::size_t at = 0;
  double part = 0, beyond = 1;
};

Position position(std::span<const double> axis, double x) {
  if (x <= axis.front()) return {};
  if (x >= axis.back()) return {.at = axis.size() - 1, .beyond = x / axis.back()};
  const auto at = static_cast<std::size_t>(std::upper_bound(axis.begin(), axis.end(), x) - axis.begin()) - 1;
  return {.at = at, .part = numerics::log(x / axis[at]) / numerics::log(axis[at + 1] / axis[at])};
}

double product(std::span<const std::int64_t> dims) { return static_cast<double>(element_count(dims)); }

// Functions whose float form is a few instructions an element; the others take exponentials.
bool is_cheap(const Node& node) {
  static const std::set<std::string_view> kCheap = {"Abs", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "PRelu", "Softsign"};
  return kCheap.contains(node.op_type);
}

}  // namespace

Cost interpolate(const CostGrid& grid, double m, double n, double k) {
  const std::array<Position, 3> at = {position(grid.m, m), position(grid.n, n), position(grid.k, k)};
  Cost logarithms;
  for (unsigned corner = 0; corner < 8; ++corner) {
    double weight = 1;
    std::array<std::size_t, 3> point{};
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const bool upper = ((corner >> axis) & 1U) != 0;
      weight *= upper ? at[axis].part : 1 - at[axis].part;
      point[axis] = at[axis].at + (upper && at[axis].part > 0 ? 1 : 0);
    }
    const Cost& cost = grid.costs[(point[0] * grid.n.size() + point[1]) * grid.k.size() + point[2]];
    logarithms.in_float += weight * numerics::log(cost.in_float);
    logarithms.in_integers += weight * numerics::log(cost.in_integers);
  }
  const double beyond = at[0].beyond * at[1].beyond * at[2].beyond;
  return {beyond * numerics::exp(logarithms.in_float), beyond * numerics::exp(logarithms.in_integers)};
}

NodeCosts::NodeCosts(const Graph& graph)
    : graph_([&] {
        Graph shaped = graph;
        std::map<std::string, Dims> shapes;
        for (const ValueInfo& input : graph.inputs) {
          if (!input.type.shape) continue;
          Dims dims;
          for (const Dim& dim : *input.type.shape)
            if (dim.fixed() || &dim == input.type.shape->data()) dims.push_back(dim.fixed() ? dim.value : 1);
          if (dims.size() == input.type.shape->size() && !fixed(*input.type.shape)) shapes[input.name] = std::move(dims);
        }
        if (!shapes.empty()) ops::infer_shapes(shaped, shapes);
        return shaped;
      }()),
      values_(graph_),
      uses_(find_uses(graph_)) {
  nodes_.reserve(graph_.nodes.size());
  for (const Node& node : graph_.nodes) nodes_.push_back(size(node));
}

std::optional<Dims> NodeCosts::dims(const std::string& value) const {
  if (const Tensor* constant = graph_.constant(value)) return constant->dims();
  const TensorType type = values_.type_of(value);
  if (!type.shape || !fixed(*type.shape)) return std::nullopt;
  Dims dims;
  for (const Dim& dim : *type.shape) dims.push_back(dim.value);
  return dims;
}

std::optional<double> NodeCosts::elements(const std::string& value) const {
  const std::optional<Dims> known = dims(value);
  return known ? std::optional(product(*known)) : std::nullopt;
}

const Node* NodeCosts::maker(const std::string& value) const {
  const auto found = uses_.producer.find(value);
  return found == uses_.producer.end() ? nullptr : &graph_.nodes[found->second];
}

bool NodeCosts::is_bias_add(const Node& node) const {
  if (!node.is("Add")) return false;
  for (const std::string& x : node.inputs)
    if (const Node* made_by = maker(x); made_by != nullptr && made_by->is("MatMul"))
      return !bias_of(graph_, values_, uses_, *made_by).empty();
  return false;
}

// Products [m, k] x [k, n]; convolutions with m pixels of the result.
Cost NodeCosts::weighted(const Node& node) const {
  const std::optional<Dims> x = dims(node.input(0)), w = dims(node.input(1)), y = dims(node.outputs[0]);
  if (!x || !w || !y || x->size() < 2 || w->size() < 2 || y->size() < 2 || product(*x) == 0 || product(*y) == 0) return {};
  const auto number = [](std::int64_t value) { return static_cast<double>(value); };
  if (node.is("MatMul") || node.is("Gemm")) {
    const double n = number(y->back()), k = number(x->back());
    if (graph_.constant(node.input(1)) && w->size() == 2) return interpolate(kMatrixByWeights, product(*y) / n, n, k);
    const double m = number((*y)[y->size() - 2]);
    const Cost each = interpolate(kMatrixByMatrix, m, n, k);
    const double count = product(*y) / (m * n) / kMatricesMeasured;
    return {count * each.in_float, count * each.in_integers};
  }
  // In float ConvTranspose and convolutions over three dimensions have no fast kernels: integers always gain.
  if (node.is("ConvTranspose") || x->size() > 4) return {};
  const double groups = number(std::max<std::int64_t>(1, node.get_int("group", 1)));
  double window = 1;
  for (std::size_t axis = 2; axis < w->size(); ++axis) window *= number((*w)[axis]);
  const double n = number((*y)[1]), m = product(*y) / n, depth = number((*w)[1]);
  if (depth == 1 && groups > 1) return interpolate(kDepthwiseConv, m, n, window);
  const Cost each = interpolate(window == 1 ? kPointwiseConv : kSpatialConv, m, n / groups, depth * window);
  return {groups * each.in_float, groups * each.in_integers};
}

NodeCosts::Sized NodeCosts::size(const Node& node) const {
  if (node.outputs.empty() || node.inputs.empty()) return {};
  const Role role = rule_of_operator(graph_, node).role;
  if (role == Role::weighted) return {.cost = weighted(node)};
  if (role == Role::activation || is_bias_add(node)) return {.fused = true};
  const std::optional<double> count = elements(role == Role::pool ? node.input(0) : node.outputs[0]);
  if (!count || *count == 0) return {};
  if (role == Role::elementwise) return {.cost = interpolate(kSumOfTwo, *count)};
  if (role == Role::pool) return {.cost = interpolate(kAveragePool, *count)};
  if (role == Role::function) return {.cost = interpolate(is_cheap(node) ? kCheapFunction : kExponential, *count)};
  return {};
}

NodeTimes NodeCosts::in_float() const {
  NodeTimes times;
  for (std::size_t i = 0; i < nodes_.size(); ++i) times.seconds[name_of(graph_.nodes[i])] = 1e-6 * nodes_[i].cost.in_float;
  return times;
}

NodeTimes NodeCosts::quantized(const Placement& placement) const {
  std::set<std::string_view> in_float, quantized;
  for (const LeftInFloat& node : placement.left_in_float) in_float.insert(node.node);
  for (const TieGroup& group : placement.groups) quantized.insert(group.values.begin(), group.values.end());

  enum class Form : std::uint8_t { floating, integer, passing };  // passing: moves integers, or is part of the node before
  std::vector<Form> forms(nodes_.size(), Form::floating);
  NodeTimes times;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = graph_.nodes[i];
    const Role role = rule_of_operator(graph_, node).role;
    const std::string& name = name_of(node);
    times.seconds[name] = 1e-6 * nodes_[i].cost.in_float;
    if (node.inputs.empty() || in_float.contains(name) || role == Role::none || role == Role::recurrent || role == Role::lookup)
      continue;
    if (nodes_[i].fused || role == Role::shared || role == Role::concat) {
      forms[i] = Form::passing;
      continue;
    }
    forms[i] = Form::integer;
    times.seconds[name] = 1e-6 * nodes_[i].cost.in_integers;
    if (nodes_[i].cost.in_float > 0) times.in_integers.insert(name);
  }

  // Whose integers a node's outputs hold, back through nodes that pass; nothing where they come out of a quantizer. Producers
  // come before their readers.
  std::vector<std::optional<std::size_t>> sources(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (forms[i] == Form::integer) sources[i] = i;
    if (forms[i] != Form::passing) continue;
    const std::vector<std::string>& inputs = graph_.nodes[i].inputs;  // of a bias Add: the product, not the constant
    const auto input =
        std::find_if(inputs.begin(), inputs.end(), [&](const std::string& x) { return !x.empty() && !graph_.constant(x); });
    if (input == inputs.end()) continue;
    if (const auto made_by = uses_.producer.find(*input); made_by != uses_.producer.end())
      sources[i] = sources[made_by->second];
  }

  // Integer nodes behind each node that passes, once for each way to them: linear in the graph, which sets of nodes are not.
  std::vector<double> readers(nodes_.size(), 0);
  const auto readers_of = [&](std::string_view value) {
    double sum = 0;
    if (const auto found = uses_.consumers.find(value); found != uses_.consumers.end())
      for (const std::size_t i : found->second) sum += forms[i] == Form::integer ? 1 : readers[i];
    return sum;
  };
  constexpr double kMostReaders = 1e200;  // the ways may double at each node: sums stay finite
  for (std::size_t i = nodes_.size(); i-- > 0;)
    if (forms[i] == Form::passing) {
      for (const std::string& output : graph_.nodes[i].outputs) readers[i] += readers_of(output);
      readers[i] = std::min(readers[i], kMostReaders);
    }
  std::vector<double> owed(nodes_.size(), 0);  // microseconds, which nodes that pass hand on
  const auto charge = [&](std::string_view value, double each) {
    if (const auto found = uses_.consumers.find(value); found != uses_.consumers.end())
      for (const std::size_t i : found->second) owed[i] += each * (forms[i] == Form::integer ? 1 : readers[i]);
  };

  for (const std::string_view value : quantized) {
    const std::optional<double> count = elements(std::string(value));
    if (!count) continue;
    const auto made_by = uses_.producer.find(value);
    const bool made = made_by != uses_.producer.end();
    // What moves integers has them from a quantizer before it, if from none of the nodes.
    const bool moved = made && forms[made_by->second] == Form::passing && !nodes_[made_by->second].fused;
    const std::optional<std::size_t> source = made ? sources[made_by->second] : std::nullopt;
    double conversions = source || moved ? 0 : interpolate(kQuantize, *count).in_integers;
    if (const auto found = uses_.consumers.find(value); found != uses_.consumers.end())
      if (std::any_of(found->second.begin(), found->second.end(), [&](std::size_t i) { return forms[i] == Form::floating; }))
        conversions += interpolate(kDequantize, *count).in_integers;
    if (conversions == 0) continue;
    if (source)
      owed[*source] += conversions;
    else if (const double sum = readers_of(value); sum > 0)
      charge(value, conversions / sum);
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (owed[i] == 0) continue;
    if (forms[i] == Form::integer) times.seconds[name_of(graph_.nodes[i])] += 1e-6 * owed[i];
    if (forms[i] != Form::passing) continue;
    double sum = 0;
    for (const std::string& output : graph_.nodes[i].outputs) sum += readers_of(output);
    for (const std::string& output : graph_.nodes[i].outputs) charge(output, owed[i] / sum);
  }
  return times;
}

}  // namespace zeropoint::quant
