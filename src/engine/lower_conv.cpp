// Convolutions and matrix products, in integers and in fp32.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/content_hash.h"
#include "engine/lowering.h"
#include "kernels/conv_f32/conv_f32.h"
#include "kernels/conv_q8/conv_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

class IntegerConvStep : public Step {
 public:
  IntegerConvStep(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape, std::shared_ptr<const void> packed,
                  std::vector<std::int32_t> comp, std::vector<float> scale, kernels::ConvArgs args)
      : kernel_(kernel),
        shape_(shape),
        packed_(std::move(packed)),
        comp_(std::move(comp)),
        scale_(std::move(scale)),
        args_(args) {
    args_.packed = packed_.get();
    args_.comp = comp_.data();
    args_.scale = scale_.data();
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override { return kernel_.workspace_bytes(shape_, workers); }
  void run(const RunContext& context) const override {
    kernels::ConvArgs args = args_;
    args.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    args.dst = context.values[outputs[0]];
    args.workspace = context.scratch;
    kernel_.run(shape_, args, context.worker, context.workers);
  }

 private:
  const kernels::ConvKernel& kernel_;
  kernels::ConvShape shape_;
  std::shared_ptr<const void> packed_;
  std::vector<std::int32_t> comp_;
  std::vector<float> scale_;
  kernels::ConvArgs args_;
};

class FloatConvStep : public Step {
 public:
  explicit FloatConvStep(std::shared_ptr<const kernels::ConvF32> conv) : conv_(std::move(conv)) { info.kernel = conv_->name(); }
  bool single_threaded() const override { return conv_->own_threads(); }
  std::size_t scratch_bytes(int) const override { return conv_->scratch_bytes(); }
  void run(const RunContext& context) const override {
    const auto pointer = [&](ValueId id) { return reinterpret_cast<float*>(context.values[id]); };
    conv_->run(pointer(inputs[0]), inputs.size() > 1 ? pointer(inputs[1]) : nullptr, pointer(outputs[0]), context.scratch,
               context.worker, context.workers);
  }

 private:
  std::shared_ptr<const kernels::ConvF32> conv_;
};

std::string shape_key(const kernels::ConvShape& s) { return fmt::format("{} {} {} {} {}", s.c, s.o, s.kh, s.kw, s.groups); }

// Padding before and behind one axis.
struct Padding {
  std::int64_t begin = 0, end = 0;
};

Padding auto_padding(const std::string& mode, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                     std::int64_t dilation) {
  if (mode == "VALID") return {};
  const std::int64_t total = std::max<std::int64_t>(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - in);
  const std::int64_t begin = mode == "SAME_LOWER" ? total - total / 2 : total / 2;
  return {begin, total - begin};
}

}  // namespace

bool Lowering::conv_shape(const Node& node, const Dims& weights, Linear& linear) {
  const Dims& x = dims_of(node.input(0));
  const Dims& y = dims_of(node.outputs[0]);
  if (x.size() < 3 || x.size() > 4 || weights.size() != x.size() || y.size() != x.size()) {
    reason_ = "only one and two spatial dimensions have fast kernels";
    return false;
  }
  const std::size_t spatial = x.size() - 2;
  auto strides = node.get_ints("strides", Dims(spatial, 1)), dilations = node.get_ints("dilations", Dims(spatial, 1));
  auto pads = node.get_ints("pads", Dims(2 * spatial, 0));
  if (strides.size() != spatial || dilations.size() != spatial || pads.size() != 2 * spatial) return false;
  if (const std::string mode = node.get_string("auto_pad", "NOTSET"); mode != "NOTSET") {
    for (std::size_t axis = 0; axis < spatial; ++axis) {
      const Padding padding = auto_padding(mode, x[axis + 2], y[axis + 2], weights[axis + 2], strides[axis], dilations[axis]);
      pads[axis] = padding.begin;
      pads[axis + spatial] = padding.end;
    }
  }
  kernels::ConvShape& s = linear.shape;
  s.n = x[0];
  s.c = x[1];
  s.o = weights[0];
  s.groups = node.get_int("group", 1);
  s.w = x.back();
  s.ow = y.back();
  s.kw = weights.back();
  s.stride_w = strides.back();
  s.dilation_w = dilations.back();
  s.pad_left = pads[spatial - 1];
  if (spatial == 2) {
    s.h = x[2];
    s.oh = y[2];
    s.kh = weights[2];
    s.stride_h = strides[0];
    s.dilation_h = dilations[0];
    s.pad_top = pads[0];
  }
  s.src_stride = s.c;
  s.dst_stride = s.o;
  linear.out_dims = y;
  linear.out_layout = Layout::channel_last;
  linear.macs = element_count(y) * (s.c / std::max<std::int64_t>(1, s.groups)) * s.kh * s.kw;
  return element_count(y) > 0 && element_count(x) > 0 && element_count(weights) > 0;
}

