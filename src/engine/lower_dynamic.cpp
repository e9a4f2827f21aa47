// Integers whose parameters are only known at run time: DynamicQuantizeLinear, quantization by rows, and the products of such
// values (MatMulInteger, ConvInteger) with the rescaling behind them. docs/dynamic.md.
#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "engine/dynamic_product_step.h"
#include "engine/lowering.h"
#include "kernels/conv_q8/conv_q8.h"
#include "kernels/elementwise_q8/elementwise_q8.h"

namespace zeropoint::engine {
namespace {

constexpr std::int64_t kFloatCode = 1;  // TensorProto.DataType
constexpr std::int32_t kMiddle = 128;   // zero point of rows

// Least and greatest value of each worker's part: [workers][2].
class RangeStep : public Step {
 public:
  RangeStep(const kernels::ElementwiseQ8Kernels& kernels, std::int64_t count) : functions_(kernels.functions), count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    float low = 0, high = 0;  // the range holds 0
    functions_->min_max_f32(reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin, part.end - part.begin, &low,
                            &high);
    auto* partial = reinterpret_cast<float*>(context.values[outputs[0]]);
    partial[2 * context.worker] = low;
    partial[2 * context.worker + 1] = high;
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  std::int64_t count_;
};

// Inputs: values, ranges of RangeStep. Outputs: integers, scale, zero point.
class DynamicQuantizeStep : public Step {
 public:
  DynamicQuantizeStep(const kernels::ElementwiseQ8Kernels& kernels, std::int64_t count)
      : functions_(kernels.functions), count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* partial = reinterpret_cast<const float*>(context.values[inputs[1]]);
    float low = partial[0], high = partial[1];
    for (int w = 1; w < context.workers; ++w) {
      low = std::min(low, partial[2 * w]);
      high = std::max(high, partial[2 * w + 1]);
    }
    const kernels::QuantizeParams params = kernels::dynamic_quantize_params(low, high);
    if (context.worker == 0) {
      std::memcpy(context.values[outputs[1]], &params.scale, sizeof(float));
      *context.values[outputs[2]] = static_cast<std::byte>(params.zero_point);
    }
    const auto part = partition(count_, context.worker, context.workers, 1024);
    functions_->quantize_u8(params, reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin,
                            reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  std::int64_t count_;
};

// Each row by itself: scale = max(max |x| / 127, FLT_MIN), q = saturate(round_half_even(x / scale) + 128).
class RowQuantizeStep : public Step {
 public:
  RowQuantizeStep(const kernels::ElementwiseQ8Kernels& kernels, std::int64_t rows, std::int64_t columns)
      : functions_(kernels.functions), rows_(rows), columns_(columns) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(rows_, context.worker, context.workers);
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      const float* x = reinterpret_cast<const float*>(context.values[inputs[0]]) + row * columns_;
      auto* q = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]) + row * columns_;
      reinterpret_cast<float*>(context.values[outputs[1]])[row] = functions_->quantize_row_u8(x, q, columns_);
    }
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  std::int64_t rows_, columns_;
};

// A product whose zero point or scale is a value. Inputs: integers, scale (absent for sums), zero point (absent: constant).
class DynamicLinearStep : public DynamicProductStep<kernels::ConvKernel, kernels::ConvShape, kernels::ConvArgs> {
 public:
  using DynamicProductStep::DynamicProductStep;
  void run(const RunContext& context) const override {
    kernels::ConvArgs all = args(context);
    all.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    all.dst = context.values[outputs[0]];
    all.src_zero_point = zero_point(context);
    run_kernel(all, context);
  }
};

}  // namespace

const Node* Lowering::maker_of(const std::string& value_name) const {
  const auto found = uses_.producer.find(value_name);
  return found == uses_.producer.end() ? nullptr : &graph_.nodes[found->second];
}

// The only reader of a value that nobody else sees, when it is such an operator.
const Node* Lowering::only_reader(const std::string& value_name, std::string_view op_type) const {
  if (!single_use(value_name)) return nullptr;
  const Node& reader = graph_.nodes[uses_.consumers.find(value_name)->second.front()];
  return reader.is(op_type) ? &reader : nullptr;
}

std::size_t Lowering::index_of(const Node& node) const { return static_cast<std::size_t>(&node - graph_.nodes.data()); }

