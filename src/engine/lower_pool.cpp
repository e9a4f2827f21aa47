// Pooling and spatial means.
#include <algorithm>

#include "engine/lowering.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "kernels/pool_f32/pool_f32.h"
#include "kernels/pool_q8/pool_q8.h"
#include "kernels/pool_window.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

enum class Kind : std::uint8_t { max, average };

class PoolF32Step : public Step {
 public:
  PoolF32Step(const kernels::PoolF32Kernels& kernels, Kind kind, const kernels::PoolShape& shape)
      : function_(kind == Kind::max ? kernels.functions->max : kernels.functions->average), shape_(shape) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    function_(shape_, reinterpret_cast<const float*>(context.values[inputs[0]]),
              reinterpret_cast<float*>(context.values[outputs[0]]), context.worker, context.workers);
  }

 private:
  decltype(kernels::PoolF32Functions::max) function_;
  kernels::PoolShape shape_;
};

class MaxPoolQ8Step : public Step {
 public:
  MaxPoolQ8Step(const kernels::PoolQ8Kernels& kernels, const kernels::PoolShape& shape)
      : functions_(kernels.functions), shape_(shape) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    functions_->max_u8(shape_, reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]),
                       reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]), context.worker, context.workers);
  }

 private:
  const kernels::PoolQ8Functions* functions_;
  kernels::PoolShape shape_;
};

class AveragePoolQ8Step : public Step {
 public:
  AveragePoolQ8Step(const kernels::PoolQ8Kernels& kernels, const kernels::PoolShape& shape, const Quantizer& x,
                    const std::optional<kernels::QuantizeParams>& y)
      : functions_(kernels.functions), shape_(shape), x_{x.scale, x.zero_point}, y_(y) {
    info.kernel = kernels.name;
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    std::byte* dst = context.values[outputs[0]];
    if (y_)
      functions_->average_u8(shape_, x_, *y_, src, reinterpret_cast<std::uint8_t*>(dst), context.worker, context.workers);
    else
      functions_->average_f32(shape_, x_, src, reinterpret_cast<float*>(dst), context.worker, context.workers);
  }

 private:
  const kernels::PoolQ8Functions* functions_;
  kernels::PoolShape shape_;
  kernels::DequantizeParams x_;
  std::optional<kernels::QuantizeParams> y_;
};

// 16-bit values: sums in 64 bits, converted once. The result in floats or, with `y`, quantized.
template <class T>
class AveragePoolWideStep : public Step {
 public:
  AveragePoolWideStep(const kernels::PoolShape& shape, const Quantizer& x, const std::optional<Quantizer>& y,
                      const numerics::Limits& limits)
      : s_(shape), x_(x), y_(y), limits_(limits) {
    info.kernel = "16 bits";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    std::byte* dst = context.values[outputs[0]];
    const auto quantized = [&](float v) { return numerics::quantize(v, y_->scale, y_->zero_point, limits_); };
    if (!y_)
      store(context, reinterpret_cast<float*>(dst), [](float v) { return v; });
    else if (bits(y_->dtype) == 16)
      store(context, reinterpret_cast<std::uint16_t*>(dst), quantized);
    else
      store(context, reinterpret_cast<std::uint8_t*>(dst), quantized);
  }

