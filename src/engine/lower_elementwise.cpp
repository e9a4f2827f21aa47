// Elementwise operators on floats, and Add and Mul of two quantized values.
#include <algorithm>

#include "base/thread_pool.h"
#include "engine/integer_conv_step.h"
#include "engine/lowering.h"
#include "kernels/elementwise_f32/elementwise_f32.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

enum class Broadcasting : std::uint8_t { same, scalar, channel, general };

class BinaryStep : public Step {
 public:
  BinaryStep(const kernels::ElementwiseF32Kernels& kernels, const kernels::BinaryF32& params, Broadcasting kind, bool swapped,
             const kernels::BroadcastF32& shape, std::int64_t count, std::int64_t channels)
      : functions_(kernels.functions),
        params_(params),
        kind_(kind),
        swapped_(swapped),
        shape_(shape),
        count_(count),
        channels_(channels) {
    info.kernel = kernels.name;
  }
  // Where the operands begin in their values, in elements.
  void offset(std::int64_t a, std::int64_t b) {
    a_offset_ = a;
    b_offset_ = b;
  }
  bool overwrites(std::size_t input) const override {
    return input == 0 ? kind_ != Broadcasting::general && a_offset_ == 0 : kind_ == Broadcasting::same && b_offset_ == 0;
  }
  // inputs: for `scalar` and `channel` the full operand comes first; `swapped` says that it is ONNX's second.
  void run(const RunContext& context) const override {
    const auto* a = reinterpret_cast<const float*>(context.values[inputs[0]]) + a_offset_;
    const auto* b = reinterpret_cast<const float*>(context.values[inputs[1]]) + b_offset_;
    auto* dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    const std::int64_t grain = kind_ == Broadcasting::channel ? channels_ : 1024;
    const auto part = partition(count_, context.worker, context.workers, grain);
    const std::int64_t size = part.end - part.begin;
    switch (kind_) {
      case Broadcasting::same:
        functions_->binary(params_, a + part.begin, b + part.begin, dst + part.begin, size);
        break;
      case Broadcasting::scalar:
        functions_->binary_scalar(params_, a + part.begin, *b, swapped_, dst + part.begin, size);
        break;
      case Broadcasting::channel:
        functions_->binary_channel(params_, a + part.begin, b, swapped_, dst + part.begin, size / channels_, channels_);
        break;
      case Broadcasting::general:
        functions_->binary_broadcast(params_, shape_, a, b, dst, part.begin, part.end);
        break;
    }
  }

 private:
  const kernels::ElementwiseF32Functions* functions_;
  kernels::BinaryF32 params_;
  Broadcasting kind_;
  bool swapped_;
  kernels::BroadcastF32 shape_;
  std::int64_t count_, channels_, a_offset_ = 0, b_offset_ = 0;
};

class IntegerBinaryStep : public Step {
 public:
  // `images` groups of `rows` rows of `channels`; b has one row an image when `per_channel`, else the shape of a.
  IntegerBinaryStep(const kernels::ElementwiseQ8Kernels& kernels, const kernels::BinaryQ8& params, bool multiply,
                    bool per_channel, std::int64_t images, std::int64_t rows, std::int64_t channels)
      : functions_(kernels.functions),
        params_(params),
        multiply_(multiply),
        per_channel_(per_channel),
        images_(images),
        rows_(rows),
        channels_(channels) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  bool overwrites(std::size_t input) const override { return input == 0 || !per_channel_; }
  void run(const RunContext& context) const override {
    const auto* a = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    const auto* b = reinterpret_cast<const std::uint8_t*>(context.values[inputs[1]]);
    auto* dst = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]);
    if (!per_channel_) {
      const auto part = partition(images_ * rows_ * channels_, context.worker, context.workers, 1024);
      const auto function = multiply_ ? functions_->mul_u8 : functions_->add_u8;
      // Backwards: what the step before wrote last is still near, and the next one starts with what is written last here.
      for (std::int64_t end = part.end; end > part.begin;) {
        const std::int64_t begin = std::max(part.begin, end - kChunk);
        function(params_, a + begin, b + begin, dst + begin, end - begin);
        end = begin;
      }
      return;
    }
    const auto function = multiply_ ? functions_->mul_channel_u8 : functions_->add_channel_u8;
    for (std::int64_t image = 0; image < images_; ++image) {
      const auto part = partition(rows_, context.worker, context.workers);
      const std::int64_t offset = (image * rows_ + part.begin) * channels_;
      function(params_, a + offset, b + image * channels_, dst + offset, part.end - part.begin, channels_);
    }
  }

 private:
  static constexpr std::int64_t kChunk = 64 << 10;

  const kernels::ElementwiseQ8Functions* functions_;
  kernels::BinaryQ8 params_;
  bool multiply_, per_channel_;
  std::int64_t images_, rows_, channels_;
};

