// QuantizeLinear, DequantizeLinear, functions of one 8-bit value, and the operators of the QOperator format.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "numerics/quantize.h"
#include "ops/rules.h"

namespace zeropoint::engine {
namespace {

constexpr numerics::Limits kU8{0, 255};

class QuantizeStep : public Step {
 public:
  QuantizeStep(const kernels::ElementwiseQ8Kernels& kernels, const Quantizer& quantizer, std::int64_t count)
      : functions_(kernels.functions),
        params_(kernels::quantize_params(quantizer.scale, quantizer.zero_point, quantizer.limits)),
        count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    functions_->quantize_u8(params_, reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin,
                            reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  kernels::QuantizeParams params_;
  std::int64_t count_;
};

// A picture of few channels: planes in, channel-last bytes out.
class QuantizePlanesStep : public Step {
 public:
  QuantizePlanesStep(const kernels::ElementwiseQ8Kernels& kernels, const Quantizer& quantizer, const Planes& planes)
      : functions_(kernels.functions),
        params_(kernels::quantize_params(quantizer.scale, quantizer.zero_point, quantizer.limits)),
        planes_(planes) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const float*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]);
    const auto part = partition(planes_.pixels, context.worker, context.workers, 256);
    for (std::int64_t n = planes_.n; n-- > 0;) {  // the next step starts with what is written last
      const std::int64_t image = n * planes_.c * planes_.pixels;
      functions_->quantize_planes_u8(params_, static_cast<int>(planes_.c), src + image + part.begin, planes_.pixels,
                                     dst + image + part.begin * planes_.c, planes_.c, part.end - part.begin);
    }
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  kernels::QuantizeParams params_;
  Planes planes_;
};

// Operators that look at each element alone: a function of an 8-bit value is a table.
bool is_elementwise_unary(const Node& node) {
  static const std::set<std::string, std::less<>> types = {
      "Relu",     "Clip",     "LeakyRelu",  "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Elu",
      "Softplus", "Softsign", "Gelu",       "Sqrt",    "Exp",         "Log",       "Neg",  "Abs", "Ceil",
      "Floor",    "Round",    "Reciprocal", "Sign",    "Mish",        "Selu",      "Swish"};
  return types.contains(node.op_type);
}

bool is_elementwise_binary(const Node& node) {
  static const std::set<std::string, std::less<>> types = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu"};
  return types.contains(node.op_type) && node.inputs.size() == 2;
}

}  // namespace

void Lowering::set_lazy_affine(const std::string& value_name, const std::string& quantized, const Quantizer& quantizer) {
  Lazy lazy{.quantized = quantized, .dtype = quantizer.dtype, .affine = quantizer};
  for (int q = 0; q < 256; ++q)
    lazy.table[static_cast<std::size_t>(q)] = numerics::dequantize(q, quantizer.scale, quantizer.zero_point);
  lazy_[value_name] = std::move(lazy);
}

// A constant that the plan has beside the graph's own.
void Lowering::set_folded(const std::string& value_name, Tensor tensor, const std::string& why_float) {
  dims_[value_name] = tensor.dims();
  folded_[value_name] = {.tensor = std::move(tensor), .why_float = why_float};
}