// Abs -> ReduceMax -> Div (127) -> Max (FLT_MIN), or Clip -> Div (x by it) -> QuantizeLinear (1, 128), along the last axis or
// the one before it. Without Abs, with 255 and zero point 0: shares.
void Lowering::find_row_quantizers() {
  for (const Node& quantize : graph_.nodes) {
    if (!quantize.is("QuantizeLinear")) continue;
    const auto quantizer = quantizer_of(quantize);
    if (!quantizer || quantizer->scale != 1.0F || quantizer->dtype != DType::u8) continue;
    const bool shares = quantizer->zero_point == 0;
    if (!shares && quantizer->zero_point != kMiddle) continue;
    const Node* divide = maker_of(quantize.input(0));
    if (divide == nullptr || !divide->is("Div") || !single_use(quantize.input(0))) continue;
    const std::string& x = divide->input(0);
    const Node* scales = maker_of(divide->input(1));
    // fuse() writes the maximum with a constant as Clip.
    const bool is_clip = scales != nullptr && scales->is("Clip") && scales->inputs.size() == 2;
    if (!is_clip && (scales == nullptr || !scales->is("Max") || scales->inputs.size() != 2)) continue;
    const bool first = is_clip || constant_of(scales->input(0)) == nullptr;
    if (scalar_of(scales->input(first ? 1 : 0)) != FLT_MIN) continue;
    const Node* step = maker_of(scales->input(first ? 0 : 1));
    if (step == nullptr || !step->is("Div") || scalar_of(step->input(1)) != (shares ? 255.0F : 127.0F)) continue;
    const Node* most = maker_of(step->input(0));
    if (most == nullptr || !most->is("ReduceMax") || most->get_int("keepdims", 1) != 1) continue;
    std::vector<std::int64_t> axes = most->get_ints("axes");
    if (const Tensor* given = most->input(1).empty() ? nullptr : constant_of(most->input(1)); given != nullptr)
      axes.assign(given->values<std::int64_t>().begin(), given->values<std::int64_t>().end());
    const auto rank = static_cast<std::int64_t>(dims_of(x).size());
    if (axes.size() != 1) continue;
    const std::int64_t axis = axes[0] < 0 ? axes[0] : axes[0] - rank;
    if (axis != -1 && (axis != -2 || shares || rank < 2)) continue;
    RowQuantizer found{.x = x, .q = quantize.outputs[0], .scale = scales->outputs[0]};
    found.sets = shares ? RowQuantizer::Sets::shares : axis == -1 ? RowQuantizer::Sets::rows : RowQuantizer::Sets::columns;
    std::vector<const Node*> nodes = {most, step, scales, divide, &quantize};
    if (!shares) {
      const Node* magnitudes = maker_of(most->input(0));
      if (magnitudes == nullptr || !magnitudes->is("Abs") || magnitudes->input(0) != x) continue;
      if (!single_use(magnitudes->outputs[0])) continue;
      nodes.insert(nodes.begin(), magnitudes);
    } else if (most->input(0) != x) {
      continue;
    }
    if (!single_use(most->outputs[0]) || !single_use(step->outputs[0])) continue;
    for (const Node* node : nodes) found.nodes.push_back(index_of(*node));
    if (found.sets == RowQuantizer::Sets::rows) row_quantizers_.emplace(found.nodes.front(), found);
    set_quantizers_.emplace(found.q, std::move(found));
  }
}

bool Lowering::row_quantize(std::size_t index) {
  const auto found = row_quantizers_.find(index);
  if (found == row_quantizers_.end()) return false;
  const RowQuantizer& rows = found->second;
  const Dims dims = dims_of(rows.x);
  if (dims.empty() || dtype_of_value(rows.x) != DType::f32 || element_count(dims) == 0) return false;
  for (const std::size_t node : rows.nodes) done_[node] = true;
  dims_[rows.q] = dims;
  Dims column = dims;
  column.back() = 1;
  dims_[rows.scale] = column;
  // Products that take floats quantize them on the way: the first of them decides for all.
  const auto all_readers = [&](const std::string& value_name, const auto& accepts) {
    const auto readers = uses_.consumers.find(value_name);
    return readers != uses_.consumers.end() && !values_.is_output(value_name) && !tapped(value_name) &&
           std::all_of(readers->second.begin(), readers->second.end(), [&](std::size_t reader) {
             return std::find(rows.nodes.begin(), rows.nodes.end(), reader) != rows.nodes.end() ||
                    accepts(graph_.nodes[reader]);
           });
  };
  const auto is_product = [&](const Node& node) {
    return node.is("MatMulInteger") && std::count(node.inputs.begin(), node.inputs.end(), rows.q) == 1 &&
           node.input(0) == rows.q;
  };
  const auto rescales = [&](const Node& node) {  // the sums of such a product
    if (!node.is("Mul") || node.input(0) == node.input(1)) return false;
    const Node* cast = maker_of(node.input(node.input(0) == rows.scale ? 1 : 0));
    const Node* product = cast != nullptr && cast->is("Cast") ? maker_of(cast->input(0)) : nullptr;
    return product != nullptr && is_product(*product);
  };
  if (all_readers(rows.q, is_product) && all_readers(rows.scale, rescales))
    deferred_rows_[rows.q] = rows;
  else
    emit_row_quantizer(rows);
  return true;
}

