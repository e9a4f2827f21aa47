// QLinearMatMul and MatMulInteger of two operands that are both made at run time: exact integer sums, the second packed on the
// way.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/conv_q8/conv_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

constexpr std::int64_t kMostTerms = 2147483647 / (255 * 255);  // sums of so many products of 8-bit values fit 32 bits

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

class IntegerProductStep : public Step {
 public:
  struct Pair {
    std::int64_t a, b;  // offsets of two matrices
  };
  IntegerProductStep(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape, std::vector<Pair> pairs,
                     std::int32_t b_zero_point, float scale, const kernels::ConvArgs& args)
      : kernel_(kernel),
        shape_(shape),
        pairs_(std::move(pairs)),
        b_zero_points_(static_cast<std::size_t>(shape.o), b_zero_point),
        scale_(static_cast<std::size_t>(shape.o), scale),
        args_(args) {
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override { return static_cast<std::size_t>(workers) * part_bytes(); }
  void run(const RunContext& context) const override {
    const auto k = shape_.c, n = shape_.o;
    const auto matrix = static_cast<std::size_t>(k * n);
    std::byte* scratch = context.scratch + static_cast<std::size_t>(context.worker) * part_bytes();
    auto* columns = reinterpret_cast<std::int8_t*>(scratch);
    auto* turned = reinterpret_cast<std::int8_t*>(scratch + aligned(matrix));
    auto* comp = reinterpret_cast<std::int32_t*>(scratch + 2 * aligned(matrix));
    std::byte* packed = scratch + 2 * aligned(matrix) + aligned(static_cast<std::size_t>(n) * sizeof(std::int32_t));
    const std::size_t out_bytes = args_.output == kernels::ConvOutput::u8 ? 1 : 4;
    const auto part = partition(static_cast<std::int64_t>(pairs_.size()), context.worker, context.workers);
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      const Pair& pair = pairs_[static_cast<std::size_t>(i)];
      const auto* b = reinterpret_cast<const std::uint8_t*>(context.values[inputs[1]]) + pair.b;
      for (std::size_t at = 0; at < matrix; ++at) columns[at] = static_cast<std::int8_t>(b[at] ^ 0x80U);
      kernels::transpose_weights(k, n, columns, turned);
      // Cannot fail: kMostTerms.
      (void)kernels::fold_bias(shape_, turned, b_zero_points_.data(), args_.src_zero_point, nullptr, comp);
      kernel_.pack(shape_, turned, b_zero_points_.data(), packed);
      kernels::ConvArgs args = args_;
      args.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]) + pair.a;
      args.dst = context.values[outputs[0]] + static_cast<std::size_t>(i * shape_.w * n) * out_bytes;
      args.packed = packed;
      args.comp = comp;
      args.scale = scale_.data();
      args.workspace = packed + aligned(kernel_.packed_bytes(shape_));
      kernel_.run(shape_, args, 0, 1);
    }
  }

 private:
  std::size_t part_bytes() const {
    const auto matrix = static_cast<std::size_t>(shape_.c * shape_.o);
    return 2 * aligned(matrix) + aligned(static_cast<std::size_t>(shape_.o) * sizeof(std::int32_t)) +
           aligned(kernel_.packed_bytes(shape_)) + aligned(kernel_.workspace_bytes(shape_, 1));
  }

  const kernels::ConvKernel& kernel_;
  kernels::ConvShape shape_;
  std::vector<Pair> pairs_;
  std::vector<std::int32_t> b_zero_points_;
  std::vector<float> scale_;
  kernels::ConvArgs args_;
};

}  // namespace

bool Lowering::integer_product(const Node& node, const std::string& a, const Quantizer& a_quantizer, const std::string& b,
                               const Quantizer& b_quantizer, const Tail& tail, DType output_dtype) {
  const Dims a_dims = dims_of(a), b_dims = dims_of(b), out_dims = dims_of(node.outputs[0]);
  if (a_dims.size() < 2 || b_dims.size() < 2 || element_count(out_dims) == 0) {
    reason_ = "an operand is a vector";
    return false;
  }
  kernels::ConvShape shape;
  shape.w = shape.ow = a_dims[a_dims.size() - 2];
  shape.c = shape.src_stride = a_dims.back();
  shape.o = shape.dst_stride = b_dims.back();
  if (b_dims[b_dims.size() - 2] != shape.c || shape.c == 0) return false;
  if (shape.c > kMostTerms) {
    reason_ = "sums could overflow 32 bits";
    return false;
  }
  const Dims batch(out_dims.begin(), out_dims.end() - 2);
  std::vector<IntegerProductStep::Pair> pairs;
  for (std::int64_t i = 0; i < element_count(batch); ++i) {
    IntegerProductStep::Pair pair{0, 0};
    std::int64_t rest = i, a_step = shape.w * shape.c, b_step = shape.c * shape.o;
    for (std::size_t axis = batch.size(); axis-- > 0;) {
      const std::int64_t at = rest % batch[axis];
      rest /= batch[axis];
      const auto advance = [&](const Dims& dims, std::int64_t& offset, std::int64_t& step) {
        if (dims.size() < out_dims.size() - axis) return;
        const std::int64_t dim = dims[dims.size() - (out_dims.size() - axis)];
        if (dim != 1) offset += at * step;
        step *= dim;
      };
      advance(a_dims, pair.a, a_step);
      advance(b_dims, pair.b, b_step);
    }
    pairs.push_back(pair);
  }
  // Many matrices times one matrix are one product of all their rows.
  if (element_count(b_dims) == shape.c * shape.o && element_count(a_dims) == element_count(batch) * shape.w * shape.c) {
    shape.w = shape.ow = shape.w * element_count(batch);
    pairs.resize(1);
  }

  kernels::ConvArgs args;
  args.src_zero_point = a_quantizer.zero_point;
  float scale = a_quantizer.scale * b_quantizer.scale;
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, {0, 255}) - y.zero_point);
    };
    args.output = kernels::ConvOutput::u8;
    args.dst_zero_point = y.zero_point;
    args.low = limit(tail.low);
    args.high = limit(tail.high);
    scale = numerics::requantize_scale(a_quantizer.scale, b_quantizer.scale, y.scale);
  } else if (output_dtype == DType::f32) {
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
  } else {
    args.output = kernels::ConvOutput::s32;
  }
  if (!std::isfinite(scale)) {
    reason_ = "a requantization scale is not finite";
    return false;
  }
  const ValueId x = fetch(a, Layout::row_major, a_quantizer.dtype == DType::s8);
  const ValueId w = fetch(b, Layout::row_major, b_quantizer.dtype == DType::s8);
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : output_dtype;
  const ValueId out =
      define(tail.quantizer ? tail.same.front() : tail.value, dtype, out_dims, Layout::row_major, dtype == DType::s8);
  auto step = std::make_unique<IntegerProductStep>(*kernels::select_conv_q8(shape, options_.isas), shape, std::move(pairs),
                                                   b_quantizer.zero_point - 128, scale, args);
  step->info.macs = element_count(out_dims) * shape.c;
  emit(std::move(step), node.op_type + tail.operators, {x, w}, {out});
  finish_tail(tail);
  return true;
}

}  // namespace zeropoint::engine
