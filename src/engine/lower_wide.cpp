// Activations or weights of 16 bits: q = 256 * high + low, integer products of planes of bytes, joined in 64 bits and converted
// once. 16-bit QuantizeLinear and DequantizeLinear.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "engine/integer_conv_step.h"
#include "engine/lowering.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

numerics::Limits limits_of(const Quantizer& quantizer) {
  switch (quantizer.dtype) {
    case DType::u16:
      return {0, 65535};
    case DType::s16:
      return {-32768, 32767};
    default:
      return quantizer.limits;
  }
}

class QuantizeWideStep : public Step {
 public:
  QuantizeWideStep(const kernels::ElementwiseQ8Kernels& kernels, const Quantizer& quantizer, std::int64_t count)
      : functions_(kernels.functions),
        params_(kernels::quantize_params(quantizer.scale, quantizer.zero_point, limits_of(quantizer))),
        is_signed_(quantizer.dtype == DType::s16),
        count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    const auto* src = reinterpret_cast<const float*>(context.values[inputs[0]]) + part.begin;
    std::byte* dst = context.values[outputs[0]] + part.begin * 2;
    if (is_signed_)
      functions_->quantize_s16(params_, src, reinterpret_cast<std::int16_t*>(dst), part.end - part.begin);
    else
      functions_->quantize_u16(params_, src, reinterpret_cast<std::uint16_t*>(dst), part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  kernels::QuantizeParams params_;
  bool is_signed_;
  std::int64_t count_;
};

class DequantizeWideStep : public Step {
 public:
  DequantizeWideStep(const kernels::ElementwiseQ8Kernels& kernels, const Quantizer& quantizer, std::int64_t count)
      : functions_(kernels.functions),
        params_{quantizer.scale, quantizer.zero_point},
        is_signed_(quantizer.dtype == DType::s16),
        count_(count) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    const std::byte* src = context.values[inputs[0]] + part.begin * 2;
    auto* dst = reinterpret_cast<float*>(context.values[outputs[0]]) + part.begin;
    if (is_signed_)
      functions_->dequantize_s16(params_, reinterpret_cast<const std::int16_t*>(src), dst, part.end - part.begin);
    else
      functions_->dequantize_u16(params_, reinterpret_cast<const std::uint16_t*>(src), dst, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  kernels::DequantizeParams params_;
  bool is_signed_;
  std::int64_t count_;
};

// Outputs: high bytes, low bytes; s16 as u16 with its zero point moved by 32768.
class SplitBytesStep : public Step {
 public:
  SplitBytesStep(const kernels::ElementwiseQ8Kernels& kernels, bool is_signed, std::int64_t count)
      : functions_(kernels.functions), flip_(is_signed ? 0x8000 : 0), count_(count) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    functions_->split_u16(flip_, reinterpret_cast<const std::uint16_t*>(context.values[inputs[0]]) + part.begin,
                          reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]) + part.begin,
                          reinterpret_cast<std::uint8_t*>(context.values[outputs[1]]) + part.begin, part.end - part.begin);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  std::uint16_t flip_;
  std::int64_t count_;
};

// Inputs: s32 sums of planes; what they add up to in 64 bits, each shifted. docs/arithmetic.md, rules (a) and (b).
class JoinStep : public Step {
 public:
  struct Parameters {
    std::vector<std::int64_t> bias;
    std::vector<float> scale;
    float low, high;
    std::int32_t zero_point;
    DType dtype;
    std::vector<int> shifts;
  };
  JoinStep(const kernels::ElementwiseQ8Kernels& kernels, Parameters parameters, std::int64_t rows)
      : functions_(kernels.functions), p_(std::move(parameters)), rows_(rows) {
    info.kernel = kernels.name;
    info.integer = true;
    constexpr std::int64_t kExact = std::int64_t{1} << 51U;
    if (std::ranges::all_of(p_.bias, [](std::int64_t b) { return -kExact <= b && b <= kExact; }))
      bias_as_double_.assign(p_.bias.begin(), p_.bias.end());
  }
  void run(const RunContext& context) const override {
    const auto part = partition(rows_, context.worker, context.workers);
    const auto channels = static_cast<std::int64_t>(p_.scale.size()), first = part.begin * channels;
    kernels::JoinS32 join{.planes = static_cast<int>(inputs.size()),
                          .channels = channels,
                          .bias = p_.bias.data(),
                          .bias_as_double = bias_as_double_.empty() ? nullptr : bias_as_double_.data(),
                          .scale = p_.scale.data(),
                          .low = p_.low,
                          .high = p_.high,
                          .zero_point = p_.zero_point};
    for (std::size_t plane = 0; plane < inputs.size(); ++plane) {
      join.sums[plane] = reinterpret_cast<const std::int32_t*>(context.values[inputs[plane]]) + first;
      join.shifts[plane] = p_.shifts[plane];
    }
    std::byte* dst = context.values[outputs[0]];
    const std::int64_t rows = part.end - part.begin;
    if (p_.dtype == DType::f32)
      functions_->join_f32(join, reinterpret_cast<float*>(dst) + first, rows);
    else if (bits(p_.dtype) == 16)
      functions_->join_u16(join, reinterpret_cast<std::uint16_t*>(dst) + first, rows);
    else
      functions_->join_u8(join, reinterpret_cast<std::uint8_t*>(dst) + first, rows);
  }

