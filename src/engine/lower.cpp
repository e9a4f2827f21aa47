#include "engine/lower.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "kernels/layout/layout.h"
#include "ops/quantized.h"

namespace zeropoint::engine {
namespace {

constexpr std::size_t kMostAhead = 1 << 20;  // of the next step's weights: what L2 holds beside those at work
// Waking a sleeping worker and waiting for it costs tens of microseconds, on virtual machines more.
constexpr double kWorthSharing = 50;

[[noreturn]] void fail_unknown(const Node& node) {
  throw Error(ErrorCode::kUnsupported, describe(node),
              fmt::format("operator {}{} is not known to this version and cannot run",
                          node.domain.empty() ? "" : node.domain + ".", node.op_type));
}

std::array<std::uint8_t, 256> sign_flip() {
  std::array<std::uint8_t, 256> table{};
  for (std::size_t q = 0; q < table.size(); ++q) table[q] = static_cast<std::uint8_t>(q ^ 0x80U);
  return table;
}

// [N,C,...] <-> [N,...,C]
class RelayoutStep : public Step {
 public:
  RelayoutStep(const kernels::LayoutKernels& kernels, const Planes& planes, bool to_channel_last, int bytes)
      : functions_(kernels.functions),
        shape_(to_channel_last ? kernels::dense_transpose(planes.n, planes.c, planes.pixels, bytes)
                               : kernels::dense_transpose(planes.n, planes.pixels, planes.c, bytes)) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    functions_->transpose(shape_, context.values[inputs[0]], context.values[outputs[0]], context.worker, context.workers);
  }

 private:
  const kernels::LayoutFunctions* functions_;
  kernels::TransposeShape shape_;
};

class CopyStep : public Step {
 public:
  explicit CopyStep(std::size_t bytes) : bytes_(bytes) { info.kernel = "memcpy"; }
  void run(const RunContext& context) const override {
    const auto part = partition(static_cast<std::int64_t>(bytes_), context.worker, context.workers, 4096);
    if (part.begin == part.end) return;  // an empty tensor may lie nowhere
    std::memcpy(context.values[outputs[0]] + part.begin, context.values[inputs[0]] + part.begin,
                static_cast<std::size_t>(part.end - part.begin));
  }

 private:
  std::size_t bytes_;
};

class LookupStep : public Step {
 public:
  LookupStep(const kernels::ElementwiseQ8Kernels& kernels, const std::array<std::uint8_t, 256>& table, std::int64_t count)
      : functions_(kernels.functions), table_(table), count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 4096);
    functions_->lookup_u8(table_.data(), reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]) + part.begin,
                          reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  std::array<std::uint8_t, 256> table_;
  std::int64_t count_;
};

class DequantizeStep : public Step {
 public:
  DequantizeStep(const kernels::ElementwiseQ8Kernels& kernels, const Quantizer& quantizer, std::int64_t count)
      : functions_(kernels.functions), params_{quantizer.scale, quantizer.zero_point}, count_(count) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    functions_->dequantize_u8(params_, reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]) + part.begin,
                              reinterpret_cast<float*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  kernels::DequantizeParams params_;
  std::int64_t count_;
};

// Floats of a lazy value whose table is not affine.
class TableStep : public Step {
 public:
  TableStep(const std::array<float, 256>& table, std::int64_t count) : table_(table), count_(count) {
    info.kernel = "table_f32";
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    const auto* src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    for (std::int64_t i = part.begin; i < part.end; ++i) dst[i] = table_[src[i]];
  }

 private:
  std::array<float, 256> table_;
  std::int64_t count_;
};