class ClampStep : public Step {
 public:
  ClampStep(const kernels::ElementwiseF32Kernels& kernels, float low, float high, std::int64_t count)
      : functions_(kernels.functions), low_(low), high_(high), count_(count) {
    info.kernel = kernels.name;
  }
  bool overwrites(std::size_t) const override { return true; }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    functions_->clamp(low_, high_, reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin,
                      reinterpret_cast<float*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseF32Functions* functions_;
  float low_, high_;
  std::int64_t count_;
};

class UnaryStep : public Step {
 public:
  UnaryStep(const kernels::ElementwiseF32Kernels& kernels, const kernels::UnaryF32& params, std::int64_t count)
      : functions_(kernels.functions), params_(params), count_(count) {
    info.kernel = kernels.name;
  }
  bool overwrites(std::size_t) const override { return true; }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 256);
    functions_->unary(params_, reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin,
                      reinterpret_cast<float*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseF32Functions* functions_;
  kernels::UnaryF32 params_;
  std::int64_t count_;
};

std::optional<kernels::UnaryF32> unary_of(const Node& node) {
  using kernels::UnaryOp;
  static const std::map<std::string, UnaryOp, std::less<>> table = {{"Abs", UnaryOp::abs},
                                                                    {"Neg", UnaryOp::neg},
                                                                    {"Sqrt", UnaryOp::sqrt},
                                                                    {"Reciprocal", UnaryOp::reciprocal},
                                                                    {"Floor", UnaryOp::floor},
                                                                    {"Ceil", UnaryOp::ceil},
                                                                    {"Round", UnaryOp::round},
                                                                    {"Exp", UnaryOp::exp},
                                                                    {"Log", UnaryOp::log},
                                                                    {"Tanh", UnaryOp::tanh},
                                                                    {"Erf", UnaryOp::erf},
                                                                    {"Sigmoid", UnaryOp::sigmoid},
                                                                    {"LeakyRelu", UnaryOp::leaky_relu},
                                                                    {"HardSigmoid", UnaryOp::hard_sigmoid},
                                                                    {"HardSwish", UnaryOp::hard_swish},
                                                                    {"Gelu", UnaryOp::gelu},
                                                                    {"Swish", UnaryOp::swish}};
  const auto found = table.find(node.op_type);
  if (found == table.end() || !node.domain.empty()) return std::nullopt;
  kernels::UnaryF32 params{.op = found->second};
  switch (params.op) {
    case UnaryOp::leaky_relu:
      params.alpha = node.get_float("alpha", 0.01F);
      break;
    case UnaryOp::hard_sigmoid:
      params.alpha = node.get_float("alpha", 0.2F);
      params.beta = node.get_float("beta", 0.5F);
      break;
    case UnaryOp::hard_swish:
      params.alpha = 1.0F / 6.0F;
      params.beta = 0.5F;
      break;
    case UnaryOp::gelu:
      params.alpha = 1.4142135623730951F;
      if (node.get_string("approximate", "none") == "tanh") {
        params.op = UnaryOp::gelu_tanh;
        params.alpha = 0.7978845608028654F;
        params.beta = 0.044715F;
      }
      break;
    case UnaryOp::swish:
      params.alpha = node.get_float("alpha", 1.0F);
      break;
    default:
      break;
  }
  return params;
}

kernels::BinaryOp binary_op_of(const Node& node) {
  using kernels::BinaryOp;
  return node.op_type == "Add"   ? BinaryOp::add
         : node.op_type == "Sub" ? BinaryOp::sub
         : node.op_type == "Mul" ? BinaryOp::mul
                                 : BinaryOp::div;
}

Dims padded(const Dims& dims, std::size_t rank) {
  Dims result(rank - dims.size(), 1);
  result.insert(result.end(), dims.begin(), dims.end());
  return result;
}

// Only the channel axis differs from 1: such a value has the same bytes in both layouts.
bool only_channels(const Dims& dims, std::size_t rank) {
  const Dims full = padded(dims, rank);
  for (std::size_t axis = 0; axis < rank; ++axis)
    if (axis != 1 && full[axis] != 1) return false;
  return true;
}

}  // namespace

