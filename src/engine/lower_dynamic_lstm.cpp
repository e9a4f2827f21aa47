// DynamicQuantizeLSTM of com.microsoft: the input of all steps is quantized at once, the states of all sequences at each step.
#include <algorithm>
#include <limits>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/elementwise_q8/elementwise_q8.h"
#include "kernels/recurrent_f32/recurrent_f32.h"

namespace zeropoint::engine {
namespace {

// 255 * 255 times as many products fit s32.
constexpr std::int64_t kMostTerms = std::numeric_limits<std::int32_t>::max() / (255 * 255);

// Rows of floats times constant 8-bit weights: the rows are quantized with one scale and zero point, as DynamicQuantizeLinear
// does, and a product is float(sum) * (x_scale * w_scale).
struct DynamicRows {
  const kernels::ConvKernel* kernel = nullptr;
  kernels::ConvShape shape;
  std::shared_ptr<const void> packed;
  std::vector<float> scale;        // [o], of the weights
  std::vector<std::int32_t> sums;  // [o], of (w - its zero point)

  static std::size_t padded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t columns_bytes() const { return padded(scale.size() * 4); }
  std::size_t integers_bytes() const {
    return padded(static_cast<std::size_t>(shape.w * shape.c)) + 2 * kSlackBytes;  // kernels read over the edge
  }
  std::size_t scratch_bytes() const { return integers_bytes() + 2 * columns_bytes() + kernel->workspace_bytes(shape, 1); }