 private:
  const kernels::ElementwiseQ8Functions* functions_;
  Parameters p_;
  std::vector<double> bias_as_double_;
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
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  emit(std::make_unique<QuantizeWideStep>(kernels, *quantizer, count), node.op_type, {from}, {to});
  return true;
}

bool Lowering::dequantize_wide(const Node& node) {
  const auto quantizer = wide_quantizer_of(node);
  const std::string& x = node.input(0);
  if (!quantizer || !exists(x) || dtype_of_value(x) != quantizer->dtype || values_.type_of(node.outputs[0]).dtype != DType::f32)
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
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  emit(std::make_unique<DequantizeWideStep>(kernels, quantizer, count), "DequantizeLinear", {from}, {to});
  plan_.steps.back()->info.name = value_name;
}

std::optional<Lowering::Operand> Lowering::operand_of(const std::string& value_name) const {
  if (const auto wide = wide_.find(value_name); wide != wide_.end())
    return Operand{wide->second.quantized, wide->second.quantizer};
  const auto lazy = lazy_.find(value_name);
  if (lazy == lazy_.end() || !lazy->second.affine) return std::nullopt;
  return Operand{lazy->second.quantized, *lazy->second.affine};
}

bool Lowering::is_wide(const Node& node, const Tail& tail) const {
  const auto constant = constants_.find(node.input(1));
  return wide_.contains(node.input(0)) || wide_.contains(node.input(1)) ||
         (constant != constants_.end() && bits(constant->second.values.dtype()) == 16) ||
         (tail.quantizer && bits(tail.quantizer->dtype) == 16);
}

std::vector<IntegerWeights> Lowering::byte_weights(const QuantizedConstant& constant, std::int64_t channels,
                                                   std::int64_t channel_axis, bool transpose) {
  const DType dtype = constant.values.dtype();
  std::vector<IntegerWeights> result;
  if (dtype != DType::s16 && dtype != DType::u16) {
    if (auto weights = integer_weights(constant, channels, channel_axis, transpose, reason_))
      result.push_back(std::move(*weights));
    return result;
  }
  const std::uint32_t flip = dtype == DType::s16 ? 0x8000U : 0U;  // s16 as u16 with its zero point moved by 32768
  const auto* source = reinterpret_cast<const std::uint16_t*>(constant.values.bytes().data());
  for (const std::uint32_t shift : {0U, 8U}) {
    QuantizedConstant plane{.values = Tensor(DType::u8, constant.values.dims()),
                            .scale = constant.scale,
                            .zero_point = {},
                            .axis = constant.axis,
                            .name = constant.name};
    for (const std::int32_t zero : constant.zero_point)
      plane.zero_point.push_back(static_cast<std::int32_t>((static_cast<std::uint32_t>(zero) ^ flip) >> shift & 255U));
    const auto to = plane.values.mutable_values<std::uint8_t>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<std::uint8_t>((source[i] ^ flip) >> shift & 255U);
    auto weights = integer_weights(plane, channels, channel_axis, transpose, reason_);
    if (!weights) return {};
    result.push_back(std::move(*weights));
  }
  return result;
}