bool Lowering::integer_binary(const Node& node, const std::string& op, const std::string& a, const Quantizer& a_quantizer,
                              const std::string& b, const Quantizer& b_quantizer, const Tail& tail) {
  const Dims a_dims = dims_of(a), b_dims = dims_of(b);
  if (!tail.quantizer) return false;
  const bool swap = a_dims != b_dims && element_count(a_dims) < element_count(b_dims);
  const Dims& full = swap ? b_dims : a_dims;
  const Dims& small = swap ? a_dims : b_dims;
  const bool same = full == small;
  // [N,C,1,1] against [N,C,H,W]: squeeze-and-excitation, or a channel bias.
  const bool per_channel = !same && full.size() >= 3 && small.size() == full.size() && small[0] == full[0] &&
                           small[1] == full[1] && spatially_trivial(small);
  if (!same && !per_channel) {
    reason_ = "this broadcasting has no integer kernel";
    return false;
  }
  const Layout layout = per_channel || layout_held(a) == Layout::channel_last || layout_held(b) == Layout::channel_last
                            ? (full.size() >= 3 ? Layout::channel_last : Layout::row_major)
                            : Layout::row_major;
  // Sums of equal shapes are the same either way round; a second zero point of 0 saves the kernel an operation.
  const bool turn = swap || (same && op != "Mul" && a_quantizer.zero_point == 0);
  const std::string& first = turn ? b : a;
  const std::string& second = turn ? a : b;
  const Quantizer& first_quantizer = turn ? b_quantizer : a_quantizer;
  const Quantizer& second_quantizer = turn ? a_quantizer : b_quantizer;
  const ValueId x = fetch(first, layout, first_quantizer.dtype == DType::s8);
  const ValueId y = fetch(second, layout, second_quantizer.dtype == DType::s8);
  const Quantizer& out_quantizer = *tail.quantizer;
  const auto limit = [&](float bound) {
    return numerics::quantize(bound, out_quantizer.scale, out_quantizer.zero_point, out_quantizer.limits);
  };
  const auto params = [&] {
    const kernels::DequantizeParams real_x{first_quantizer.scale, first_quantizer.zero_point},
        real_y{second_quantizer.scale, second_quantizer.zero_point};
    const auto sum =
        kernels::quantize_params(out_quantizer.scale, out_quantizer.zero_point, {limit(tail.low), limit(tail.high)});
    return op == "Mul" || per_channel ? kernels::BinaryQ8{.a = real_x, .b = real_y, .y = sum}
                                      : kernels::add_params(real_x, real_y, sum);
  }();
  const ValueId out = define(tail.same.front(), out_quantizer.dtype, full, layout, out_quantizer.dtype == DType::s8);
  const std::string operators = node.op_type + tail.operators + (node.domain.empty() ? "+QuantizeLinear" : "");
  if (params.short_sum && add_to_convolution(node, {first, second}, {x, y}, params, operators, out)) {
    finish_tail(tail);
    return true;
  }
  const Planes shape = planes(full);
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  auto step = per_channel
                  ? std::make_unique<IntegerBinaryStep>(kernels, params, op == "Mul", true, shape.n, shape.pixels, shape.c)
                  : std::make_unique<IntegerBinaryStep>(kernels, params, op == "Mul", false, 1, 1, element_count(full));
  emit(std::move(step), operators, {x, y}, {out});
  finish_tail(tail);
  return true;
}