bool Lowering::dequantize_constant(const Node& node, const Tensor& constant) {
  const std::string& y = node.outputs[0];
  const Tensor* scale = constant_of(node.input(1));
  const Tensor* zero_point = node.input(2).empty() ? nullptr : constant_of(node.input(2));
  if (scale == nullptr || (!node.input(2).empty() && zero_point == nullptr)) return false;
  const bool simple = is_integer(constant.dtype()) && node.get_int("block_size", 0) == 0 && scale->rank() <= 1;
  if (!simple && dequantized_constant(node)) return true;
  std::string why;
  if (scale->dtype() != DType::f32)
    why = fmt::format("the scale of the weights is {}", name(scale->dtype()));
  else if (!simple)
    why = "the weights are quantized in blocks or are no integers";
  const auto as_floats = [&] {
    std::vector<Tensor> in = {constant, *scale};
    if (zero_point != nullptr) in.push_back(*zero_point);
    return ops::evaluate(graph_, node, in).front();
  };
  if (!why.empty() || (bits(constant.dtype()) > 16 && constant.dtype() != DType::s32)) {
    set_folded(y, as_floats(), why);
    return true;
  }
  QuantizedConstant result{.values = ops::unpacked(constant), .name = node.input(0)};
  if (bits(constant.dtype()) < 8) {
    result.name = fresh(node.input(0));
    set_folded(result.name, result.values, "");
  }
  const auto scales = scale->values<float>();
  result.scale.assign(scales.begin(), scales.end());
  result.zero_point.assign(scales.size(), 0);
  if (zero_point != nullptr) {
    if (zero_point->size() != scale->size()) return false;
    const Tensor zeros = ops::unpacked(*zero_point);
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (zeros.dtype() == DType::s8)
        result.zero_point[i] = zeros.values<std::int8_t>()[i];
      else if (zeros.dtype() == DType::u8)
        result.zero_point[i] = zeros.values<std::uint8_t>()[i];
      else if (zeros.dtype() == DType::s16)
        result.zero_point[i] = zeros.values<std::int16_t>()[i];
      else if (zeros.dtype() == DType::u16)
        result.zero_point[i] = zeros.values<std::uint16_t>()[i];
      else if (zeros.dtype() == DType::s32)
        result.zero_point[i] = zeros.values<std::int32_t>()[i];
      else
        return false;
    }
  }
  if (scales.size() > 1) {
    result.axis = node.get_int("axis", 1);
    if (result.axis < 0) result.axis += static_cast<std::int64_t>(constant.rank());
    if (result.axis < 0 || result.axis >= static_cast<std::int64_t>(constant.rank()) ||
        constant.dim(static_cast<std::size_t>(result.axis)) != static_cast<std::int64_t>(scales.size()))
      return false;
  }
  if (constant.size() == 1 && dtype_of_value(y) == DType::f32) set_folded(y, as_floats(), "");
  constants_[y] = std::move(result);
  return true;
}

// Quantizers write Q/DQ around float weights too, and exporters leave transposes behind dequantized ones.
bool Lowering::fold_constants_behind(const Node& node) {
  const ops::Operator* entry = ops::find(node);
  if (entry == nullptr || entry->reference == nullptr || node.inputs.empty() || node.outputs.size() != 1) return false;
  const bool is_constant = std::all_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
    return input.empty() || constant_of(input) != nullptr || constants_.contains(input) || deferred_constants_.contains(input);
  });
  const bool behind = std::any_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
    return constants_.contains(input) || folded_.contains(input) || deferred_constants_.contains(input);
  });
  const bool quantizes = node.op_type == "QuantizeLinear";
  if (!is_constant || (!behind && !quantizes) || node.op_type == "DequantizeLinear") return false;
  const std::string& x = node.input(0);
  const std::string& y = node.outputs[0];
  if (const auto found = constants_.find(x); node.is("Transpose") && found != constants_.end() && !folded_.contains(x)) {
    QuantizedConstant moved = found->second;
    const Tensor in = moved.values;
    moved.values = ops::evaluate(graph_, node, std::span(&in, 1)).front();
    auto perm = node.get_ints("perm");
    if (perm.empty())
      for (std::size_t i = in.rank(); i-- > 0;) perm.push_back(static_cast<std::int64_t>(i));
    if (moved.scale.size() > 1) moved.axis = std::find(perm.begin(), perm.end(), moved.axis) - perm.begin();
    const Tensor floats = value(fetch(x, Layout::row_major)).constant;
    moved.floats = ops::evaluate(graph_, node, std::span(&floats, 1)).front();
    moved.name = fresh(y);
    set_folded(moved.name, moved.values, "");
    dims_[y] = moved.values.dims();
    constants_[y] = std::move(moved);
    return true;
  }
  std::vector<Tensor> in;
  std::string why;
  for (const auto& input : node.inputs) {
    if (const auto folded = folded_.find(input); folded != folded_.end()) why = folded->second.why_float;
    const Tensor* constant = constant_of(input);
    if (input.empty())
      in.emplace_back();
    else
      in.push_back(constant != nullptr ? *constant : value(fetch(input, Layout::row_major)).constant);
  }
  if (why.empty() && !quantizes) why = "the weights go through " + node.op_type + " after they are dequantized";
  set_folded(y, ops::evaluate(graph_, node, in).front(), why);
  return true;
}