 private:
  template <class Out, class Finish>
  void store(const RunContext& context, Out* dst, const Finish& finish) const {
    const auto* src = reinterpret_cast<const T*>(context.values[inputs[0]]);
    const kernels::PoolShare share = kernels::pool_share(s_, 1, context.worker, context.workers);
    for (std::int64_t row = share.row_begin; row < share.row_end; ++row) {
      const kernels::PoolSpan rows = kernels::pool_rows(s_, row % s_.oh);
      for (std::int64_t x = 0; x < s_.ow; ++x) {
        const kernels::PoolSpan columns = kernels::pool_columns(s_, x);
        const std::int64_t count = kernels::pool_count(s_, rows, columns);
        for (std::int64_t c = share.channel_begin; c < share.channel_end; ++c) {
          std::int64_t sum = 0;
          for (std::int64_t i = 0; i < rows.end - rows.begin; ++i)
            for (std::int64_t j = 0; j < columns.end - columns.begin; ++j) {
              const std::int64_t pixel =
                  (row / s_.oh * s_.h + rows.first + i * s_.dilation_h) * s_.w + columns.first + j * s_.dilation_w;
              sum += src[pixel * s_.src_pixel_stride + c] - x_.zero_point;
            }
          const float v = count == 0 ? 0.0F : (static_cast<float>(sum) * x_.scale) / static_cast<float>(count);
          dst[(row * s_.ow + x) * s_.dst_pixel_stride + c] = static_cast<Out>(finish(v));
        }
      }
    }
  }

  kernels::PoolShape s_;
  Quantizer x_;
  std::optional<Quantizer> y_;
  numerics::Limits limits_;
};

// Global pooling over [N,C,...].
kernels::PoolShape global_shape(const Dims& x) {
  const Planes shape = planes(x);
  return {.n = shape.n,
          .h = 1,
          .w = shape.pixels,
          .c = shape.c,
          .kernel_w = shape.pixels,
          .src_pixel_stride = shape.c,
          .dst_pixel_stride = shape.c};
}

std::optional<kernels::PoolShape> window_shape(const Node& node, const Dims& x, const Dims& y) {
  if (x.size() < 3 || x.size() > 4 || y.size() != x.size()) return std::nullopt;
  const std::size_t spatial = x.size() - 2;
  const auto kernel = node.get_ints("kernel_shape");
  const auto strides = node.get_ints("strides", Dims(spatial, 1)), dilations = node.get_ints("dilations", Dims(spatial, 1));
  auto pads = node.get_ints("pads", Dims(2 * spatial, 0));
  if (kernel.size() != spatial || strides.size() != spatial || dilations.size() != spatial || pads.size() != 2 * spatial)
    return std::nullopt;
  if (const std::string mode = node.get_string("auto_pad", "NOTSET"); mode != "NOTSET") {
    for (std::size_t axis = 0; axis < spatial; ++axis) {
      const std::int64_t reach = (kernel[axis] - 1) * dilations[axis] + 1;
      const std::int64_t total =
          mode == "VALID" ? 0 : std::max<std::int64_t>(0, (y[axis + 2] - 1) * strides[axis] + reach - x[axis + 2]);
      pads[axis] = mode == "SAME_LOWER" ? total - total / 2 : total / 2;
      pads[axis + spatial] = total - pads[axis];
    }
  }
  kernels::PoolShape s{.n = x[0],
                       .w = x.back(),
                       .c = x[1],
                       .ow = y.back(),
                       .kernel_w = kernel.back(),
                       .stride_w = strides.back(),
                       .dilation_w = dilations.back(),
                       .pad_left = pads[spatial - 1],
                       .pad_right = pads[2 * spatial - 1],
                       .src_pixel_stride = x[1],
                       .dst_pixel_stride = x[1],
                       .count_include_pad = node.get_int("count_include_pad", 0) != 0};
  if (spatial == 2) {
    s.h = x[2];
    s.oh = y[2];
    s.kernel_h = kernel[0];
    s.stride_h = strides[0];
    s.dilation_h = dilations[0];
    s.pad_top = pads[0];
    s.pad_bottom = pads[2];
  }
  return s;
}

}  // namespace