// Any operator by its readable reference, in ONNX layout.
class ReferenceStep : public Step {
 public:
  ReferenceStep(const Graph& graph, Node node, std::vector<DType> dtypes, std::vector<Dims> dims, std::vector<DType> out_dtypes,
                std::vector<Dims> out_dims)
      : opset_graph_(with_opsets(graph)),
        node_(std::move(node)),
        dtypes_(std::move(dtypes)),
        dims_(std::move(dims)),
        out_dtypes_(std::move(out_dtypes)),
        out_dims_(std::move(out_dims)) {
    info.kernel = "reference";
  }
  bool single_threaded() const override { return true; }
  void run(const RunContext& context) const override {
    std::vector<Tensor> in;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] == kNoValue) {
        in.emplace_back();
        continue;
      }
      const auto bytes = static_cast<std::size_t>(element_count(dims_[i])) * static_cast<std::size_t>(bits(dtypes_[i]));
      in.push_back(Tensor::borrow(dtypes_[i], dims_[i], {context.values[inputs[i]], (bytes + 7) / 8}, nullptr));
    }
    const std::vector<Tensor> out = ops::evaluate(opset_graph_, node_, in);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] == kNoValue) continue;
      if (i >= out.size() || out[i].dims() != out_dims_[i] || out[i].dtype() != out_dtypes_[i])
        throw Error(ErrorCode::kBadShape, describe(node_),
                    fmt::format("output {} became {}{}, {}{} was planned", i, i < out.size() ? name(out[i].dtype()) : "nothing",
                                i < out.size() ? to_string(out[i].dims()) : "", name(out_dtypes_[i]), to_string(out_dims_[i])));
      std::memcpy(context.values[outputs[i]], out[i].bytes().data(), out[i].bytes().size());
    }
  }

 private:
  static Graph with_opsets(const Graph& graph) {
    Graph empty;
    empty.opsets = graph.opsets;
    return empty;
  }

  Graph opset_graph_;
  Node node_;
  std::vector<DType> dtypes_;
  std::vector<Dims> dims_;
  std::vector<DType> out_dtypes_;
  std::vector<Dims> out_dims_;
};

}  // namespace

Plan lower(const Graph& graph, const LowerOptions& options, PackCache& cache) { return Lowering(graph, options, cache).run(); }

Lowering::Lowering(const Graph& graph, const LowerOptions& options, PackCache& cache)
    : graph_(graph),
      values_(graph),
      options_(options),
      cache_(cache),
      uses_(find_uses(graph)),
      done_(graph.nodes.size(), false) {
  for (std::size_t i = 0; i < options.taps.size(); ++i) taps_[options.taps[i]].index = i;
}

const std::map<std::string, Lowering::Handler, std::less<>>& Lowering::handlers() {
  static const std::map<std::string, Handler, std::less<>> table = {
      {"QuantizeLinear", &Lowering::quantize_linear},
      {"DequantizeLinear", &Lowering::dequantize_linear},
      {"QLinearConv", &Lowering::quantized_operator},
      {"QLinearMatMul", &Lowering::quantized_operator},
      {"DynamicQuantizeLinear", &Lowering::dynamic_quantize},
      {"ConvInteger", &Lowering::dynamic_linear},
      {"MatMulInteger", &Lowering::dynamic_linear},
      {"Conv", &Lowering::convolution},
      {"ConvTranspose", &Lowering::conv_transpose},
      {"MatMul", &Lowering::matmul},
      {"Gemm", &Lowering::matmul},
      {"Add", &Lowering::binary},
      {"Sub", &Lowering::binary},
      {"Mul", &Lowering::binary},
      {"Div", &Lowering::binary},
      {"Relu", &Lowering::activation},
      {"Clip", &Lowering::activation},
      {"MaxPool", &Lowering::pool},
      {"AveragePool", &Lowering::pool},
      {"GlobalAveragePool", &Lowering::pool},
      {"GlobalMaxPool", &Lowering::pool},
      {"ReduceMean", &Lowering::pool},
      {"Reshape", &Lowering::reshape},
      {"Flatten", &Lowering::reshape},
      {"Squeeze", &Lowering::reshape},
      {"Unsqueeze", &Lowering::reshape},
      {"Identity", &Lowering::reshape},
      {"Dropout", &Lowering::reshape},
      {"Transpose", &Lowering::transpose},
      {"Concat", &Lowering::concat},
      {"Slice", &Lowering::movement},
      {"Split", &Lowering::movement},
      {"Gather", &Lowering::movement},
      {"Expand", &Lowering::movement},
      {"Tile", &Lowering::movement},
      {"Pad", &Lowering::movement},
      {"Pow", &Lowering::power},
      {"Min", &Lowering::binary},
      {"Max", &Lowering::binary},
      {"Equal", &Lowering::typed_elementwise},
      {"Less", &Lowering::typed_elementwise},
      {"LessOrEqual", &Lowering::typed_elementwise},
      {"Greater", &Lowering::typed_elementwise},
      {"GreaterOrEqual", &Lowering::typed_elementwise},
      {"And", &Lowering::typed_elementwise},
      {"Or", &Lowering::typed_elementwise},
      {"Xor", &Lowering::typed_elementwise},
      {"Not", &Lowering::typed_elementwise},
      {"Where", &Lowering::typed_elementwise},
      {"Cast", &Lowering::typed_elementwise},
      {"PRelu", &Lowering::prelu},
      {"LSTM", &Lowering::recurrent},
      {"GRU", &Lowering::recurrent},
      {"RNN", &Lowering::recurrent},
      {"Softmax", &Lowering::softmax},
      {"LogSoftmax", &Lowering::softmax},
      {"LayerNormalization", &Lowering::normalization},
      {"RMSNormalization", &Lowering::normalization},
      {"ReduceSum", &Lowering::reduction},
      {"ReduceMax", &Lowering::reduction},
      {"ReduceMin", &Lowering::reduction},
      {"ReduceSumSquare", &Lowering::reduction},
      {"ReduceL2", &Lowering::reduction},
      {"DepthToSpace", &Lowering::move_quantized},
      {"GatherElements", &Lowering::move_quantized},
      {"GatherND", &Lowering::move_quantized},
      {"Resize", &Lowering::move_quantized},
      {"SpaceToDepth", &Lowering::move_quantized},
  };
  return table;
}

