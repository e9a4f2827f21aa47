// Values that are ways to walk another's memory, and the operators that make them.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "engine/strided_copy_step.h"
#include "ops/slice.h"

namespace zeropoint::engine {
namespace {

// Rows of a table by index; one thread, since it may fail.
class GatherStep : public Step {
 public:
  // [outer, size, part bytes] and `count` indices of `index_bytes` -> [outer, count, part bytes]
  GatherStep(std::string where, std::int64_t outer, std::int64_t size, std::int64_t count, std::size_t part, int index_bytes)
      : where_(std::move(where)), outer_(outer), size_(size), count_(count), part_(part), index_bytes_(index_bytes) {
    info.kernel = "gather";
  }
  bool single_threaded() const override { return true; }
  void run(const RunContext& context) const override {
    const std::byte *table = context.values[inputs[0]], *indices = context.values[inputs[1]];
    std::byte* dst = context.values[outputs[0]];
    for (std::int64_t outer = 0; outer < outer_; ++outer, table += static_cast<std::size_t>(size_) * part_)
      for (std::int64_t i = 0; i < count_; ++i, dst += part_) {
        std::int64_t index = 0;
        if (index_bytes_ == 8) {
          std::memcpy(&index, indices + i * 8, 8);
        } else {
          std::int32_t narrow = 0;
          std::memcpy(&narrow, indices + i * 4, 4);
          index = narrow;
        }
        if (index < -size_ || index >= size_)
          throw Error(ErrorCode::kBadShape, where_, fmt::format("index {} is outside a dimension of {}", index, size_));
        std::memcpy(dst, table + static_cast<std::size_t>(index < 0 ? index + size_ : index) * part_, part_);
      }
  }

 private:
  std::string where_;
  std::int64_t outer_, size_, count_;
  std::size_t part_;
  int index_bytes_;
};

// Along each axis a table of source positions, -1 where the filler stands.
class PadStep : public Step {
 public:
  PadStep(Dims src_dims, std::vector<Dims> positions, std::vector<std::byte> filler)
      : strides_(dense_strides(src_dims)), positions_(std::move(positions)), filler_(std::move(filler)) {
    info.kernel = "pad";
    for (std::size_t axis = 0; axis + 1 < positions_.size(); ++axis)
      rows_ *= static_cast<std::int64_t>(positions_[axis].size());
    // The longest stretch of the last axis that is one copy.
    const Dims& last = positions_.back();
    for (std::size_t i = 0; i < last.size();) {
      std::size_t end = i + 1;
      while (end < last.size() && last[i] >= 0 && last[end] == last[end - 1] + 1) ++end;
      if (end - i > run_end_ - run_begin_ && last[i] >= 0) {
        run_begin_ = i;
        run_end_ = end;
      }
      i = end;
    }
  }
  void run(const RunContext& context) const override {
    const std::byte* src = context.values[inputs[0]];
    const std::size_t bytes = filler_.size();
    const Dims& last = positions_.back();
    const auto part = partition(rows_, context.worker, context.workers);
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      std::int64_t rest = row, from = 0;
      bool outside = false;
      for (std::size_t axis = positions_.size() - 1; axis-- > 0;) {
        const auto size = static_cast<std::int64_t>(positions_[axis].size());
        const std::int64_t position = positions_[axis][static_cast<std::size_t>(rest % size)];
        rest /= size;
        outside = outside || position < 0;
        from += position * strides_[axis];
      }
      std::byte* dst = context.values[outputs[0]] + static_cast<std::size_t>(row) * last.size() * bytes;
      const auto element = [&](std::size_t i) {
        const bool fill = outside || last[i] < 0;
        std::memcpy(dst + i * bytes, fill ? filler_.data() : src + static_cast<std::size_t>(from + last[i]) * bytes, bytes);
      };
      const bool has_run = !outside && run_end_ > run_begin_;
      for (std::size_t i = 0; i < (has_run ? run_begin_ : last.size()); ++i) element(i);
      if (!has_run) continue;
      std::memcpy(dst + run_begin_ * bytes, src + static_cast<std::size_t>(from + last[run_begin_]) * bytes,
                  (run_end_ - run_begin_) * bytes);
      for (std::size_t i = run_end_; i < last.size(); ++i) element(i);
    }
  }

