// Functions of rows: softmax, normalization, reductions.
#include <fmt/format.h>

#include <algorithm>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/rows_f32/rows_f32.h"

namespace zeropoint::engine {
namespace {

const float* floats(const RunContext& context, ValueId id) { return reinterpret_cast<const float*>(context.values[id]); }

class SoftmaxStep : public Step {
 public:
  SoftmaxStep(const kernels::RowsF32Kernels& kernels, bool logarithm, std::int64_t rows, std::int64_t width)
      : functions_(kernels.functions), logarithm_(logarithm), rows_(rows), width_(width) {
    info.kernel = kernels.name;
  }
  bool overwrites(std::size_t) const override { return true; }
  void run(const RunContext& context) const override {
    const auto part = partition(rows_, context.worker, context.workers);
    const std::int64_t offset = part.begin * width_;
    functions_->softmax(logarithm_, floats(context, inputs[0]) + offset,
                        reinterpret_cast<float*>(context.values[outputs[0]]) + offset, part.end - part.begin, width_);
  }

 private:
  const kernels::RowsF32Functions* functions_;
  bool logarithm_;
  std::int64_t rows_, width_;
};

class NormalizeStep : public Step {
 public:
  NormalizeStep(const kernels::RowsF32Kernels& kernels, const kernels::NormalizeF32& params, std::int64_t rows,
                std::int64_t width)
      : functions_(kernels.functions), params_(params), rows_(rows), width_(width) {
    info.kernel = kernels.name;
  }
  bool overwrites(std::size_t input) const override { return input == 0; }
  void run(const RunContext& context) const override {
    const auto part = partition(rows_, context.worker, context.workers);
    const std::int64_t offset = part.begin * width_;
    const auto row = [&](std::size_t i) {
      return i < inputs.size() && inputs[i] != kNoValue ? floats(context, inputs[i]) : nullptr;
    };
    functions_->normalize(params_, floats(context, inputs[0]) + offset, row(1), row(2),
                          reinterpret_cast<float*>(context.values[outputs[0]]) + offset, part.end - part.begin, width_);
  }

 private:
  const kernels::RowsF32Functions* functions_;
  kernels::NormalizeF32 params_;
  std::int64_t rows_, width_;
};

class ReduceStep : public Step {
 public:
  // [outer, length, inner] -> [outer, inner]
  ReduceStep(const kernels::RowsF32Kernels& kernels, kernels::ReduceF32 op, std::int64_t outer, std::int64_t length,
             std::int64_t inner)
      : functions_(kernels.functions), op_(op), outer_(outer), length_(length), inner_(inner) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    const float* src = floats(context, inputs[0]);
    auto* dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    if (inner_ > 1) {
      const auto part = partition(inner_, context.worker, context.workers, 16);
      functions_->reduce_columns(op_, src, dst, outer_, length_, inner_, part.begin, part.end);
    } else {
      const auto part = partition(outer_, context.worker, context.workers, 16);
      functions_->reduce(op_, src + part.begin * length_, dst + part.begin, part.end - part.begin, length_);
    }
  }

 private:
  const kernels::RowsF32Functions* functions_;
  kernels::ReduceF32 op_;
  std::int64_t outer_, length_, inner_;
};

}  // namespace

std::string Lowering::moved_last(const std::string& value_name, const std::vector<std::int64_t>& axes) {
  const View from = view_of(value_name);
  View view{.base = from.base, .offset = from.offset, .dims = {}, .strides = {}};
  for (const bool at_end : {false, true})
    for (std::size_t axis = 0; axis < from.dims.size(); ++axis)
      if ((std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(axis)) != axes.end()) == at_end) {
        view.dims.push_back(from.dims[axis]);
        view.strides.push_back(from.strides[axis]);
      }
  const std::string moved = fresh(value_name);
  dense_copy(moved, view);
  return moved;
}

bool Lowering::softmax(const Node& node) {
  const std::string& x = node.input(0);
  if (dtype_of_value(x) != DType::f32 || !(lazy_.contains(x) || viewable(x))) return false;
  const Dims dims = dims_of(x);
  const auto rank = static_cast<std::int64_t>(dims.size());
  const std::int64_t opset = graph_.opset();
  std::int64_t axis = node.get_int("axis", opset < 13 ? 1 : -1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || element_count(dims) == 0) return false;
  std::int64_t width = 1;
  for (std::int64_t i = axis; i < (opset < 13 ? rank : axis + 1); ++i) width *= dims[static_cast<std::size_t>(i)];
  const auto& kernels = kernels::select_rows_f32(options_.isas);
  const bool logarithm = node.op_type == "LogSoftmax";
  auto step = std::make_unique<SoftmaxStep>(kernels, logarithm, element_count(dims) / width, width);
  std::int64_t inner = 1;
  for (std::int64_t i = axis + 1; i < rank; ++i) inner *= dims[static_cast<std::size_t>(i)];
  if (opset < 13 || inner == 1) {
    const ValueId from = fetch_float(x, Layout::row_major);
    const ValueId to = define(node.outputs[0], DType::f32, dims, Layout::row_major);
    emit(std::move(step), node.op_type, {from}, {to});
    return true;
  }
  if (lazy_.contains(x)) return false;
  const ValueId from = fetch(moved_last(x, {axis}), Layout::row_major);
  const ValueId to = define(fresh(node.outputs[0]), DType::f32, value(from).dims, Layout::row_major);
  emit(std::move(step), node.op_type, {from}, {to});
  View view{.base = to, .offset = 0, .dims = dims, .strides = {}};  // the axis back where it was
  const Dims strides = dense_strides(value(to).dims);
  for (std::int64_t i = 0, next = 0; i < rank; ++i)
    view.strides.push_back(i == axis ? strides.back() : strides[static_cast<std::size_t>(next++)]);
  set_view(node.outputs[0], std::move(view));
  return true;
}