std::shared_ptr<std::byte> PackCache::allocate(std::size_t bytes) {
  // Pages of a region that nothing was put on are not there: only its last huge page is filled in part.
  constexpr std::size_t kRegion = std::size_t{32} << 20, kSmallPagesReach = std::size_t{8} << 20;
  const std::size_t rounded = (bytes + 63) / 64 * 64;
  const std::lock_guard lock(mutex_);
  allocated_ += rounded;
  if (allocated_ < kSmallPagesReach || rounded >= kRegion) {
    std::shared_ptr<std::byte[]> own = allocate_aligned(bytes);
    return {own, own.get()};
  }
  if (rounded > region_left_) {
    std::shared_ptr<std::byte[]> region = allocate_aligned(kRegion);
    region_ = {region, region.get()};
    region_left_ = kRegion;
  }
  std::byte* at = region_.get() + (kRegion - region_left_);
  region_left_ -= rounded;
  return {region_, at};
}

Plan Lowering::run() {
  quantized_file_ = std::any_of(graph_.nodes.begin(), graph_.nodes.end(), [](const Node& node) {
    return node.op_type == "DequantizeLinear" || node.op_type == "MatMulNBits" || node.op_type.starts_with("QLinear") ||
           node.op_type.ends_with("Integer");
  });
  find_layout_preferences();
  find_row_quantizers();
  find_attentions();
  for (const Node& node : graph_.nodes)
    if (const Tensor* weights = node.is("MatMulInteger") ? constant_of(node.input(1)) : nullptr)
      dynamic_weight_bytes_ += weights->size();
  bind_inputs();
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (done_[i]) continue;
    const auto attention = attentions_.find(i);
    try {
      if (attention == attentions_.end())
        lower_node(i);
      else if (attention->second->nodes.back() == i)
        lower_attention(*attention->second);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::kLimit, describe(graph_.nodes[i]), "its weights and tables take more memory than there is");
    }
  }
  current_ = nullptr;
  const std::size_t before = plan_.steps.size();
  bind_outputs();
  for (std::size_t i = before; quantized_file_ && i < plan_.steps.size(); ++i)
    if (StepInfo& info = plan_.steps[i]->info; !info.integer && info.reason.empty()) info.reason = "an output of the graph";
  std::stable_sort(plan_.taps.begin(), plan_.taps.end(), [](const auto& a, const auto& b) { return a.after < b.after; });
  for (const auto& step : plan_.steps) {
    plan_.scratch_bytes = std::max(plan_.scratch_bytes, step->scratch_bytes(options_.threads));
    plan_.total_macs += step->info.macs;
    if (step->info.integer) plan_.integer_macs += step->info.macs;
  }
  if (options_.threads > 1)
    for (const auto& step : plan_.steps) {
      step->shared = worth_sharing(*step);
      if (const Tuning* tuning = options_.tuning.get())
        step->shared ^= tuning->all_other_sharing || tuning->other_sharing.contains(step->info.name);
    }
  std::span<const std::byte> next;
  for (auto step = plan_.steps.rbegin(); step != plan_.steps.rend(); ++step) {
    (*step)->runs_before(next.first(std::min(next.size(), kMostAhead)));
    if (const auto weights = (*step)->weights(); !weights.empty()) next = weights;
  }
  plan_memory(plan_);
  return std::move(plan_);
}

bool Lowering::worth_sharing(const Step& step) const {
  double bytes = 0;
  for (const auto* ids : {&step.inputs, &step.outputs})
    for (const ValueId id : *ids)
      if (id != kNoValue) bytes += static_cast<double>(plan_.values[static_cast<std::size_t>(id)].bytes);
  return worth_sharing(step.info.macs, step.info.integer, bytes);
}