// A sum rides in the epilogue of the convolution that makes the later of its operands, if nobody else reads that.
bool Lowering::add_to_convolution(const Node& node, const std::array<std::string, 2>& names, std::array<ValueId, 2> operands,
                                  const kernels::BinaryQ8& params, const std::string& operators, ValueId out) {
  const auto maker = [&](ValueId id) {  // of its bytes, by whatever name; -1: none
    for (auto step = static_cast<std::ptrdiff_t>(plan_.steps.size()); step-- > 0;) {
      const auto& outputs = plan_.steps[static_cast<std::size_t>(step)]->outputs;
      if (std::any_of(outputs.begin(), outputs.end(),
                      [&](ValueId output) { return root_of(plan_, output) == root_of(plan_, id); }))
        return step;
    }
    return std::ptrdiff_t{-1};
  };
  const std::array<std::ptrdiff_t, 2> made = {maker(operands[0]), maker(operands[1])};
  const std::size_t late = made[0] > made[1] ? 0 : 1;
  if (made[late] < 0 || made[0] == made[1]) return false;
  auto* step = dynamic_cast<IntegerConvStep*>(plan_.steps[static_cast<std::size_t>(made[late])].get());
  if (step == nullptr || !step->can_add() || step->outputs[0] != operands[late]) return false;
  // Its bytes go to the quantizer's other half alone, and from there to this node; under no other name or view.
  if (!single_use(names[late])) return false;
  const Node& reader = graph_.nodes[uses_.consumers.find(names[late])->second.front()];
  if (&reader != &node && !(reader.is("DequantizeLinear") && single_use(reader.outputs[0]) &&
                            &graph_.nodes[uses_.consumers.find(reader.outputs[0])->second.front()] == &node))
    return false;
  std::size_t known_as = 0;
  for (const auto& [name, held] : held_)
    for (const auto& ids : held.ids) known_as += static_cast<std::size_t>(std::count(ids.begin(), ids.end(), operands[late]));
  const auto reads = [&](const auto& each) {
    return std::find(each->inputs.begin(), each->inputs.end(), operands[late]) != each->inputs.end();
  };
  if (known_as != 1 || std::any_of(plan_.steps.begin(), plan_.steps.end(), reads) ||
      std::any_of(plan_.values.begin(), plan_.values.end(),
                  [&](const PlanValue& each) { return each.place == Place::alias && each.alias == operands[late]; }))
    return false;
  kernels::BinaryQ8 sum = params;
  if (late == 1) sum = kernels::add_params(params.b, params.a, params.y);
  if (!sum.short_sum) return false;
  step->add(sum);
  step->inputs.push_back(operands[1 - late]);
  step->outputs = {out};
  step->info.op += "+" + operators;
  step->info.sum_node = step_name(node);
  step->info.sum_op = operators;
  return true;
}

