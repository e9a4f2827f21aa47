#include "zeropoint/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <utility>

#include "analyze/related.h"
#include "ir/naming.h"
#include "ops/operator.h"
#include "quant/advice.h"
#include "quant/placement.h"
#include "quant/rule_matcher.h"
#include "quant/without_data.h"
#include "zeropoint/error.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

constexpr std::uint64_t kScaleBytes = 4;       // fp32
constexpr std::array kGroups = {128, 64, 32};  // weights that share a scale

std::string operator_name(const Node& node) { return node.domain.empty() ? node.op_type : node.domain + "." + node.op_type; }

const Tensor* constant_attribute(const Node& node) {
  const Attribute* value = node.op_type == "Constant" ? node.find("value") : nullptr;
  return value == nullptr ? nullptr : std::get_if<Tensor>(value);
}

// Visits every constant of a graph and of the bodies inside it.
template <class Visit>
void visit_constants(const Graph& graph, const Visit& visit) {
  for (const auto& [name, tensor] : graph.initializers) visit(tensor);
  for (const Node& node : graph.nodes) {
    if (const Tensor* tensor = constant_attribute(node)) visit(*tensor);
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute); body != nullptr && *body)
        visit_constants(**body, visit);
  }
}

// Weights that integers can hold: what sums, gates and lookups read. Elements, and scales at one a channel or at one a group.
struct Weights {
  std::uint64_t elements = 0, channels = 0;
  std::array<std::uint64_t, kGroups.size()> groups = {};
};

void add_weight(const Tensor& tensor, std::int64_t inner, Weights& weights) {
  const auto elements = static_cast<std::uint64_t>(tensor.size());
  if (elements == 0 || inner <= 0) return;
  const std::uint64_t channels = elements / static_cast<std::uint64_t>(inner);
  weights.elements += elements;
  weights.channels += channels;
  for (std::size_t i = 0; i < kGroups.size(); ++i)
    weights.groups[i] += channels * static_cast<std::uint64_t>((inner + kGroups[i] - 1) / kGroups[i]);
}

void collect_weights(const Graph& graph, std::set<std::string>& seen, Weights& weights) {
  std::map<std::string_view, const Tensor*> in_nodes;  // by output of a Constant
  for (const Node& node : graph.nodes)
    if (const Tensor* tensor = constant_attribute(node)) in_nodes[node.outputs[0]] = tensor;
  const auto constant = [&](const std::string& value) -> const Tensor* {
    if (const Tensor* tensor = graph.constant(value)) return tensor;
    const auto found = in_nodes.find(value);
    return found == in_nodes.end() ? nullptr : found->second;
  };
  const auto add = [&](const std::string& value, auto inner) {
    const Tensor* tensor = constant(value);
    if (tensor == nullptr || !is_float(tensor->dtype()) || tensor->rank() < 2 || !seen.insert(value).second) return;
    add_weight(*tensor, inner(*tensor), weights);
  };
  const auto behind_first = [](const Tensor& w) { return w.dim(0) == 0 ? 0 : w.size() / w.dim(0); };
  for (const Node& node : graph.nodes) {
    if (node.is("Conv")) add(node.input(1), behind_first);
    if (node.is("ConvTranspose")) add(node.input(1), [](const Tensor& w) { return w.dim(1) == 0 ? 0 : w.size() / w.dim(1); });
    if (node.is("MatMul")) add(node.input(1), [](const Tensor& w) { return w.dim(w.rank() - 2); });
    if (node.is("Gemm")) add(node.input(1), [&](const Tensor& w) { return w.dim(node.get_int("transB", 0) != 0 ? 1 : 0); });
    if (node.is("LSTM") || node.is("GRU") || node.is("RNN"))
      for (const std::size_t i : {std::size_t{1}, std::size_t{2}})
        add(node.input(i), [](const Tensor& w) { return w.dims().back(); });
    if (node.is("Gather")) add(node.input(0), [](const Tensor& w) { return w.rank() == 2 ? w.dim(1) : 0; });
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute); body != nullptr && *body) {
        std::set<std::string> inner;  // names of a body are its own
        collect_weights(**body, inner, weights);
      }
  }
}