bool Lowering::worth_sharing(std::int64_t macs, bool integer, double bytes) {
  constexpr double kFloatMacs = 3e4, kIntegerMacs = 3e5, kBytes = 5e3;  // a microsecond on one core, roughly
  return static_cast<double>(macs) / (integer ? kIntegerMacs : kFloatMacs) + bytes / kBytes >= kWorthSharing;
}

void Lowering::lower_node(std::size_t index) {
  const Node& node = graph_.nodes[index];
  current_ = &node;
  reason_.clear();
  done_[index] = true;
  const std::size_t before = plan_.steps.size();
  bool handled = wide_linear(node) || wide_product(node) || wide_average(node) ||
                 (node.is("ConvTranspose") && wide_.contains(node.input(0)) && conv_transpose(node));
  if (!handled)
    for (const auto& input : node.inputs) materialize_wide(input);
  handled = handled || row_quantize(index);
  if (!handled && (node.domain.empty() || node.domain == "com.microsoft")) {
    handled = fold_constants_behind(node) || lazy_unary(node);
    if (!handled && node.domain.empty()) {
      const auto handler = handlers().find(node.op_type);
      handled = handler != handlers().end() ? (this->*handler->second)(node) : unary(node);
    } else if (!handled) {
      if (node.op_type == "QuantizeLinear")
        handled = quantize_linear(node);
      else if (node.op_type == "DequantizeLinear")
        handled = dequantize_linear(node);
      else if (node.op_type == "MatMulNBits")
        handled = matmul_n_bits(node);
      else if (node.op_type == "DynamicQuantizeLSTM")
        handled = dynamic_lstm(node);
      else
        handled = quantized_operator(node);
    }
  }
  if (!handled) reference(node);
  if (quantized_file_) explain_floats(node, before);
  for (const auto& output : node.outputs)
    if (!output.empty()) materialize_tap(output);
}

// Nothing stays float in a quantized file without a word.
void Lowering::explain_floats(const Node& node, std::size_t first_step) {
  const bool reads_quantized = std::any_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
    return lazy_.contains(input) || wide_.contains(input);
  });
  for (std::size_t i = first_step; i < plan_.steps.size(); ++i) {
    StepInfo& info = plan_.steps[i]->info;
    if (info.integer || !info.reason.empty()) continue;
    if (info.op.starts_with("DequantizeLinear") && !node.is("DequantizeLinear"))
      info.reason = node.op_type + " takes floats";
    else if (info.op == "layout" || info.op == "copy")
      info.reason = "moves floats";
    else
      info.reason =
          reads_quantized ? "no integer form of " + node.op_type + ": fp32 as the file says" : "its inputs are not quantized";
  }
}

// ---- values

const Dims& Lowering::dims_of(const std::string& value_name) {
  const auto known = dims_.find(value_name);
  if (known != dims_.end()) return known->second;
  Dims dims;
  if (const Tensor* constant = graph_.constant(value_name)) {
    dims = constant->dims();
  } else {
    const TensorType type = values_.type_of(value_name);
    const auto fixed_shape = type.shape ? fixed_dims(*type.shape) : std::nullopt;
    if (!fixed_shape && current_ != nullptr && ops::find(*current_) == nullptr) fail_unknown(*current_);
    if (!fixed_shape)
      throw Error(
          ErrorCode::kUnsupported, current_ ? describe(*current_) : "graph",
          "the shape of value '" + value_name + "' depends on data (" + to_string(type) + "), which this version cannot plan");
    dims = *fixed_shape;
  }
  return dims_.emplace(value_name, std::move(dims)).first->second;
}

DType Lowering::dtype_of_value(const std::string& value_name) const {
  const auto held = held_.find(value_name);
  if (held != held_.end())
    for (const auto& row : held->second.ids)
      for (const ValueId id : row)
        if (id != kNoValue) return plan_.values[static_cast<std::size_t>(id)].dtype;
  if (lazy_.contains(value_name)) return DType::f32;
  if (const auto view = views_.find(value_name); view != views_.end())
    return plan_.values[static_cast<std::size_t>(view->second.base)].dtype;
  return values_.type_of(value_name).dtype;
}

ValueId Lowering::add_value(const std::string& value_name, DType dtype, Dims dims, Layout layout, bool flipped) {
  PlanValue facts;
  facts.name = value_name;
  facts.dtype = dtype;
  facts.flipped = flipped;
  facts.bytes = (static_cast<std::size_t>(element_count(dims)) * static_cast<std::size_t>(bits(dtype)) + 7) / 8;
  facts.dims = std::move(dims);
  facts.layout = layout;
  plan_.values.push_back(std::move(facts));
  return static_cast<ValueId>(plan_.values.size()) - 1;
}

