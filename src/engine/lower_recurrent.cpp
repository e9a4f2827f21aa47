// LSTM, GRU, RNN: one product for the inputs of all steps and directions, then the recurrent part.
#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/content_hash.h"
#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/recurrent_f32/recurrent_f32.h"

namespace zeropoint::engine {
namespace {

// inputs: products [S, B, D * G * H], then the states where given. Workers share directions x rows.
class RecurrentStep : public Step {
 public:
  struct Direction {
    std::shared_ptr<const void> packed;
    std::vector<float> bias;
  };
  RecurrentStep(const kernels::RecurrentF32Kernels& kernels, const kernels::RecurrentF32Shape& shape,
                std::vector<Direction> directions, bool first_reversed, bool has_h, bool has_c)
      : functions_(kernels.functions),
        shape_(shape),
        directions_(std::move(directions)),
        first_reversed_(first_reversed),
        has_h_(has_h),
        has_c_(has_c) {
    info.kernel = kernels.name;
  }
  std::size_t scratch_bytes(int workers) const override {
    return static_cast<std::size_t>(kernels::recurrent_f32_scratch(shape_.hidden)) * sizeof(float) *
           static_cast<std::size_t>(workers);
  }
  void run(const RunContext& context) const override {
    const auto count = static_cast<std::int64_t>(directions_.size());
    const std::int64_t states = shape_.batch * shape_.hidden;
    const std::int64_t gates = kernels::recurrent_gates(shape_.kind);
    float* scratch = reinterpret_cast<float*>(context.scratch) + context.worker * kernels::recurrent_f32_scratch(shape_.hidden);
    const auto part = partition(count * shape_.batch, context.worker, context.workers);
    for (std::int64_t d = 0; d < count; ++d) {
      const std::int64_t begin = std::max<std::int64_t>(0, part.begin - d * shape_.batch),
                         end = std::min(shape_.batch, part.end - d * shape_.batch);
      if (begin >= end) continue;
      const Direction& direction = directions_[static_cast<std::size_t>(d)];
      kernels::RecurrentF32Shape shape = shape_;
      shape.reverse = d == 1 || first_reversed_;
      const auto input = [&](bool given, std::size_t i) {
        return given ? reinterpret_cast<const float*>(context.values[inputs[i]]) + d * states : nullptr;
      };
      const auto output = [&](std::size_t i, std::int64_t offset) {
        return i < outputs.size() && outputs[i] != kNoValue ? reinterpret_cast<float*>(context.values[outputs[i]]) + offset
                                                            : nullptr;
      };
      functions_->run(shape,
                      {.products = reinterpret_cast<const float*>(context.values[inputs[0]]) + d * gates * shape.hidden,
                       .packed = static_cast<const float*>(direction.packed.get()),
                       .bias = direction.bias.data(),
                       .h0 = input(has_h_, 1),
                       .c0 = input(has_c_, has_h_ ? 2 : 1),
                       .y = output(0, d * states),
                       .h_last = output(1, d * states),
                       .c_last = output(2, d * states)},
                      scratch, begin, end);
    }
  }