void Lowering::emit_row_quantizer(const RowQuantizer& rows) {
  const Dims dims = dims_of(rows.x), column = dims_of(rows.scale);
  const ValueId from = fetch_float(rows.x, Layout::row_major);
  const ValueId q = define(rows.q, DType::u8, dims, Layout::row_major);
  const ValueId scale = define(rows.scale, DType::f32, column, Layout::row_major);
  const std::int64_t columns = dims.back();
  emit(std::make_unique<RowQuantizeStep>(kernels::select_elementwise_q8(options_.isas), element_count(dims) / columns, columns),
       "quantize rows", {from}, {q, scale});
}

bool Lowering::dynamic_quantize(const Node& node) {
  const std::string& x = node.input(0);
  if ((!exists(x) && !lazy_.contains(x)) || dtype_of_value(x) != DType::f32) return false;
  const Dims dims = dims_of(x);
  const std::int64_t count = element_count(dims);
  if (count == 0 || node.outputs.size() != 3) return false;
  // The bytes may lie in any order: the range doesn't see it.
  const Layout layout = layout_held(x);
  const ValueId from = fetch_float(x, layout);
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  const ValueId partial = add_value(fresh("range"), DType::f32, {2 * options_.threads}, Layout::row_major);
  emit(std::make_unique<RangeStep>(kernels, count), "range", {from}, {partial});
  const auto output = [&](std::size_t i, DType dtype, const Dims& out_dims, Layout out_layout) {
    return define(node.outputs[i].empty() ? fresh("unused") : node.outputs[i], dtype, out_dims, out_layout);
  };
  const ValueId q = output(0, DType::u8, dims, layout), scale = output(1, DType::f32, {}, Layout::row_major),
                zero_point = output(2, DType::u8, {}, Layout::row_major);
  emit(std::make_unique<DynamicQuantizeStep>(kernels, count), "DynamicQuantizeLinear", {from, partial}, {q, scale, zero_point});
  return true;
}

// What stands behind an integer product: Cast -> Mul (x_scale * w_scale), or Cast -> Mul (scales of rows) -> Mul (w_scale);
// then perhaps Add of a constant for each channel.
std::optional<Lowering::Rescale> Lowering::find_rescale(const Node& product, std::int64_t channels, std::size_t spatial) const {
  const auto other = [](const Node& node, const std::string& value_name) -> const std::string& {
    return node.input(node.input(0) == value_name ? 1 : 0);
  };
  // Numbers of a constant that has one for each channel, or one.
  const auto channel_values = [&](const std::string& value_name) -> std::optional<std::vector<float>> {
    const Tensor* constant = constant_of(value_name);
    if (constant == nullptr || constant->dtype() != DType::f32) return std::nullopt;
    const auto values = constant->values<float>();
    if (constant->size() == 1) return std::vector<float>(static_cast<std::size_t>(channels), values[0]);
    const std::size_t rank = constant->rank();
    if (constant->size() != channels || rank < spatial + 1 || constant->dim(rank - 1 - spatial) != channels)
      return std::nullopt;
    return std::vector<float>(values.begin(), values.end());
  };
  Rescale result;
  const std::string& acc = product.outputs[0];
  const Node* cast = only_reader(acc, "Cast");
  if (cast == nullptr || cast->get_int("to", 0) != kFloatCode) return std::nullopt;
  const Node* multiply = only_reader(cast->outputs[0], "Mul");
  if (multiply == nullptr || multiply->input(0) == multiply->input(1)) return std::nullopt;
  result.nodes = {index_of(*cast), index_of(*multiply)};
  result.value = multiply->outputs[0];
  const std::string& factor = other(*multiply, cast->outputs[0]);
  const Node* scales = maker_of(factor);
  if (constant_of(factor) != nullptr) return std::nullopt;
  std::optional<std::vector<float>> w_scale;
  if (scales != nullptr && scales->is("Mul")) {  // made of a scalar and a constant
    for (const std::size_t i : {0, 1})
      if (const std::string& x_scale = scales->input(i); constant_of(x_scale) == nullptr && exists(x_scale)) {
        const Dims& dims = plan_.values[static_cast<std::size_t>(any_id(x_scale))].dims;
        w_scale = channel_values(scales->input(1 - i));
        if (element_count(dims) != 1 || dtype_of_value(x_scale) != DType::f32) w_scale.reset();
        result.x_scale = x_scale;
      }
    if (w_scale && single_use(factor)) result.nodes.push_back(index_of(*scales));
  }
  const bool deferred =
      std::any_of(deferred_rows_.begin(), deferred_rows_.end(), [&](const auto& rows) { return rows.second.scale == factor; });
  if (!w_scale && spatial == 0 && (deferred || (exists(factor) && dtype_of_value(factor) == DType::f32))) {  // of rows
    Dims rows = dims_known(product.outputs[0]);
    if (rows.empty()) return std::nullopt;
    rows.back() = 1;
    if ((deferred ? dims_.at(factor) : plan_.values[static_cast<std::size_t>(any_id(factor))].dims) != rows)
      return std::nullopt;
    const Node* second = only_reader(multiply->outputs[0], "Mul");
    if (second == nullptr || second->input(0) == second->input(1)) return std::nullopt;
    w_scale = channel_values(other(*second, multiply->outputs[0]));
    result.x_scale = factor;
    result.rows = true;
    result.nodes.push_back(index_of(*second));
    result.value = second->outputs[0];
  }
  if (!w_scale) return std::nullopt;
  result.w_scale = std::move(*w_scale);
  result.operators = "+Cast+Mul";
  if (const Node* add = only_reader(result.value, "Add"); add != nullptr && add->input(0) != add->input(1)) {
    const std::string& row = other(*add, result.value);
    const Tensor* constant = constant_of(row);
    const auto bias = constant != nullptr && constant->rank() <= dims_known(acc).size() ? channel_values(row) : std::nullopt;
    if (bias) {
      result.bias = *bias;
      result.nodes.push_back(index_of(*add));
      result.value = add->outputs[0];
      result.operators += "+Add";
    }
  }
  if (dims_known(result.value) != dims_known(acc)) return std::nullopt;  // scales of more dimensions than the product has
  return result;
}

