// Convolutions and matrix products, in integers and in fp32.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/content_hash.h"
#include "base/thread_pool.h"
#include "engine/integer_conv_step.h"
#include "engine/lowering.h"
#include "kernels/conv_f32/conv_f32.h"
#include "kernels/conv_q8/conv_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

class FloatConvStep : public Step {
 public:
  explicit FloatConvStep(std::shared_ptr<const kernels::ConvF32> conv) : conv_(std::move(conv)) { info.kernel = conv_->name(); }
  std::size_t scratch_bytes(int) const override { return conv_->scratch_bytes(); }
  void run(const RunContext& context) const override {
    const auto pointer = [&](ValueId id) { return reinterpret_cast<float*>(context.values[id]); };
    conv_->run(pointer(inputs[0]), inputs.size() > 1 ? pointer(inputs[1]) : nullptr, pointer(outputs[0]), context.scratch,
               context.worker, context.workers);
  }

 private:
  std::shared_ptr<const kernels::ConvF32> conv_;
};

constexpr double kMostBias = 4611686018427387904.0;  // 2^62: with any sum of products it fits 64 bits

// Channels whose sums do not fit 32 bits for every input, in 64 bits: overwrites what the kernel made of them. Quantizers of
// other projects write biases near +-2^31 for channels that are almost zero.
class WideChannelsStep : public Step {
 public:
  struct Channel {
    std::int64_t index = 0, bias = 0;
    float scale = 0;
    std::vector<std::int32_t> weights;  // minus their zero point
  };
  WideChannelsStep(const kernels::ConvShape& shape, std::vector<Channel> channels, const kernels::ConvArgs& args)
      : s_(shape), channels_(std::move(channels)), args_(args) {
    info.kernel = "sums in 64 bits";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    std::byte* dst = context.values[outputs[0]];
    const auto part = partition(s_.n * s_.oh * s_.ow, context.worker, context.workers, 16);
    for (std::int64_t pixel = part.begin; pixel < part.end; ++pixel) {
      const std::int64_t x = pixel % s_.ow, y = pixel / s_.ow % s_.oh, n = pixel / (s_.ow * s_.oh);
      for (const Channel& channel : channels_) {
        const float v =
            static_cast<float>(channel.bias + sum(channel, src + n * s_.h * s_.w * s_.src_stride, y, x)) * channel.scale;
        const float t = v > args_.low ? (v < args_.high ? v : args_.high) : args_.low;
        const std::int64_t at = pixel * s_.dst_stride + channel.index;
        if (args_.output == kernels::ConvOutput::u8)
          reinterpret_cast<std::uint8_t*>(dst)[at] =
              static_cast<std::uint8_t>(static_cast<std::int32_t>(numerics::round_half_even(t)) + args_.dst_zero_point);
        else
          reinterpret_cast<float*>(dst)[at] = t;
      }
    }
  }

 private:
  std::int64_t sum(const Channel& channel, const std::uint8_t* image, std::int64_t y, std::int64_t x) const {
    const std::int64_t depth = s_.c / s_.groups, first = channel.index / (s_.o / s_.groups) * depth;
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < s_.kh; ++i) {
      const std::int64_t row = y * s_.stride_h + i * s_.dilation_h - s_.pad_top;
      if (row < 0 || row >= s_.h) continue;  // the border reads as the zero point
      for (std::int64_t j = 0; j < s_.kw; ++j) {
        const std::int64_t column = x * s_.stride_w + j * s_.dilation_w - s_.pad_left;
        if (column < 0 || column >= s_.w) continue;
        const std::uint8_t* pixel = image + (row * s_.w + column) * s_.src_stride + first;
        const std::int32_t* weights = channel.weights.data() + i * s_.kw + j;
        for (std::int64_t c = 0; c < depth; ++c)
          total += std::int64_t{pixel[c] - args_.src_zero_point} * weights[c * s_.kh * s_.kw];
      }
    }
    return total;
  }

  kernels::ConvShape s_;
  std::vector<Channel> channels_;
  kernels::ConvArgs args_;
};

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

// At x_scale * w_scale[c]: taken as it is when stored so, else rounded to it.
std::optional<std::vector<std::int64_t>> Lowering::integer_bias(const std::string& bias_name, float x_scale,
                                                                const std::vector<float>& w_scale) const {
  std::vector<std::int64_t> bias;
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
    if (!(std::abs(rounded) < kMostBias)) return std::nullopt;
    bias.push_back(static_cast<std::int64_t>(rounded));
  }
  return bias;
}