 private:
  Dims strides_;
  std::vector<Dims> positions_;
  std::vector<std::byte> filler_;
  std::int64_t rows_ = 1;
  std::size_t run_begin_ = 0, run_end_ = 0;
};

std::optional<std::vector<std::int64_t>> integers(const Tensor* tensor) {
  if (tensor == nullptr) return std::nullopt;
  if (tensor->dtype() == DType::s64)
    return std::vector<std::int64_t>(tensor->values<std::int64_t>().begin(), tensor->values<std::int64_t>().end());
  if (tensor->dtype() == DType::s32)
    return std::vector<std::int64_t>(tensor->values<std::int32_t>().begin(), tensor->values<std::int32_t>().end());
  return std::nullopt;
}

}  // namespace

kernels::StridedCopy strided_copy(const Dims& dims, const Dims& src_strides, const Dims& dst_strides, int element_bytes) {
  kernels::StridedCopy copy;
  copy.element_bytes = element_bytes;
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 1) continue;
    const int last = copy.rank - 1;
    if (copy.rank > 0 && copy.src_strides[last] == dims[axis] * src_strides[axis] &&
        copy.dst_strides[last] == dims[axis] * dst_strides[axis]) {
      copy.dims[last] *= dims[axis];
      copy.src_strides[last] = src_strides[axis];
      copy.dst_strides[last] = dst_strides[axis];
      continue;
    }
    if (copy.rank == kernels::kMaxRank)
      throw Error(ErrorCode::kInternal, "strided copy", fmt::format("more than {} axes", kernels::kMaxRank));
    copy.dims[copy.rank] = dims[axis];
    copy.src_strides[copy.rank] = src_strides[axis];
    copy.dst_strides[copy.rank++] = dst_strides[axis];
  }
  return copy;
}

std::optional<View> restride(const View& view, const Dims& dims) {
  View result{.base = view.base, .offset = view.offset, .dims = dims, .strides = Dims(dims.size(), 0)};
  if (element_count(dims) == 0 || element_count(view.dims) != element_count(dims)) return std::nullopt;
  Dims old_dims, old_strides;
  for (std::size_t axis = 0; axis < view.dims.size(); ++axis)
    if (view.dims[axis] != 1) {
      old_dims.push_back(view.dims[axis]);
      old_strides.push_back(view.strides[axis]);
    }
  // Groups of old and new axes with the same number of elements; an old group must walk without gaps.
  std::size_t old_axis = 0, new_axis = 0;
  while (old_axis < old_dims.size()) {
    std::size_t old_end = old_axis + 1, new_end = new_axis + 1;
    std::int64_t old_count = old_dims[old_axis], new_count = dims[new_axis];
    while (old_count != new_count) {
      if (new_count < old_count)
        new_count *= dims[new_end++];
      else
        old_count *= old_dims[old_end++];
    }
    for (std::size_t axis = old_axis; axis + 1 < old_end; ++axis)
      if (old_strides[axis] != old_dims[axis + 1] * old_strides[axis + 1]) return std::nullopt;
    std::int64_t stride = old_strides[old_end - 1];
    for (std::size_t axis = new_end; axis-- > new_axis;) {
      result.strides[axis] = stride;
      stride *= dims[axis];
    }
    old_axis = old_end;
    new_axis = new_end;
  }
  return result;
}

bool Lowering::viewable(const std::string& value_name) const {
  if (lazy_.contains(value_name)) return false;
  if (!exists(value_name) && constant_of(value_name) == nullptr) return false;
  return bits(dtype_of_value(value_name)) >= 8;
}