ValueId Lowering::any_id(const std::string& value_name) const {
  const auto held = held_.find(value_name);
  if (held != held_.end())
    for (const auto& row : held->second.ids)
      for (const ValueId id : row)
        if (id != kNoValue) return id;
  return kNoValue;
}

Dims Lowering::dims_known(const std::string& value_name) const {
  const TensorType type = values_.type_of(value_name);
  const auto dims = type.shape ? fixed_dims(*type.shape) : std::nullopt;
  return dims ? *dims : Dims();
}

// MatMulInteger and ConvInteger(x, w, x_zero_point, w_zero_point).
std::optional<Lowering::DynamicProduct> Lowering::dynamic_product(const Node& node, bool& elsewhere) {
  const bool is_conv = node.op_type == "ConvInteger";
  const std::string &x = node.input(0), &w = node.input(1), &zero = node.input(2);
  const Tensor* weights = constant_of(w);
  const Tensor* constant_zero = zero.empty() ? nullptr : constant_of(zero);
  DynamicProduct result{.node = &node};
  result.x_dtype = deferred_rows_.contains(x) ? DType::u8 : exists(x) ? dtype_of_value(x) : DType::undefined;
  result.dynamic_zero = !zero.empty() && constant_zero == nullptr;
  const auto is_scalar = [&](const std::string& v) {
    return exists(v) && element_count(plan_.values[static_cast<std::size_t>(any_id(v))].dims) == 1;
  };
  elsewhere = weights == nullptr || (result.x_dtype != DType::u8 && result.x_dtype != DType::s8) ||
              (result.dynamic_zero && (result.x_dtype != DType::u8 || !is_scalar(zero))) ||
              (constant_zero != nullptr && constant_zero->size() != 1);
  if (elsewhere) return std::nullopt;

  if (!result.dynamic_zero) {
    const bool is_u8 = result.x_dtype == DType::u8;
    if (constant_zero != nullptr)
      result.zero_point = is_u8 ? constant_zero->values<std::uint8_t>()[0] : constant_zero->values<std::int8_t>()[0] + kMiddle;
    else
      result.zero_point = is_u8 ? 0 : kMiddle;
  }
  QuantizedConstant constant{.values = *weights, .scale = {1.0F}, .zero_point = {0}, .name = w};
  if (const Tensor* zeros = node.input(3).empty() ? nullptr : constant_of(node.input(3)); zeros != nullptr) {
    constant.zero_point.clear();
    for (std::int64_t i = 0; i < zeros->size(); ++i)
      constant.zero_point.push_back(zeros->dtype() == DType::s8
                                        ? std::int32_t{zeros->values<std::int8_t>()[static_cast<std::size_t>(i)]}
                                        : std::int32_t{zeros->values<std::uint8_t>()[static_cast<std::size_t>(i)]});
    constant.scale.assign(constant.zero_point.size(), 1.0F);
  } else if (!node.input(3).empty()) {
    elsewhere = true;
    return std::nullopt;
  }
  Linear& linear = result.linear;
  linear.name = node.name.empty() ? node.outputs[0] : node.name;
  linear.op = node.op_type;
  if (is_conv ? !conv_shape(node, weights->dims(), linear) : !matmul_shape(x, weights->dims(), true, node.outputs[0], linear))
    return std::nullopt;
  const std::int64_t channel_axis = is_conv ? 0 : 1;
  if (constant.scale.size() > 1) constant.axis = channel_axis;
  const auto o = static_cast<std::size_t>(linear.shape.o);
  auto integers = integer_weights(constant, linear.shape.o, channel_axis, !is_conv, reason_);
  if (!integers) return std::nullopt;
  result.weights = std::move(*integers);
  const std::int32_t* zero_points = result.weights.zero_point.empty() ? nullptr : result.weights.zero_point.data();
  // With zero point -1 the folded bias is the sum itself; the bounds at 0 and 255 hold for all between.
  result.w_sums.resize(o);
  for (const std::int32_t zero_point : {0, 255, -1})
    if (!kernels::fold_bias(linear.shape, result.weights.values.data(), zero_points, zero_point, nullptr,
                            result.w_sums.data())) {
      reason_ = "sums could overflow 32 bits";
      return std::nullopt;
    }
  result.rescale = find_rescale(node, linear.shape.o, is_conv ? dims_of(x).size() - 2 : 0);
  return result;
}