std::vector<Lowering::BytePlane> Lowering::byte_planes(const Operand& operand, Layout layout) {
  const Quantizer& x = operand.quantizer;
  if (bits(x.dtype) == 8) return {{x.zero_point, fetch(operand.quantized, layout, x.dtype == DType::s8), 0}};
  const std::string low = operand.quantized + "#low", high = operand.quantized + "#high";
  if (!exists(low)) {  // once for all readers
    const ValueId from = fetch(operand.quantized, layout);
    const Dims dims = dims_of(operand.quantized);
    const ValueId high_bytes = define(high, DType::u8, dims, layout), low_bytes = define(low, DType::u8, dims, layout);
    const auto& kernels = kernels::select_elementwise_q8(options_.isas);
    emit(std::make_unique<SplitBytesStep>(kernels, x.dtype == DType::s16, element_count(dims)), "bytes", {from},
         {high_bytes, low_bytes})
        .info.name = operand.quantized;
  }
  const auto zero = static_cast<std::uint32_t>(x.zero_point + (x.dtype == DType::s16 ? 32768 : 0));
  return {{static_cast<std::int32_t>(zero & 255U), fetch(low, layout), 0},
          {static_cast<std::int32_t>(zero >> 8U), fetch(high, layout), 8}};
}

std::optional<Lowering::Join> Lowering::join_of(const Tail& tail, float x_scale, const std::vector<float>& w_scale) {
  Join join{.bias = std::vector<std::int64_t>(w_scale.size()),
            .scale = std::vector<float>(w_scale.size()),
            .low = tail.low,
            .high = tail.high};
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, limits_of(y)) - y.zero_point);
    };
    join.low = limit(tail.low);
    join.high = limit(tail.high);
    join.zero_point = y.zero_point;
    join.dtype = y.dtype;
  }
  for (std::size_t c = 0; c < w_scale.size(); ++c) {
    join.scale[c] =
        tail.quantizer ? numerics::requantize_scale(x_scale, w_scale[c], tail.quantizer->scale) : x_scale * w_scale[c];
    if (!std::isfinite(join.scale[c])) {
      reason_ = "a requantization scale is not finite";
      return std::nullopt;
    }
  }
  return join;
}

void Lowering::emit_join(Join join, const std::string& op, std::vector<ValueId> sums, std::vector<int> shifts, const Dims& dims,
                         Layout layout, const Tail& tail) {
  const ValueId out =
      define(tail.quantizer ? tail.same.front() : tail.value, join.dtype, dims, layout, join.dtype == DType::s8);
  const std::int64_t rows = element_count(dims) / static_cast<std::int64_t>(join.scale.size());
  const auto& kernels = kernels::select_elementwise_q8(options_.isas);
  emit(std::make_unique<JoinStep>(kernels,
                                  JoinStep::Parameters{std::move(join.bias), std::move(join.scale), join.low, join.high,
                                                       join.zero_point, join.dtype, std::move(shifts)},
                                  rows),
       op + ": join" + tail.operators + (tail.quantizer ? "+QuantizeLinear" : ""), std::move(sums), {out});
  finish_tail(tail);
}

bool Lowering::wide_sums(const Linear& linear, const Operand& x, const std::vector<IntegerWeights>& weights,
                         std::vector<std::int64_t> bias, const Tail& tail) {
  auto join = join_of(tail, x.quantizer.scale, weights.front().scale);
  if (!join) return false;
  bias.resize(join->scale.size(), 0);
  join->bias = std::move(bias);
  const std::vector<BytePlane> planes = byte_planes(x, linear.out_layout);
  std::vector<std::vector<std::int32_t>> comps;
  for (const IntegerWeights& w : weights)
    for (const BytePlane& plane : planes)
      if (!kernels::fold_bias(linear.shape, w.values.data(), w.zero_point.empty() ? nullptr : w.zero_point.data(),
                              plane.zero_point, nullptr, comps.emplace_back(join->scale.size()).data())) {
        reason_ = "sums could overflow 32 bits";
        return false;
      }
  const kernels::ConvKernel* kernel = &conv_kernel(linear.shape, linear.name);
  std::vector<ValueId> sums;
  std::vector<int> shifts;
  for (std::size_t byte = 0; byte < weights.size(); ++byte) {
    const auto packed = packed_weights(*kernel, linear.shape, weights[byte]);
    for (const BytePlane& plane : planes) {
      kernels::ConvArgs args;
      args.output = kernels::ConvOutput::s32;
      args.src_zero_point = plane.zero_point;
      const ValueId sum = define(fresh(tail.value), DType::s32, linear.out_dims, linear.out_layout);
      auto step = std::make_unique<IntegerConvStep>(*kernel, linear.shape, packed, std::move(comps[sums.size()]),
                                                    std::vector<float>(join->scale.size(), 1), args);
      step->info.macs = sums.empty() ? linear.macs : 0;
      step->info.name = linear.name;
      std::string op = linear.op;
      if (planes.size() > 1) op += plane.shift == 0 ? " (low bytes)" : " (high bytes)";
      if (weights.size() > 1) op += byte == 0 ? " * low bytes" : " * high bytes";
      emit(std::move(step), std::move(op), {plane.bytes}, {sum});
      sums.push_back(sum);
      shifts.push_back(plane.shift + 8 * static_cast<int>(byte));
    }
  }
  emit_join(std::move(*join), linear.op, std::move(sums), std::move(shifts), linear.out_dims, linear.out_layout, tail);
  return true;
}