bool Lowering::integer_average(const Node& node, bool global, const std::string& x, const Quantizer& x_quantizer,
                               const Tail& tail) {
  const Dims x_dims = dims_of(x);
  const Dims y_dims = dims_of(node.outputs[0]);
  if (x_dims.size() < 3) return false;
  const auto shape = global ? std::optional(global_shape(x_dims)) : window_shape(node, x_dims, y_dims);
  constexpr std::int64_t kMostPositions = std::int64_t{1} << 22;  // the kernel's contract: sums fit 32 bits
  if (!shape || shape->kernel_h * shape->kernel_w > kMostPositions) return false;
  std::optional<kernels::QuantizeParams> params;
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    const auto limit = [&](float bound) { return numerics::quantize(bound, y.scale, y.zero_point, y.limits); };
    params = kernels::quantize_params(y.scale, y.zero_point, {limit(tail.low), limit(tail.high)});
  }
  const ValueId from = fetch(x, Layout::channel_last, x_quantizer.dtype == DType::s8);
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : DType::f32;
  const Layout layout = y_dims.size() >= 3 ? Layout::channel_last : Layout::row_major;
  const ValueId to = define(tail.quantizer ? tail.same.front() : node.outputs[0], dtype, y_dims, layout, dtype == DType::s8);
  emit(std::make_unique<AveragePoolQ8Step>(kernels::select_pool_q8(options_.isas), *shape, x_quantizer, params),
       node.op_type + (tail.quantizer ? tail.operators + (node.domain.empty() ? "+QuantizeLinear" : "") : ""), {from}, {to});
  if (tail.quantizer) finish_tail(tail);
  return true;
}

std::optional<bool> Lowering::spatial_mean(const Node& node) {
  const Dims x_dims = dims_of(node.input(0));
  std::vector<std::int64_t> axes = node.get_ints("axes");
  if (!node.input(1).empty()) {
    const Tensor* constant = constant_of(node.input(1));
    if (constant == nullptr || constant->dtype() != DType::s64) return std::nullopt;
    axes.assign(constant->values<std::int64_t>().begin(), constant->values<std::int64_t>().end());
  }
  std::set<std::int64_t> wanted, given;
  for (std::size_t axis = 2; axis < x_dims.size(); ++axis) wanted.insert(static_cast<std::int64_t>(axis));
  for (const std::int64_t axis : axes) given.insert(axis < 0 ? axis + static_cast<std::int64_t>(x_dims.size()) : axis);
  return wanted == given && element_count(dims_of(node.outputs[0])) == x_dims[0] * x_dims[1];
}

bool Lowering::wide_average(const Node& node) {
  const bool is_mean = node.is("ReduceMean"), is_global = is_mean || node.is("GlobalAveragePool");
  const auto wide = wide_.find(node.input(0));
  if (wide == wide_.end() || (!is_global && !node.is("AveragePool"))) return false;
  const auto [source, x] = wide->second;
  const Dims x_dims = dims_of(source), y_dims = dims_of(node.outputs[0]);
  if (x_dims.size() < 3 || element_count(x_dims) == 0 || element_count(y_dims) == 0) return false;
  if (is_mean && !spatial_mean(node).value_or(false)) return false;
  const auto shape = is_global ? std::optional(global_shape(x_dims)) : window_shape(node, x_dims, y_dims);
  if (!shape) return false;
  const Tail tail = absorb_tail(node.outputs[0], true, true);
  numerics::Limits limits{0, 255};  // s8 is held as u8
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    if (y.dtype == DType::u16) limits = {0, 65535};
    if (y.dtype == DType::s16) limits = {-32768, 32767};
    limits = {numerics::quantize(tail.low, y.scale, y.zero_point, limits),
              numerics::quantize(tail.high, y.scale, y.zero_point, limits)};
  }
  const ValueId from = fetch(source, Layout::channel_last);
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : DType::f32;
  const ValueId to = define(tail.quantizer ? tail.same.front() : node.outputs[0], dtype, y_dims,
                            y_dims.size() >= 3 ? Layout::channel_last : Layout::row_major, dtype == DType::s8);
  const std::string op = node.op_type + (tail.quantizer ? tail.operators + "+QuantizeLinear" : "");
  if (x.dtype == DType::u16)
    emit(std::make_unique<AveragePoolWideStep<std::uint16_t>>(*shape, x, tail.quantizer, limits), op, {from}, {to});
  else
    emit(std::make_unique<AveragePoolWideStep<std::int16_t>>(*shape, x, tail.quantizer, limits), op, {from}, {to});
  if (tail.quantizer) finish_tail(tail);
  return true;
}