bool Lowering::dynamic_linear(const Node& node) {
  const std::string &x = node.input(0), &zero = node.input(2);
  if (node.op_type == "MatMulInteger" && fused_products(node)) return true;
  if (const auto rows = deferred_rows_.find(x); rows != deferred_rows_.end()) {
    emit_row_quantizer(rows->second);
    deferred_rows_.erase(rows);
    if (fused_products(node)) return true;  // of the integers, where it could not quantize the rows itself
  }
  bool elsewhere = false;
  std::optional<DynamicProduct> product = dynamic_product(node, elsewhere);
  if (elsewhere) return quantized_operator(node);
  if (!product) return false;
  Linear& linear = product->linear;
  const IntegerWeights& packed = product->weights;
  const std::int32_t* zero_points = packed.zero_point.empty() ? nullptr : packed.zero_point.data();
  DynamicChannels channels{.w_sums = std::move(product->w_sums), .zero_point = product->zero_point};
  Tail tail{.value = node.outputs[0]};
  kernels::ConvArgs args;
  args.output = kernels::ConvOutput::s32;
  ValueId scale = kNoValue;
  if (const auto& rescale = product->rescale) {
    tail = absorb_tail(rescale->value, false);
    tail.nodes.insert(tail.nodes.end(), rescale->nodes.begin(), rescale->nodes.end());
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
    channels.w_scale = rescale->w_scale;
    channels.bias = rescale->bias;
    channels.row_scales = rescale->rows;
    scale = fetch(rescale->x_scale, Layout::row_major);
    linear.op += rescale->operators + tail.operators;
  }
  const kernels::ConvKernel* kernel = &conv_kernel(linear.shape, linear.name);
  const auto bytes = cache_.get(pack_key(*kernel, linear.shape, packed.key), [&] {
    std::shared_ptr<std::byte> made = cache_.allocate(kernel->packed_bytes(linear.shape));
    kernel->pack(linear.shape, packed.values.data(), zero_points, made.get());
    return std::shared_ptr<const void>(made, made.get());
  });
  const ValueId in = fetch(x, linear.out_layout, product->x_dtype == DType::s8);
  const ValueId zero_id = product->dynamic_zero ? fetch(zero, Layout::row_major) : kNoValue;
  const ValueId out = define(tail.value, product->rescale ? DType::f32 : DType::s32, linear.out_dims, linear.out_layout);
  auto step = std::make_unique<DynamicLinearStep>(*kernel, linear.shape, bytes, std::move(channels), args);
  step->info.macs = linear.macs;
  step->info.name = linear.name;
  emit(std::move(step), linear.op, {in, scale, zero_id}, {out});
  finish_tail(tail);
  return true;
}

}  // namespace zeropoint::engine