bool Lowering::matmul_shape(const std::string& x_name, const Dims& weights, bool transposed, const std::string& output,
                            Linear& linear) {
  const Dims& x = dims_of(x_name);
  if (weights.size() != 2 || x.size() < 2) {
    reason_ = "weights are not a matrix";
    return false;
  }
  kernels::ConvShape& s = linear.shape;
  s.c = weights[transposed ? 0 : 1];
  s.o = weights[transposed ? 1 : 0];
  if (x.back() != s.c || s.c == 0) return false;
  s.w = s.ow = element_count(x) / s.c;
  s.src_stride = s.c;
  s.dst_stride = s.o;
  linear.out_dims = dims_of(output);
  linear.out_layout = Layout::row_major;
  linear.macs = s.w * s.c * s.o;
  return s.w > 0 && s.o > 0;
}

std::optional<IntegerWeights> Lowering::integer_weights(const QuantizedConstant& constant, std::int64_t channels,
                                                        std::int64_t channel_axis, bool transpose, std::string& why_not) const {
  const Tensor& source = constant.values;
  if (source.dtype() != DType::s8 && source.dtype() != DType::u8) {
    why_not = fmt::format("weights are {}, only 8 bits have integer kernels", name(source.dtype()));
    return std::nullopt;
  }
  if (constant.scale.size() > 1 &&
      (constant.axis != channel_axis || static_cast<std::int64_t>(constant.scale.size()) != channels)) {
    why_not = fmt::format("weights are quantized along axis {}, the integer kernels need axis {}", constant.axis, channel_axis);
    return std::nullopt;
  }
  IntegerWeights weights;
  const auto count = static_cast<std::size_t>(source.size());
  weights.values.resize(count);
  const bool is_unsigned = source.dtype() == DType::u8;
  if (is_unsigned) {
    const auto values = source.values<std::uint8_t>();
    std::transform(values.begin(), values.end(), weights.values.begin(),
                   [](std::uint8_t w) { return static_cast<std::int8_t>(w ^ 0x80U); });
  } else {
    const auto values = source.values<std::int8_t>();
    std::copy(values.begin(), values.end(), weights.values.begin());
  }
  if (transpose) {
    std::vector<std::int8_t> transposed(count);
    kernels::transpose_weights(source.dim(0), source.dim(1), weights.values.data(), transposed.data());
    weights.values = std::move(transposed);
  }
  const auto o = static_cast<std::size_t>(channels);
  weights.scale = constant.scale;
  weights.scale.resize(o, constant.scale.front());
  weights.zero_point = constant.zero_point;
  weights.zero_point.resize(o, constant.zero_point.front());
  if (is_unsigned)
    for (auto& zero_point : weights.zero_point) zero_point -= 128;
  if (std::all_of(weights.zero_point.begin(), weights.zero_point.end(), [](std::int32_t z) { return z == 0; }))
    weights.zero_point.clear();
  // By content, not by name: a name may stand for other numbers in the plan of another shape.
  weights.key =
      content_hash(std::as_bytes(std::span(weights.values))) + content_hash(std::as_bytes(std::span(weights.zero_point)));
  return weights;
}

