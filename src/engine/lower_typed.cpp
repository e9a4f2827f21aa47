// Elementwise operators on integers, bools and mixed types.
#include <algorithm>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/typed_elementwise/typed_elementwise.h"

namespace zeropoint::engine {
namespace {

using kernels::Element;
using kernels::TypedOp;

class TypedStep : public Step {
 public:
  TypedStep(kernels::TypedFunction function, const kernels::TypedShape& shape, std::array<std::int64_t, 3> offsets_bytes,
            std::int64_t count)
      : function_(function), shape_(shape), offsets_(offsets_bytes), count_(count) {
    info.kernel = "typed_elementwise";
  }
  void run(const RunContext& context) const override {
    const auto part = partition(count_, context.worker, context.workers, 1024);
    const void* operands[3] = {};
    for (std::size_t i = 0; i < inputs.size(); ++i) operands[i] = context.values[inputs[i]] + offsets_[i];
    function_(shape_, operands, context.values[outputs[0]], part.begin, part.end);
  }

 private:
  kernels::TypedFunction function_;
  kernels::TypedShape shape_;
  std::array<std::int64_t, 3> offsets_;
  std::int64_t count_;
};

std::optional<Element> element_of(DType dtype) {
  switch (dtype) {
    case DType::b8:
      return Element::b8;
    case DType::s32:
      return Element::s32;
    case DType::s64:
      return Element::s64;
    case DType::f32:
      return Element::f32;
    default:
      return std::nullopt;
  }
}

std::optional<TypedOp> op_of(const Node& node) {
  static const std::map<std::string, TypedOp, std::less<>> table = {
      {"Add", TypedOp::add},         {"Sub", TypedOp::sub},
      {"Mul", TypedOp::mul},         {"Min", TypedOp::min},
      {"Max", TypedOp::max},         {"Equal", TypedOp::equal},
      {"Less", TypedOp::less},       {"LessOrEqual", TypedOp::less_or_equal},
      {"Greater", TypedOp::greater}, {"GreaterOrEqual", TypedOp::greater_or_equal},
      {"And", TypedOp::logical_and}, {"Or", TypedOp::logical_or},
      {"Xor", TypedOp::logical_xor}, {"Pow", TypedOp::power},
      {"PRelu", TypedOp::prelu}};
  const auto found = table.find(node.op_type);
  return found == table.end() ? std::nullopt : std::optional(found->second);
}

// Operands broadcast to `dims`; axes that go on without a gap in all of them are one. False when too many remain.
bool typed_shape(const Dims& dims, const std::vector<View>& views, kernels::TypedShape& shape) {
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 1) continue;
    std::array<std::int64_t, 3> strides{};
    for (std::size_t k = 0; k < views.size(); ++k) {
      const std::size_t missing = dims.size() - views[k].dims.size();
      if (axis >= missing && views[k].dims[axis - missing] != 1) strides[k] = views[k].strides[axis - missing];
    }
    const int last = shape.rank - 1;
    bool goes_on = last >= 0;
    for (std::size_t k = 0; goes_on && k < views.size(); ++k) goes_on = shape.strides[k][last] == dims[axis] * strides[k];
    if (!goes_on && shape.rank == kernels::kMaxTypedRank) return false;
    const int at = goes_on ? last : shape.rank++;
    shape.dims[at] = goes_on ? shape.dims[at] * dims[axis] : dims[axis];
    for (std::size_t k = 0; k < views.size(); ++k) shape.strides[k][at] = strides[k];
  }
  return true;
}

}  // namespace

bool Lowering::typed_elementwise(const Node& node) {
  const Dims dims = dims_of(node.outputs[0]);
  if (element_count(dims) == 0) return false;
  const DType first = dtype_of_value(node.input(0)), out = values_.type_of(node.outputs[0]).dtype;
  if (node.op_type == "Cast" && out == DType::f32 && (first == DType::u8 || first == DType::s8) && exists(node.input(0))) {
    // Dequantization by 1, made at once: what follows is arithmetic of floats.
    const std::string& y = node.outputs[0];
    set_lazy_affine(y, node.input(0), {.scale = 1, .zero_point = first == DType::s8 ? 128 : 0, .dtype = first});
    dims_[y] = dims;
    fetch_float(y, Layout::row_major);
    lazy_.erase(y);
    return true;
  }
  for (const auto& input : node.inputs)
    if (!viewable(input)) return false;
  kernels::TypedFunction function = nullptr;
  if (node.op_type == "Where" && node.inputs.size() == 3) {
    if (first == DType::b8 && out != DType::s8) function = kernels::typed_where(element_bytes(out));
  } else if (node.op_type == "Not") {
    if (first == DType::b8) function = kernels::typed_not();
  } else if (node.op_type == "Cast") {
    const auto from = element_of(first), to = element_of(out);
    if (from && to) function = kernels::typed_cast(*from, *to);
  } else if (const auto op = op_of(node); op && node.inputs.size() == 2) {
    const auto element = element_of(first);
    if (element && dtype_of_value(node.input(1)) == first) function = kernels::typed_binary(*op, *element);
  }
  if (function == nullptr) return false;
  std::vector<View> views;
  std::vector<ValueId> in;
  std::array<std::int64_t, 3> offsets{};
  for (const auto& input : node.inputs) {
    const std::size_t k = views.size();
    views.push_back(view_of(input));
    if (views[k].dims.size() > dims.size()) return false;
    in.push_back(views[k].base);
    offsets[k] = views[k].offset * element_bytes(value(views[k].base).dtype);
  }
  kernels::TypedShape shape;
  if (!typed_shape(dims, views, shape)) return false;
  const ValueId to = define(node.outputs[0], out, dims, Layout::row_major);
  auto step = std::make_unique<TypedStep>(function, shape, offsets, element_count(dims));
  step->info.integer = is_integer(out);
  emit(std::move(step), node.op_type, std::move(in), {to});
  return true;
}

bool Lowering::prelu(const Node& node) { return channel_prelu(node) || typed_elementwise(node); }

}  // namespace zeropoint::engine
