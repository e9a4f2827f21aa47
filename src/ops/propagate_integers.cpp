// Shape arithmetic of exporters: integer values that are known in part, a dimension by its name.
#include <algorithm>

#include "ops/inference.h"
#include "ops/rules.h"
#include "ops/slice.h"

namespace zeropoint::ops {
namespace {

IntEntry entry_of(const Dim& dim) {
  if (dim.fixed()) return {dim.value, ""};
  return {std::nullopt, dim.symbol};
}

std::optional<IntValues> of_shape(const ShapeArgs& args) {
  const auto& shape = args.inputs[0].shape;
  if (!shape) return std::nullopt;
  const auto [begin, end] = shape_range(args.node, shape->size());
  IntValues result;
  for (std::size_t i = begin; i < end; ++i) result.entries.push_back(entry_of((*shape)[i]));
  result.dims = {static_cast<std::int64_t>(result.entries.size())};
  return result;
}

std::optional<IntValues> concat(const ShapeArgs& args) {
  IntValues result;
  for (std::size_t i = 0; i < args.inputs.size(); ++i) {
    const IntValues* part = args.integers[i];
    const auto& shape = args.inputs[i].shape;
    if (!shape || shape->size() != 1 || !(*shape)[0].fixed() || (*shape)[0].value > 64) return std::nullopt;
    if (part != nullptr)
      result.entries.insert(result.entries.end(), part->entries.begin(), part->entries.end());
    else
      result.entries.resize(result.entries.size() + static_cast<std::size_t>((*shape)[0].value));
  }
  result.dims = {static_cast<std::int64_t>(result.entries.size())};
  return result;
}

std::optional<IntValues> gather(const ShapeArgs& args) {
  const IntValues& data = *args.integers[0];
  const auto indices = known_ints(args, 1);
  constexpr std::size_t kMostEntries = 1024;
  if (!indices || indices->size() > kMostEntries || data.dims.size() != 1 || !args.inputs[1].shape) return std::nullopt;
  const auto dims = fixed_dims(*args.inputs[1].shape);
  if (!dims) return std::nullopt;
  IntValues result{*dims, {}};
  for (const std::int64_t index : *indices) {
    const std::int64_t at = index < 0 ? index + data.dims[0] : index;
    if (at < 0 || at >= data.dims[0]) return std::nullopt;
    result.entries.push_back(data.entries[at]);
  }
  return result;
}

std::optional<IntValues> slice(const ShapeArgs& args) {
  const IntValues& data = *args.integers[0];
  if (data.dims.size() != 1) return std::nullopt;
  const auto slices = slice_axes(args, to_shape(data.dims));
  if (!slices || slices->size() != 1) return std::nullopt;
  IntValues result{{(*slices)[0].count}, {}};
  for (std::int64_t i = 0; i < (*slices)[0].count; ++i)
    result.entries.push_back(data.entries[(*slices)[0].start + i * (*slices)[0].step]);
  return result;
}

// Two entries; an empty one is unknown. Numbers are left to the operators' references, which see them as tensors.
IntEntry combine(const std::string& type, const IntEntry& a, const IntEntry& b) {
  const auto is = [](const IntEntry& entry, std::int64_t number) { return entry.number == number; };
  if (a.number && b.number) {
    const std::int64_t x = *a.number, y = *b.number;
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    if (std::max({x, y, -x, -y}) > kMost) return {};
    if (type == "Add") return {x + y, ""};
    if (type == "Sub") return {x - y, ""};
    if (type == "Mul") return {x * y, ""};
    if (type == "Div" && y != 0) return {x / y, ""};
    if (type == "Equal") return {x == y ? 1 : 0, ""};
    return {};
  }
  if (type == "Add" && is(a, 0)) return b;
  if ((type == "Add" || type == "Sub") && is(b, 0)) return a;
  if (type == "Mul" && is(a, 1)) return b;
  if ((type == "Mul" || type == "Div") && is(b, 1)) return a;
  // A dimension is never negative.
  const auto dimension = [](const IntEntry& entry) { return !entry.number && !entry.symbol.empty(); };
  if (type == "Equal" && ((dimension(a) && b.number && *b.number < 0) || (dimension(b) && a.number && *a.number < 0)))
    return {0, ""};
  return {};
}

std::optional<IntValues> broadcast_combine(const ShapeArgs& args) {
  const IntValues &a = *args.integers[0], &b = *args.integers[1];
  const Dims dims = *fixed_dims(broadcast(args.node, to_shape(a.dims), to_shape(b.dims)));
  IntValues result{dims, {}};
  walk<2>(dims, {broadcast_strides(a.dims, dims), broadcast_strides(b.dims, dims)}, [&](std::int64_t, const auto& at) {
    result.entries.push_back(combine(args.node.op_type, a.entries[at[0]], b.entries[at[1]]));
  });
  return result;
}

std::optional<IntValues> where(const ShapeArgs& args) {
  const IntValues &condition = *args.integers[0], &a = *args.integers[1], &b = *args.integers[2];
  const Dims dims =
      *fixed_dims(broadcast(args.node, broadcast(args.node, to_shape(condition.dims), to_shape(a.dims)), to_shape(b.dims)));
  IntValues result{dims, {}};
  walk<3>(dims, {broadcast_strides(condition.dims, dims), broadcast_strides(a.dims, dims), broadcast_strides(b.dims, dims)},
          [&](std::int64_t, const auto& at) {
            const auto& choice = condition.entries[at[0]].number;
            const IntEntry &x = a.entries[at[1]], &y = b.entries[at[2]];
            result.entries.push_back(choice ? (*choice != 0 ? x : y) : x == y ? x : IntEntry{});
          });
  return result;
}

}  // namespace

std::optional<IntValues> propagate_integers(const ShapeArgs& args) {
  const Node& node = args.node;
  if (!node.domain.empty() || args.inputs.empty()) return std::nullopt;
  const std::string& type = node.op_type;
  if (type == "Shape") return of_shape(args);
  if (type == "Size") {
    if (!args.inputs[0].shape) return std::nullopt;
    IntEntry product{1, ""};
    for (const Dim& dim : *args.inputs[0].shape) product = combine("Mul", product, entry_of(dim));
    return IntValues{{}, {product}};
  }
  if (type == "Concat") return concat(args);
  const auto known = [&](std::size_t input) { return input < args.integers.size() && args.integers[input] != nullptr; };
  if (!known(0)) return std::nullopt;
  if (type == "Identity" || type == "Cast" || type == "Unsqueeze" || type == "Squeeze" || type == "Reshape") {
    const std::vector<TensorType> output = find(node)->shape(args);
    const auto dims = output[0].shape ? fixed_dims(*output[0].shape) : std::nullopt;
    if (!dims || !(is_integer(output[0].dtype) || output[0].dtype == DType::b8)) return std::nullopt;
    return IntValues{*dims, args.integers[0]->entries};
  }
  if (type == "Gather") return gather(args);
  if (type == "Slice") return slice(args);
  if (type == "Add" || type == "Sub" || type == "Mul" || type == "Div" || type == "Equal")
    return known(1) ? broadcast_combine(args) : std::nullopt;
  if (type == "Where") return known(1) && known(2) ? where(args) : std::nullopt;
  return std::nullopt;
}

}  // namespace zeropoint::ops