ValueId Lowering::define(const std::string& value_name, DType dtype, Dims dims, Layout layout, bool flipped) {
  const ValueId id = add_value(value_name, dtype, dims, layout, flipped);
  held_[value_name].ids[static_cast<std::size_t>(layout)][flipped ? 1 : 0] = id;
  dims_[value_name] = std::move(dims);
  return id;
}

void Lowering::set_alias(const std::string& value_name, const std::string& of) {
  if (!held_.contains(of)) materialize(of);
  held_[value_name] = held_.at(of);
}

Layout Lowering::layout_held(const std::string& value_name) const {
  const auto lazy = lazy_.find(value_name);
  if (lazy != lazy_.end()) return layout_held(lazy->second.quantized);
  const auto held = held_.find(value_name);
  if (held == held_.end()) return Layout::row_major;
  for (const ValueId id : held->second.ids[static_cast<std::size_t>(Layout::channel_last)])
    if (id != kNoValue) return Layout::channel_last;
  return Layout::row_major;
}

const Tensor* Lowering::constant_of(const std::string& value_name) const {
  if (const auto folded = folded_.find(value_name); folded != folded_.end()) return &folded->second.tensor;
  return graph_.constant(value_name);
}

std::optional<float> Lowering::scalar_of(const std::string& value_name) const {
  const Tensor* constant = constant_of(value_name);
  if (constant == nullptr || constant->size() != 1 || constant->dtype() != DType::f32) return std::nullopt;
  return constant->values<float>()[0];
}

std::string Lowering::fresh(const std::string& base) { return base + "#" + std::to_string(fresh_++); }

bool Lowering::single_use(const std::string& value_name) const {
  if (values_.is_output(value_name) || tapped(value_name)) return false;
  const auto consumers = uses_.consumers.find(value_name);
  return consumers != uses_.consumers.end() && consumers->second.size() == 1;
}

ValueId Lowering::fetch(const std::string& value_name, Layout layout, bool flipped) {
  if (value_name.empty()) return kNoValue;
  if (lazy_.contains(value_name)) return fetch_float(value_name, layout);
  const auto wanted_layout = static_cast<std::size_t>(layout);
  if (!held_.contains(value_name) && views_.contains(value_name))
    materialize(value_name, dims_of(value_name).size() >= 3 ? layout : Layout::row_major);
  materialize_wide(value_name);
  auto held = held_.find(value_name);
  if (held == held_.end()) {
    const Tensor* constant = constant_of(value_name);
    // weights that somebody wants as floats
    if (constant == nullptr && (constants_.contains(value_name) || deferred_constants_.contains(value_name))) {
      const auto stored = constants_.find(value_name);
      const ValueId id = define(value_name, DType::f32, dims_of(value_name), Layout::row_major);
      value(id).place = Place::constant;
      if (stored != constants_.end() && stored->second.floats) {
        value(id).constant = *stored->second.floats;
      } else {
        const Node& node = graph_.nodes[uses_.producer.at(value_name)];
        std::vector<Tensor> in;
        for (const auto& input : node.inputs) in.push_back(input.empty() ? Tensor() : *constant_of(input));
        value(id).constant = ops::evaluate(graph_, node, in).front();
      }
    } else if (constant != nullptr) {
      const ValueId id = define(value_name, constant->dtype(), constant->dims(), Layout::row_major);
      value(id).place = Place::constant;
      value(id).constant = *constant;
    } else {
      throw Error(ErrorCode::kInternal, current_ ? describe(*current_) : "graph", "value '" + value_name + "' was never made");
    }
    held = held_.find(value_name);
  }
  const auto get = [&](std::size_t in_layout, bool is_flipped) { return held->second.ids[in_layout][is_flipped ? 1 : 0]; };
  if (const ValueId id = get(wanted_layout, flipped); id != kNoValue) return id;

  // Conversions, one property at a time: first the layout, then the sign.
  const std::size_t other_layout = 1 - wanted_layout;
  for (const bool from_flipped : {flipped, !flipped}) {
    const ValueId from = get(other_layout, from_flipped);
    if (from == kNoValue || get(wanted_layout, from_flipped) != kNoValue) continue;
    const PlanValue source = value(from);
    const ValueId to = define(value_name, source.dtype, source.dims, layout, from_flipped);
    held = held_.find(value_name);
    if (spatially_trivial(source.dims)) {
      value(to).place = Place::alias;
      value(to).alias = from;
    } else {
      auto step = std::make_unique<RelayoutStep>(kernels::select_layout(options_.isas), planes(source.dims),
                                                 layout == Layout::channel_last, element_bytes(source.dtype));
      step->info.integer = is_integer(source.dtype);
      if (value(from).place == Place::constant) {
        Tensor moved(source.dtype, source.dims);
        std::array<std::byte*, 2> pointers = {const_cast<std::byte*>(source.constant.bytes().data()),
                                              moved.mutable_bytes().data()};
        step->inputs = {0};
        step->outputs = {1};
        step->run({pointers.data(), nullptr, 0, 1});
        value(to).place = Place::constant;
        value(to).constant = std::move(moved);
      } else {
        emit(std::move(step), "layout", {from}, {to}).info.name = value_name;
      }
    }
    break;
  }
  if (const ValueId id = get(wanted_layout, flipped); id != kNoValue) return id;
  const ValueId from = get(wanted_layout, !flipped);
  const PlanValue source = value(from);
  const ValueId to = define(value_name, source.dtype, source.dims, layout, flipped);
  emit_lookup(sign_flip(), "s8<->u8", from, to);
  plan_.steps.back()->info.name = value_name;
  return to;
}