// Operands that are views are walked where they lie.
bool Lowering::binary_views(const Node& node) {
  const std::string &a = node.input(0), &b = node.input(1);
  const auto walks = [&](const std::string& operand) {
    if (!viewable(operand)) return false;
    if (held_.contains(operand) || !views_.contains(operand)) return true;
    const View& view = views_.at(operand);
    return view.dims.empty() || view.dims.back() == 1 || view.strides.back() == 1 || view.strides.back() == 0;
  };
  if (!walks(a) || !walks(b)) return false;
  const Dims dims = dims_of(node.outputs[0]);
  const std::array<View, 2> views = {view_of(a), view_of(b)};
  kernels::BroadcastF32 shape;
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 1) continue;
    std::array<std::int64_t, 2> strides{};
    for (std::size_t k = 0; k < 2; ++k) {
      const std::size_t missing = dims.size() - views[k].dims.size();
      if (axis >= missing && views[k].dims[axis - missing] != 1) strides[k] = views[k].strides[axis - missing];
    }
    const int last = shape.rank - 1;
    if (last >= 0 && shape.a_strides[last] == dims[axis] * strides[0] && shape.b_strides[last] == dims[axis] * strides[1]) {
      shape.dims[last] *= dims[axis];
      shape.a_strides[last] = strides[0];
      shape.b_strides[last] = strides[1];
      continue;
    }
    if (shape.rank == kernels::kMaxBroadcastRank) return false;
    shape.dims[shape.rank] = dims[axis];
    shape.a_strides[shape.rank] = strides[0];
    shape.b_strides[shape.rank++] = strides[1];
  }
  const Tail tail = absorb_tail(node.outputs[0], false);
  const kernels::BinaryF32 params{.op = binary_op_of(node), .low = tail.low, .high = tail.high};
  const ValueId out = define(tail.value, DType::f32, dims, Layout::row_major);
  auto step = std::make_unique<BinaryStep>(kernels::select_elementwise_f32(options_.isas), params, Broadcasting::general, false,
                                           shape, element_count(dims), dims.empty() ? 1 : dims.back());
  step->offset(views[0].offset, views[1].offset);
  emit(std::move(step), node.op_type + tail.operators, {views[0].base, views[1].base}, {out});
  finish_tail(tail);
  return true;
}

bool Lowering::binary(const Node& node) {
  const std::string& a = node.input(0);
  const std::string& b = node.input(1);
  if (node.op_type == "Add" || node.op_type == "Mul") {
    const auto la = lazy_.find(a), lb = lazy_.find(b);
    if (la != lazy_.end() && lb != lazy_.end() && la->second.affine && lb->second.affine) {
      const Lazy x = la->second, y = lb->second;
      if (integer_binary(node, node.op_type, x.quantized, *x.affine, y.quantized, *y.affine, absorb_tail(node.outputs[0])))
        return true;
    }
  }
  if (dtype_of_value(a) != DType::f32 || dtype_of_value(b) != DType::f32) return typed_elementwise(node);
  if (gelu_chain(node)) return true;
  // NaN wins in Min and Max, unlike in the vector instructions.
  if (node.op_type == "Min" || node.op_type == "Max") return typed_elementwise(node);
  const Dims out_dims = dims_of(node.outputs[0]);
  const std::size_t rank = out_dims.size();
  const Dims a_dims = dims_of(a), b_dims = dims_of(b);
  const auto fits = [&](const Dims& dims) { return dims.size() == rank || only_channels(dims, rank); };
  const auto leads = [&](const std::string& operand, const Dims& dims) {
    return dims == out_dims && constant_of(operand) == nullptr && layout_held(operand) == Layout::channel_last;
  };
  const bool channel_last = rank >= 3 && fits(a_dims) && fits(b_dims) && (leads(a, a_dims) || leads(b, b_dims));
  const Layout layout = channel_last ? Layout::channel_last : Layout::row_major;
  const auto get = [&](const std::string& operand, const Dims& dims) {
    return fetch_float(operand, dims.size() == rank ? layout : Layout::row_major);
  };
  const Dims a_memory = memory_dims(padded(a_dims, rank), layout), b_memory = memory_dims(padded(b_dims, rank), layout);
  kernels::BroadcastF32 shape;
  if (!kernels::broadcast(a_memory, b_memory, shape)) return false;
  if (!channel_last && (views_.contains(a) || views_.contains(b)) && binary_views(node)) return true;
  const std::int64_t count = element_count(out_dims);
  const Tail tail = absorb_tail(node.outputs[0], false);
  const kernels::BinaryF32 params{.op = binary_op_of(node), .low = tail.low, .high = tail.high};

  Broadcasting kind = Broadcasting::general;
  bool swapped = false;
  const std::int64_t last = rank == 0 ? 1 : memory_dims(out_dims, layout).back();
  const auto is_row = [&](const Dims& memory) { return element_count(memory) == last && (rank == 0 || memory.back() == last); };
  if (a_dims == b_dims) {
    kind = Broadcasting::same;
  } else {
    for (const bool swap : {false, true}) {
      const Dims& full = swap ? b_dims : a_dims;
      const Dims& small_memory = swap ? a_memory : b_memory;
      if (kind != Broadcasting::general || full != out_dims) continue;
      if (element_count(small_memory) == 1)
        kind = Broadcasting::scalar;
      else if (is_row(small_memory))
        kind = Broadcasting::channel;
      swapped = kind != Broadcasting::general && swap;
    }
  }
  const ValueId x = get(a, a_dims), y = get(b, b_dims);
  const ValueId out = define(tail.value, DType::f32, out_dims, layout);
  emit(std::make_unique<BinaryStep>(kernels::select_elementwise_f32(options_.isas), params, kind, swapped, shape, count, last),
       node.op_type + tail.operators, swapped ? std::vector<ValueId>{y, x} : std::vector<ValueId>{x, y}, {out});
  plan_.steps.back()->info.reason = reason_;
  finish_tail(tail);
  return true;
}