// Conv, MatMul and Gemm where the activations, the weights or the result have 16 bits.
bool Lowering::wide_linear(const Node& node) {
  const bool is_conv = node.op_type == "Conv", is_gemm = node.op_type == "Gemm";
  if (!node.domain.empty() || (!is_conv && !is_gemm && node.op_type != "MatMul")) return false;
  const auto x = operand_of(node.input(0));
  const auto quantized = constants_.find(node.input(1));
  if (!x || quantized == constants_.end()) return false;
  const Tail tail = absorb_tail(node.outputs[0], true, true);
  if (!is_wide(node, tail)) return false;
  if (is_gemm && (node.get_int("transA", 0) != 0 || node.get_float("alpha", 1) != 1 || node.get_float("beta", 1) != 1)) {
    reason_ = "alpha or beta is not 1";
    return false;
  }
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
  const bool transpose = !is_conv && !(is_gemm && node.get_int("transB", 0) != 0);
  const Dims& w_dims = quantized->second.values.dims();
  dims_[node.input(0)] = dims_of(x->quantized);
  if (is_conv ? !conv_shape(node, w_dims, linear) : !matmul_shape(node.input(0), w_dims, transpose, node.outputs[0], linear))
    return false;
  const auto weights = byte_weights(quantized->second, linear.shape.o, transpose ? 1 : 0, transpose);
  if (weights.empty()) return false;
  auto bias = integer_bias(node.input(2), x->quantizer.scale, weights.front().scale);
  if (!bias) {
    reason_ = "the bias is not a constant row or does not fit";
    return false;
  }
  return wide_sums(linear, *x, weights, std::move(*bias), tail);
}

// MatMul of two computed values of which one, or the result, has 16 bits.
bool Lowering::wide_product(const Node& node) {
  if (!node.is("MatMul")) return false;
  const auto a = operand_of(node.input(0)), b = operand_of(node.input(1));
  if (!a || !b) return false;
  const Tail tail = absorb_tail(node.outputs[0], true, true);
  if (!is_wide(node, tail)) return false;
  const Dims a_dims = dims_of(a->quantized), out_dims = dims_of(node.outputs[0]);
  const auto pairs = matrix_pairs(a_dims, dims_of(b->quantized), out_dims);
  if (!pairs) return false;
  auto join =
      join_of(tail, a->quantizer.scale, std::vector<float>(static_cast<std::size_t>(pairs->shape.o), b->quantizer.scale));
  if (!join) return false;
  std::vector<ValueId> sums;
  std::vector<int> shifts;
  const auto a_planes = byte_planes(*a, Layout::row_major), b_planes = byte_planes(*b, Layout::row_major);
  for (const BytePlane& right : b_planes)
    for (const BytePlane& left : a_planes) {
      kernels::ConvArgs args;
      args.output = kernels::ConvOutput::s32;
      args.src_zero_point = left.zero_point;
      const ValueId sum = define(fresh(tail.value), DType::s32, out_dims, Layout::row_major);
      Step& step = emit_matrix_product(*pairs, {left.bytes, right.bytes}, right.zero_point, 1, args, "MatMul (bytes)", sum);
      step.info.macs = sums.empty() ? element_count(out_dims) * a_dims.back() : 0;
      sums.push_back(sum);
      shifts.push_back(left.shift + right.shift);
    }
  emit_join(std::move(*join), "MatMul", std::move(sums), std::move(shifts), out_dims, Layout::row_major, tail);
  return true;
}

}  // namespace zeropoint::engine
