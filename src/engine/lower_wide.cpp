// 16-bit activations with weights of at most 8 bits: x = 256 * high + low, two integer products of planes of bytes, joined in
// 64 bits and converted once. 16-bit QuantizeLinear and DequantizeLinear.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "engine/integer_conv_step.h"
#include "engine/lowering.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

numerics::Limits limits_of(DType dtype) {
  switch (dtype) {
    case DType::u16:
      return {0, 65535};
    case DType::s16:
      return {-32768, 32767};
    default:
      return {0, 255};  // s8 is held as u8
  }
}

template <class T>
class QuantizeWideStep : public Step {
 public:
  QuantizeWideStep(const Quantizer& quantizer, std::int64_t count) : quantizer_(quantizer), count_(count) {
    info.kernel = "16 bits";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const float*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<T*>(context.values[outputs[0]]);
    const numerics::Limits limits = limits_of(quantizer_.dtype);
    const auto part = partition(count_, context.worker, context.workers, 1024);
    for (std::int64_t i = part.begin; i < part.end; ++i)
      dst[i] = static_cast<T>(numerics::quantize(src[i], quantizer_.scale, quantizer_.zero_point, limits));
  }

 private:
  Quantizer quantizer_;
  std::int64_t count_;
};

template <class T>
class DequantizeWideStep : public Step {
 public:
  DequantizeWideStep(const Quantizer& quantizer, std::int64_t count) : quantizer_(quantizer), count_(count) {
    info.kernel = "16 bits";
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const T*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    const auto part = partition(count_, context.worker, context.workers, 1024);
    for (std::int64_t i = part.begin; i < part.end; ++i)
      dst[i] = numerics::dequantize(src[i], quantizer_.scale, quantizer_.zero_point);
  }

 private:
  Quantizer quantizer_;
  std::int64_t count_;
};

// Outputs: high bytes, low bytes; s16 as u16 with its zero point moved by 32768.
class SplitBytesStep : public Step {
 public:
  SplitBytesStep(bool is_signed, std::int64_t count) : flip_(is_signed ? 0x8000U : 0U), count_(count) {
    info.kernel = "16 bits";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const std::uint16_t*>(context.values[inputs[0]]);
    auto* high = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]);
    auto* low = reinterpret_cast<std::uint8_t*>(context.values[outputs[1]]);
    const auto part = partition(count_, context.worker, context.workers, 1024);
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      const std::uint32_t q = src[i] ^ flip_;
      high[i] = static_cast<std::uint8_t>(q >> 8U);
      low[i] = static_cast<std::uint8_t>(q & 255U);
    }
  }

 private:
  std::uint32_t flip_;
  std::int64_t count_;
};

// Inputs: sums of the low bytes, and of the high bytes where there are any. docs/arithmetic.md, rules (a) and (b).
class JoinStep : public Step {
 public:
  struct Parameters {
    std::vector<std::int64_t> bias;
    std::vector<float> scale;
    float low, high;
    std::int32_t zero_point = 0;
    DType dtype = DType::f32;
  };
  JoinStep(Parameters parameters, std::int64_t rows) : p_(std::move(parameters)), rows_(rows) {
    info.kernel = "16 bits";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    if (p_.dtype == DType::f32)
      store(context, reinterpret_cast<float*>(context.values[outputs[0]]), [](float t) { return t; });
    else if (bits(p_.dtype) == 16)
      store(context, reinterpret_cast<std::uint16_t*>(context.values[outputs[0]]), [&](float t) { return whole(t); });
    else
      store(context, reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]), [&](float t) { return whole(t); });
  }

 private:
  std::int32_t whole(float t) const { return static_cast<std::int32_t>(numerics::round_half_even(t)) + p_.zero_point; }
  template <class T, class Finish>
  void store(const RunContext& context, T* dst, Finish finish) const {
    const auto* low = reinterpret_cast<const std::int32_t*>(context.values[inputs[0]]);
    const auto* high = inputs.size() > 1 ? reinterpret_cast<const std::int32_t*>(context.values[inputs[1]]) : nullptr;
    const std::size_t channels = p_.scale.size();
    const auto part = partition(rows_, context.worker, context.workers);
    for (std::int64_t row = part.begin; row < part.end; ++row)
      for (std::size_t c = 0; c < channels; ++c) {
        const std::size_t i = static_cast<std::size_t>(row) * channels + c;
        const std::int64_t sum = low[i] + (high != nullptr ? 256 * std::int64_t{high[i]} : 0) + p_.bias[c];
        const float v = static_cast<float>(sum) * p_.scale[c];
        dst[i] = static_cast<T>(finish(v > p_.low ? (v < p_.high ? v : p_.high) : p_.low));
      }
  }

  Parameters p_;
  std::int64_t rows_;
};

}  // namespace

