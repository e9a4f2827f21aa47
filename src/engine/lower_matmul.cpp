// Products of two operands that are both made at run time. Operands are taken as views, so that transposes, splits and
// repetitions before them cost nothing; a scale and a transpose behind them ride along.
#include <algorithm>

#include "engine/lowering.h"
#include "kernels/matmul_f32/matmul_f32.h"

namespace zeropoint::engine {
namespace {

class MatmulStep : public Step {
 public:
  MatmulStep(const kernels::MatmulF32Kernels& kernels, const kernels::MatmulF32Shape& shape, std::int64_t a_offset,
             std::int64_t b_offset)
      : functions_(kernels.functions), shape_(shape), a_offset_(a_offset), b_offset_(b_offset) {
    info.kernel = kernels.name;
  }
  std::size_t scratch_bytes(int workers) const override { return kernels::matmul_f32_scratch_bytes(shape_, workers); }
  void run(const RunContext& context) const override {
    functions_->run(shape_, reinterpret_cast<const float*>(context.values[inputs[0]]) + a_offset_,
                    reinterpret_cast<const float*>(context.values[inputs[1]]) + b_offset_,
                    reinterpret_cast<float*>(context.values[outputs[0]]), reinterpret_cast<float*>(context.scratch),
                    context.worker, context.workers);
  }