void Lowering::emit_lookup(const std::array<std::uint8_t, 256>& table, const std::string& op, ValueId from, ValueId to) {
  const std::int64_t count = element_count(value(from).dims);
  emit(std::make_unique<LookupStep>(kernels::select_elementwise_q8(options_.isas), table, count), op, {from}, {to});
}

ValueId Lowering::fetch_float(const std::string& value_name, Layout layout) {
  const auto lazy = lazy_.find(value_name);
  if (lazy == lazy_.end()) return fetch(value_name, layout);
  const auto held = held_.find(value_name);
  if (held != held_.end()) {
    const auto& ids = held->second.ids[static_cast<std::size_t>(layout)];
    if (ids[0] != kNoValue) return ids[0];
  }
  const Lazy source = lazy->second;
  const ValueId from = fetch(source.quantized, layout, source.dtype == DType::s8);
  const Dims dims = value(from).dims;
  const ValueId to = define(value_name, DType::f32, dims, layout);
  const std::int64_t count = element_count(dims);
  if (source.affine)
    emit(std::make_unique<DequantizeStep>(kernels::select_elementwise_q8(options_.isas), *source.affine, count),
         "DequantizeLinear", {from}, {to});
  else
    emit(std::make_unique<TableStep>(source.table, count), "DequantizeLinear+function", {from}, {to});
  plan_.steps.back()->info.name = value_name;
  return to;
}

void Lowering::materialize_tap(const std::string& value_name) {
  const auto tap = taps_.find(value_name);
  if (tap == taps_.end() || tap->second.shown || dtype_of_value(value_name) != DType::f32) return;
  materialize_wide(value_name);
  if (!lazy_.contains(value_name) && !exists(value_name)) return;
  const ValueId id = fetch_float(value_name, layout_held(value_name));
  plan_.taps.push_back({tap->second.index, id, static_cast<std::int64_t>(plan_.steps.size()) - 1});
  tap->second.shown = true;
}

// ---- edges of the graph

void Lowering::bind_inputs() {
  for (std::size_t i = 0; i < graph_.inputs.size(); ++i) {
    const ValueInfo& input = graph_.inputs[i];
    const Dims dims = dims_of(input.name);
    ValueId id = define(input.name, input.type.dtype, dims, Layout::row_major);
    value(id).place = Place::input;
    value(id).slot = i;
    plan_.inputs.push_back(id);
    if (input.type.dtype == DType::u8 || input.type.dtype == DType::s8) {
      // Kernels of 8-bit values may read over the edge; the user's memory has no slack.
      const ValueId copy = define(input.name, input.type.dtype, dims, Layout::row_major);
      emit(std::make_unique<CopyStep>(value(id).bytes), "copy", {id}, {copy}).info.name = input.name;
    }
    materialize_tap(input.name);
  }
}

void Lowering::bind_outputs() {
  std::set<ValueId> taken;
  for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
    const std::string& output = graph_.outputs[i].name;
    ValueId id = fetch(output, Layout::row_major);
    PlanValue& facts = value(id);
    const bool aliased = std::any_of(plan_.values.begin(), plan_.values.end(),
                                     [&](const PlanValue& other) { return other.place == Place::alias && other.alias == id; });
    const bool own = facts.place == Place::arena && !aliased && !taken.contains(id) && bits(facts.dtype) != 8;
    if (!own) {
      const ValueId copy = add_value(output, facts.dtype, facts.dims, Layout::row_major);
      emit(std::make_unique<CopyStep>(value(id).bytes), "copy", {id}, {copy}).info.name = output;
      id = copy;
    }
    value(id).place = Place::output;
    value(id).slot = i;
    taken.insert(id);
    plan_.outputs.push_back(id);
  }
}