// By the table, unless the tuning says otherwise of the step of this name ("": of the node at hand).
const kernels::ConvKernel& Lowering::conv_kernel(const kernels::ConvShape& shape, const std::string& step) const {
  const kernels::ConvKernel& by_table = *kernels::select_conv_q8(shape, options_.isas);
  const Tuning* tuning = options_.tuning.get();
  if (tuning == nullptr || by_table.needs == Isa::scalar) return by_table;
  std::size_t place = 0;
  const auto chosen = tuning->kernels.find(step.empty() && current_ != nullptr ? step_name(*current_) : step);
  for (const kernels::ConvKernel& kernel : kernels::conv_q8_kernels()) {
    if (kernel.needs == Isa::scalar || !options_.isas.contains(kernel.needs) || !kernel.supports(shape)) continue;
    if (chosen != tuning->kernels.end() ? chosen->second == kernel.name : place++ == tuning->alternative) return kernel;
  }
  return by_table;
}

// Strides and dilations decide whether kernels join rows or taps: weights that two convolutions share may be packed in two
// ways.
std::string Lowering::pack_key(const kernels::ConvKernel& kernel, const kernels::ConvShape& s, const std::string& weights) {
  return fmt::format("{} {} {} {}x{} groups {} strides {} {} dilations {} {}: {}", kernel.name, s.c, s.o, s.kh, s.kw, s.groups,
                     s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, weights);
}

std::shared_ptr<const void> Lowering::packed_weights(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape,
                                                     const IntegerWeights& weights) {
  return cache_.get(pack_key(kernel, shape, weights.key), [&] {
    std::shared_ptr<std::byte> bytes = cache_.allocate(kernel.packed_bytes(shape));
    kernel.pack(shape, weights.values.data(), weights.zero_point.empty() ? nullptr : weights.zero_point.data(), bytes.get());
    return std::shared_ptr<const void>(std::move(bytes));
  });
}

bool Lowering::integer_linear(const Linear& linear, const std::string& x, const Quantizer& x_quantizer,
                              const IntegerWeights& given, const std::vector<std::int64_t>& bias, const Tail& tail,
                              DType output_dtype, std::string& why_not) {
  const auto o = static_cast<std::size_t>(linear.shape.o);
  std::optional<IntegerWeights> changed;
  const auto weights = [&]() -> const IntegerWeights& { return changed ? *changed : given; };
  const std::int32_t* zero_points = given.zero_point.empty() ? nullptr : given.zero_point.data();
  kernels::ConvArgs args;
  args.src_zero_point = x_quantizer.zero_point;
  std::vector<float> scale(o);
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    args.output = kernels::ConvOutput::u8;
    args.dst_zero_point = y.zero_point;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, y.limits) - y.zero_point);
    };
    args.low = limit(tail.low);
    args.high = limit(tail.high);
    for (std::size_t c = 0; c < o; ++c) scale[c] = numerics::requantize_scale(x_quantizer.scale, given.scale[c], y.scale);
  } else if (output_dtype == DType::f32) {
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
    for (std::size_t c = 0; c < o; ++c) scale[c] = x_quantizer.scale * given.scale[c];
  } else {
    args.output = kernels::ConvOutput::s32;
  }
  for (const float s : scale)
    if (!std::isfinite(s)) {
      why_not = "a requantization scale is not finite";
      return false;
    }

  std::vector<std::int32_t> comp(o);
  std::vector<WideChannelsStep::Channel> wide;
  kernels::ConvShape one = linear.shape;
  one.o = 1;
  const auto count = static_cast<std::size_t>(one.c / one.groups * one.kh * one.kw);
  for (std::size_t c = 0; c < o; ++c) {
    const std::int64_t start = bias.empty() ? 0 : bias[c];
    const auto start32 = static_cast<std::int32_t>(start);
    const auto folds = [&] {
      return start == start32 &&
             kernels::fold_bias(one, weights().values.data() + c * count, zero_points ? zero_points + c : nullptr,
                                x_quantizer.zero_point, &start32, &comp[c]);
    };
    if (folds()) continue;
    if (args.output == kernels::ConvOutput::s32) {
      why_not = "sums could overflow 32 bits";
      return false;
    }
    WideChannelsStep::Channel channel{
        .index = static_cast<std::int64_t>(c), .bias = start, .scale = scale[c], .weights = std::vector<std::int32_t>(count)};
    std::int64_t least = start, most = start;
    for (std::size_t i = 0; i < count; ++i) {
      const std::int32_t w = given.values[c * count + i] - (zero_points ? zero_points[c] : 0);
      channel.weights[i] = w;
      const std::int64_t at_0 = std::int64_t{-x_quantizer.zero_point} * w,
                         at_255 = std::int64_t{255 - x_quantizer.zero_point} * w;
      least += std::min(at_0, at_255);
      most += std::max(at_0, at_255);
    }
    comp[c] = 0;
    const auto result = [&](std::int64_t sum) {
      const float v = static_cast<float>(sum) * scale[c];
      return numerics::round_half_even(v > args.low ? (v < args.high ? v : args.high) : args.low);
    };
    // The weights cannot move the result of an almost-zero channel: without them it is the same, and the sum fits.
    if (args.output == kernels::ConvOutput::u8 && result(least) == result(most)) {
      if (!changed) changed = given;
      std::fill_n(changed->values.begin() + static_cast<std::ptrdiff_t>(c * count), count,
                  static_cast<std::int8_t>(zero_points ? zero_points[c] : 0));
      if (folds()) continue;
    }
    wide.push_back(std::move(channel));
  }
  if (changed) changed->key = given.key + " " + content_hash(std::as_bytes(std::span(changed->values)));

  const kernels::ConvKernel* kernel = &conv_kernel(linear.shape, linear.name);
  const auto packed = packed_weights(*kernel, linear.shape, weights());
  const ValueId in = fetch(x, linear.out_layout, x_quantizer.dtype == DType::s8);
  const std::string& output = tail.quantizer ? tail.same.front() : tail.value;
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : output_dtype;
  const ValueId out =
      define(wide.empty() ? output : fresh(output), dtype, linear.out_dims, linear.out_layout, dtype == DType::s8);
  auto step = std::make_unique<IntegerConvStep>(*kernel, linear.shape, packed, std::move(comp), std::move(scale), args);
  step->info.macs = linear.macs;
  step->info.name = linear.name;
  step->addable = wide.empty() && given.zero_point.empty();
  const bool quantizes = tail.quantizer && !linear.op.starts_with("Q");
  emit(std::move(step), linear.op + tail.operators + (quantizes ? "+QuantizeLinear" : ""), {in}, {out});
  if (!wide.empty()) {
    const ValueId mended = define(output, dtype, linear.out_dims, linear.out_layout, dtype == DType::s8);
    value(mended).place = Place::alias;
    value(mended).alias = out;
    auto patch = std::make_unique<WideChannelsStep>(linear.shape, std::move(wide), args);
    patch->info.name = linear.name;
    emit(std::move(patch), "wide channels", {in, out}, {mended});
  }
  finish_tail(tail);
  return true;
}