bool Lowering::activation(const Node& node) {
  const std::string& x = node.input(0);
  if (!exists(x) || dtype_of_value(x) != DType::f32) return false;
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
  if (node.op_type == "Relu") {
    low = 0;
  } else if (graph_.opset() < 11) {
    low = node.get_float("min", low);
    high = node.get_float("max", high);
  } else {
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
      if (node.input(i).empty()) continue;
      const auto bound = scalar_of(node.input(i));
      if (!bound) {
        reason_ = "the limits are not constant";
        return false;
      }
      (i == 1 ? low : high) = *bound;
    }
  }
  if (!(low <= high)) return false;
  const Layout layout = layout_held(x);
  const ValueId from = fetch(x, layout);
  const ValueId to = define(node.outputs[0], DType::f32, dims_of(x), layout);
  emit(std::make_unique<ClampStep>(kernels::select_elementwise_f32(options_.isas), low, high, element_count(dims_of(x))),
       node.op_type, {from}, {to});
  return true;
}

const Node* Lowering::next_only(const std::string& value_name, const char* op, std::vector<std::size_t>& nodes) const {
  if (!single_use(value_name)) return nullptr;
  const std::size_t index = uses_.consumers.find(value_name)->second.front();
  const Node& node = graph_.nodes[index];
  if (done_[index] || !node.is(op)) return nullptr;
  nodes.push_back(index);
  return &node;
}

std::optional<Lowering::GeluChain> Lowering::find_gelu(const std::string& x) const {
  constexpr float kRootOfTwo = 1.4142135623730951F;
  const auto with = [](const Node& pair, const std::string& operand) -> std::string {  // the other operand
    return pair.inputs.size() != 2 ? std::string() : pair.input(pair.input(0) == operand ? 1 : 0);
  };
  const auto readers = uses_.consumers.find(x);
  if (readers == uses_.consumers.end()) return std::nullopt;
  for (const std::size_t index : readers->second) {
    const Node& node = graph_.nodes[index];
    if (!node.is("Div") || node.input(0) != x || scalar_of(node.input(1)) != kRootOfTwo) continue;
    GeluChain chain{.nodes = {index}, .output = {}};
    const Node* erf = next_only(node.outputs[0], "Erf", chain.nodes);
    const Node* add = erf == nullptr ? nullptr : next_only(erf->outputs[0], "Add", chain.nodes);
    if (add == nullptr || scalar_of(with(*add, erf->outputs[0])) != 1.0F) continue;
    const Node* product = next_only(add->outputs[0], "Mul", chain.nodes);
    if (product == nullptr || with(*product, add->outputs[0]) != x) continue;
    const Node* half = next_only(product->outputs[0], "Mul", chain.nodes);
    if (half == nullptr || scalar_of(with(*half, product->outputs[0])) != 0.5F || dims_known(half->outputs[0]) != dims_known(x))
      continue;
    chain.output = half->outputs[0];
    return chain;
  }
  return std::nullopt;
}

