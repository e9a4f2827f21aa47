#include "quant/channel_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

const Tensor* constant_f32(const Graph& graph, const std::string& value) {
  const Tensor* tensor = value.empty() ? nullptr : graph.constant(value);
  return tensor != nullptr && tensor->dtype() == DType::f32 && tensor->size() > 0 ? tensor : nullptr;
}

std::size_t size(std::int64_t number) { return static_cast<std::size_t>(number); }

// Product of the dimensions from `axis` on; nothing where one is open.
std::optional<std::size_t> suffix(const Shape& shape, std::size_t axis) {
  std::size_t product = 1;
  for (std::size_t i = axis; i < shape.size(); ++i) {
    if (!shape[i].fixed()) return std::nullopt;
    product *= size(shape[i].value);
  }
  return product;
}

constexpr std::string_view kKeepFactors[] = {"Relu", "LeakyRelu", "Identity", "Dropout", "Abs", "Neg"};
constexpr std::string_view kPools[] = {"MaxPool",       "AveragePool", "GlobalAveragePool",
                                       "GlobalMaxPool", "LpPool",      "GlobalLpPool"};
constexpr std::string_view kReductions[] = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"};
constexpr std::string_view kReshapes[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"};

template <std::size_t N>
bool is_any(const Node& node, const std::string_view (&types)[N]) {
  return node.domain.empty() && std::find(std::begin(types), std::end(types), node.op_type) != std::end(types);
}

struct Refusal {
  std::string reason;
};

// Value and axis -> why there is no group; empty where there is one.
using Known = std::map<std::pair<std::string, std::size_t>, std::string>;

// Grows a group from one value until nothing is left to visit; throws Refusal.
class Growth {
 public:
  Growth(const Graph& graph, const ValueIndex& types, const Uses& uses, const Known* known = nullptr)
      : graph_(graph), types_(types), uses_(uses), known_(known) {}

  ScalingGroup run(const std::string& value, std::size_t axis) {
    const Shape& shape = shape_of(value);
    if (axis >= shape.size() || !shape[axis].fixed() || shape[axis].value == 0)
      throw Refusal{fmt::format("the number of channels of '{}' is not known", value)};
    group_.channels = size(shape[axis].value);
    add(value, axis, 1);
    for (std::size_t next = 0; next < group_.values.size(); ++next) {
      const std::string name = group_.values[next].name;
      const auto producer = uses_.producer.find(name);
      if (producer == uses_.producer.end()) throw Refusal{fmt::format("'{}' is an input of the graph", name)};
      visit(producer->second);
      if (const auto readers = uses_.consumers.find(name); readers != uses_.consumers.end())
        for (const std::size_t reader : readers->second) visit(reader);
    }
    group_.makers.assign(makers_.begin(), makers_.end());
    group_.readers.assign(readers_.begin(), readers_.end());
    group_.between.assign(between_.begin(), between_.end());
    group_.limits.assign(limits_.begin(), limits_.end());
    return std::move(group_);
  }
  // What was reached before a refusal: none of it has a group.
  std::vector<ScalingGroup::Value> reached() { return std::move(group_.values); }

 private:
  using Value = ScalingGroup::Value;

  const Shape& shape_of(const std::string& value) {
    const auto [found, is_new] = shapes_.try_emplace(value);
    if (is_new) {
      TensorType type = types_.type_of(value);
      if (!type.shape) throw Refusal{fmt::format("the shape of '{}' is not known", value)};
      if (type.dtype != DType::f32) throw Refusal{fmt::format("'{}' is not f32", value)};
      found->second = std::move(*type.shape);
    }
    return found->second;
  }
  const Value* find(const std::string& value) const {
    const auto found = index_.find(value);
    return found == index_.end() ? nullptr : &group_.values[found->second];
  }
  void add(const std::string& value, std::size_t axis, std::size_t repeat) {
    const Value wanted{value, axis, repeat};
    if (const Value* known = find(value)) {
      if (*known != wanted) throw Refusal{fmt::format("'{}' has its channels along two axes", value)};
      return;
    }
    if (known_)  // what was refused once need not be walked again
      if (const auto found = known_->find({value, axis}); found != known_->end() && !found->second.empty())
        throw Refusal{found->second};
    if (graph_.constant(value)) throw Refusal{fmt::format("'{}' is a constant", value)};
    if (types_.is_output(value)) throw Refusal{fmt::format("'{}' is an output of the graph", value)};
    const Shape& shape = shape_of(value);
    if (axis >= shape.size() || !shape[axis].fixed() || size(shape[axis].value) != group_.channels * repeat)
      throw Refusal{fmt::format("'{}' has other channels", value)};
    index_.emplace(value, group_.values.size());
    group_.values.push_back(wanted);
  }

  [[noreturn]] static void refuse(const Node& node, std::string_view why) {
    throw Refusal{fmt::format("{} {}", describe(node), why)};
  }

  // A constant that takes factors in; `widened` where it is broadcast along the channels.
  void take(std::size_t node, std::size_t input, ScaledConstant constant, bool multiply) {
    const std::string& name = graph_.nodes[node].inputs[input];
    if (std::count(graph_.nodes[node].inputs.begin(), graph_.nodes[node].inputs.end(), name) != 1)
      refuse(graph_.nodes[node], "reads a constant twice");
    constant.node = node;
    constant.input = input;
    constant.multiply = multiply;
    if (constant.weight && (uses_.consumers.find(name)->second.size() != 1 || types_.is_output(name)))
      refuse(graph_.nodes[node], "shares its weights with other nodes");
    group_.constants.push_back(std::move(constant));
  }

  // Once for each value of the group that the node reads or makes: what it means may change with them.
  void visit(std::size_t at) {
    const Node& node = graph_.nodes[at];
    const Value* made = nullptr;
    for (std::size_t i = 0; i < node.outputs.size(); ++i)
      if (const Value* value = find(node.outputs[i])) {
        if (i > 0) refuse(node, "makes it as a further output");
        made = value;
      }
    const Value* first = find(node.input(0));
    if (has_subgraph(node)) refuse(node, "has a subgraph");
    if (node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul"))
      weighted(at, first, made);
    else if (node.is("LayerNormalization") || node.is("BatchNormalization") || node.is("InstanceNormalization") ||
             node.is("RMSNormalization"))
      normalization(at, made);
    else if (node.is("Add") || node.is("Sub") || node.is("Mul") || node.is("Div"))
      arithmetic(at, made);
    else if (node.is("Clip"))
      clip(at);
    else if (node.is("PRelu"))
      prelu(at);
    else if (node.is("Concat"))
      concat(at);
    else if (node.is("Shape") || node.is("Size"))
      ;  // reads no numbers
    else
      one_to_one(at);
  }

  // --- nodes that take factors into their weights ---
  void weighted(std::size_t at, const Value* first, const Value* made) {
    const Node& node = graph_.nodes[at];
    for (std::size_t i = 1; i < node.inputs.size(); ++i)
      if (find(node.inputs[i])) refuse(node, "reads it as weights or bias");
    const Tensor* w = constant_f32(graph_, node.input(1));
    if (w == nullptr) refuse(node, "has no constant weights in f32");
    const bool convolution = node.is("Conv") || node.is("ConvTranspose");
    if (convolution ? w->rank() < 3 : w->rank() != 2) refuse(node, fmt::format("has weights of {} dimensions", w->rank()));
    if (node.is("Gemm") && node.get_int("transA", 0) != 0) refuse(node, "transposes its input");
    const std::size_t groups = size(std::max<std::int64_t>(1, node.get_int("group", 1)));
    const std::size_t elements = size(w->size()), rows = size(w->dim(0)), columns = size(w->dim(1));
    ScaledConstant in, out;
    std::size_t inputs = 0, outputs = 0;
    if (node.is("Conv")) {  // [O, I / groups, taps]
      out.inner = elements / rows;
      outputs = out.outer = rows;
      in.inner = elements / (rows * columns);
      in.outer = columns;
      if (groups > 1) in.group_elements = elements / groups;
      inputs = columns * groups;
    } else if (node.is("ConvTranspose")) {  // [I, O / groups, taps]
      in.inner = elements / rows;
      inputs = in.outer = rows;
      out.inner = elements / (rows * columns);
      out.outer = columns;
      if (groups > 1) out.group_elements = elements / groups;
      outputs = columns * groups;
    } else {
      const bool flip = node.is("Gemm") && node.get_int("transB", 0) != 0;  // [O, I], else [I, O]
      (flip ? out : in).inner = columns;
      (flip ? out : in).outer = rows;
      (flip ? in : out).outer = columns;
      inputs = in.outer;
      outputs = out.outer;
    }
    if (first && readers_.insert(at).second) {
      if (first->axis != (convolution ? 1 : shape_of(first->name).size() - 1) || inputs != group_.channels * first->repeat)
        refuse(node, "sums over another axis");
      in.repeat = first->repeat;
      in.weight = true;
      take(at, 1, in, true);
    }
    if (made && makers_.insert(at).second) {
      if (made->axis != (convolution ? 1 : shape_of(made->name).size() - 1) || outputs != group_.channels * made->repeat)
        refuse(node, "has its channels along another axis");
      out.repeat = made->repeat;
      out.weight = true;
      take(at, 1, out, false);
      if (node.inputs.size() > 2 && !node.inputs[2].empty()) per_channel(at, 2, *made, false);
    }
  }

  // A constant operand that broadcasts over `value`.
  void per_channel(std::size_t at, std::size_t input, const Value& value, bool multiply) {
    const Node& node = graph_.nodes[at];
    const Tensor* tensor = constant_f32(graph_, node.inputs[input]);
    if (tensor == nullptr) refuse(node, "has an operand that is no constant in f32");
    const std::size_t places = group_.channels * value.repeat;
    // A bias runs along the channels wherever they are; operands are aligned from the right.
    const bool bias = input == 2 && !node.is("MatMul");
    const std::size_t from_right = bias ? 1 : shape_of(value.name).size() - value.axis;
    if (tensor->rank() > shape_of(value.name).size()) refuse(node, "has an operand of more dimensions");
    Dims dims = tensor->dims();
    while (dims.size() < from_right) dims.insert(dims.begin(), 1);
    std::int64_t& along = dims[dims.size() - from_right];
    ScaledConstant constant;
    if (along == 1 && places != 1) {
      along = static_cast<std::int64_t>(places);
      constant.widened = dims;
      if (element_count(dims) > kMostWidened) refuse(node, "has an operand that would grow too large");
    } else if (size(along) != places) {
      refuse(node, "has an operand with other channels");
    }
    for (std::size_t i = dims.size() - from_right + 1; i < dims.size(); ++i) constant.inner *= size(dims[i]);
    constant.outer = places;
    constant.repeat = value.repeat;
    take(at, input, std::move(constant), multiply);
  }

  // Whatever comes in, the output is normalized: scale and bias take the factors in.
  void normalization(std::size_t at, const Value* made) {
    const Node& node = graph_.nodes[at];
    if (!made) refuse(node, "normalizes it");
    for (const std::string& input : node.inputs)
      if (find(input)) refuse(node, "normalizes what it makes");
    for (std::size_t i = 1; i < node.outputs.size(); ++i)
      if (!node.outputs[i].empty()) refuse(node, "has further outputs");
    const bool last = node.is("LayerNormalization") || node.is("RMSNormalization");
    const std::size_t rank = shape_of(made->name).size();
    const std::int64_t axis = node.get_int("axis", -1);
    if (last && (made->axis != rank - 1 || (axis != -1 && axis != static_cast<std::int64_t>(rank) - 1)))
      refuse(node, "normalizes over several axes");
    if (!last && made->axis != 1) refuse(node, "has its channels along another axis");
    if (!makers_.insert(at).second) return;
    for (const std::size_t input : {std::size_t{1}, std::size_t{2}}) {
      if (node.input(input).empty()) {
        if (input == 1) refuse(node, "has no scale");
        continue;
      }
      const Tensor* tensor = constant_f32(graph_, node.input(input));
      if (tensor == nullptr || tensor->rank() != 1 || size(tensor->dim(0)) != group_.channels * made->repeat)
        refuse(node, "has no scale and bias of one number a channel");
      ScaledConstant constant;
      constant.outer = size(tensor->dim(0));
      constant.repeat = made->repeat;
      take(at, input, constant, false);
    }
  }

  void arithmetic(std::size_t at, const Value* made) {
    const Node& node = graph_.nodes[at];
    if (node.inputs.size() != 2) refuse(node, "has other inputs than two");
    const bool sum = node.is("Add") || node.is("Sub");
    const bool constants[2] = {graph_.constant(node.inputs[0]) != nullptr, graph_.constant(node.inputs[1]) != nullptr};
    if (constants[0] || constants[1]) {
      const std::size_t input = constants[0] ? 0 : 1;
      const std::string &x = node.inputs[1 - input], &y = node.outputs[0];
      if (shape_of(x).size() != shape_of(y).size()) refuse(node, "changes the number of dimensions");
      const Value* read = find(x);
      if (sum) {  // both sides are scaled
        const Value from = read ? *read : *made;
        add(x, from.axis, from.repeat);
        add(y, from.axis, from.repeat);
        if (between_.insert(at).second) per_channel(at, input, from, false);
        return;
      }
      if (node.is("Div") && input == 0) refuse(node, "divides by it");
      // One number for all stays one number, so that patterns with it (GELU's 0.5) stay what runtimes look for.
      if (graph_.constant(node.inputs[input])->size() == 1) return same(at, x);
      // A product takes the factors in: y[c] / s[c] = x[c] (k[c] / s[c]), y[c] = (x[c] / s[c]) (k[c] s[c]).
      if (read && made) refuse(node, "multiplies it by a constant");
      if ((read ? readers_ : makers_).insert(at).second)
        per_channel(at, input, read ? *read : *made, (read != nullptr) != node.is("Div"));
      return;
    }
    if (!sum) refuse(node, "multiplies two values");
    const Value from = made ? *made : (find(node.inputs[0]) ? *find(node.inputs[0]) : *find(node.inputs[1]));
    const std::size_t rank = shape_of(from.name).size();
    for (const std::string& value : {node.inputs[0], node.inputs[1], node.outputs[0]}) {
      if (shape_of(value).size() != rank) refuse(node, "adds values of other dimensions");
      add(value, from.axis, from.repeat);
    }
    between_.insert(at);
  }

  // --- nodes that keep factors as they are ---
  void clip(std::size_t at) {
    const Node& node = graph_.nodes[at];
    if (!find(node.input(0)) && !find(node.outputs[0])) refuse(node, "takes its limits from it");
    const auto limit = [&](std::size_t input, const char* attribute) -> std::optional<float> {
      if (node.find(attribute)) return node.get_float(attribute, 0);
      if (node.input(input).empty()) return std::nullopt;
      const Tensor* constant = constant_f32(graph_, node.input(input));
      if (constant == nullptr || constant->size() != 1) refuse(node, "has limits that are no constants");
      return constant->values<float>()[0];
    };
    const std::optional<float> low = limit(1, "min"), high = limit(2, "max");
    if (low && *low != 0) refuse(node, "has a lower limit other than 0");
    if (high && !(*high > 0)) refuse(node, "has an upper limit that is not positive");
    if (high) limits_.insert(at);
    same(at, node.input(0));
  }
  void prelu(std::size_t at) {
    const Node& node = graph_.nodes[at];
    if (find(node.input(1)) || !graph_.constant(node.input(1))) refuse(node, "has a slope that is no constant");
    same(at, node.input(0));
  }
  void concat(std::size_t at) {
    const Node& node = graph_.nodes[at];
    const Value* known = find(node.outputs[0]);
    for (const std::string& input : node.inputs)
      if (!known) known = find(input);
    const Value from = *known;
    const auto rank = static_cast<std::int64_t>(shape_of(from.name).size());
    const std::int64_t axis = node.get_int("axis", 0);
    if (size(axis < 0 ? axis + rank : axis) == from.axis) refuse(node, "joins channels");
    for (const std::string& input : node.inputs) add(input, from.axis, from.repeat);
    add(node.outputs[0], from.axis, from.repeat);
    between_.insert(at);
  }
  void same(std::size_t at, const std::string& x) {
    const Node& node = graph_.nodes[at];
    const Value* known = find(x) ? find(x) : find(node.outputs[0]);
    const Value from = *known;
    add(x, from.axis, from.repeat);
    add(node.outputs[0], from.axis, from.repeat);
    between_.insert(at);
  }

  void one_to_one(std::size_t at) {
    const Node& node = graph_.nodes[at];
    const std::string& x = node.input(0);
    if (node.inputs.empty() || (!find(x) && !find(node.outputs[0]))) refuse(node, "takes it as a parameter");
    for (std::size_t i = 1; i < node.inputs.size(); ++i)
      if (find(node.inputs[i])) refuse(node, "takes it as a parameter");
    for (std::size_t i = 1; i < node.outputs.size(); ++i)
      if (uses_.consumers.contains(node.outputs[i]) && !node.is("Dropout")) refuse(node, "has further outputs");
    if (is_any(node, kKeepFactors)) return same(at, x);
    const Value from = find(x) ? *find(x) : *find(node.outputs[0]);
    const bool forward = find(x) != nullptr;
    if (is_any(node, kPools) || node.is("Resize") || node.is("Upsample") || node.is("Pad")) {
      // These keep the axes; the channels' own must come through untouched.
      if (from.axis != 1) refuse(node, "works along the channels");
      if (node.is("Pad") && node.get_string("mode", "constant") == "constant") {
        const Tensor* number = constant_f32(graph_, node.input(2));
        const bool zero = node.input(2).empty() ? node.get_float("value", 0) == 0
                                                : number != nullptr && number->size() == 1 && number->values<float>()[0] == 0;
        if (!zero) refuse(node, "pads with a number other than 0");
      }
      if (node.is("Pad") && !pads_no_channels(node)) refuse(node, "pads channels");
      if (node.is("Resize") && node.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize")
        refuse(node, "extrapolates");
      return same(at, x);
    }
    if (is_any(node, kReductions)) return reduction(at, from, forward);
    if (node.is("Transpose")) {
      std::vector<std::int64_t> order = node.get_ints("perm");
      const std::size_t rank = shape_of(from.name).size();
      if (order.empty())
        for (std::size_t i = rank; i-- > 0;) order.push_back(static_cast<std::int64_t>(i));
      if (order.size() != rank) refuse(node, "has an order of other dimensions");
      const auto place =
          static_cast<std::size_t>(std::find(order.begin(), order.end(), static_cast<std::int64_t>(from.axis)) - order.begin());
      if (forward)
        add(node.outputs[0], place, from.repeat);
      else
        add(x, size(order[from.axis]), from.repeat);
      between_.insert(at);
      return;
    }
    if (is_any(node, kReshapes)) return reshape(at, from, forward);
    refuse(node, "keeps no factors");
  }
  bool pads_no_channels(const Node& node) const {
    if (!node.input(3).empty()) return false;  // chosen axes: rare
    std::vector<std::int64_t> pads = node.get_ints("pads");
    if (const Tensor* constant = node.input(1).empty() ? nullptr : graph_.constant(node.input(1))) {
      if (constant->dtype() != DType::s64) return false;
      const auto values = constant->values<std::int64_t>();
      pads.assign(values.begin(), values.end());
    }
    return pads.size() >= 4 && pads[1] == 0 && pads[pads.size() / 2 + 1] == 0;
  }
  void reduction(std::size_t at, const Value& from, bool forward) {
    const Node& node = graph_.nodes[at];
    std::vector<std::int64_t> axes = node.get_ints("axes");
    if (!node.input(1).empty()) {
      const Tensor* constant = graph_.constant(node.input(1));
      if (constant == nullptr || constant->dtype() != DType::s64) refuse(node, "has axes that are no constants");
      axes.assign(constant->values<std::int64_t>().begin(), constant->values<std::int64_t>().end());
    }
    const std::string &x = node.input(0), &y = node.outputs[0];
    const auto rank = static_cast<std::int64_t>(shape_of(x).size());
    if (axes.empty()) refuse(node, "reduces all axes");
    std::set<std::size_t> reduced;
    for (const std::int64_t axis : axes) reduced.insert(size(axis < 0 ? axis + rank : axis));
    const bool keep = node.get_int("keepdims", 1) != 0;
    // Place of each axis of x in y.
    std::optional<std::size_t> partner;
    for (std::size_t axis = 0, out = 0; axis < size(rank); ++axis) {
      const bool gone = reduced.contains(axis);
      if (!gone && (forward ? axis : out) == from.axis) partner = forward ? out : axis;
      if (!gone || keep) ++out;
    }
    if (!partner) refuse(node, "reduces the channels");
    if (forward)
      add(y, *partner, from.repeat);
    else
      add(x, *partner, from.repeat);
    between_.insert(at);
  }
  // Row-major order stays: from the channels' axis on both shapes hold as many elements, so the same ones lie in front.
  void reshape(std::size_t at, const Value& from, bool forward) {
    const Node& node = graph_.nodes[at];
    const std::string& other = forward ? node.outputs[0] : node.input(0);
    const Shape &here = shape_of(from.name), &there = shape_of(other);
    const auto held = suffix(here, from.axis), inner = suffix(here, from.axis + 1);
    if (!held || *held == 0) refuse(node, "has an open shape");
    for (std::size_t axis = there.size(); axis-- > 0;) {
      const auto held_there = suffix(there, axis);
      if (!held_there || *held_there > *held) break;
      if (*held_there != *held || !there[axis].fixed()) continue;
      const std::size_t inner_there = *suffix(there, axis + 1), span = *inner * from.repeat;
      if (span % inner_there != 0 || size(there[axis].value) != group_.channels * (span / inner_there)) continue;
      add(other, axis, span / inner_there);
      between_.insert(at);
      return;
    }
    refuse(node, "splits or joins channels");
  }

  static constexpr std::int64_t kMostWidened = 1 << 20;  // elements

  const Graph& graph_;
  const ValueIndex& types_;
  const Uses& uses_;
  const Known* known_;
  ScalingGroup group_;
  std::map<std::string, std::size_t, std::less<>> index_;  // into values
  std::map<std::string, Shape> shapes_;
  std::set<std::size_t> makers_, readers_, between_, limits_;
};

}  // namespace

bool is_weighted(const Graph& graph, const Node& node) {
  return (node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul")) &&
         constant_f32(graph, node.input(1)) != nullptr && graph.constant(node.input(0)) == nullptr;
}

std::size_t sum_axis(const Graph& graph, const Node& node) {
  if (node.is("Conv") || node.is("ConvTranspose")) return 1;
  const TensorType type = graph.type_of(node.input(0));
  return type.shape && !type.shape->empty() ? type.shape->size() - 1 : 0;
}

ChannelScaling::ChannelScaling(const Graph& graph) : graph_(graph), types_(graph), uses_(find_uses(graph)) {}

namespace {

ScalingAttempt grow(Growth growth, const std::string& value, std::size_t axis) {
  ScalingAttempt attempt;
  try {
    attempt.group = growth.run(value, axis);
  } catch (const Refusal& refusal) {
    attempt.group.values = growth.reached();
    attempt.obstacle = refusal.reason;
  }
  return attempt;
}

}  // namespace

ScalingAttempt ChannelScaling::find(const std::string& value, std::size_t axis) const {
  return grow(Growth(graph_, types_, uses_), value, axis);
}

ChannelScaling::All ChannelScaling::all() const {
  All result;
  using Place = std::pair<std::string, std::size_t>;
  Known seen;
  std::set<Place> told;
  const auto try_from = [&](const std::string& value, std::size_t axis) {
    if (seen.contains({value, axis})) return;
    ScalingAttempt attempt = grow(Growth(graph_, types_, uses_, &seen), value, axis);
    seen.emplace(Place{value, axis}, attempt.obstacle);
    for (const ScalingGroup::Value& each : attempt.group.values) seen.emplace(Place{each.name, each.axis}, attempt.obstacle);
    if (attempt.obstacle.empty()) result.groups.push_back(std::move(attempt.group));
  };
  // From the makers first: behind a Flatten each place is a channel of its own.
  for (const Node& node : graph_.nodes) {
    if (!is_weighted(graph_, node)) continue;
    const std::optional<Shape> shape = types_.type_of(node.outputs[0]).shape;
    if (!shape || shape->size() < 2) continue;
    try_from(node.outputs[0], node.is("Conv") || node.is("ConvTranspose") ? 1 : shape->size() - 1);
  }
  for (const Node& node : graph_.nodes) {
    if (!is_weighted(graph_, node)) continue;
    const Place place{node.input(0), sum_axis(graph_, node)};
    try_from(place.first, place.second);
    const std::string& reason = seen.at(place);
    if (!reason.empty() && told.insert(place).second) result.refused.emplace_back(place.first, reason);
  }
  return result;
}

Tensor broadcast_along(const Tensor& tensor, const ScaledConstant& constant) {
  if (constant.widened.empty()) return tensor;
  Tensor result(DType::f32, constant.widened);
  const auto src = tensor.values<float>();
  const auto dst = result.mutable_values<float>();
  // Only ones were put in front and along one axis, so an element's source is found by leaving that axis out.
  for (std::size_t i = 0; i < dst.size(); ++i)
    dst[i] = src[i / (constant.inner * constant.outer) * constant.inner + i % constant.inner];
  return result;
}

void scale_channels(Graph& graph, const std::vector<ScalingGroup>& groups, const std::vector<std::vector<double>>& scales) {
  std::map<std::pair<std::size_t, std::size_t>, std::vector<std::pair<const ScaledConstant*, const std::vector<double>*>>> all;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (std::all_of(scales[g].begin(), scales[g].end(), [](double s) { return s == 1; })) continue;
    for (const ScaledConstant& constant : groups[g].constants)
      all[{constant.node, constant.input}].emplace_back(&constant, &scales[g]);
  }
  if (all.empty()) return;
  const Uses uses = find_uses(graph);
  for (const auto& [place, factors] : all) {
    std::string& name = graph.nodes[place.first].inputs[place.second];
    Tensor scaled = *graph.constant(name);
    for (const auto& [constant, s] : factors) scaled = broadcast_along(scaled, *constant);
    const auto dst = scaled.mutable_values<float>();
    for (std::size_t i = 0; i < dst.size(); ++i) {
      auto value = static_cast<double>(dst[i]);
      for (const auto& [constant, s] : factors)
        value = constant->multiply ? value * (*s)[constant->channel(i)] : value / (*s)[constant->channel(i)];
      dst[i] = static_cast<float>(value);
    }
    const bool own = uses.consumers.find(name)->second.size() == 1 && !graph.is_output(name);
    if (own) {
      graph.types.erase(name);
    } else {
      name = unused_name(graph, name + "_scaled");
    }
    graph.initializers.insert_or_assign(name, std::move(scaled));
  }
  remove_unused_values(graph);
}

}  // namespace zeropoint::quant
