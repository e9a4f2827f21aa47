// Operators that keep the elements and change the dimensions: Reshape, Flatten, Squeeze, Unsqueeze.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<Tensor> with_dims(const ComputeArgs& args) { return one(args.inputs[0].reshaped(output_dims(args))); }

// Product of dimensions as a number times named unknowns; `known` is false when one has no name.
struct Product {
  std::int64_t number = 1;
  std::multiset<std::string> symbols;
  bool known = true;

  void multiply(const Node& node, const Dim& dim) {
    if (dim.fixed()) {
      if (number != 0 && dim.value > (std::int64_t{1} << 62) / number) fail(ErrorCode::kLimit, node, "too many elements");
      number *= dim.value;
    } else if (dim.symbol.empty()) {
      known = false;
    } else {
      symbols.insert(dim.symbol);
    }
  }
};

// ---- Reshape: 0 copies the input's dimension (unless allowzero), one -1 is what remains

std::vector<TensorType> reshape_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType& x = args.inputs[0];
  std::vector<IntEntry> entries;
  if (node.find("shape") != nullptr) {  // opset 1
    for (const std::int64_t value : node.get_ints("shape")) entries.push_back({value, ""});
  } else if (const auto values = known_ints(args, 1)) {
    for (const std::int64_t value : *values) entries.push_back({value, ""});
  } else if (args.integers.size() > 1 && args.integers[1] != nullptr) {
    entries = args.integers[1]->entries;
  } else {
    return {{x.dtype, known_shape(args, 1)}};
  }

  const bool zero_copies = node.get_int("allowzero", 0) == 0;
  Shape shape;
  std::optional<std::size_t> rest;  // position of -1
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const IntEntry& entry = entries[i];
    if (entry.number == -1) {
      if (rest) fail(ErrorCode::kBadShape, node, "the shape has more than one -1");
      rest = i;
      shape.emplace_back();
    } else if (entry.number == 0 && zero_copies) {
      if (x.shape && i >= x.shape->size())
        fail(ErrorCode::kBadShape, node, fmt::format("0 at position {} copies from {}", i, to_string(*x.shape)));
      shape.push_back(x.shape ? (*x.shape)[i] : Dim());
    } else if (entry.number) {
      if (*entry.number < 0) fail(ErrorCode::kBadShape, node, fmt::format("the shape has the dimension {}", *entry.number));
      shape.emplace_back(*entry.number);
    } else {
      shape.push_back(entry.symbol.empty() ? Dim() : Dim(entry.symbol));
    }
  }
  if (!x.shape) return {{x.dtype, shape}};

  Product before, after;
  for (const Dim& dim : *x.shape) before.multiply(node, dim);
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (!rest || i != *rest) after.multiply(node, shape[i]);
  if (!before.known || !after.known) return {{x.dtype, shape}};
  // Named unknowns on both sides cancel.
  for (auto symbol = after.symbols.begin(); symbol != after.symbols.end();) {
    const auto twin = before.symbols.find(*symbol);
    if (twin == before.symbols.end()) {
      ++symbol;
    } else {
      before.symbols.erase(twin);
      symbol = after.symbols.erase(symbol);
    }
  }
  const bool numbers_only = before.symbols.empty() && after.symbols.empty();
  if (rest) {
    if (numbers_only) {
      if (after.number == 0 ? before.number != 0 : before.number % after.number != 0)
        fail(ErrorCode::kBadShape, node, fmt::format("{} elements do not fill {}", to_string(*x.shape), to_string(shape)));
      shape[*rest] = Dim(after.number == 0 ? 0 : before.number / after.number);
    } else if (after.symbols.empty() && before.symbols.size() == 1 && before.number == after.number) {
      shape[*rest] = Dim(*before.symbols.begin());
    }
  } else if (numbers_only && before.number != after.number) {
    fail(ErrorCode::kBadShape, node,
         fmt::format("{} cannot be reshaped to {}: {} elements against {}", to_string(*x.shape), to_string(shape),
                     before.number, after.number));
  }
  return {{x.dtype, shape}};
}

// ---- Flatten: two dimensions, split before `axis`

Dim product(const Node& node, std::span<const Dim> dims) {
  Product all;
  for (const Dim& dim : dims) all.multiply(node, dim);
  if (!all.known || all.symbols.size() > 1) return {};
  if (all.symbols.empty()) return {all.number};
  return all.number == 1 ? Dim(*all.symbols.begin()) : Dim();
}

std::vector<TensorType> flatten_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, unknown_shape(2)}};
  const std::int64_t axis = args.node.get_int("axis", 1);
  const std::size_t rank = x.shape->size();
  const std::size_t at = axis == static_cast<std::int64_t>(rank) ? rank : normalize_axis(args.node, axis, rank);
  return {
      {x.dtype, Shape{product(args.node, std::span(*x.shape).first(at)), product(args.node, std::span(*x.shape).subspan(at))}}};
}

// ---- Squeeze, Unsqueeze: axes by attribute (to opset 12) or input

std::vector<TensorType> squeeze_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  const IntsArgument axes = ints_argument(args, "axes", 1);
  if (!x.shape || !axes.values) return {{x.dtype, std::nullopt}};
  Shape shape;
  if (!axes.given) {
    for (const Dim& dim : *x.shape) {
      if (!dim.fixed()) return {{x.dtype, std::nullopt}};
      if (dim.value != 1) shape.push_back(dim);
    }
    return {{x.dtype, shape}};
  }
  const auto dropped = normalize_axes(args.node, *axes.values, x.shape->size());
  for (std::size_t i = 0; i < x.shape->size(); ++i) {
    const Dim& dim = (*x.shape)[i];
    if (!std::ranges::binary_search(dropped, i))
      shape.push_back(dim);
    else if (dim.fixed() && dim.value != 1)
      fail(ErrorCode::kBadShape, args.node, fmt::format("axis {} of {} is not 1", i, to_string(*x.shape)));
  }
  return {{x.dtype, shape}};
}

std::vector<TensorType> unsqueeze_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  const IntsArgument axes = ints_argument(args, "axes", 1);
  if (!axes.given) fail(ErrorCode::kBadAttribute, args.node, "axes are missing");
  if (!x.shape || !axes.values) return {{x.dtype, std::nullopt}};
  const std::size_t rank = x.shape->size() + axes.values->size();
  const auto added = normalize_axes(args.node, *axes.values, rank);
  Shape shape;
  for (std::size_t i = 0, next = 0; i < rank; ++i)
    shape.push_back(std::ranges::binary_search(added, i) ? Dim(1) : (*x.shape)[next++]);
  return {{x.dtype, shape}};
}

}  // namespace

std::vector<Operator> reshape_operators() {
  return {
      {.op_type = "Reshape", .min_inputs = 1, .max_inputs = 2, .shape = reshape_shape, .reference = with_dims},
      {.op_type = "Flatten", .shape = flatten_shape, .reference = with_dims},
      {.op_type = "Squeeze", .min_inputs = 1, .max_inputs = 2, .shape = squeeze_shape, .reference = with_dims},
      {.op_type = "Unsqueeze", .min_inputs = 1, .max_inputs = 2, .shape = unsqueeze_shape, .reference = with_dims},
  };
}

}  // namespace zeropoint::ops