// Of Q or DQ with constant per-tensor 16-bit parameters; the zero point as the graph has it.
std::optional<Quantizer> Lowering::wide_quantizer_of(const Node& node) const {
  if (node.op_type != "QuantizeLinear" && node.op_type != "DequantizeLinear") return std::nullopt;
  if (!node.domain.empty() && node.domain != "com.microsoft") return std::nullopt;
  const auto scale = scalar_of(node.input(1));
  if (!scale || !(*scale > 0) || node.get_int("block_size", 0) != 0) return std::nullopt;
  Quantizer quantizer{.scale = *scale, .zero_point = 0, .dtype = DType::undefined};
  const Tensor* zero_point = node.input(2).empty() ? nullptr : constant_of(node.input(2));
  if (zero_point != nullptr) {
    if (zero_point->size() != 1) return std::nullopt;
    quantizer.dtype = zero_point->dtype();
    if (quantizer.dtype == DType::u16)
      quantizer.zero_point = zero_point->values<std::uint16_t>()[0];
    else if (quantizer.dtype == DType::s16)
      quantizer.zero_point = zero_point->values<std::int16_t>()[0];
  } else if (node.input(2).empty()) {
    constexpr std::int64_t kUint16 = 4, kInt16 = 5;  // TensorProto.DataType
    const std::int64_t type = node.get_int("output_dtype", 0);
    if (node.op_type == "DequantizeLinear")
      quantizer.dtype = dtype_of_value(node.input(0));
    else
      quantizer.dtype = type == kUint16 ? DType::u16 : type == kInt16 ? DType::s16 : DType::undefined;
  }
  if (quantizer.dtype != DType::u16 && quantizer.dtype != DType::s16) return std::nullopt;
  return quantizer;
}

bool Lowering::quantize_wide(const Node& node) {
  const auto quantizer = wide_quantizer_of(node);
  const std::string& x = node.input(0);
  if (!quantizer || dtype_of_value(x) != DType::f32) return false;
  const Layout layout = layout_held(x);
  const ValueId from = fetch_float(x, layout);
  const Dims dims = value(from).dims;
  const ValueId to = define(node.outputs[0], quantizer->dtype, dims, layout);
  const std::int64_t count = element_count(dims);
  if (quantizer->dtype == DType::u16)
    emit(std::make_unique<QuantizeWideStep<std::uint16_t>>(*quantizer, count), node.op_type, {from}, {to});
  else
    emit(std::make_unique<QuantizeWideStep<std::int16_t>>(*quantizer, count), node.op_type, {from}, {to});
  return true;
}

bool Lowering::dequantize_wide(const Node& node) {
  const auto quantizer = wide_quantizer_of(node);
  const std::string& x = node.input(0);
  if (!quantizer || !exists(x) || dtype_of_value(x) != quantizer->dtype || graph_.type_of(node.outputs[0]).dtype != DType::f32)
    return false;
  wide_[node.outputs[0]] = {x, *quantizer};
  dims_[node.outputs[0]] = dims_of(x);
  return true;
}

// The floats of a 16-bit value, when somebody wants them.
void Lowering::materialize_wide(const std::string& value_name) {
  const auto found = wide_.find(value_name);
  if (found == wide_.end() || held_.contains(value_name)) return;
  const auto [source, quantizer] = found->second;
  const Layout layout = layout_held(source);
  const ValueId from = fetch(source, layout);
  const ValueId to = define(value_name, DType::f32, dims_of(source), layout);
  const std::int64_t count = element_count(dims_of(source));
  if (quantizer.dtype == DType::u16)
    emit(std::make_unique<DequantizeWideStep<std::uint16_t>>(quantizer, count), "DequantizeLinear", {from}, {to});
  else
    emit(std::make_unique<DequantizeWideStep<std::int16_t>>(quantizer, count), "DequantizeLinear", {from}, {to});
  plan_.steps.back()->info.name = value_name;
}