bool Lowering::pool(const Node& node) {
  const std::string& x = node.input(0);
  if (node.op_type == "ReduceMean" && !lazy_.contains(x) && layout_held(x) == Layout::row_major) return reduction(node);
  const Dims x_dims = dims_of(x);
  if (node.op_type == "ReduceMean" && x_dims.size() < 3) return reduction(node);
  if (const DType dtype = dtype_of_value(x); node.op_type == "MaxPool" && (dtype == DType::u8 || dtype == DType::s8)) {
    const Dims y_dims = dims_of(node.outputs[0]);
    if (!exists(x) || x_dims.size() < 3 || (node.outputs.size() > 1 && !node.outputs[1].empty()) || element_count(y_dims) == 0)
      return false;
    const auto shape = window_shape(node, x_dims, y_dims);
    if (!shape) return false;
    const ValueId from = fetch(x, Layout::channel_last, dtype == DType::s8);
    const ValueId to = define(node.outputs[0], dtype, y_dims, Layout::channel_last, dtype == DType::s8);
    emit(std::make_unique<MaxPoolQ8Step>(kernels::select_pool_q8(options_.isas), *shape), node.op_type, {from}, {to});
    return true;
  }
  if (x_dims.size() < 3 || element_count(x_dims) == 0 || dtype_of_value(x) != DType::f32 ||
      (node.outputs.size() > 1 && !node.outputs[1].empty()))
    return false;
  if (constant_of(x) != nullptr) return false;
  const Dims y_dims = dims_of(node.outputs[0]);
  const bool is_mean = node.op_type == "ReduceMean", is_global = is_mean || node.op_type.starts_with("Global");
  const Kind kind = node.op_type == "MaxPool" || node.op_type == "GlobalMaxPool" ? Kind::max : Kind::average;
  if (is_mean) {
    const auto spatial = spatial_mean(node);
    if (!spatial) return false;
    if (!*spatial) return reduction(node);
  }
  const auto lazy = lazy_.find(x);
  if (lazy != lazy_.end() && lazy->second.affine) {
    const Lazy source = lazy->second;
    if (kind == Kind::average) {
      if (integer_average(node, is_global, source.quantized, *source.affine, absorb_tail(node.outputs[0]))) return true;
    } else if (const auto shape = is_global ? std::optional(global_shape(x_dims)) : window_shape(node, x_dims, y_dims)) {
      // The maximum of the integers is the maximum of the reals: the quantized value moves through.
      const std::string quantized = fresh(node.outputs[0]);
      const ValueId from = fetch(source.quantized, Layout::channel_last, source.dtype == DType::s8);
      const ValueId to = define(quantized, source.dtype, y_dims, Layout::channel_last, source.dtype == DType::s8);
      emit(std::make_unique<MaxPoolQ8Step>(kernels::select_pool_q8(options_.isas), *shape), node.op_type, {from}, {to});
      Lazy moved = source;
      moved.quantized = quantized;
      lazy_[node.outputs[0]] = std::move(moved);
      return true;
    }
  }
  const auto shape = is_global ? std::optional(global_shape(x_dims)) : window_shape(node, x_dims, y_dims);
  if (!shape) {
    reason_ = "only one and two spatial dimensions have fast kernels";
    return false;
  }
  const ValueId from = fetch_float(x, Layout::channel_last);
  const ValueId to = define(node.outputs[0], DType::f32, y_dims, y_dims.size() >= 3 ? Layout::channel_last : Layout::row_major);
  emit(std::make_unique<PoolF32Step>(kernels::select_pool_f32(options_.isas), kind, *shape), node.op_type, {from}, {to});
  return true;
}

}  // namespace zeropoint::engine
