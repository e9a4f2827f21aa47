// Operators that move elements without computing: they move quantized values as integers, and others as views where they can.
#include <algorithm>

#include "engine/lowering.h"
#include "engine/strided_copy_step.h"
#include "kernels/layout/layout.h"

namespace zeropoint::engine {
namespace {

// Dense `src` into a wider tensor along `axis`.
kernels::StridedCopy concat_copy(const Dims& src, std::size_t axis, std::int64_t dst_axis, int bytes) {
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= src[i];
  for (std::size_t i = axis + 1; i < src.size(); ++i) inner *= src[i];
  kernels::StridedCopy copy;
  copy.rank = 2;
  copy.element_bytes = bytes;
  copy.dims[0] = outer;
  copy.dims[1] = src[axis] * inner;
  copy.src_strides[0] = src[axis] * inner;
  copy.src_strides[1] = 1;
  copy.dst_strides[0] = dst_axis * inner;
  copy.dst_strides[1] = 1;
  return copy;
}

}  // namespace

void Lowering::set_lazy_moved(const std::string& value_name, Lazy source, const std::string& quantized) {
  source.quantized = quantized;
  lazy_[value_name] = std::move(source);
}

bool Lowering::reshape(const Node& node) {
  if (node.op_type == "Dropout" && !node.input(2).empty()) {  // training_mode
    const Tensor* training = constant_of(node.input(2));
    if (training == nullptr || training->dtype() != DType::b8 || training->size() != 1 || training->values<bool>()[0])
      return false;
  }
  for (std::size_t i = 1; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty() && (uses_.consumers.contains(node.outputs[i]) || values_.is_output(node.outputs[i])))
      return false;
  const std::string& x = node.input(0);
  const std::string& y = node.outputs[0];
  const auto lazy = lazy_.find(x);
  const std::string source = lazy != lazy_.end() ? lazy->second.quantized : x;
  if (!exists(source)) return false;
  const Dims dims = dims_of(y);
  if (element_count(dims) != element_count(dims_of(source))) return false;  // the reference tells
  const std::string result = lazy != lazy_.end() ? fresh(y) : y;
  if (!held_.contains(source) || layout_held(source) == Layout::channel_last)
    if (const auto moved = viewable(source) ? restride(view_of(source), dims) : std::nullopt) {
      const bool same = dims == dims_of(source) && held_.contains(source) && dims.size() >= 3;  // stays channel-last
      if (!same) {
        set_view(result, *moved);
        if (lazy != lazy_.end()) set_lazy_moved(y, lazy->second, result);
        return true;
      }
    }
  const bool flipped = dtype_of_value(source) == DType::s8;
  const bool keeps_layout =
      (node.op_type == "Identity" || node.op_type == "Dropout" || dims == dims_of(source)) && dims.size() >= 3;
  const Layout layout = keeps_layout ? layout_held(source) : Layout::row_major;
  const ValueId from = fetch(source, layout, flipped);
  const ValueId to = define(result, value(from).dtype, dims, layout, flipped);
  value(to).place = Place::alias;
  value(to).alias = from;
  if (lazy != lazy_.end()) set_lazy_moved(y, lazy->second, result);
  return true;
}

bool Lowering::transpose(const Node& node) {
  const std::string& x = node.input(0);
  const std::string& y = node.outputs[0];
  const auto lazy = lazy_.find(x);
  const std::string source = lazy != lazy_.end() ? lazy->second.quantized : x;
  if (!exists(source)) return false;
  const Dims src_dims = dims_of(source);
  const std::size_t rank = src_dims.size();
  std::vector<std::int64_t> perm = node.get_ints("perm");
  if (perm.empty())
    for (std::size_t i = rank; i-- > 0;) perm.push_back(static_cast<std::int64_t>(i));
  if (perm.size() != rank || rank > static_cast<std::size_t>(kernels::kMaxRank) || rank < 2) return false;
  const DType dtype = dtype_of_value(source);
  if (bits(dtype) < 8) return false;
  const bool flipped = dtype == DType::s8;
  const std::string result = lazy != lazy_.end() ? fresh(y) : y;
  const Dims dims = dims_of(y);

  std::vector<std::int64_t> to_last = {0}, to_first = {0, static_cast<std::int64_t>(rank) - 1};
  for (std::size_t i = 2; i < rank; ++i) to_last.push_back(static_cast<std::int64_t>(i));
  to_last.push_back(1);
  for (std::size_t i = 1; i + 1 < rank; ++i) to_first.push_back(static_cast<std::int64_t>(i));
  const auto alias = [&](Layout from_layout, Layout to_layout) {
    const ValueId from = fetch(source, from_layout, flipped);
    const ValueId to = define(result, dtype, dims, to_layout, flipped);
    value(to).place = Place::alias;
    value(to).alias = from;
  };
  if (rank >= 3 && perm == to_last && held_.contains(source) && layout_held(source) == Layout::channel_last) {
    alias(Layout::channel_last, Layout::row_major);  // NCHW -> NHWC of what lies as NHWC already
  } else if (rank >= 3 && perm == to_first && layout_held(source) == Layout::row_major && prefers_channel_last(y)) {
    alias(Layout::row_major, Layout::channel_last);
  } else {
    View view = view_of(source);
    const View from = view;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      view.dims[axis] = from.dims[static_cast<std::size_t>(perm[axis])];
      view.strides[axis] = from.strides[static_cast<std::size_t>(perm[axis])];
    }
    set_view(result, std::move(view));
  }
  if (lazy != lazy_.end()) set_lazy_moved(y, lazy->second, result);
  return true;
}

