// Attention whose products are quantized on the way (docs/dynamic.md): Q K^T, scaling, mask, softmax and the product with V are
// one step, from the floats of Q, K and V to those of the result. Heads are walked where the projections left them. Where
// attention_q8 has no fast kernel each operator stays a step of its own, with the same bytes.
#include <algorithm>
#include <cmath>

#include "engine/lowering.h"
#include "kernels/attention_q8/attention_q8.h"
#include "numerics/constant_division.h"

namespace zeropoint::engine {
namespace {

constexpr std::int64_t kFloatCode = 1;  // TensorProto.DataType

class AttentionStep : public Step {
 public:
  // Inputs: q, k, v, mask (or none), each from its offset on.
  AttentionStep(const kernels::AttentionKernel& kernel, const kernels::AttentionShape& shape,
                const kernels::AttentionArgs& args, std::array<std::int64_t, 4> offsets)
      : kernel_(kernel), shape_(shape), args_(args), offsets_(offsets) {
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override { return kernel_.workspace_bytes(shape_, workers); }
  void run(const RunContext& context) const override {
    const auto floats = [&](std::size_t i) {
      return inputs[i] == kNoValue ? nullptr : reinterpret_cast<const float*>(context.values[inputs[i]]) + offsets_[i];
    };
    kernels::AttentionArgs args = args_;
    args.q = floats(0), args.k = floats(1), args.v = floats(2), args.mask = floats(3);
    args.dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    args.workspace = context.scratch;
    kernel_.run(shape_, args, context.worker, context.workers);
  }

 private:
  const kernels::AttentionKernel& kernel_;
  kernels::AttentionShape shape_;
  kernels::AttentionArgs args_;
  std::array<std::int64_t, 4> offsets_;
};

}  // namespace

void Lowering::find_attentions() {
  for (const Node& node : graph_.nodes) {
    if (!node.is("MatMulInteger")) continue;
    auto found = attention_behind(node);
    if (!found) continue;
    std::sort(found->nodes.begin(), found->nodes.end());
    const auto shared = std::make_shared<const Attention>(std::move(*found));
    for (const std::size_t index : shared->nodes) attentions_[index] = shared;
  }
}

// From the product with V backwards to that of Q and K.
std::optional<Lowering::Attention> Lowering::attention_behind(const Node& values) const {
  using Sets = RowQuantizer::Sets;
  Attention result;
  const auto hidden = [&](const std::string& value_name, std::size_t readers) {
    const auto found = uses_.consumers.find(value_name);
    return !values_.is_output(value_name) && !tapped(value_name) && found != uses_.consumers.end() &&
           found->second.size() == readers;
  };
  const auto operand = [&](const Node& product, std::size_t input, Sets sets) -> const RowQuantizer* {
    const auto found = set_quantizers_.find(product.input(input));
    if (found == set_quantizers_.end() || found->second.sets != sets) return nullptr;
    // The scale is read by its own division and by one product.
    if (!hidden(found->second.q, 1) || !hidden(found->second.scale, 2)) return nullptr;
    const Tensor* zero = constant_of(product.input(input + 2));
    const bool fits = zero == nullptr ? sets == Sets::shares && product.input(input + 2).empty()
                                      : zero->dtype() == DType::u8 && zero->size() == 1 &&
                                            zero->values<std::uint8_t>()[0] == (sets == Sets::shares ? 0 : 128);
    return fits ? &found->second : nullptr;
  };
  const auto take = [&](const Node& node) { result.nodes.push_back(index_of(node)); };
  // Cast -> Mul (scales of the left) -> Mul (scales of the right), forwards; what they make.
  const auto rescaled = [&](const Node& product, const RowQuantizer& left, const RowQuantizer& right) -> std::string {
    const Node* cast = only_reader(product.outputs[0], "Cast");
    if (cast == nullptr || cast->get_int("to", 0) != kFloatCode) return {};
    const Node* first = only_reader(cast->outputs[0], "Mul");
    if (first == nullptr || first->input(first->input(0) == cast->outputs[0] ? 1 : 0) != left.scale) return {};
    const Node* second = only_reader(first->outputs[0], "Mul");
    if (second == nullptr || second->input(second->input(0) == first->outputs[0] ? 1 : 0) != right.scale) return {};
    for (const Node* node : {&product, cast, first, second}) take(*node);
    for (const RowQuantizer* each : {&left, &right})
      result.nodes.insert(result.nodes.end(), each->nodes.begin(), each->nodes.end());
    return second->outputs[0];
  };

  const RowQuantizer *p = operand(values, 0, Sets::shares), *v = operand(values, 1, Sets::columns);
  if (p == nullptr || v == nullptr || !hidden(p->x, 2)) return std::nullopt;  // read by its maximum and the division
  const Node* softmax = maker_of(p->x);
  if (softmax == nullptr || !softmax->is("Softmax") || !single_use(softmax->input(0))) return std::nullopt;
  const std::size_t rank = dims_known(p->x).size();
  const std::int64_t axis = softmax->get_int("axis", graph_.opset() < 13 ? 1 : -1);
  if (rank < 3 || rank > 4 || (axis != -1 && axis != static_cast<std::int64_t>(rank) - 1)) return std::nullopt;
  take(*softmax);
  // What the two scales of the scores make, through the factor and the mask.
  std::string value_name = softmax->input(0);
  const auto from_scores = [&](const std::string& candidate) {  // ends at a Mul by the scales of columns
    const Node* maker = maker_of(candidate);
    if (maker == nullptr || !single_use(candidate)) return false;
    if (maker->is("Div") || (maker->is("Mul") && (scalar_of(maker->input(0)) || scalar_of(maker->input(1)))))
      maker = maker_of(maker->input(scalar_of(maker->input(0)) ? 1 : 0));
    if (maker == nullptr || !maker->is("Mul")) return false;
    return std::any_of(set_quantizers_.begin(), set_quantizers_.end(), [&](const auto& sets) {
      return sets.second.sets == Sets::columns &&
             (sets.second.scale == maker->input(0) || sets.second.scale == maker->input(1));
    });
  };
  if (const Node* add = maker_of(value_name); add != nullptr && add->is("Add")) {
    const std::size_t side = from_scores(add->input(0)) ? 0 : 1;
    if (!from_scores(add->input(side))) return std::nullopt;
    value_name = add->input(side);
    result.mask = add->input(1 - side);
    take(*add);
  }
  if (const Node* scale = maker_of(value_name); scale != nullptr && (scale->is("Mul") || scale->is("Div"))) {
    const bool first = scale->is("Mul") && scalar_of(scale->input(0)).has_value();
    if (const auto factor = scalar_of(scale->input(first ? 0 : 1))) {
      if (!single_use(value_name)) return std::nullopt;
      result.factor_op = scale->op_type;
      result.factor = *factor;
      value_name = scale->input(first ? 1 : 0);
      take(*scale);
    }
  }
  if (!single_use(value_name)) return std::nullopt;
  const Node* walk = maker_of(value_name);
  for (int i = 0; i < 3 && walk != nullptr; ++i) {  // Mul, Mul, Cast
    const Node* next = maker_of(walk->input(0));
    if (walk->is("Mul") && (next == nullptr || !(next->is("Mul") || next->is("Cast")))) next = maker_of(walk->input(1));
    walk = next;
  }
  if (walk == nullptr || !walk->is("MatMulInteger")) return std::nullopt;
  const RowQuantizer *q = operand(*walk, 0, Sets::rows), *k = operand(*walk, 1, Sets::columns);
  if (q == nullptr || k == nullptr || rescaled(*walk, *q, *k) != value_name) return std::nullopt;
  result.output = rescaled(values, *p, *v);
  if (result.output.empty()) return std::nullopt;
  result.q = q->x, result.k = k->x, result.v = v->x;
  return result;
}

void Lowering::lower_attention(const Attention& attention) {
  current_ = &graph_.nodes[attention.nodes.back()];
  reason_.clear();
  if (fused_attention(attention)) return;
  for (const std::size_t index : attention.nodes)
    if (!done_[index]) lower_node(index);
}

bool Lowering::fused_attention(const Attention& attention) {
  const std::array<std::string, 3> names = {attention.q, attention.k, attention.v};
  for (const std::string& each : names)
    if (!viewable(each) || constant_of(each) != nullptr || dtype_of_value(each) != DType::f32) return false;
  if (!attention.mask.empty() && (!viewable(attention.mask) || dtype_of_value(attention.mask) != DType::f32)) return false;
  const Dims q_dims = dims_of(attention.q), k_dims = dims_of(attention.k), v_dims = dims_of(attention.v);
  const std::size_t rank = q_dims.size(), last = rank - 1;
  if (rank < 3 || rank > 4 || k_dims.size() != rank || v_dims.size() != rank) return false;
  kernels::AttentionShape shape{.batch = rank == 4 ? q_dims[0] : 1,
                                .heads = q_dims[last - 2],
                                .rows = q_dims[last - 1],
                                .columns = k_dims[last],
                                .depth = q_dims[last],
                                .value_depth = v_dims[last]};
  for (std::size_t axis = 0; axis + 2 < rank; ++axis)
    if (k_dims[axis] != q_dims[axis] || v_dims[axis] != q_dims[axis]) return false;
  if (k_dims[last - 1] != shape.depth || v_dims[last - 1] != shape.columns || element_count(q_dims) == 0 ||
      element_count(k_dims) == 0 || element_count(v_dims) == 0)
    return false;
  Dims dims = q_dims;
  dims[last] = shape.value_depth;
  if (dims_known(attention.output) != dims) return false;  // the mask or the factor broadcasts the scores up
  const kernels::AttentionKernel* kernel = kernels::select_attention_q8(shape, options_.isas);
  if (kernel == nullptr) return false;

  std::array<View, 4> views;
  for (std::size_t i = 0; i < 3; ++i) views[i] = view_of(names[i]);
  const View &q = views[0], &k = views[1], &v = views[2];
  if (q.strides[last] != 1 || k.strides[last - 1] != 1 || v.strides[last] != 1) {
    reason_ = "the elements of a head are not side by side";
    return false;
  }
  const auto strides = [&](const View& view, std::size_t row_axis) {
    return kernels::AttentionShape::Strides{
        .batch = rank == 4 ? view.strides[0] : 0, .head = view.strides[last - 2], .row = view.strides[row_axis]};
  };
  shape.q = strides(q, last - 1);
  shape.k = strides(k, last);
  shape.v = strides(v, last - 1);
  if (!attention.mask.empty()) {
    views[3] = view_of(attention.mask);
    const View& mask = views[3];
    if (mask.dims.empty() || mask.dims.size() > rank || mask.dims.back() != shape.columns ||
        (shape.columns > 1 && mask.strides.back() != 1))
      return false;
    const auto stride = [&](std::size_t axis) -> std::int64_t {  // of the scores
      const std::size_t missing = rank - mask.dims.size();
      return axis < missing || mask.dims[axis - missing] == 1 ? 0 : mask.strides[axis - missing];
    };
    shape.mask = {.batch = rank == 4 ? stride(0) : 0, .head = stride(last - 2), .row = stride(last - 1)};
  }

  // The heads go back to where they belong.
  std::string made = attention.output, operators = "attention";
  std::vector<std::size_t> order(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) order[axis] = axis;
  if (const Node* move = only_reader(made, "Transpose"); move != nullptr) {
    const auto perm = move->get_ints("perm");
    if (perm.size() == rank && perm.back() == static_cast<std::int64_t>(last)) {
      for (std::size_t axis = 0; axis < rank; ++axis) order[axis] = static_cast<std::size_t>(perm[axis]);
      done_[index_of(*move)] = true;
      made = move->outputs[0];
      operators += "+Transpose";
    }
  }
  Dims out_dims(rank), out_strides(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) out_dims[axis] = dims[order[axis]];
  const Dims dense = dense_strides(out_dims);
  for (std::size_t axis = 0; axis < rank; ++axis) out_strides[order[axis]] = dense[axis];
  shape.dst = {.batch = rank == 4 ? out_strides[0] : 0, .head = out_strides[last - 2], .row = out_strides[last - 1]};
  kernels::AttentionArgs args;
  args.factor = attention.factor;
  args.factor_kind = attention.factor_op == "Mul"   ? kernels::AttentionFactor::multiply
                     : attention.factor_op == "Div" ? kernels::AttentionFactor::divide
                                                    : kernels::AttentionFactor::none;
  // Dividing by a power of two, 8 for heads of 64, rounds as multiplying by its reciprocal does, which is several times as
  // fast.
  int exponent = 0;
  if (args.factor_kind == kernels::AttentionFactor::divide && std::abs(std::frexp(args.factor, &exponent)) == 0.5F &&
      std::abs(exponent) < 100) {
    args.factor = 1 / args.factor;
    args.factor_kind = kernels::AttentionFactor::multiply;
  }
  if (args.factor_kind == kernels::AttentionFactor::divide)
    if (const auto parts = numerics::constant_division(args.factor)) {
      args.factor_kind = kernels::AttentionFactor::divide_by_parts;
      args.inverse_high = parts->high, args.inverse_low = parts->low;
    }
  const ValueId out = define(made, DType::f32, out_dims, Layout::row_major);
  auto step = std::make_unique<AttentionStep>(
      *kernel, shape, args, std::array{q.offset, k.offset, v.offset, attention.mask.empty() ? 0 : views[3].offset});
  step->info.macs = shape.batch * shape.heads * shape.rows * shape.columns * (shape.depth + shape.value_depth);
  emit(std::move(step), operators, {q.base, k.base, v.base, attention.mask.empty() ? kNoValue : views[3].base}, {out});
  for (const std::size_t index : attention.nodes) done_[index] = true;
  materialize_tap(made);
  return true;
}

}  // namespace zeropoint::engine