// ---- decisions that look around

// A value prefers to lie channel-last when a convolution or pooling will read it, perhaps through elementwise nodes.
void Lowering::find_layout_preferences() {
  static const std::set<std::string, std::less<>> spatial = {
      "Conv",        "MaxPool",       "AveragePool",   "GlobalAveragePool",  "QLinearConv",
      "ConvInteger", "ConvTranspose", "GlobalMaxPool", "QLinearAveragePool", "QLinearGlobalAveragePool"};
  static const std::set<std::string, std::less<>> through = {"QuantizeLinear",
                                                             "DequantizeLinear",
                                                             "DynamicQuantizeLinear",
                                                             "Relu",
                                                             "Clip",
                                                             "Add",
                                                             "Mul",
                                                             "Sub",
                                                             "Div",
                                                             "Sigmoid",
                                                             "HardSigmoid",
                                                             "HardSwish",
                                                             "LeakyRelu",
                                                             "Concat",
                                                             "Identity"};
  for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
    const Node& node = graph_.nodes[i];
    if (spatial.contains(node.op_type)) {
      channel_last_.insert(node.input(0));
    } else if (through.contains(node.op_type) &&
               std::any_of(node.outputs.begin(), node.outputs.end(), [&](const auto& o) { return prefers_channel_last(o); })) {
      for (const auto& input : node.inputs)
        if (constant_of(input) == nullptr) channel_last_.insert(input);
    }
  }
}

std::optional<Quantizer> Lowering::quantizer_of(const Node& node) const {
  if (node.op_type != "QuantizeLinear" && node.op_type != "DequantizeLinear") return std::nullopt;
  if (!node.domain.empty() && node.domain != "com.microsoft") return std::nullopt;
  const auto scale = scalar_of(node.input(1));
  if (!scale || !(*scale > 0) || node.find("block_size") != nullptr) return std::nullopt;
  Quantizer quantizer{.scale = *scale};
  if (node.input(2).empty()) {
    // Without a zero point the output type comes from `output_dtype` (opset 21) or is u8.
    constexpr std::int64_t kUint8 = 2, kInt8 = 3;
    const std::int64_t type = node.get_int("output_dtype", kUint8);
    if (node.op_type == "DequantizeLinear") {
      quantizer.dtype = dtype_of_value(node.input(0));
      if (quantizer.dtype != DType::u8 && quantizer.dtype != DType::s8) return std::nullopt;
    } else {
      if (type != kUint8 && type != kInt8 && type != 0) return std::nullopt;
      quantizer.dtype = type == kInt8 ? DType::s8 : DType::u8;
    }
    quantizer.zero_point = quantizer.dtype == DType::s8 ? 128 : 0;
    return quantizer;
  }
  const Tensor* zero_point = constant_of(node.input(2));
  if (zero_point == nullptr || zero_point->size() != 1) return std::nullopt;
  quantizer.dtype = zero_point->dtype();
  if (const int width = bits(quantizer.dtype); is_integer(quantizer.dtype) && width < 8) {
    if (node.op_type == "QuantizeLinear" ? !read_as_bytes(node) : bits(dtype_of_value(node.input(0))) != 8) return std::nullopt;
    const bool is_signed = lowest(quantizer.dtype) < 0;
    const std::int32_t half = std::int32_t{1} << (width - 1), zero = ops::read_integers(node, *zero_point).front();
    quantizer.dtype = is_signed ? DType::s8 : DType::u8;
    quantizer.zero_point = is_signed ? zero + 128 : zero;
    quantizer.limits = is_signed ? numerics::Limits{128 - half, 127 + half} : numerics::Limits{0, 2 * half - 1};
    return quantizer;
  }
  if (quantizer.dtype == DType::u8)
    quantizer.zero_point = zero_point->values<std::uint8_t>()[0];
  else if (quantizer.dtype == DType::s8)
    quantizer.zero_point = zero_point->values<std::int8_t>()[0] + 128;
  else
    return std::nullopt;
  return quantizer;
}

bool Lowering::read_as_bytes(const Node& quantize) const {
  const std::string& q = quantize.outputs[0];
  const auto consumers = uses_.consumers.find(q);
  return !values_.is_output(q) && !tapped(q) && consumers != uses_.consumers.end() &&
         std::all_of(consumers->second.begin(), consumers->second.end(), [&](std::size_t index) {
           const Node& reader = graph_.nodes[index];
           return reader.op_type == "DequantizeLinear" && reader.input(0) == q && reader.input(2) == quantize.input(2) &&
                  scalar_of(reader.input(1)).has_value() && reader.find("block_size") == nullptr;
         });
}