View Lowering::view_of(const std::string& value_name) {
  if (const auto view = views_.find(value_name); view != views_.end()) return view->second;
  View view;
  view.dims = dims_of(value_name);
  view.strides = dense_strides(view.dims);
  const auto held = held_.find(value_name);
  const auto id_in = [&](Layout layout) {
    if (held == held_.end()) return kNoValue;
    const auto& [plain, flipped] = held->second.ids[static_cast<std::size_t>(layout)];
    return flipped != kNoValue ? flipped : plain;
  };
  view.base = id_in(Layout::row_major);
  if (view.base == kNoValue && id_in(Layout::channel_last) != kNoValue) {
    view.base = id_in(Layout::channel_last);
    const Dims strides = dense_strides(memory_dims(view.dims, Layout::channel_last));
    for (std::size_t axis = 0; axis < view.dims.size(); ++axis)
      view.strides[axis] = axis == 0 ? strides[0] : axis == 1 ? strides.back() : strides[axis - 1];
  }
  if (view.base == kNoValue) view.base = fetch(value_name, Layout::row_major);
  for (; value(view.base).place == Place::alias; view.base = value(view.base).alias)
    view.offset += static_cast<std::int64_t>(value(view.base).alias_offset) / element_bytes(value(view.base).dtype);
  return view;
}

void Lowering::set_view(const std::string& value_name, View view) {
  dims_[value_name] = view.dims;
  views_[value_name] = std::move(view);
}

ValueId Lowering::dense_copy(const std::string& name, const View& given, Layout layout) {
  const DType dtype = value(given.base).dtype;
  const int bytes = element_bytes(dtype);
  const ValueId to = define(name, dtype, given.dims, layout, value(given.base).flipped);
  View view = given;  // its axes as they lie in memory
  view.dims = memory_dims(given.dims, layout);
  view.strides = memory_dims(given.strides, layout);
  if (element_count(view.dims) == 0) {
    value(to).place = Place::constant;
    value(to).constant = Tensor(dtype, view.dims);
    return to;
  }
  if (is_dense(view)) {
    value(to).place = Place::alias;
    value(to).alias = view.base;
    value(to).alias_offset = static_cast<std::size_t>(view.offset * bytes);
    return to;
  }
  const auto copy = strided_copy(view.dims, view.strides, dense_strides(view.dims), bytes);
  const kernels::LayoutKernels& kernels = kernels::select_layout(options_.isas);
  if (value(view.base).place == Place::constant) {
    Tensor moved(dtype, view.dims);
    kernels.functions->strided_copy(copy, value(view.base).constant.bytes().data() + view.offset * bytes,
                                    moved.mutable_bytes().data(), 0, 1);
    value(to).place = Place::constant;
    value(to).constant = std::move(moved);
    return to;
  }
  auto step = std::make_unique<StridedCopyStep>(kernels, std::vector{copy}, std::vector<std::size_t>{0},
                                                std::vector{static_cast<std::size_t>(view.offset * bytes)});
  step->info.integer = is_integer(dtype);
  step->info.name = name;
  const auto producer = uses_.producer.find(name);
  emit(std::move(step), producer == uses_.producer.end() ? "copy" : graph_.nodes[producer->second].op_type, {view.base}, {to});
  return to;
}

void Lowering::materialize(const std::string& value_name, Layout layout) {
  dense_copy(value_name, View(views_.at(value_name)), layout);
}

bool Lowering::slice(const Node& node) {
  View view = view_of(node.input(0));
  std::vector<TensorType> types(5);
  types[0] = {dtype_of_value(node.input(0)), to_shape(view.dims)};
  std::vector<const Tensor*> constants(5, nullptr);
  for (std::size_t i = 1; i < 5; ++i) {
    if (node.input(i).empty()) continue;
    constants[i] = constant_of(node.input(i));
    if (constants[i] == nullptr) return false;
    types[i] = {constants[i]->dtype(), to_shape(constants[i]->dims())};
  }
  const auto slices = ops::slice_axes({node, graph_.opset(), types, constants}, *types[0].shape);
  if (!slices) return false;
  for (const ops::SliceAxis& axis : *slices) {
    if (axis.count > 0) view.offset += axis.start * view.strides[axis.axis];
    view.strides[axis.axis] = axis.count > 1 ? view.strides[axis.axis] * axis.step : 0;
    view.dims[axis.axis] = axis.count;
  }
  if (view.dims != dims_of(node.outputs[0])) return false;
  set_view(node.outputs[0], std::move(view));
  return true;
}