bool Lowering::dequantize_linear(const Node& node) {
  const std::string& x = node.input(0);
  const std::string& y = node.outputs[0];
  if (const Tensor* constant = constant_of(x)) return dequantize_constant(node, *constant);
  const auto quantizer = quantizer_of(node);
  if (!quantizer && dequantize_wide(node)) return true;
  if (!quantizer || !exists(x)) {
    reason_ = "quantization parameters are not constant and per tensor";
    return false;
  }
  const DType held_dtype = dtype_of_value(x);
  if (held_dtype != quantizer->dtype) return false;
  set_lazy_affine(y, x, *quantizer);
  dims_[y] = dims_of(x);
  return true;
}

std::string Lowering::quantize_table(const Lazy& lazy, const Quantizer& quantizer, const std::string& output) {
  if (lazy.affine && *lazy.affine == quantizer) {
    set_alias(output, lazy.quantized);
    dims_[output] = dims_of(lazy.quantized);
    return output;
  }
  const Layout layout = layout_held(lazy.quantized);
  const ValueId from = fetch(lazy.quantized, layout, lazy.dtype == DType::s8);
  const Dims dims = value(from).dims;
  const ValueId to = define(output, quantizer.dtype, dims, layout, quantizer.dtype == DType::s8);
  std::array<std::uint8_t, 256> table{};
  for (std::size_t q = 0; q < 256; ++q)
    table[q] =
        static_cast<std::uint8_t>(numerics::quantize(lazy.table[q], quantizer.scale, quantizer.zero_point, quantizer.limits));
  emit_lookup(table, lazy.affine ? "requantize" : "function", from, to);
  return output;
}

bool Lowering::quantize_linear(const Node& node) {
  const auto quantizer = quantizer_of(node);
  if (!quantizer) {
    reason_ = "quantization parameters are not constant and per tensor";
    return quantize_wide(node);
  }
  const std::string& x = node.input(0);
  const std::string& y = node.outputs[0];
  if (constant_of(x) != nullptr || constants_.contains(x)) return false;
  if (const auto lazy = lazy_.find(x); lazy != lazy_.end()) {
    quantize_table(Lazy(lazy->second), *quantizer, y);
    return true;
  }
  if (!exists(x) || dtype_of_value(x) != DType::f32) return false;
  const Dims dims = dims_of(x);
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  const bool flipped = quantizer->dtype == DType::s8;
  const Planes shape = planes(dims);
  const Layout held = layout_held(x);
  const bool to_channel_last = dims.size() >= 3 && prefers_channel_last(y);
  if (held == Layout::row_major && to_channel_last && shape.c <= 4 && !spatially_trivial(dims)) {
    const ValueId from = fetch(x, Layout::row_major);
    const ValueId to = define(y, quantizer->dtype, dims, Layout::channel_last, flipped);
    emit(std::make_unique<QuantizePlanesStep>(kernels, *quantizer, shape), "QuantizeLinear", {from}, {to});
    return true;
  }
  const ValueId from = fetch(x, held);
  const ValueId to = define(y, quantizer->dtype, dims, held, flipped);
  emit(std::make_unique<QuantizeStep>(kernels, *quantizer, element_count(dims)), "QuantizeLinear", {from}, {to});
  return true;
}