Tail Lowering::absorb_tail(const std::string& start, bool quantizer, bool wide) const {
  Tail tail{.value = start};
  while (single_use(tail.value)) {
    const std::size_t index = uses_.consumers.find(tail.value)->second.front();
    const Node& node = graph_.nodes[index];
    if (done_[index] || !node.domain.empty()) break;
    float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
    if (node.op_type == "Relu") {
      low = 0;
    } else if (node.op_type == "Clip" && node.input(0) == tail.value) {
      if (graph_.opset() < 11) {
        low = node.get_float("min", low);
        high = node.get_float("max", high);
      } else {
        const auto bound = [&](std::size_t input, float& limit) {
          if (node.input(input).empty()) return true;
          const auto number = scalar_of(node.input(input));
          if (number) limit = *number;
          return number.has_value();
        };
        if (!bound(1, low) || !bound(2, high)) break;
      }
      if (!(low <= high)) break;
    } else {
      break;
    }
    const auto clamp = [&](float x) { return x < low ? low : (x > high ? high : x); };
    tail.low = clamp(tail.low);
    tail.high = clamp(tail.high);
    tail.value = node.outputs[0];
    tail.operators += "+" + node.op_type;
    tail.nodes.push_back(index);
  }
  // One quantizer, or several equal ones that are the only readers.
  const auto consumers = uses_.consumers.find(tail.value);
  if (!quantizer || values_.is_output(tail.value) || tapped(tail.value) || consumers == uses_.consumers.end()) return tail;
  std::vector<std::size_t> nodes;
  for (const std::size_t index : consumers->second) {
    const Node& node = graph_.nodes[index];
    auto found = node.op_type == "QuantizeLinear" && node.input(0) == tail.value ? quantizer_of(node) : std::nullopt;
    if (!found && wide && node.op_type == "QuantizeLinear" && node.input(0) == tail.value) found = wide_quantizer_of(node);
    if (!found || (tail.quantizer && !(*found == *tail.quantizer))) {
      tail.quantizer.reset();
      tail.same.clear();
      return tail;
    }
    tail.quantizer = found;
    tail.same.push_back(node.outputs[0]);
    nodes.push_back(index);
  }
  tail.nodes.insert(tail.nodes.end(), nodes.begin(), nodes.end());
  return tail;
}

void Lowering::finish_tail(const Tail& tail) {
  for (const std::size_t index : tail.nodes) done_[index] = true;
  for (std::size_t i = 1; i < tail.same.size(); ++i) set_alias(tail.same[i], tail.same[0]);
  materialize_tap(tail.value);
}

void Lowering::reference(const Node& node, std::optional<DType> quantized) {
  if (ops::find(node) == nullptr || ops::find(node)->reference == nullptr) fail_unknown(node);
  if (has_subgraph(node))
    throw Error(ErrorCode::kUnsupported, describe(node), "operators with subgraphs cannot run in this version");
  std::vector<ValueId> in, out;
  std::vector<DType> dtypes, out_dtypes;
  std::vector<Dims> dims, out_dims;
  for (const auto& input : node.inputs) {
    const ValueId id = fetch(input, Layout::row_major);
    in.push_back(id);
    dtypes.push_back(id == kNoValue ? DType::undefined : value(id).dtype);
    dims.push_back(id == kNoValue ? Dims() : value(id).dims);
  }
  for (const auto& output : node.outputs) {
    if (output.empty()) {
      out.push_back(kNoValue);
      out_dtypes.push_back(DType::undefined);
      out_dims.emplace_back();
      continue;
    }
    const DType dtype = quantized ? *quantized : values_.type_of(output).dtype;
    if (bits(dtype) == 0)
      throw Error(ErrorCode::kUnsupported, describe(node), "output '" + output + "' is of type " + std::string(name(dtype)));
    out.push_back(define(output, dtype, dims_of(output), Layout::row_major));
    out_dtypes.push_back(dtype);
    out_dims.push_back(dims_of(output));
  }
  auto step = std::make_unique<ReferenceStep>(graph_, node, std::move(dtypes), std::move(dims), std::move(out_dtypes),
                                              std::move(out_dims));
  step->info.macs = ops::macs(values_, node);
  step->info.reason = reason_.empty() ? "no fast kernel for this operator" : reason_;
  emit(std::move(step), node.op_type, std::move(in), std::move(out));
}

}  // namespace zeropoint::engine