std::vector<SizeAt> sizes_of(const Graph& graph, std::uint64_t all_bytes, std::int64_t& quantizable) {
  Weights weights;
  std::set<std::string> seen;
  collect_weights(graph, seen, weights);
  quantizable = static_cast<std::int64_t>(weights.elements);
  std::uint64_t real = 0, real_bytes = 0;
  visit_constants(graph, [&](const Tensor& tensor) {
    if (!is_float(tensor.dtype())) return;
    real += static_cast<std::uint64_t>(tensor.size());
    real_bytes += tensor.byte_size();
  });
  const std::uint64_t others = all_bytes - real_bytes;
  const std::uint64_t kept = others + 4 * (real - weights.elements);  // beside the weights: as fp32
  std::vector<SizeAt> sizes = {{"fp32", 32, 0, others + 4 * real}, {"fp16", 16, 0, others + 2 * real}};
  for (const int bits : {8, 4, 2}) {
    const std::uint64_t integers = kept + (weights.elements * static_cast<std::uint64_t>(bits) + 7) / 8;
    sizes.push_back({fmt::format("int{}", bits), bits, 0, integers + weights.channels * kScaleBytes});
    for (std::size_t i = 0; i < kGroups.size(); ++i)
      sizes.push_back(
          {fmt::format("int{} g{}", bits, kGroups[i]), bits, kGroups[i], integers + weights.groups[i] * kScaleBytes});
  }
  return sizes;
}

void count_operators(const Graph& graph, const Graph& shaped, bool in_body, std::map<std::string, OperatorCount>& counts) {
  const ValueIndex values(shaped);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    OperatorCount& entry = counts[operator_name(node)];
    entry.op_type = operator_name(node);
    ++entry.count;
    if (in_body) ++entry.in_bodies;
    const ops::Operator* known = ops::find(node);
    entry.known = known != nullptr;
    if (known != nullptr && known->macs != nullptr && !in_body) {
      const std::int64_t macs = ops::macs(values, shaped.nodes[i]);
      const bool sized = std::all_of(node.outputs.begin(), node.outputs.end(), [&](const std::string& output) {
        const TensorType type = values.type_of(output);
        return output.empty() || (type.shape && fixed(*type.shape));
      });
      if (sized) entry.macs = entry.macs.value_or(0) + macs;
    }
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute); body != nullptr && *body)
        count_operators(**body, **body, true, counts);
  }
}

// The given shapes, and 1 for every dimension that stays open.
std::map<std::string, Dims> complete_shapes(const Graph& graph, const InspectOptions& options,
                                            std::map<std::string, Dims>& assumed) {
  std::map<std::string, Dims> shapes = options.shapes;
  for (const ValueInfo& input : graph.inputs) {
    if (!input.type.shape || shapes.contains(input.name)) continue;
    Dims dims;
    for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
    shapes[input.name] = dims;
    if (!fixed(*input.type.shape)) assumed[input.name] = dims;
  }
  return shapes;
}