bool Lowering::split(const Node& node) {
  View view = view_of(node.input(0));
  std::int64_t axis = node.get_int("axis", 0);
  if (axis < 0) axis += static_cast<std::int64_t>(view.dims.size());
  const auto at = static_cast<std::size_t>(axis);
  std::int64_t total = 0;
  for (const auto& output : node.outputs) {
    if (output.empty()) return false;
    total += dims_of(output)[at];
  }
  if (total != view.dims[at]) return false;
  for (const auto& output : node.outputs) {
    view.dims = dims_of(output);
    set_view(output, view);
    view.offset += view.dims[at] * view.strides[at];
  }
  return true;
}

bool Lowering::expand(const Node& node) {
  if (constant_of(node.input(1)) == nullptr) return false;  // the reference checks it against the data
  View view = view_of(node.input(0));
  const Dims dims = dims_of(node.outputs[0]);
  if (dims.size() < view.dims.size() || dims.size() > static_cast<std::size_t>(kernels::kMaxRank)) return false;
  Dims strides(dims.size(), 0);
  const std::size_t added = dims.size() - view.dims.size();
  for (std::size_t axis = 0; axis < view.dims.size(); ++axis) {
    if (view.dims[axis] == 1) continue;
    if (view.dims[axis] != dims[axis + added]) return false;  // the reference tells
    strides[axis + added] = view.strides[axis];
  }
  view.dims = dims;
  view.strides = strides;
  set_view(node.outputs[0], std::move(view));
  return true;
}

bool Lowering::tile(const Node& node) {
  if (constant_of(node.input(1)) == nullptr) return false;
  const View view = view_of(node.input(0));
  const Dims dims = dims_of(node.outputs[0]);
  const std::size_t rank = view.dims.size();
  if (dims.size() != rank || 2 * rank > static_cast<std::size_t>(kernels::kMaxRank) || element_count(dims) == 0) return false;
  View repeated{.base = view.base, .offset = view.offset, .dims = {}, .strides = {}};
  for (std::size_t axis = 0; axis < rank; ++axis) {
    repeated.dims.insert(repeated.dims.end(), {dims[axis] / view.dims[axis], view.dims[axis]});
    repeated.strides.insert(repeated.strides.end(), {0, view.strides[axis]});
  }
  if (const auto whole = restride(repeated, dims)) {
    set_view(node.outputs[0], *whole);
    return true;
  }
  const ValueId copy = dense_copy(fresh(node.outputs[0]), repeated);
  const ValueId to = define(node.outputs[0], value(copy).dtype, dims, Layout::row_major);
  value(to).place = Place::alias;
  value(to).alias = copy;
  return true;
}

bool Lowering::gather(const Node& node) {
  const Dims x_dims = dims_of(node.input(0));
  const DType index_dtype = dtype_of_value(node.input(1));
  if (x_dims.empty() || (index_dtype != DType::s64 && index_dtype != DType::s32)) return false;
  std::int64_t axis = node.get_int("axis", 0);
  if (axis < 0) axis += static_cast<std::int64_t>(x_dims.size());
  const auto at = static_cast<std::size_t>(axis);
  const Dims dims = dims_of(node.outputs[0]);
  if (element_count(dims) == 0) return false;
  if (const auto index = integers(constant_of(node.input(1))); index && index->size() == 1) {  // one: a slice
    const std::int64_t position = index->front() < 0 ? index->front() + x_dims[at] : index->front();
    if (position < 0 || position >= x_dims[at]) return false;  // the reference tells
    View view = view_of(node.input(0));
    view.offset += position * view.strides[at];
    view.dims[at] = 1;
    if (const auto moved = restride(view, dims)) {
      set_view(node.outputs[0], *moved);
      return true;
    }
    return false;
  }
  const DType dtype = dtype_of_value(node.input(0));
  std::int64_t outer = 1, part = element_bytes(dtype);
  for (std::size_t i = 0; i < at; ++i) outer *= x_dims[i];
  for (std::size_t i = at + 1; i < x_dims.size(); ++i) part *= x_dims[i];
  // Whole rows of bytes move: a constant stays as the file has it.
  const bool flipped = dtype == DType::s8 && constant_of(node.input(0)) == nullptr;
  const ValueId table = fetch(node.input(0), Layout::row_major, flipped), indices = fetch(node.input(1), Layout::row_major);
  const ValueId to = define(node.outputs[0], dtype, dims, Layout::row_major, flipped);
  auto step = std::make_unique<GatherStep>(describe(node), outer, x_dims[at], element_count(dims_of(node.input(1))),
                                           static_cast<std::size_t>(part), element_bytes(index_dtype));
  step->info.integer = is_integer(dtype);
  emit(std::move(step), node.op_type, {table, indices}, {to});
  return true;
}