bool Lowering::lazy_unary(const Node& node) {
  if (!node.domain.empty() || node.outputs.size() != 1) return false;
  const auto evaluate = [&](std::vector<Tensor> in) {
    Tensor out = ops::evaluate(graph_, node, in).front();
    std::array<float, 256> table{};
    const auto values = out.values<float>();
    std::copy(values.begin(), values.end(), table.begin());
    return table;
  };
  const auto tensor = [](const Lazy& lazy) { return Tensor::of<float>({256}, std::span<const float>(lazy.table)); };

  if (is_elementwise_unary(node)) {
    const auto lazy = lazy_.find(node.input(0));
    if (lazy == lazy_.end()) return false;
    std::vector<Tensor> in = {tensor(lazy->second)};
    for (std::size_t i = 1; i < node.inputs.size(); ++i) {
      const Tensor* constant = node.inputs[i].empty() ? nullptr : constant_of(node.inputs[i]);
      if (!node.inputs[i].empty() && constant == nullptr) return false;
      in.push_back(constant == nullptr ? Tensor() : *constant);
    }
    if (ops::find(node) == nullptr || ops::find(node)->reference == nullptr) return false;
    Lazy result = lazy->second;
    result.table = evaluate(std::move(in));
    result.affine.reset();
    lazy_[node.outputs[0]] = std::move(result);
    dims_[node.outputs[0]] = dims_of(node.input(0));
    return true;
  }
  if (is_elementwise_binary(node)) {
    const auto a = lazy_.find(node.input(0)), b = lazy_.find(node.input(1));
    const auto scalar = [&](const std::string& input) {
      const Tensor* constant = constant_of(input);
      return constant != nullptr && constant->dtype() == DType::f32 && constant->size() == 1 ? constant : nullptr;
    };
    std::vector<Tensor> in;
    const Lazy* source = nullptr;
    if (a != lazy_.end() && b != lazy_.end() && a->second.quantized == b->second.quantized) {
      source = &a->second;
      in = {tensor(a->second), tensor(b->second)};
    } else if (a != lazy_.end() && scalar(node.input(1)) != nullptr) {
      source = &a->second;
      in = {tensor(a->second), scalar(node.input(1))->reshaped({})};
    } else if (b != lazy_.end() && scalar(node.input(0)) != nullptr) {
      source = &b->second;
      in = {scalar(node.input(0))->reshaped({}), tensor(b->second)};
    }
    // A constant of higher rank than the value would add dimensions: not elementwise any more.
    if (source == nullptr || dims_of(node.outputs[0]) != dims_of(source->quantized)) return false;
    Lazy result = *source;
    result.table = evaluate(std::move(in));
    result.affine.reset();
    lazy_[node.outputs[0]] = std::move(result);
    return true;
  }
  return false;
}