 private:
  const kernels::RecurrentF32Functions* functions_;
  kernels::RecurrentF32Shape shape_;
  std::vector<Direction> directions_;
  bool first_reversed_, has_h_, has_c_;
};

bool default_functions(const Node& node, std::size_t directions, kernels::RecurrentKind& kind) {
  std::vector<std::string> wanted;
  if (kind == kernels::RecurrentKind::lstm)
    wanted = {"sigmoid", "tanh", "tanh"};
  else if (node.op_type == "GRU")
    wanted = {"sigmoid", "tanh"};
  else
    wanted = {"tanh"};
  const Attribute* given = node.find("activations");
  if (given == nullptr) return true;
  const auto* names = std::get_if<std::vector<std::string>>(given);
  if (names == nullptr || names->size() != wanted.size() * directions) return false;
  for (std::size_t i = 0; i < names->size(); ++i) {
    std::string name = (*names)[i];
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (node.op_type == "RNN" && name == "relu" && (i == 0 || kind == kernels::RecurrentKind::rnn_relu))
      kind = kernels::RecurrentKind::rnn_relu;
    else if (name != wanted[i % wanted.size()] || kind == kernels::RecurrentKind::rnn_relu)
      return false;
  }
  return true;
}

}  // namespace

bool Lowering::plain_recurrence(const Node& node, const Dims& x_dims, std::int64_t directions, kernels::RecurrentKind& kind) {
  if (!default_functions(node, static_cast<std::size_t>(directions), kind) || node.find("clip") != nullptr ||
      node.get_int("input_forget", 0) != 0 || node.get_int("layout", 0) != 0 || !node.input(7).empty()) {
    reason_ = "activations, clip, input_forget, layout or peepholes without a fast kernel";
    return false;
  }
  if (node.input(4).empty()) return true;
  const Tensor* lengths = constant_of(node.input(4));
  const bool whole = lengths != nullptr && lengths->dtype() == DType::s32 &&
                     std::all_of(lengths->values<std::int32_t>().begin(), lengths->values<std::int32_t>().end(),
                                 [&](std::int32_t length) { return length == x_dims[0]; });
  if (!whole) reason_ = "sequences of different lengths";
  return whole;
}

bool Lowering::recurrent(const Node& node) {
  using kernels::RecurrentKind;
  const std::string& x = node.input(0);
  const Tensor *w = float_constant(node.input(1)), *r = float_constant(node.input(2));
  const Tensor* b = node.input(3).empty() ? nullptr : float_constant(node.input(3));
  if (w == nullptr || r == nullptr || (b == nullptr && !node.input(3).empty())) {
    reason_ = "the weights are not constant floats";
    return false;
  }
  const Dims x_dims = dims_of(x);
  const std::int64_t gates = node.op_type == "LSTM" ? 4 : node.op_type == "GRU" ? 3 : 1;
  const std::int64_t directions = w->dim(0), H = r->dim(2), I = w->dim(2);
  RecurrentKind kind = gates == 4                                    ? RecurrentKind::lstm
                       : gates == 1                                  ? RecurrentKind::rnn_tanh
                       : node.get_int("linear_before_reset", 0) != 0 ? RecurrentKind::gru_linear_before_reset
                                                                     : RecurrentKind::gru;
  if (!plain_recurrence(node, x_dims, directions, kind)) return false;
  if (dtype_of_value(x) != DType::f32 || element_count(x_dims) == 0 || H == 0) return false;
  for (const std::size_t i : {std::size_t{5}, std::size_t{6}})
    if (!node.input(i).empty() && dtype_of_value(node.input(i)) != DType::f32) return false;

  const std::int64_t S = x_dims[0], B = x_dims[1], width = directions * gates * H;
  std::vector<float> bias(static_cast<std::size_t>(width), 0.0F);
  std::vector<RecurrentStep::Direction> parts;
  const kernels::RecurrentF32Kernels& kernels = kernels::select_recurrent_f32(options_.isas);
  for (std::int64_t d = 0; d < directions; ++d) {
    RecurrentStep::Direction part;
    part.bias.assign(static_cast<std::size_t>(H), 0.0F);
    if (b != nullptr) {
      const auto values = b->values<float>().subspan(static_cast<std::size_t>(d * 2 * gates * H));
      for (std::int64_t i = 0; i < gates * H; ++i) {
        const float wb = values[static_cast<std::size_t>(i)], rb = values[static_cast<std::size_t>(gates * H + i)];
        const bool apart = kind == RecurrentKind::gru_linear_before_reset && i >= 2 * H;
        bias[static_cast<std::size_t>(d * gates * H + i)] = apart ? wb : wb + rb;
        if (apart) part.bias[static_cast<std::size_t>(i - 2 * H)] = rb;
      }
    }
    const auto own =
        r->values<float>().subspan(static_cast<std::size_t>(d * gates * H * H), static_cast<std::size_t>(gates * H * H));
    part.packed = cache_.get(
        std::string(kernels.name) + std::to_string(static_cast<int>(kind)) + std::to_string(H) + " " +
            content_hash(std::as_bytes(own)),
        [&] {
          const std::int64_t size = kernels::packed_recurrent_f32(kind, H, kernels.functions->lanes);
          std::shared_ptr<std::byte> bytes = cache_.allocate(static_cast<std::size_t>(size) * sizeof(float));
          kernels::pack_recurrent_f32(kind, H, kernels.functions->lanes, own.data(), reinterpret_cast<float*>(bytes.get()));
          return std::shared_ptr<const void>(std::move(bytes));
        });
    parts.push_back(std::move(part));
  }

  const std::string products = fresh(node.outputs[0].empty() ? node.op_type : node.outputs[0]);
  Linear linear{.name = node.name.empty() ? products : node.name, .op = node.op_type + " inputs"};
  linear.shape.c = I;
  linear.shape.o = width;
  linear.shape.w = linear.shape.ow = S * B;
  linear.shape.src_stride = I;
  linear.shape.dst_stride = width;
  linear.out_dims = {S, B, width};
  linear.out_layout = Layout::row_major;
  linear.macs = S * B * I * width;
  const Tensor weights = Tensor::of<float>({width, I, 1, 1}, w->values<float>());
  if (!float_linear(linear, x, weights, std::move(bias), products)) return false;

  std::vector<ValueId> in = {fetch(products, Layout::row_major)}, out;
  const bool has_h = !node.input(5).empty(), has_c = gates == 4 && !node.input(6).empty();
  if (has_h) in.push_back(fetch_float(node.input(5), Layout::row_major));
  if (has_c) in.push_back(fetch_float(node.input(6), Layout::row_major));
  const Dims last = {directions, B, H};
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    out.push_back(node.outputs[i].empty()
                      ? kNoValue
                      : define(node.outputs[i], DType::f32, i == 0 ? Dims{S, directions, B, H} : last, Layout::row_major));
  const kernels::RecurrentF32Shape shape{
      .kind = kind, .steps = S, .batch = B, .hidden = H, .product_row = width, .y_step = directions * B * H, .y_row = H};
  auto step = std::make_unique<RecurrentStep>(kernels, shape, std::move(parts),
                                              node.get_string("direction", "forward") == "reverse", has_h, has_c);
  step->info.macs = S * B * width * H;
  emit(std::move(step), node.op_type, std::move(in), std::move(out));
  return true;
}

}  // namespace zeropoint::engine