// s32 at x_scale * w_scale[c]: taken as it is when stored so, else rounded to it.
std::optional<std::vector<std::int32_t>> Lowering::integer_bias(const std::string& bias_name, float x_scale,
                                                                const std::vector<float>& w_scale) const {
  std::vector<std::int32_t> bias;
  if (bias_name.empty()) return bias;
  const auto quantized = constants_.find(bias_name);
  const Tensor* plain = constant_of(bias_name);
  if (quantized == constants_.end() && (plain == nullptr || plain->dtype() != DType::f32)) return std::nullopt;
  const Tensor& tensor = quantized != constants_.end() ? quantized->second.values : *plain;
  if (tensor.size() != static_cast<std::int64_t>(w_scale.size())) return std::nullopt;
  for (std::size_t c = 0; c < w_scale.size(); ++c) {
    const float unit = x_scale * w_scale[c];
    double real = 0;
    if (quantized != constants_.end()) {
      const QuantizedConstant& stored = quantized->second;
      if (stored.values.dtype() != DType::s32) return std::nullopt;
      const std::size_t i = stored.scale.size() > 1 ? c : 0;
      const std::int32_t q = stored.values.values<std::int32_t>()[c];
      if (stored.scale[i] == unit && stored.zero_point[i] == 0) {
        bias.push_back(q);
        continue;
      }
      real = static_cast<double>(numerics::dequantize(q, stored.scale[i], stored.zero_point[i]));
    } else {
      real = static_cast<double>(plain->values<float>()[c]);
    }
    const double rounded = std::nearbyint(real / static_cast<double>(unit));
    if (!(std::abs(rounded) < 2147483647.0)) return std::nullopt;
    bias.push_back(static_cast<std::int32_t>(rounded));
  }
  return bias;
}

bool Lowering::integer_linear(const Linear& linear, const std::string& x, const Quantizer& x_quantizer,
                              const IntegerWeights& weights, const std::vector<std::int32_t>& bias, const Tail& tail,
                              DType output_dtype, std::string& why_not) {
  const auto o = static_cast<std::size_t>(linear.shape.o);
  const std::int32_t* zero_points = weights.zero_point.empty() ? nullptr : weights.zero_point.data();
  std::vector<std::int32_t> comp(o);
  if (!kernels::fold_bias(linear.shape, weights.values.data(), zero_points, x_quantizer.zero_point,
                          bias.empty() ? nullptr : bias.data(), comp.data())) {
    why_not = "sums could overflow 32 bits";
    return false;
  }
  kernels::ConvArgs args;
  args.src_zero_point = x_quantizer.zero_point;
  std::vector<float> scale(o);
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    args.output = kernels::ConvOutput::u8;
    args.dst_zero_point = y.zero_point;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, {0, 255}) - y.zero_point);
    };
    args.low = limit(tail.low);
    args.high = limit(tail.high);
    for (std::size_t c = 0; c < o; ++c) scale[c] = numerics::requantize_scale(x_quantizer.scale, weights.scale[c], y.scale);
  } else if (output_dtype == DType::f32) {
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
    for (std::size_t c = 0; c < o; ++c) scale[c] = x_quantizer.scale * weights.scale[c];
  } else {
    args.output = kernels::ConvOutput::s32;
  }
  for (const float s : scale)
    if (!std::isfinite(s)) {
      why_not = "a requantization scale is not finite";
      return false;
    }

  const kernels::ConvKernel* kernel = kernels::select_conv_q8(linear.shape, options_.isas);
  const auto packed = cache_.get(fmt::format("{} {} {}", kernel->name, shape_key(linear.shape), weights.key), [&] {
    std::shared_ptr<std::byte[]> bytes = allocate_aligned(kernel->packed_bytes(linear.shape));
    kernel->pack(linear.shape, weights.values.data(), zero_points, bytes.get());
    return std::shared_ptr<const void>(bytes, bytes.get());
  });
  const ValueId in = fetch(x, linear.out_layout, x_quantizer.dtype == DType::s8);
  const std::string& output = tail.quantizer ? tail.same.front() : tail.value;
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : output_dtype;
  const ValueId out = define(output, dtype, linear.out_dims, linear.out_layout, dtype == DType::s8);
  auto step = std::make_unique<IntegerConvStep>(*kernel, linear.shape, packed, std::move(comp), std::move(scale), args);
  step->info.macs = linear.macs;
  step->info.name = linear.name;
  emit(std::move(step), linear.op + tail.operators + (tail.quantizer ? "+QuantizeLinear" : ""), {in}, {out});
  finish_tail(tail);
  return true;
}