// QLinearConv(x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, B) and its kin mean the same as Q/DQ around Conv, so they are
// lowered through the same functions.
bool Lowering::quantized_operator(const Node& node) {
  const auto quantizer = [&](std::size_t scale_input, std::size_t zero_point_input, DType dtype) -> std::optional<Quantizer> {
    const auto scale = scalar_of(node.input(scale_input));
    if (!scale || !(*scale > 0)) return std::nullopt;
    Quantizer result{.scale = *scale, .zero_point = dtype == DType::s8 ? 128 : 0, .dtype = dtype};
    if (!node.input(zero_point_input).empty()) {
      const Tensor* zero_point = constant_of(node.input(zero_point_input));
      if (zero_point == nullptr || zero_point->size() != 1) return std::nullopt;
      result.dtype = zero_point->dtype();
      if (zero_point->dtype() == DType::u8)
        result.zero_point = zero_point->values<std::uint8_t>()[0];
      else if (zero_point->dtype() == DType::s8)
        result.zero_point = zero_point->values<std::int8_t>()[0] + 128;
      else
        return std::nullopt;
    }
    return result;
  };
  const auto is_8_bits = [&](const std::string& x) {
    const DType dtype = dtype_of_value(x);
    return exists(x) && (dtype == DType::u8 || dtype == DType::s8);
  };
  const auto is_scalar = [](const Tensor* tensor) { return tensor != nullptr && tensor->size() == 1; };
  const auto integer_zero_point = [](const Tensor* given, DType dtype) -> std::int32_t {  // of the u8 form
    if (given == nullptr) return dtype == DType::s8 ? 128 : 0;
    return given->dtype() == DType::u8 ? given->values<std::uint8_t>()[0] : given->values<std::int8_t>()[0] + 128;
  };
  const std::string& x = node.input(0);

  if (node.op_type == "QLinearConv" || node.op_type == "QLinearMatMul" || node.op_type == "QGemm" ||
      node.op_type == "ConvInteger" || node.op_type == "MatMulInteger") {
    const bool is_integer_op = node.op_type == "ConvInteger" || node.op_type == "MatMulInteger";
    const bool is_conv = node.op_type == "QLinearConv" || node.op_type == "ConvInteger";
    const bool is_gemm = node.op_type == "QGemm";
    if (!is_8_bits(x)) return false;
    // Inputs: x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, B; QGemm has C in place 6; the integer ones x, w, x_zp, w_zp.
    const std::string& w = node.input(is_integer_op ? 1 : 3);
    const Tensor* weights = constant_of(w);
    if (weights == nullptr && (is_conv || is_gemm || !is_8_bits(w))) {
      reason_ = "the weights are not constant";
      return false;
    }
    std::optional<Quantizer> x_quantizer, y_quantizer;
    if (is_integer_op) {
      const Tensor* zero_point = constant_of(node.input(2));
      if (!node.input(2).empty() && !is_scalar(zero_point)) {
        reason_ = "the zero point of the activations is not constant";
        return false;
      }
      x_quantizer =
          Quantizer{.scale = 1, .zero_point = integer_zero_point(zero_point, dtype_of_value(x)), .dtype = dtype_of_value(x)};
    } else {
      x_quantizer = quantizer(1, 2, dtype_of_value(x));
      y_quantizer = is_gemm ? (node.input(7).empty() ? std::nullopt : quantizer(7, 8, DType::u8)) : quantizer(6, 7, DType::u8);
      if (!x_quantizer || x_quantizer->dtype != dtype_of_value(x) || (!y_quantizer && !(is_gemm && node.input(7).empty()))) {
        reason_ = "quantization parameters are not constant and per tensor";
        return false;
      }
    }
    if (is_gemm && (node.get_int("transA", 0) != 0 || node.get_float("alpha", 1) != 1)) {
      reason_ = "transA or alpha";
      return false;
    }
    const Tail tail{.value = node.outputs[0], .quantizer = y_quantizer, .same = {node.outputs[0]}};
    const DType out = is_integer_op ? DType::s32 : (y_quantizer ? y_quantizer->dtype : DType::f32);
    if (weights == nullptr) {
      std::optional<Quantizer> w_quantizer;
      if (!is_integer_op) {
        w_quantizer = quantizer(4, 5, dtype_of_value(w));
      } else if (const Tensor* zero_point = constant_of(node.input(3)); node.input(3).empty() || is_scalar(zero_point)) {
        w_quantizer = Quantizer{.zero_point = integer_zero_point(zero_point, dtype_of_value(w)), .dtype = dtype_of_value(w)};
      }
      if (!w_quantizer || w_quantizer->dtype != dtype_of_value(w)) {
        reason_ = "quantization parameters are not constant and per tensor";
        return false;
      }
      return integer_product(node, x, *x_quantizer, w, *w_quantizer, tail, out);
    }
    QuantizedConstant constant{.values = *weights, .name = w};
    const Tensor* w_scale = is_integer_op ? nullptr : constant_of(node.input(4));
    const std::string& w_zero_point_name = node.input(is_integer_op ? 3 : 5);
    const Tensor* w_zero_point = w_zero_point_name.empty() ? nullptr : constant_of(w_zero_point_name);
    if ((!is_integer_op && (w_scale == nullptr || w_scale->dtype() != DType::f32)) ||
        (!w_zero_point_name.empty() && w_zero_point == nullptr))
      return false;
    constant.scale = w_scale == nullptr ? std::vector<float>{1.0F}
                                        : std::vector<float>(w_scale->values<float>().begin(), w_scale->values<float>().end());
    if (w_zero_point != nullptr) {
      for (std::int64_t i = 0; i < w_zero_point->size(); ++i)
        constant.zero_point.push_back(w_zero_point->dtype() == DType::s8
                                          ? std::int32_t{w_zero_point->values<std::int8_t>()[static_cast<std::size_t>(i)]}
                                          : std::int32_t{w_zero_point->values<std::uint8_t>()[static_cast<std::size_t>(i)]});
    } else {
      constant.zero_point = {0};
    }
    const std::size_t channels_given = std::max(constant.scale.size(), constant.zero_point.size());
    constant.scale.resize(channels_given, constant.scale.front());
    constant.zero_point.resize(channels_given, constant.zero_point.front());

    Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
    const bool transpose_weights = !is_conv && !(is_gemm && node.get_int("transB", 0) != 0);
    if (is_conv ? !conv_shape(node, weights->dims(), linear)
                : !matmul_shape(x, weights->dims(), transpose_weights, node.outputs[0], linear))
      return false;
    const std::int64_t channel_axis = transpose_weights ? 1 : 0;
    if (channels_given > 1) constant.axis = channel_axis;
    std::string why_not;
    const auto packed = integer_weights(constant, linear.shape.o, channel_axis, transpose_weights, why_not);
    if (!packed) {
      reason_ = why_not;
      return false;
    }
    std::vector<std::int64_t> bias;
    static const std::string kNone;
    const std::string& bias_name = is_integer_op ? kNone : (is_gemm ? node.input(6) : node.input(8));
    if (!bias_name.empty()) {
      const Tensor* tensor = constant_of(bias_name);
      if (tensor == nullptr || tensor->dtype() != DType::s32 || tensor->size() != linear.shape.o) return false;
      bias.assign(tensor->values<std::int32_t>().begin(), tensor->values<std::int32_t>().end());
    }
    const bool done = integer_linear(linear, x, *x_quantizer, *packed, bias, tail, out, why_not);
    if (!done) reason_ = why_not;
    return done;
  }

  // com.microsoft: QLinearAdd(a, a_scale, a_zp, b, b_scale, b_zp, c_scale, c_zp), by the literal rule.
  if (node.op_type == "QLinearAdd" || node.op_type == "QLinearMul") {
    const std::string& b = node.input(3);
    const auto known = [&](const std::string& operand) { return is_8_bits(operand) || constant_of(operand) != nullptr; };
    if (!known(x) || !known(b)) return false;
    const auto a_quantizer = quantizer(1, 2, dtype_of_value(x)), b_quantizer = quantizer(4, 5, dtype_of_value(b));
    const auto y_quantizer = quantizer(6, 7, dtype_of_value(x));
    if (!a_quantizer || !b_quantizer || !y_quantizer) return false;
    return qlinear_scalar(node, *a_quantizer, *b_quantizer, *y_quantizer) ||
           integer_binary(node, node.op_type == "QLinearAdd" ? "Add" : "Mul", x, *a_quantizer, b, *b_quantizer,
                          Tail{.value = node.outputs[0], .quantizer = y_quantizer, .same = {node.outputs[0]}});
  }
  if (node.op_type == "QLinearGlobalAveragePool" || node.op_type == "QLinearAveragePool") {
    if (!is_8_bits(x) || node.get_int("channels_last", 0) != 0) return false;
    const auto x_quantizer = quantizer(1, 2, dtype_of_value(x)), y_quantizer = quantizer(3, 4, dtype_of_value(x));
    if (!x_quantizer || !y_quantizer) return false;
    return integer_average(node, node.op_type == "QLinearGlobalAveragePool", x, *x_quantizer,
                           Tail{.value = node.outputs[0], .quantizer = y_quantizer, .same = {node.outputs[0]}});
  }
  if (node.op_type == "QLinearSigmoid" || node.op_type == "QLinearLeakyRelu") {
    const auto x_quantizer = quantizer(1, 2, dtype_of_value(x)), y_quantizer = quantizer(3, 4, dtype_of_value(x));
    if (is_8_bits(x) && x_quantizer && y_quantizer) return qlinear_function(node, *x_quantizer, *y_quantizer);
  }
  if (node.op_type == "QLinearConcat") {
    if (qlinear_concat(node)) return true;
  }
  reason_ = "no integer kernel for this operator";
  return false;
}