 private:
  const kernels::MatmulF32Functions* functions_;
  kernels::MatmulF32Shape shape_;
  std::int64_t a_offset_, b_offset_;
};

void swap_last(View& view) {
  const std::size_t rank = view.dims.size();
  std::swap(view.dims[rank - 1], view.dims[rank - 2]);
  std::swap(view.strides[rank - 1], view.strides[rank - 2]);
}

}  // namespace

bool Lowering::matmul_activations(const Node& node) {
  const bool is_gemm = node.op_type == "Gemm";
  const auto usable = [&](const std::string& name) {
    return dtype_of_value(name) == DType::f32 && (lazy_.contains(name) || constants_.contains(name) || viewable(name));
  };
  if (!usable(node.input(0)) || !usable(node.input(1))) return false;
  const float alpha = is_gemm ? node.get_float("alpha", 1) : 1;
  const std::string& summand = is_gemm ? node.input(2) : std::string();
  if (!summand.empty() && (node.get_float("beta", 1) != 1 || !usable(summand))) {
    reason_ = "beta is not 1";
    return false;
  }
  const auto operand = [&](const std::string& name) {
    if (!lazy_.contains(name) && !constants_.contains(name)) return view_of(name);
    const ValueId id = fetch_float(name, Layout::row_major);
    return View{.base = id, .offset = 0, .dims = value(id).dims, .strides = dense_strides(value(id).dims)};
  };
  View a = operand(node.input(0)), b = operand(node.input(1));
  Dims out_dims = dims_of(node.outputs[0]);
  if (a.dims.size() == 1) {
    a.dims.insert(a.dims.begin(), 1);
    a.strides.insert(a.strides.begin(), 0);
  }
  if (b.dims.size() == 1) {
    b.dims.push_back(1);
    b.strides.push_back(0);
  }
  if (is_gemm && node.get_int("transA", 0) != 0) swap_last(a);
  if (is_gemm && node.get_int("transB", 0) != 0) swap_last(b);

  kernels::MatmulF32Shape shape;
  const std::size_t a_rank = a.dims.size(), b_rank = b.dims.size(), rank = std::max(a_rank, b_rank);
  shape.m = a.dims[a_rank - 2];
  shape.k = a.dims[a_rank - 1];
  shape.n = b.dims[b_rank - 1];
  shape.a_row = a.strides[a_rank - 2];
  shape.a_k = a.strides[a_rank - 1];
  shape.b_k = b.strides[b_rank - 2];
  shape.b_column = b.strides[b_rank - 1];
  if (b.dims[b_rank - 2] != shape.k || element_count(out_dims) == 0) return false;
  const std::int64_t macs = element_count(out_dims) * shape.k;

  // What follows: a scale, then a transpose that leaves the columns together.
  std::string made = node.outputs[0], operators;
  std::vector<std::size_t> absorbed;
  if (alpha != 1) {
    shape.finish = kernels::MatmulFinish::multiply;
    shape.factor = alpha;
  } else if (single_use(made) && summand.empty()) {
    const std::size_t index = uses_.consumers.find(made)->second.front();
    const Node& next = graph_.nodes[index];
    if (!done_[index] && (next.is("Mul") || next.is("Div")) && next.inputs.size() == 2) {
      const bool first = next.input(0) == made;
      const auto factor = scalar_of(next.input(first ? 1 : 0));
      if (factor && constant_of(next.input(first ? 1 : 0))->rank() <= out_dims.size() && (first || next.is("Mul"))) {
        shape.finish = next.is("Mul") ? kernels::MatmulFinish::multiply : kernels::MatmulFinish::divide;
        shape.factor = *factor;
        made = next.outputs[0];
        operators += "+" + next.op_type;
        absorbed.push_back(index);
      }
    }
  }
  const std::size_t out_rank = out_dims.size();
  Dims out_strides = dense_strides(out_dims);
  if (out_rank >= 3 && out_rank == rank && single_use(made)) {
    const std::size_t index = uses_.consumers.find(made)->second.front();
    const Node& next = graph_.nodes[index];
    const auto perm = next.get_ints("perm");
    if (!done_[index] && next.is("Transpose") && perm.size() == out_rank &&
        perm.back() == static_cast<std::int64_t>(out_rank) - 1) {
      Dims moved(out_rank);
      for (std::size_t axis = 0; axis < out_rank; ++axis) moved[axis] = out_dims[static_cast<std::size_t>(perm[axis])];
      const Dims moved_strides = dense_strides(moved);
      for (std::size_t axis = 0; axis < out_rank; ++axis)
        out_strides[static_cast<std::size_t>(perm[axis])] = moved_strides[axis];
      out_dims = moved;
      made = next.outputs[0];
      operators += "+Transpose";
      absorbed.push_back(index);
    }
  }
  // Strides of c: axes of vectors that MatMul drops do not move.
  const bool drops_row = dims_of(node.input(0)).size() == 1, drops_column = dims_of(node.input(1)).size() == 1;
  const std::size_t out_batch = out_rank - (drops_row ? 0 : 1) - (drops_column ? 0 : 1);
  shape.c_row = drops_row ? 0 : out_strides[out_batch];
  if (drops_column && !drops_row) {  // columns of 1: rows lie together
    shape.c_row = out_strides[out_rank - 1];
  }

  // Batch axes from the outermost; neighbours that go on without a gap in all three are one.
  for (std::size_t axis = 0; axis + 2 < rank; ++axis) {
    const auto of = [&](const View& view, std::size_t view_rank) -> std::pair<std::int64_t, std::int64_t> {
      const std::size_t missing = rank - view_rank;
      return axis < missing ? std::pair<std::int64_t, std::int64_t>{1, 0}
                            : std::pair{view.dims[axis - missing], view.strides[axis - missing]};
    };
    const auto [a_dim, a_stride] = of(a, a_rank);
    const auto [b_dim, b_stride] = of(b, b_rank);
    const std::int64_t dim = a_dim == 1 ? b_dim : a_dim;
    if (dim == 1) continue;
    const std::int64_t from_a = a_dim == 1 ? 0 : a_stride, from_b = b_dim == 1 ? 0 : b_stride, to = out_strides[axis];
    const int last = shape.batch_rank - 1;
    if (last >= 0 && shape.a_batch[last] == dim * from_a && shape.b_batch[last] == dim * from_b &&
        shape.c_batch[last] == dim * to) {
      shape.batch[last] *= dim;
      shape.a_batch[last] = from_a;
      shape.b_batch[last] = from_b;
      shape.c_batch[last] = to;
      continue;
    }
    if (shape.batch_rank == kernels::kMaxMatmulBatch) {
      reason_ = "too many batch axes";
      return false;
    }
    const int at = shape.batch_rank++;
    shape.batch[at] = dim;
    shape.a_batch[at] = from_a;
    shape.b_batch[at] = from_b;
    shape.c_batch[at] = to;
  }
  // Many matrices times one matrix are one product of all their rows.
  if (shape.batch_rank == 1 && shape.b_batch[0] == 0 && shape.a_batch[0] == shape.m * shape.a_row &&
      shape.c_batch[0] == shape.m * shape.c_row) {
    shape.m *= shape.batch[0];
    shape.batch_rank = 0;
  }

  for (const std::size_t index : absorbed) done_[index] = true;
  const std::string product = summand.empty() ? made : fresh(made);
  const ValueId out = define(product, DType::f32, out_dims, Layout::row_major);
  auto step = std::make_unique<MatmulStep>(kernels::select_matmul_f32(options_.isas), shape, a.offset, b.offset);
  step->info.macs = macs;
  emit(std::move(step), node.op_type + operators, {a.base, b.base}, {out});
  if (!summand.empty()) {
    Node add;
    add.op_type = "Add";
    add.name = node.name;
    add.inputs = {product, summand};
    add.outputs = {made};
    if (!binary(add)) return false;
  }
  materialize_tap(made);
  return true;
}

}  // namespace zeropoint::engine