const Tensor* Lowering::float_constant(const std::string& value_name) {
  if (const Tensor* constant = constant_of(value_name)) return constant->dtype() == DType::f32 ? constant : nullptr;
  if (!constants_.contains(value_name) && !deferred_constants_.contains(value_name)) return nullptr;
  return &value(fetch(value_name, Layout::row_major)).constant;
}

// True when nobody reads the value after `reader`, so that its memory may become the reader's result.
bool Lowering::dies_here(const std::string& value_name, ValueId id, std::size_t reader) {
  if (value(id).place != Place::arena || outputs_.contains(value_name)) return false;
  const auto consumers = uses_.consumers.find(value_name);
  if (consumers == uses_.consumers.end()) return false;
  for (const std::size_t index : consumers->second)
    if (index != reader && !done_[index]) return false;
  for (const auto& [name, view] : views_)
    if (view.base == id) return false;
  // Reshapes and identities of it are other names for the same bytes.
  return std::none_of(plan_.values.begin(), plan_.values.end(),
                      [&](const PlanValue& other) { return other.place == Place::alias && other.alias == id; });
}

bool Lowering::float_linear(Linear linear, const std::string& x, const Tensor& weights, std::vector<float> bias,
                            const std::string& output) {
  const kernels::ConvShape& s = linear.shape;
  std::string made = output;
  std::vector<std::size_t> absorbed;
  // MatMul + Add of a constant row is a bias.
  if (linear.out_layout == Layout::row_major && bias.empty() && single_use(made)) {
    const std::size_t index = uses_.consumers.find(made)->second.front();
    const Node& add = graph_.nodes[index];
    const Tensor* row = add.is("Add") ? constant_of(add.input(add.input(0) == made ? 1 : 0)) : nullptr;
    if (row != nullptr && row->dtype() == DType::f32 && row->size() == s.o && row->rank() >= 1 && row->dims().back() == s.o &&
        row->rank() <= linear.out_dims.size()) {
      bias.assign(row->values<float>().begin(), row->values<float>().end());
      made = add.outputs[0];
      absorbed.push_back(index);
      linear.op += "+Add";
    }
  }
  // A residual that exists already rides in the epilogue.
  ValueId residual = kNoValue;
  std::string other_operand;
  if (single_use(made)) {
    const std::size_t index = uses_.consumers.find(made)->second.front();
    const Node& add = graph_.nodes[index];
    if (add.is("Add") && add.inputs.size() == 2 && add.input(0) != add.input(1)) {
      const std::string& other = add.input(add.input(0) == made ? 1 : 0);
      if ((exists(other) || lazy_.contains(other)) && constant_of(other) == nullptr && dtype_of_value(other) == DType::f32 &&
          dims_of(other) == linear.out_dims) {
        residual = fetch_float(other, linear.out_layout);
        other_operand = other;
        made = add.outputs[0];
        absorbed.push_back(index);
        linear.op += "+Add";
      }
    }
  }
  Tail tail = absorb_tail(made, false);
  tail.nodes.insert(tail.nodes.end(), absorbed.begin(), absorbed.end());
  const ValueId in = fetch_float(x, linear.out_layout);
  const bool in_place = residual != kNoValue && in != residual && dies_here(other_operand, residual, absorbed.back());

  const auto make = [&] {
    const kernels::ConvF32Shape shape{
        .n = s.n,
        .h = s.h,
        .w = s.w,
        .ic = s.c,
        .oh = s.oh,
        .ow = s.ow,
        .oc = s.o,
        .groups = s.groups,
        .kernel_h = s.kh,
        .kernel_w = s.kw,
        .stride_h = s.stride_h,
        .stride_w = s.stride_w,
        .dilation_h = s.dilation_h,
        .dilation_w = s.dilation_w,
        .pad_top = s.pad_top,
        .pad_left = s.pad_left,
        .pad_bottom = std::max<std::int64_t>(0, (s.oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1 - s.h - s.pad_top),
        .pad_right = std::max<std::int64_t>(0, (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1 - s.w - s.pad_left),
        .src_pixel_stride = s.c,
        .dst_pixel_stride = s.o,
        .residual_pixel_stride = s.o};
    const kernels::ConvF32Epilogue epilogue{
        .residual = residual != kNoValue, .in_place = in_place, .low = tail.low, .high = tail.high};
    return std::shared_ptr<const kernels::ConvF32>(kernels::create_conv_f32(shape, epilogue, weights.values<float>().data(),
                                                                            bias.empty() ? nullptr : bias.data(),
                                                                            options_.threads, options_.isas));
  };
  const ValueId out = define(tail.value, DType::f32, linear.out_dims, linear.out_layout);
  if (in_place) {
    value(out).place = Place::alias;
    value(out).alias = residual;
  }
  auto step = std::make_unique<FloatConvStep>(make());
  step->info.macs = linear.macs;
  step->info.name = linear.name;
  step->info.reason = reason_;
  emit(std::move(step), linear.op + tail.operators,
       residual == kNoValue ? std::vector<ValueId>{in} : std::vector<ValueId>{in, residual}, {out});
  finish_tail(tail);
  return true;
}

bool Lowering::convolution(const Node& node) {
  const std::string& x = node.input(0);
  const std::string& w = node.input(1);
  if (dims_of(x).size() == 5) return convolution_3d(node);
  const auto quantized = constants_.find(w);
  const Tensor* plain = quantized == constants_.end() ? float_constant(w) : nullptr;
  if (quantized == constants_.end() && plain == nullptr) {
    reason_ = "the weights are not constant";
    return false;
  }
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = "Conv"};
  if (!conv_shape(node, quantized != constants_.end() ? quantized->second.values.dims() : plain->dims(), linear)) return false;

  const auto lazy = lazy_.find(x);
  if (quantized != constants_.end() && lazy != lazy_.end() && lazy->second.affine) {
    const Lazy source = lazy->second;
    const auto weights = integer_weights(quantized->second, linear.shape.o, 0, false, reason_);
    const auto bias = weights ? integer_bias(node.input(2), source.affine->scale, weights->scale) : std::nullopt;
    if (weights && !bias) reason_ = "the bias is not constant or does not fit 32 bits";
    if (weights && bias &&
        integer_linear(linear, source.quantized, *source.affine, *weights, *bias, absorb_tail(node.outputs[0]), DType::f32,
                       reason_))
      return true;
  } else if (quantized != constants_.end()) {
    reason_ = "the weights are quantized, the activations are not";
  } else if (lazy != lazy_.end()) {
    reason_ = "the activations are quantized, the weights are not";
  }
  if (dtype_of_value(x) != DType::f32) return false;
  const Tensor* weights = float_constant(w);
  const Tensor* bias = node.input(2).empty() ? nullptr : float_constant(node.input(2));
  if (weights == nullptr || (!node.input(2).empty() && bias == nullptr)) return false;
  std::vector<float> bias_values;
  if (bias != nullptr) bias_values.assign(bias->values<float>().begin(), bias->values<float>().end());
  return float_linear(linear, x, *weights, std::move(bias_values), node.outputs[0]);
}

bool Lowering::matmul(const Node& node) {
  if (weight_only_product(node)) return true;
  if (lazy_.contains(node.input(1)) || dims_of(node.input(1)).size() > 2)
    if (integer_product(node)) return true;
  const bool is_gemm = node.op_type == "Gemm";
  const std::string& x = node.input(0);
  const std::string& w = node.input(1);
  const auto quantized = constants_.find(w);
  const Tensor* plain = quantized == constants_.end() ? float_constant(w) : nullptr;
  if ((quantized == constants_.end() && plain == nullptr) || (is_gemm && node.get_int("transA", 0) != 0))
    return matmul_activations(node);
  const bool transpose = !(is_gemm && node.get_int("transB", 0) != 0);
  const float alpha = is_gemm ? node.get_float("alpha", 1) : 1, beta = is_gemm ? node.get_float("beta", 1) : 1;
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
  if (!matmul_shape(x, quantized != constants_.end() ? quantized->second.values.dims() : plain->dims(), transpose,
                    node.outputs[0], linear))
    return matmul_activations(node);

  const auto lazy = lazy_.find(x);
  if (quantized != constants_.end() && lazy != lazy_.end() && lazy->second.affine && alpha == 1 && beta == 1) {
    const Lazy source = lazy->second;
    const auto weights = integer_weights(quantized->second, linear.shape.o, transpose ? 1 : 0, transpose, reason_);
    const auto bias = weights ? integer_bias(node.input(2), source.affine->scale, weights->scale) : std::nullopt;
    if (weights && !bias) reason_ = "the bias is not a constant row or does not fit 32 bits";
    if (weights && bias &&
        integer_linear(linear, source.quantized, *source.affine, *weights, *bias, absorb_tail(node.outputs[0]), DType::f32,
                       reason_))
      return true;
  } else if (quantized != constants_.end()) {
    reason_ = lazy == lazy_.end() ? "the weights are quantized, the activations are not" : "alpha or beta is not 1";
  } else if (lazy != lazy_.end()) {
    reason_ = "the activations are quantized, the weights are not";
  }
  if (dtype_of_value(x) != DType::f32) return false;
  const Tensor* weights = float_constant(w);
  const Tensor* bias = node.input(2).empty() ? nullptr : float_constant(node.input(2));
  if (weights == nullptr) return false;
  if (!node.input(2).empty() && bias == nullptr) return matmul_activations(node);
  const auto o = static_cast<std::size_t>(linear.shape.o), k = static_cast<std::size_t>(linear.shape.c);
  Tensor rows(DType::f32, {linear.shape.o, linear.shape.c, 1, 1});
  const auto from = weights->values<float>();
  const auto to = rows.mutable_values<float>();
  for (std::size_t n = 0; n < o; ++n)
    for (std::size_t i = 0; i < k; ++i) to[n * k + i] = alpha * from[transpose ? i * o + n : n * k + i];
  std::vector<float> bias_values;
  if (bias != nullptr && beta != 0) {
    const bool row = bias->size() == 1 || (bias->size() == linear.shape.o && bias->dims().back() == linear.shape.o);
    if (!row) return matmul_activations(node);
    bias_values.assign(bias->values<float>().begin(), bias->values<float>().end());
    bias_values.resize(o, bias_values.front());
    for (float& b : bias_values) b *= beta;
  }
  return float_linear(linear, x, rows, std::move(bias_values), node.outputs[0]);
}

}  // namespace zeropoint::engine