bool Lowering::concat(const Node& node) {
  const std::string& y = node.outputs[0];
  const Dims dims = dims_of(y);
  const std::size_t rank = dims.size();
  std::int64_t axis = node.get_int("axis", 1);
  if (axis < 0) axis += static_cast<std::int64_t>(rank);
  if (rank == 0 || axis < 0 || axis >= static_cast<std::int64_t>(rank) || element_count(dims) == 0) return false;

  std::vector<std::string> sources = node.inputs;
  std::string result = y;
  std::optional<Lazy> lazy_result;
  std::optional<Tail> tail;
  const bool all_lazy = std::all_of(sources.begin(), sources.end(), [&](const auto& input) { return lazy_.contains(input); });
  if (all_lazy) {
    const Lazy first = lazy_.find(sources[0])->second;
    const bool same = std::all_of(sources.begin(), sources.end(), [&](const auto& input) {
      const Lazy& lazy = lazy_.find(input)->second;
      return lazy.table == first.table && lazy.dtype == first.dtype;
    });
    if (same) {
      for (auto& source : sources) source = lazy_.find(source)->second.quantized;
      result = fresh(y);
      lazy_result = first;
      lazy_result->quantized = result;
    } else if (const Tail found = absorb_tail(y); found.quantizer && found.value == y) {
      // Different parameters, one quantizer behind: requantize each part, then join.
      for (auto& source : sources) {
        const std::string part = fresh(source);
        source = quantize_table(Lazy(lazy_.find(source)->second), *found.quantizer, part);
      }
      result = found.same.front();
      tail = found;
    }
  }
  DType dtype = DType::undefined;
  Layout layout = Layout::row_major;
  for (const auto& source : sources) {
    if (!exists(source) && constant_of(source) == nullptr && !lazy_.contains(source)) return false;
    dtype = dtype_of_value(source);
    if (rank >= 3 && layout_held(source) == Layout::channel_last) layout = Layout::channel_last;
  }
  if (bits(dtype) < 8) return false;
  const bool flipped = dtype == DType::s8;
  const std::size_t memory_axis = layout == Layout::row_major || axis == 0
                                      ? static_cast<std::size_t>(axis)
                                      : (axis == 1 ? rank - 1 : static_cast<std::size_t>(axis) - 1);
  const Dims out_memory = memory_dims(dims, layout);
  std::size_t inner_bytes = static_cast<std::size_t>(element_bytes(dtype));
  for (std::size_t i = memory_axis + 1; i < rank; ++i) inner_bytes *= static_cast<std::size_t>(out_memory[i]);
  std::vector<kernels::StridedCopy> copies;
  std::vector<std::size_t> offsets;
  std::vector<ValueId> in;
  std::size_t offset = 0;
  const Dims out_strides = dense_strides(dims);
  std::vector<std::size_t> src_offsets;
  for (const auto& source : sources) {
    const Dims memory = memory_dims(dims_of(source), layout);
    if (memory[memory_axis] == 0) continue;
    if (layout == Layout::row_major && !held_.contains(source) && views_.contains(source) &&
        value(views_.at(source).base).flipped == flipped) {
      const View view = view_of(source);
      copies.push_back(strided_copy(view.dims, view.strides, out_strides, element_bytes(dtype)));
      src_offsets.push_back(static_cast<std::size_t>(view.offset) * static_cast<std::size_t>(element_bytes(dtype)));
      in.push_back(view.base);
    } else {
      copies.push_back(concat_copy(memory, memory_axis, out_memory[memory_axis], element_bytes(dtype)));
      src_offsets.push_back(0);
      in.push_back(fetch(source, layout, flipped));
    }
    offsets.push_back(offset);
    offset += static_cast<std::size_t>(memory[memory_axis]) * inner_bytes;
  }
  const ValueId out = define(result, dtype, dims, layout, flipped);
  auto step = std::make_unique<StridedCopyStep>(kernels::select_layout(options_.isas), std::move(copies), std::move(offsets),
                                                std::move(src_offsets));
  step->info.integer = is_integer(dtype);
  emit(std::move(step), node.op_type, std::move(in), {out});
  if (lazy_result) lazy_[y] = std::move(*lazy_result);
  if (tail) finish_tail(*tail);
  return true;
}