bool Lowering::qlinear_function(const Node& node, const Quantizer& x_quantizer, const Quantizer& y_quantizer) {
  const std::string real = fresh(node.input(0)), result = fresh(node.outputs[0]);
  set_lazy_affine(real, node.input(0), x_quantizer);
  dims_[real] = dims_of(node.input(0));
  Node function = node;
  function.domain.clear();
  function.op_type = node.op_type.substr(std::string("QLinear").size());
  function.inputs = {real};
  function.outputs = {result};
  if (!lazy_unary(function)) return false;
  quantize_table(Lazy(lazy_.find(result)->second), y_quantizer, node.outputs[0]);
  return true;
}

// QLinearAdd and QLinearMul with a number: a table.
bool Lowering::qlinear_scalar(const Node& node, const Quantizer& a, const Quantizer& b, const Quantizer& y) {
  const Tensor* left = constant_of(node.input(0));
  const Tensor* right = constant_of(node.input(3));
  if ((left == nullptr) == (right == nullptr)) return false;
  const Tensor& number = left != nullptr ? *left : *right;
  const std::string& x = node.input(left != nullptr ? 3 : 0);
  if (number.size() != 1 || dims_of(x) != dims_of(node.outputs[0])) return false;
  const std::int32_t fixed =
      number.dtype() == DType::s8 ? number.values<std::int8_t>()[0] + 128 : number.values<std::uint8_t>()[0];
  const float factor = numerics::requantize_scale(a.scale, b.scale, y.scale);
  std::array<std::uint8_t, 256> table{};
  for (std::int32_t q = 0; q < 256; ++q) {
    const std::int32_t qa = left != nullptr ? fixed : q, qb = left != nullptr ? q : fixed;
    const std::int32_t result = node.op_type == "QLinearMul"
                                    ? numerics::requantize((qa - a.zero_point) * (qb - b.zero_point), factor, y.zero_point, kU8)
                                    : numerics::quantize(numerics::dequantize(qa, a.scale, a.zero_point) +
                                                             numerics::dequantize(qb, b.scale, b.zero_point),
                                                         y.scale, y.zero_point, kU8);
    table[static_cast<std::size_t>(q)] = static_cast<std::uint8_t>(result);
  }
  const Layout layout = layout_held(x);
  const ValueId from = fetch(x, layout, dtype_of_value(x) == DType::s8);
  const ValueId to = define(node.outputs[0], y.dtype, dims_of(x), layout, y.dtype == DType::s8);
  emit_lookup(table, node.op_type, from, to);
  return true;
}