// Conv, MatMul and Gemm where the activations or the result have 16 bits.
bool Lowering::wide_linear(const Node& node) {
  const bool is_conv = node.op_type == "Conv", is_gemm = node.op_type == "Gemm";
  if (!node.domain.empty() || (!is_conv && !is_gemm && node.op_type != "MatMul")) return false;
  const auto wide = wide_.find(node.input(0));
  const auto lazy = lazy_.find(node.input(0));
  const auto quantized = constants_.find(node.input(1));
  if (quantized == constants_.end() || (wide == wide_.end() && (lazy == lazy_.end() || !lazy->second.affine))) return false;
  if (is_gemm && (node.get_int("transA", 0) != 0 || node.get_float("alpha", 1) != 1 || node.get_float("beta", 1) != 1)) {
    reason_ = "alpha or beta is not 1";
    return false;
  }
  const Tail tail = absorb_tail(node.outputs[0], true, true);
  if (wide == wide_.end() && (!tail.quantizer || bits(tail.quantizer->dtype) != 16)) return false;
  const std::string source = wide != wide_.end() ? wide->second.quantized : lazy->second.quantized;
  const Quantizer x = wide != wide_.end() ? wide->second.quantizer : *lazy->second.affine;

  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
  const bool transpose = !is_conv && !(is_gemm && node.get_int("transB", 0) != 0);
  const Dims& w_dims = quantized->second.values.dims();
  dims_[node.input(0)] = dims_of(source);
  if (is_conv ? !conv_shape(node, w_dims, linear) : !matmul_shape(node.input(0), w_dims, transpose, node.outputs[0], linear))
    return false;
  const auto weights = integer_weights(quantized->second, linear.shape.o, transpose ? 1 : 0, transpose, reason_);
  if (!weights) return false;
  const auto bias = integer_bias(node.input(2), x.scale, weights->scale);
  if (!bias) {
    reason_ = "the bias is not a constant row or does not fit";
    return false;
  }
  const auto o = static_cast<std::size_t>(linear.shape.o);
  JoinStep::Parameters join{.bias = *bias, .scale = std::vector<float>(o), .low = tail.low, .high = tail.high};
  join.bias.resize(o, 0);
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, limits_of(y.dtype)) - y.zero_point);
    };
    join.low = limit(tail.low);
    join.high = limit(tail.high);
    join.zero_point = y.zero_point;
    join.dtype = y.dtype;
  }
  for (std::size_t c = 0; c < o; ++c) {
    join.scale[c] = tail.quantizer ? numerics::requantize_scale(x.scale, weights->scale[c], tail.quantizer->scale)
                                   : x.scale * weights->scale[c];
    if (!std::isfinite(join.scale[c])) {
      reason_ = "a requantization scale is not finite";
      return false;
    }
  }

  // Planes of bytes, low first.
  struct Plane {
    std::int32_t zero_point = 0;
    std::vector<std::int32_t> comp;
    ValueId bytes = kNoValue;
  };
  std::vector<Plane> planes;
  if (wide == wide_.end()) {
    planes.push_back({.zero_point = x.zero_point});
  } else {
    const auto zero = static_cast<std::uint32_t>(x.zero_point + (x.dtype == DType::s16 ? 32768 : 0));
    planes.push_back({.zero_point = static_cast<std::int32_t>(zero & 255U)});
    planes.push_back({.zero_point = static_cast<std::int32_t>(zero >> 8U)});
  }
  const std::int32_t* w_zero = weights->zero_point.empty() ? nullptr : weights->zero_point.data();
  for (Plane& plane : planes) {
    plane.comp.resize(o);
    if (!kernels::fold_bias(linear.shape, weights->values.data(), w_zero, plane.zero_point, nullptr, plane.comp.data())) {
      reason_ = "sums could overflow 32 bits";
      return false;
    }
  }
  if (planes.size() == 1) {
    planes[0].bytes = fetch(source, linear.out_layout, x.dtype == DType::s8);
  } else {
    const ValueId from = fetch(source, linear.out_layout);
    const Dims dims = dims_of(source);
    planes[0].bytes = define(fresh(source + ".low"), DType::u8, dims, linear.out_layout);
    planes[1].bytes = define(fresh(source + ".high"), DType::u8, dims, linear.out_layout);
    emit(std::make_unique<SplitBytesStep>(x.dtype == DType::s16, element_count(dims)), "bytes", {from},
         {planes[1].bytes, planes[0].bytes});
    plan_.steps.back()->info.name = source;
  }
  const kernels::ConvKernel* kernel = kernels::select_conv_q8(linear.shape, options_.isas);
  const auto packed = packed_weights(*kernel, linear.shape, *weights);
  std::vector<ValueId> sums;
  for (Plane& plane : planes) {
    kernels::ConvArgs args;
    args.output = kernels::ConvOutput::s32;
    args.src_zero_point = plane.zero_point;
    const ValueId sum = define(fresh(node.outputs[0]), DType::s32, linear.out_dims, linear.out_layout);
    auto step =
        std::make_unique<IntegerConvStep>(*kernel, linear.shape, packed, std::move(plane.comp), std::vector<float>(o, 1), args);
    step->info.macs = sums.empty() ? linear.macs : 0;
    step->info.name = linear.name;
    emit(std::move(step),
         linear.op + (planes.size() == 1 ? ""
                      : sums.empty()     ? " (low bytes)"
                                         : " (high bytes)"),
         {plane.bytes}, {sum});
    sums.push_back(sum);
  }
  const DType dtype = join.dtype;
  const ValueId out =
      define(tail.quantizer ? tail.same.front() : tail.value, dtype, linear.out_dims, linear.out_layout, dtype == DType::s8);
  const std::int64_t rows = element_count(linear.out_dims) / linear.shape.o;
  emit(std::make_unique<JoinStep>(std::move(join), rows), "join" + tail.operators + (tail.quantizer ? "+QuantizeLinear" : ""),
       std::move(sums), {out});
  finish_tail(tail);
  return true;
}

}  // namespace zeropoint::engine