  void run(const kernels::ElementwiseQ8Functions& functions, const float* rows, float* products, std::byte* scratch) const {
    const std::int64_t count = shape.w * shape.c;
    float low = 0, high = 0;
    functions.min_max_f32(rows, count, &low, &high);
    const kernels::QuantizeParams params = kernels::dynamic_quantize_params(low, high);
    auto* integers = reinterpret_cast<std::uint8_t*>(scratch + kSlackBytes);
    functions.quantize_u8(params, rows, integers, count);
    auto* comp = reinterpret_cast<std::int32_t*>(scratch + integers_bytes());
    auto* scales = reinterpret_cast<float*>(scratch + integers_bytes() + columns_bytes());
    for (std::size_t c = 0; c < scale.size(); ++c) {
      comp[c] = -params.zero_point * sums[c];
      scales[c] = params.scale * scale[c];
    }
    kernels::ConvArgs args;
    args.src = integers;
    args.packed = packed.get();
    args.dst = products;
    args.workspace = scratch + integers_bytes() + 2 * columns_bytes();
    args.comp = comp;
    args.scale = scales;
    args.low = -std::numeric_limits<float>::infinity();
    args.high = std::numeric_limits<float>::infinity();
    args.src_zero_point = params.zero_point;
    args.output = kernels::ConvOutput::f32;
    kernel->run(shape, args, 0, 1);
  }
};

// Inputs: x [S, B, I], then the states where given. Outputs as the operator's. Workers share directions: the rows of a batch
// share a scale at each step.
class DynamicLstmStep : public Step {
 public:
  struct Direction {
    DynamicRows input, state;
    std::vector<float> bias;  // [4 * H], of input and state together
  };
  DynamicLstmStep(const kernels::ElementwiseQ8Kernels& elementwise, const kernels::RecurrentF32Kernels& cells,
                  std::int64_t steps, std::int64_t batch, std::int64_t hidden, std::vector<Direction> directions,
                  bool first_reversed, bool has_h, bool has_c)
      : elementwise_(elementwise.functions),
        cells_(cells.functions),
        S_(steps),
        B_(batch),
        H_(hidden),
        directions_(std::move(directions)),
        first_reversed_(first_reversed),
        has_h_(has_h),
        has_c_(has_c) {
    info.kernel = directions_.front().state.kernel->name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override { return worker_bytes() * static_cast<std::size_t>(workers); }

  void run(const RunContext& context) const override {
    const auto part = partition(static_cast<std::int64_t>(directions_.size()), context.worker, context.workers);
    for (std::int64_t d = part.begin; d < part.end; ++d)
      run_direction(context, d, context.scratch + worker_bytes() * static_cast<std::size_t>(context.worker));
  }

 private:
  std::size_t floats_bytes(std::int64_t count) const { return DynamicRows::padded(static_cast<std::size_t>(count) * 4); }
  std::size_t worker_bytes() const {
    const Direction& any = directions_.front();
    return floats_bytes(S_ * B_ * 4 * H_) + floats_bytes(B_ * 4 * H_) + 2 * floats_bytes(B_ * H_) +
           DynamicRows::padded(std::max(any.input.scratch_bytes(), any.state.scratch_bytes()));
  }

  void run_direction(const RunContext& context, std::int64_t d, std::byte* scratch) const {
    const Direction& direction = directions_[static_cast<std::size_t>(d)];
    const std::int64_t states = B_ * H_, width = 4 * H_;
    const auto take = [&](std::int64_t count) {
      auto* floats = reinterpret_cast<float*>(scratch);
      scratch += floats_bytes(count);
      return floats;
    };
    float *input_products = take(S_ * B_ * width), *state_products = take(B_ * width), *h = take(states), *c = take(states);
    const auto begin = [&](bool given, std::size_t input, float* state) {
      if (given)
        std::copy_n(reinterpret_cast<const float*>(context.values[inputs[input]]) + d * states, states, state);
      else
        std::fill_n(state, states, 0.0F);
    };
    begin(has_h_, 1, h);
    begin(has_c_, has_h_ ? 2 : 1, c);
    direction.input.run(*elementwise_, reinterpret_cast<const float*>(context.values[inputs[0]]), input_products, scratch);
    const auto output = [&](std::size_t i) {
      return i < outputs.size() && outputs[i] != kNoValue ? reinterpret_cast<float*>(context.values[outputs[i]]) : nullptr;
    };
    float* y = output(0);
    for (std::int64_t step = 0; step < S_; ++step) {
      const std::int64_t at = d == 1 || first_reversed_ ? S_ - 1 - step : step;
      direction.state.run(*elementwise_, h, state_products, scratch);
      for (std::int64_t b = 0; b < B_; ++b)
        cells_->lstm_cell(H_, {.input_products = input_products + (at * B_ + b) * width,
                               .state_products = state_products + b * width,
                               .bias = direction.bias.data(),
                               .c = c + b * H_,
                               .h = h + b * H_});
      if (y != nullptr)  // [S, D, B, H]
        std::copy_n(h, states, y + (at * static_cast<std::int64_t>(directions_.size()) + d) * states);
    }
    if (float* last = output(1)) std::copy_n(h, states, last + d * states);
    if (float* last = output(2)) std::copy_n(c, states, last + d * states);
  }

  const kernels::ElementwiseQ8Functions* elementwise_;
  const kernels::RecurrentF32Functions* cells_;
  std::int64_t S_, B_, H_;
  std::vector<Direction> directions_;
  bool first_reversed_, has_h_, has_c_;
};

// Part n of `count` equal ones of a constant.
template <class T>
std::vector<T> part_of(const Tensor& tensor, std::int64_t n, std::int64_t count) {
  const auto values = tensor.values<T>();
  const std::size_t size = values.size() / static_cast<std::size_t>(count);
  const auto part = values.subspan(static_cast<std::size_t>(n) * size, size);
  return {part.begin(), part.end()};
}

// One direction of W or R, [directions, K, 4 * H], with its scales and zero points, one a direction or one a column.
QuantizedConstant direction_of(const Tensor& weights, const Tensor& scale, const Tensor* zero, std::int64_t n) {
  const std::int64_t directions = weights.dim(0);
  const Dims dims = {weights.dim(1), weights.dim(2)};
  QuantizedConstant result;
  const auto integers = [&]<class T>(T) {
    result.values = Tensor::of<T>(dims, part_of<T>(weights, n, directions));
    if (zero == nullptr) return;
    for (const T z : part_of<T>(*zero, n, directions)) result.zero_point.push_back(z);
  };
  if (weights.dtype() == DType::u8)
    integers(std::uint8_t{});
  else
    integers(std::int8_t{});
  result.scale = part_of<float>(scale, n, directions);
  result.zero_point.resize(result.scale.size(), result.zero_point.empty() ? 0 : result.zero_point.front());
  result.axis = 1;
  return result;
}

}  // namespace

bool Lowering::dynamic_lstm(const Node& node) {
  // X, W, R, B, sequence_lens, initial_h, initial_c, P, scale and zero point of W, of R.
  const std::string& x = node.input(0);
  const Tensor *w = constant_of(node.input(1)), *r = constant_of(node.input(2));
  const Tensor *w_scale = constant_of(node.input(8)), *r_scale = constant_of(node.input(10));
  const Tensor *w_zero = constant_of(node.input(9)), *r_zero = constant_of(node.input(11)), *b = constant_of(node.input(3));
  const auto missing = [&](std::size_t input, const Tensor* tensor) { return tensor == nullptr && !node.input(input).empty(); };
  if (w == nullptr || r == nullptr || w_scale == nullptr || r_scale == nullptr || missing(9, w_zero) || missing(11, r_zero) ||
      missing(3, b)) {
    reason_ = "the weights are not constant";
    return false;
  }
  const auto types_fit = [](const Tensor& weights, const Tensor* zero) {
    return (weights.dtype() == DType::s8 || weights.dtype() == DType::u8) &&
           (zero == nullptr || zero->dtype() == weights.dtype());
  };
  auto kind = kernels::RecurrentKind::lstm;
  const Dims x_dims = dims_of(x);
  if (!types_fit(*w, w_zero) || !types_fit(*r, r_zero) || !plain_recurrence(node, x_dims, w->dim(0), kind)) return false;
  const std::int64_t S = x_dims[0], B = x_dims[1], I = x_dims[2], H = r->dim(1), directions = w->dim(0);
  if (dtype_of_value(x) != DType::f32 || element_count(x_dims) == 0 || H == 0 || std::max(I, H) > kMostTerms) return false;
  for (const std::size_t i : {std::size_t{5}, std::size_t{6}})
    if (!node.input(i).empty() && dtype_of_value(node.input(i)) != DType::f32) return false;

  std::vector<DynamicLstmStep::Direction> parts;
  for (std::int64_t d = 0; d < directions; ++d) {
    const auto rows = [&](const QuantizedConstant& constant, std::int64_t count, DynamicRows& made) {
      const auto weights = integer_weights(constant, 4 * H, 1, true, reason_);
      if (!weights) return false;
      kernels::ConvShape& s = made.shape;
      s.w = s.ow = count;
      s.c = s.src_stride = constant.values.dim(0);
      s.o = s.dst_stride = 4 * H;
      made.kernel = &conv_kernel(s, "");
      made.packed = packed_weights(*made.kernel, s, *weights);
      made.scale = weights->scale;
      for (std::int64_t column = 0; column < s.o; ++column) {
        std::int32_t sum = 0;
        for (std::int64_t k = 0; k < s.c; ++k) sum += weights->values[static_cast<std::size_t>(column * s.c + k)];
        if (!weights->zero_point.empty())
          sum -= static_cast<std::int32_t>(s.c) * weights->zero_point[static_cast<std::size_t>(column)];
        made.sums.push_back(sum);
      }
      return true;
    };
    DynamicLstmStep::Direction part;
    if (!rows(direction_of(*w, *w_scale, w_zero, d), S * B, part.input) ||
        !rows(direction_of(*r, *r_scale, r_zero, d), B, part.state))
      return false;
    part.bias.assign(static_cast<std::size_t>(4 * H), 0.0F);
    if (b != nullptr) {
      const auto both = part_of<float>(*b, d, directions);
      for (std::size_t i = 0; i < part.bias.size(); ++i) part.bias[i] = both[i] + both[part.bias.size() + i];
    }
    parts.push_back(std::move(part));
  }

  std::vector<ValueId> in = {fetch_float(x, Layout::row_major)}, out;
  const bool has_h = !node.input(5).empty(), has_c = !node.input(6).empty();
  if (has_h) in.push_back(fetch_float(node.input(5), Layout::row_major));
  if (has_c) in.push_back(fetch_float(node.input(6), Layout::row_major));
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    out.push_back(node.outputs[i].empty()
                      ? kNoValue
                      : define(node.outputs[i], DType::f32, i == 0 ? Dims{S, directions, B, H} : Dims{directions, B, H},
                               Layout::row_major));
  auto step = std::make_unique<DynamicLstmStep>(kernels::select_elementwise_q8(options_.isas),
                                                kernels::select_recurrent_f32(options_.isas), S, B, H, std::move(parts),
                                                node.get_string("direction", "forward") == "reverse", has_h, has_c);
  step->info.macs = S * B * directions * 4 * H * (I + H);
  emit(std::move(step), node.op_type, std::move(in), std::move(out));
  return true;
}

}  // namespace zeropoint::engine