double share(std::int64_t part, std::int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

PlannedQuantization plan_quantization(Graph graph, const Recipe& recipe, const std::map<std::string, Dims>& shapes) {
  PlannedQuantization plan{.recipe = recipe.name, .target = recipe.target};
  Graph fused = fuse(std::move(graph));
  std::set<std::string> integer, storing;  // names of nodes
  std::vector<quant::LeftInFloat> left;
  const bool without_data = recipe.has_data_free_rules();
  try {
    if (recipe.needs_samples()) {
      const quant::Placement placement = quant::place_typed(fused, without_data ? quant::static_part(recipe) : recipe);
      for (const quant::TieGroup& group : placement.groups) plan.activations += static_cast<std::int64_t>(group.values.size());
      for (const std::size_t i : placement.integer_nodes) integer.insert(quant::name_of(fused.nodes[i]));
      for (const auto& [name, weight] : placement.weights)
        if (weight.use != quant::WeightUse::sums)
          for (const std::size_t i : weight.nodes) storing.insert(quant::name_of(fused.nodes[i]));
      left = placement.left_in_float;
    }
    if (without_data) {
      quant::WithoutData rest = quant::forecast_without_data(fused, recipe);
      std::erase_if(left, [&](const quant::LeftInFloat& node) {
        return rest.integer_names.contains(node.node) || rest.weight_names.contains(node.node);
      });
      if (left.empty()) left = std::move(rest.left_in_float);
      integer.merge(rest.integer_names);
      storing.merge(rest.weight_names);
    }
  } catch (const Error& error) {
    if (error.code != ErrorCode::kUnsupported) throw;
    plan.refused = error.what();
    return plan;
  }
  if (integer.empty() && storing.empty())
    plan.refused = "nothing to quantize: " + quant::advice_without_integers(fused, left, recipe.target);
  for (quant::LeftInFloat& node : left)
    plan.left_in_float.push_back({std::move(node.node), std::move(node.op_type), std::move(node.reason)});
  for (const Node& node : fused.nodes) {
    if (integer.contains(quant::name_of(node))) ++plan.integer_operators[node.op_type];
    if (storing.contains(quant::name_of(node))) ++plan.weight_operators[node.op_type];
  }
  const bool known = std::ranges::all_of(fused.inputs, [&](const ValueInfo& input) {
    const auto given = shapes.find(input.name);
    return given == shapes.end() || (input.type.shape && *input.type.shape == to_shape(given->second));
  });
  if (!known) try {
      ops::infer_shapes(fused, shapes);
    } catch (const Error&) {
      return plan;  // dimensions of 1 may be too small for this network; its work is then not known
    }
  std::int64_t all = 0, in_integers = 0;
  const ValueIndex values(fused);
  for (const Node& node : fused.nodes) {
    const std::int64_t macs = quant::macs_with_bodies(values, node);
    all += macs;
    if (integer.contains(quant::name_of(node))) in_integers += macs;
  }
  if (all > 0) plan.integer_coverage = share(in_integers, all);
  return plan;
}

EngineSupport try_engine(const Graph& graph, const std::map<std::string, Dims>& shapes, const InspectOptions& options) {
  EngineSupport support;
  try {
    const Session session(graph, {.threads = 1, .max_isa = options.max_isa, .shapes = shapes});
    for (const StepInfo& step : session.steps()) {
      EnginePath& path = step.kernel == "reference" ? support.reference : (step.integer ? support.integer : support.floating);
      ++path.steps;
      path.macs += step.macs;
      ++path.operators[step.op];
      if (!step.reason.empty()) support.slow.push_back({step.name, step.op, step.reason});
    }
  } catch (const Error& error) {
    support.refused = error.what();
  }
  return support;
}

}  // namespace

namespace {

Inspection look_into(const Graph& graph, const InspectOptions& options) {
  Inspection result;
  result.opset = graph.opset();
  result.opsets = graph.opsets;
  result.ir_version = graph.ir_version;
  result.nodes = static_cast<std::int64_t>(graph.nodes.size());
  result.metadata = graph.metadata;
  Graph shaped = graph;
  const std::map<std::string, Dims> shapes = complete_shapes(graph, options, result.assumed);
  ops::infer_shapes(shaped, options.shapes);  // a shape that does not fit is the caller's mistake
  result.inputs = shaped.inputs;
  result.outputs = shaped.outputs;
  for (ValueInfo& output : result.outputs)
    if (const auto inferred = shaped.types.find(output.name); inferred != shaped.types.end()) output.type = inferred->second;
  if (!result.assumed.empty()) try {
      ops::infer_shapes(shaped, shapes);
    } catch (const Error&) {
      // Dimensions of 1 may be too small for this network.
    }
  visit_constants(graph, [&](const Tensor& tensor) {
    result.parameters += tensor.size();
    result.parameter_bytes += tensor.byte_size();
    result.bytes_by_type[std::string(name(tensor.dtype()))] += tensor.byte_size();
  });
  std::map<std::string, OperatorCount> counts;
  count_operators(graph, shaped, false, counts);
  for (auto& [op_type, entry] : counts) {
    if (entry.macs) result.macs += *entry.macs;
    const ops::Operator* known = ops::find("", op_type);
    if (known != nullptr && known->macs != nullptr && (!entry.macs || entry.in_bodies > 0)) result.macs_complete = false;
    result.operators.push_back(std::move(entry));
  }
  std::stable_sort(result.operators.begin(), result.operators.end(),
                   [](const OperatorCount& a, const OperatorCount& b) { return a.count > b.count; });
  result.quantized = analyze::holds_quantized_operators(graph);
  result.sizes = sizes_of(graph, result.parameter_bytes, result.quantizable_parameters);
  if (!options.shapes.empty() || !result.assumed.empty()) shaped = graph;  // it is planned for every shape
  if (options.recipe && !result.quantized) result.plan = plan_quantization(std::move(shaped), *options.recipe, shapes);
  if (options.engine) result.engine = try_engine(graph, shapes, options);
  return result;
}

}  // namespace

Inspection inspect(const Graph& graph, const InspectOptions& options) {
  return naming_source(graph, [&] { return look_into(graph, options); });
}

}  // namespace zeropoint