bool Lowering::gelu_chain(const Node& node) {
  constexpr float kRootOfTwo = 1.4142135623730951F;
  const std::string& x = node.input(0);
  if (node.op_type != "Div" || lazy_.contains(x) || !exists(x)) return false;
  const auto chain = find_gelu(x);
  if (!chain || chain->nodes.front() != index_of(node)) return false;
  for (const std::size_t index : chain->nodes) done_[index] = true;
  const Layout layout = layout_held(x);
  const ValueId from = fetch(x, layout), to = define(chain->output, DType::f32, dims_of(x), layout);
  const kernels::UnaryF32 params{.op = kernels::UnaryOp::gelu, .alpha = kRootOfTwo};
  emit(std::make_unique<UnaryStep>(kernels::select_elementwise_f32(options_.isas), params, element_count(dims_of(x))),
       "Div+Erf+Add+Mul+Mul", {from}, {to});
  materialize_tap(chain->output);
  return true;
}

bool Lowering::swish_chain(const Node& node) {
  const std::string& x = node.input(0);
  if (node.op_type != "Sigmoid" || lazy_.contains(x) || !exists(x)) return false;
  std::vector<std::size_t> nodes;
  const Node* product = next_only(node.outputs[0], "Mul", nodes);
  if (product == nullptr || product->inputs.size() != 2 || product->input(product->input(0) == node.outputs[0] ? 1 : 0) != x ||
      product->input(0) == product->input(1))
    return false;
  for (const std::size_t index : nodes) done_[index] = true;
  const Layout layout = layout_held(x);
  const ValueId from = fetch(x, layout), to = define(product->outputs[0], DType::f32, dims_of(x), layout);
  const kernels::UnaryF32 params{.op = kernels::UnaryOp::swish, .alpha = 1};
  emit(std::make_unique<UnaryStep>(kernels::select_elementwise_f32(options_.isas), params, element_count(dims_of(x))),
       "Sigmoid+Mul", {from}, {to});
  materialize_tap(product->outputs[0]);
  return true;
}

bool Lowering::power(const Node& node) {
  // x^2 is x * x in every bit: numerics::pow rounds the exact product once.
  if (scalar_of(node.input(1)) == 2.0F && constant_of(node.input(1))->rank() <= dims_of(node.input(0)).size()) {
    Node square = node;
    square.op_type = "Mul";
    square.inputs[1] = square.inputs[0];
    return binary(square);
  }
  return typed_elementwise(node);
}

bool Lowering::unary(const Node& node) {
  const auto params = unary_of(node);
  const std::string& x = node.input(0);
  if (!params || !(exists(x) || lazy_.contains(x)) || dtype_of_value(x) != DType::f32) return false;
  if (swish_chain(node)) return true;
  const Layout layout = layout_held(x);
  const ValueId from = fetch_float(x, layout);
  const ValueId to = define(node.outputs[0], DType::f32, dims_of(x), layout);
  emit(std::make_unique<UnaryStep>(kernels::select_elementwise_f32(options_.isas), *params, element_count(dims_of(x))),
       node.op_type, {from}, {to});
  return true;
}

}  // namespace zeropoint::engine