const Tensor* Lowering::float_constant(const std::string& value_name) {
  if (const Tensor* constant = constant_of(value_name)) return constant->dtype() == DType::f32 ? constant : nullptr;
  if (!constants_.contains(value_name) && !deferred_constants_.contains(value_name)) return nullptr;
  // Not a pointer into the plan's values: these move when there are more of them.
  const auto [entry, is_new] = float_constants_.try_emplace(value_name);
  if (is_new) entry->second = value(fetch(value_name, Layout::row_major)).constant;
  return &entry->second;
}

// True when nobody reads the value after `reader`, so that its memory may become the reader's result.
bool Lowering::dies_here(const std::string& value_name, ValueId id, std::size_t reader) {
  if (value(id).place != Place::arena || values_.is_output(value_name)) return false;
  const auto consumers = uses_.consumers.find(value_name);
  if (consumers == uses_.consumers.end()) return false;
  for (const std::size_t index : consumers->second)
    if (index != reader && !done_[index]) return false;
  for (const auto& [name, view] : views_)
    if (view.base == id) return false;
  for (const auto& [q, rows] : deferred_rows_)  // quantized by the product that reads them, later
    if (rows.x == value_name || any_id(rows.x) == id) return false;
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

  const bool shared =
      worth_sharing(linear.macs, false,
                    4.0 * static_cast<double>(s.n * (s.h * s.w * s.c + s.oh * s.ow * s.o * (residual == kNoValue ? 1 : 2))));
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
                                                                            shared ? options_.threads : 1, options_.isas));
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
    const Node* maker = maker_of(x);
    reason_ = maker != nullptr && maker->op_type == "DequantizeLinear"
                  ? "the activations have a scale for each channel, integer kernels take one for all"
                  : "the weights are quantized, the activations are not";
  } else if (lazy != lazy_.end()) {
    reason_ = "the activations are quantized, the weights are not";
  }
  if (const auto folded = folded_.find(w); folded != folded_.end()) reason_ = folded->second.why_float;
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
  if (const auto folded = folded_.find(w); folded != folded_.end()) reason_ = folded->second.why_float;
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