// QLinearConcat(y_scale, y_zero_point, x0, x0_scale, x0_zero_point, x1, ...): each part requantized by a table, then joined.
bool Lowering::qlinear_concat(const Node& node) {
  const auto quantizer = [&](std::size_t input) -> std::optional<Quantizer> {
    const auto scale = scalar_of(node.input(input));
    const Tensor* zero_point = constant_of(node.input(input + 1));
    if (!scale || !(*scale > 0) || zero_point == nullptr || zero_point->size() != 1) return std::nullopt;
    if (zero_point->dtype() == DType::u8) return Quantizer{*scale, zero_point->values<std::uint8_t>()[0], DType::u8};
    if (zero_point->dtype() == DType::s8) return Quantizer{*scale, zero_point->values<std::int8_t>()[0] + 128, DType::s8};
    return std::nullopt;
  };
  const auto y = quantizer(0);
  if (!y) return false;
  std::vector<std::pair<std::string, Quantizer>> parts;
  for (std::size_t i = 2; i + 2 < node.inputs.size(); i += 3) {
    const auto x = quantizer(i + 1);
    if (!x || !exists(node.input(i)) || dtype_of_value(node.input(i)) != x->dtype) return false;
    parts.emplace_back(node.input(i), *x);
  }
  Node join = node;
  join.domain.clear();
  join.op_type = "Concat";
  join.inputs.clear();
  for (const auto& [part, x] : parts) {
    const std::string real = fresh(part);
    set_lazy_affine(real, part, x);
    join.inputs.push_back(quantize_table(Lazy(lazy_.find(real)->second), *y, fresh(part)));
  }
  return concat(join);
}

}  // namespace zeropoint::engine