bool Lowering::normalization(const Node& node) {
  const std::string& x = node.input(0);
  if (const std::int64_t type = node.get_int("stash_type", 1); type != 1)
    throw Error(ErrorCode::kUnsupported, describe(node),
                fmt::format("stash_type {}: statistics are computed in float32 (1) only", type));
  for (std::size_t i = 1; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty() && (uses_.consumers.contains(node.outputs[i]) || values_.is_output(node.outputs[i]))) {
      reason_ = "the statistics are asked for";
      return false;
    }
  if (dtype_of_value(x) != DType::f32 || !(lazy_.contains(x) || viewable(x))) return false;
  const Dims dims = dims_of(x);
  std::int64_t axis = node.get_int("axis", -1);
  if (axis < 0) axis += static_cast<std::int64_t>(dims.size());
  if (axis < 0 || axis >= static_cast<std::int64_t>(dims.size()) || element_count(dims) == 0) return false;
  const Dims row(dims.begin() + axis, dims.end());
  const std::int64_t width = element_count(row);
  std::vector<ValueId> in = {fetch_float(x, Layout::row_major)};
  for (std::size_t i = 1; i < std::min<std::size_t>(3, node.inputs.size()); ++i) {
    const std::string& name = node.input(i);
    if (name.empty()) {
      in.push_back(kNoValue);
      continue;
    }
    Dims given = dims_of(name);
    while (given.size() > row.size() && given.front() == 1) given.erase(given.begin());
    if (given != row || dtype_of_value(name) != DType::f32) {
      reason_ = "scale or bias is no row";
      return false;
    }
    in.push_back(fetch_float(name, Layout::row_major));
  }
  const bool center = node.op_type == "LayerNormalization";
  const kernels::NormalizeF32 params{.epsilon = node.get_float("epsilon", 1e-5F), .center = center, .divide = !center};
  const ValueId to = define(node.outputs[0], DType::f32, dims, Layout::row_major);
  emit(std::make_unique<NormalizeStep>(kernels::select_rows_f32(options_.isas), params, element_count(dims) / width, width),
       node.op_type, std::move(in), {to});
  return true;
}

bool Lowering::reduction(const Node& node) {
  const std::string& x = node.input(0);
  if (lazy_.contains(x) && (node.op_type == "ReduceMax" || node.op_type == "ReduceMin")) return move_quantized(node);
  if (dtype_of_value(x) != DType::f32 || lazy_.contains(x) || !viewable(x)) return false;
  const Dims dims = dims_of(x);
  if (element_count(dims) == 0 || dims.empty()) return false;
  std::vector<std::int64_t> axes = node.get_ints("axes");
  if (!node.input(1).empty()) {
    const Tensor* constant = constant_of(node.input(1));
    if (constant == nullptr || constant->dtype() != DType::s64) {
      reason_ = "the axes are not constant";
      return false;
    }
    axes.assign(constant->values<std::int64_t>().begin(), constant->values<std::int64_t>().end());
  }
  for (auto& axis : axes)
    if (axis < 0) axis += static_cast<std::int64_t>(dims.size());
  if (axes.empty()) {
    if (node.get_int("noop_with_empty_axes", 0) != 0) return false;
    for (std::size_t axis = 0; axis < dims.size(); ++axis) axes.push_back(static_cast<std::int64_t>(axis));
  }
  std::sort(axes.begin(), axes.end());
  const bool together = axes.back() - axes.front() + 1 == static_cast<std::int64_t>(axes.size());
  const ValueId from = fetch(together ? x : moved_last(x, axes), Layout::row_major);
  std::int64_t length = 1, inner = 1;
  for (const std::int64_t axis : axes) length *= dims[static_cast<std::size_t>(axis)];
  if (together)
    for (std::size_t axis = static_cast<std::size_t>(axes.back()) + 1; axis < dims.size(); ++axis) inner *= dims[axis];
  using kernels::ReduceF32;
  const std::string& type = node.op_type;
  const ReduceF32 op = type == "ReduceMean"  ? ReduceF32::mean
                       : type == "ReduceMax" ? ReduceF32::max
                       : type == "ReduceMin" ? ReduceF32::min
                       : type == "ReduceSum" ? ReduceF32::sum
                       : type == "ReduceL2"  ? ReduceF32::l2
                                             : ReduceF32::sum_square;
  const ValueId to = define(node.outputs[0], DType::f32, dims_of(node.outputs[0]), Layout::row_major);
  emit(std::make_unique<ReduceStep>(kernels::select_rows_f32(options_.isas), op, element_count(dims) / length / inner, length,
                                    inner),
       node.op_type, {from}, {to});
  return true;
}

}  // namespace zeropoint::engine