bool Lowering::movement(const Node& node) { return lazy_.contains(node.input(0)) ? move_quantized(node) : as_view(node); }

bool Lowering::as_view(const Node& node) {
  if (!viewable(node.input(0))) return false;
  const std::string& type = node.op_type;
  return type == "Slice"    ? slice(node)
         : type == "Split"  ? split(node)
         : type == "Gather" ? gather(node)
         : type == "Expand" ? expand(node)
         : type == "Tile"   ? tile(node)
         : type == "Pad"    ? pad(node)
                            : false;
}

bool Lowering::move_quantized(const Node& node) {
  const auto lazy = lazy_.find(node.input(0));
  if (lazy == lazy_.end()) return false;
  const Lazy source = lazy->second;
  Node moved = node;
  moved.inputs[0] = source.quantized;
  if (node.op_type == "Resize" && node.get_string("mode", "nearest") != "nearest") return false;
  // The order of the numbers must be that of the integers, and zero must be one of them.
  const bool needs_affine = node.op_type == "Pad" || node.op_type == "ReduceMax" || node.op_type == "ReduceMin";
  if (needs_affine && !source.affine) return false;
  if (node.op_type == "Pad" && node.get_string("mode", "constant") == "constant") {
    if (node.find("pads") != nullptr) return false;  // before opset 11
    if (!node.input(2).empty() && scalar_of(node.input(2)) != 0.0F) return false;
    const std::string zero = fresh(node.outputs[0] + "_zero");
    const std::int32_t zero_point = source.affine->zero_point - (source.dtype == DType::s8 ? 128 : 0);
    const ValueId id = define(zero, source.dtype, {}, Layout::row_major);
    value(id).place = Place::constant;
    value(id).constant = source.dtype == DType::s8 ? Tensor::scalar(static_cast<std::int8_t>(zero_point))
                                                   : Tensor::scalar(static_cast<std::uint8_t>(zero_point));
    moved.inputs.resize(std::max<std::size_t>(moved.inputs.size(), 3));
    moved.inputs[2] = zero;
  }
  for (auto& output : moved.outputs) {
    if (output.empty()) continue;
    const std::string quantized = fresh(output);
    dims_[quantized] = dims_of(output);
    set_lazy_moved(output, source, quantized);
    output = quantized;
  }
  if (as_view(moved)) return true;
  reference(moved, source.dtype);
  plan_.steps.back()->info.integer = true;
  return true;
}

}  // namespace zeropoint::engine