bool Lowering::pad(const Node& node) {
  const Dims src = dims_of(node.input(0)), dst = dims_of(node.outputs[0]);
  const DType dtype = dtype_of_value(node.input(0));
  const std::string mode = node.get_string("mode", "constant");
  const std::size_t rank = src.size();
  if (rank == 0 || element_count(src) == 0 || element_count(dst) == 0) return false;
  std::vector<std::int64_t> amounts = node.get_ints("pads");
  if (amounts.empty()) amounts = node.get_ints("paddings");
  if (!node.input(1).empty()) {
    const auto given = integers(constant_of(node.input(1)));
    if (!given) return false;
    amounts = *given;
  }
  Dims begin(rank, 0);
  if (!node.input(3).empty()) {
    const auto axes = integers(constant_of(node.input(3)));
    if (!axes || amounts.size() != 2 * axes->size()) return false;
    for (std::size_t i = 0; i < axes->size(); ++i) {
      const std::int64_t axis = (*axes)[i] < 0 ? (*axes)[i] + static_cast<std::int64_t>(rank) : (*axes)[i];
      begin[static_cast<std::size_t>(axis)] = amounts[i];
    }
  } else {
    if (amounts.size() != 2 * rank) return false;
    std::copy_n(amounts.begin(), rank, begin.begin());
  }
  std::vector<std::byte> filler(static_cast<std::size_t>(element_bytes(dtype)), std::byte{0});
  if (!node.input(2).empty()) {
    const Tensor* constant = constant_of(node.input(2));
    if (constant == nullptr || constant->size() != 1 || constant->dtype() != dtype) return false;
    std::memcpy(filler.data(), constant->bytes().data(), filler.size());
  } else if (const float number = node.get_float("value", 0); number != 0) {
    if (dtype != DType::f32) return false;
    std::memcpy(filler.data(), &number, sizeof number);
  }
  std::vector<Dims> positions(rank);
  for (std::size_t axis = 0; axis < rank; ++axis)
    for (std::int64_t p = -begin[axis]; p < dst[axis] - begin[axis]; ++p) {
      const std::int64_t size = src[axis];
      std::int64_t from = p;
      if (p < 0 || p >= size) {
        if (mode == "constant")
          from = -1;
        else if (mode == "edge")
          from = p < 0 ? 0 : size - 1;
        else if (mode == "wrap")
          from = ((p % size) + size) % size;
        else
          from = p < 0 ? -p : 2 * (size - 1) - p;
        if (mode != "constant" && (from < 0 || from >= size)) return false;
      }
      positions[axis].push_back(from);
    }
  const bool flipped = dtype == DType::s8;
  if (flipped) filler[0] ^= std::byte{0x80};
  const ValueId x = fetch(node.input(0), Layout::row_major, flipped);
  const ValueId y = define(node.outputs[0], dtype, dst, Layout::row_major, flipped);
  auto step = std::make_unique<PadStep>(src, std::move(positions), std::move(filler));
  step->info.integer = is_integer(dtype);
  emit(std::move(step), node.op_type, {x}, {y});
  return true;
}

}  // namespace zeropoint::engine
