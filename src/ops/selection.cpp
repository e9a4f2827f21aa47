// Operators whose result depends on which elements are set: NonZero, Compress, OneHot, Trilu, Unique.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// ---- NonZero: the places of the elements that are not 0, one column each, in row-major order; NaN is not 0

std::vector<bool> set_elements(const Node& node, const Tensor& x) {
  std::vector<bool> set(static_cast<std::size_t>(x.size()));
  const Tensor bytes = unpacked(x);
  with_words(node, bytes.dtype(), [&]<class W>(W) {
    const auto src = words<W>(bytes);
    // The sign of a float does not count: -0 is 0.
    const bool is_signless = is_float(x.dtype());
    for (std::size_t i = 0; i < set.size(); ++i) set[i] = (is_signless ? static_cast<W>(src[i] << 1) : src[i]) != 0;
  });
  return set;
}

std::vector<TensorType> non_zero_shape(const ShapeArgs& args) {
  const auto& x = args.inputs[0].shape;
  if (!x) return {{DType::s64, unknown_shape(2)}};
  Dim count;
  if (args.constants[0] != nullptr) count = Dim(std::ranges::count(set_elements(args.node, *args.constants[0]), true));
  return {{DType::s64, Shape{Dim(static_cast<std::int64_t>(x->size())), count}}};
}

std::vector<Tensor> non_zero(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::vector<bool> set = set_elements(args.node, x);
  Tensor y = make_output(args);
  const auto dst = y.mutable_values<std::int64_t>();
  const std::int64_t columns = y.dim(1);
  std::int64_t column = 0;
  Dims index(x.rank(), 0);
  for (const bool is_set : set) {
    if (is_set) {
      for (std::size_t axis = 0; axis < x.rank(); ++axis) dst[static_cast<std::int64_t>(axis) * columns + column] = index[axis];
      ++column;
    }
    for (std::size_t axis = x.rank(); axis-- > 0 && ++index[axis] == x.dim(axis);) index[axis] = 0;
  }
  return one(std::move(y));
}

// ---- Compress: the slices along `axis` (of the flat tensor without it) whose condition is true

std::vector<TensorType> compress_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (args.inputs[1].dtype != DType::b8 && args.inputs[1].dtype != DType::undefined)
    fail_type(args.node, 1, args.inputs[1].dtype);
  Shape shape = {Dim()};
  std::optional<Dim> whole;
  std::size_t axis = 0;
  if (args.node.find("axis") != nullptr) {
    if (!x.shape) return {{x.dtype, std::nullopt}};
    shape = *x.shape;
    axis = normalize_axis(args.node, args.node.get_int("axis", 0), shape.size());
    whole = shape[axis];
  } else if (x.shape) {
    if (const auto count = known_count(*x.shape)) whole = Dim(*count);
  }
  shape[axis] = Dim();
  if (args.constants[1] != nullptr) {
    const auto condition = args.constants[1]->values<bool>();
    if (whole && whole->fixed() && static_cast<std::int64_t>(condition.size()) > whole->value)
      fail(ErrorCode::kBadShape, args.node, fmt::format("{} conditions for {} elements", condition.size(), whole->value));
    shape[axis] = Dim(std::ranges::count(condition, true));
  }
  return {{x.dtype, shape}};
}

std::vector<Tensor> compress(const ComputeArgs& args) {
  const bool by_axis = args.node.find("axis") != nullptr;
  const Tensor x = by_axis ? args.inputs[0] : args.inputs[0].reshaped({args.inputs[0].size()});
  const std::size_t axis = by_axis ? normalize_axis(args.node, args.node.get_int("axis", 0), x.rank()) : 0;
  const auto condition = args.inputs[1].values<bool>();
  Tensor y = make_output(args);
  const std::size_t element = static_cast<std::size_t>(bits(x.dtype())) / 8;
  if (element == 0) fail_type(args.node, 0, x.dtype());
  const auto dst = y.mutable_bytes();
  if (dst.empty()) return one(std::move(y));
  const std::size_t part = static_cast<std::size_t>(element_count(std::span(x.dims()).subspan(axis + 1))) * element;
  const std::size_t rows = static_cast<std::size_t>(element_count(std::span(x.dims()).first(axis)));
  std::size_t at = 0;
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < condition.size(); ++i) {
      if (!condition[i]) continue;
      std::memcpy(&dst[at], &x.bytes()[(row * static_cast<std::size_t>(x.dim(axis)) + i) * part], part);
      at += part;
    }
  return one(std::move(y));
}

// ---- OneHot: y[i, d] = values[1] where indices[i] is d (negative ones count from the end), values[0] elsewhere

std::int64_t one_hot_depth(const Node& node, const Tensor& depth) {
  const std::vector<double> numbers = doubles(node, depth);
  if (numbers.size() != 1) fail(ErrorCode::kBadShape, node, "depth is not one number");
  if (!(numbers[0] >= 0)) fail(ErrorCode::kBadArgument, node, fmt::format("depth is {}", numbers[0]));
  if (numbers[0] > 0x1p40) fail(ErrorCode::kLimit, node, fmt::format("depth is {}", numbers[0]));
  return static_cast<std::int64_t>(numbers[0]);
}

std::vector<TensorType> one_hot_shape(const ShapeArgs& args) {
  const DType dtype = args.inputs[2].dtype;
  if (const auto& values = args.inputs[2].shape; values && known_count(*values).value_or(2) != 2)
    fail(ErrorCode::kBadShape, args.node, "values must be two: off and on");
  const auto& indices = args.inputs[0].shape;
  if (!indices) return {{dtype, std::nullopt}};
  Shape shape = *indices;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis),
               args.constants[1] == nullptr ? Dim() : Dim(one_hot_depth(args.node, *args.constants[1])));
  return {{dtype, shape}};
}

std::vector<Tensor> one_hot(const ComputeArgs& args) {
  Tensor y = make_output(args);
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), y.rank());
  const std::int64_t depth = y.dim(axis), inner = element_count(std::span(y.dims()).subspan(axis + 1));
  const Tensor indices = widened(args.inputs[0]);
  with_words(args.node, y.dtype(), [&]<class W>(W) {
    const auto values = words<W>(args.inputs[2]);
    const auto dst = mutable_words<W>(y);
    std::ranges::fill(dst, values[0]);
    with_numbers(args.node, indices.dtype(), [&]<class T>(T) {
      const auto src = indices.values<T>();
      for (std::int64_t i = 0; i < indices.size(); ++i) {
        std::int64_t at = converted<std::int64_t>(src[i]);
        if constexpr (std::is_signed_v<T>)
          if (at < 0) at += depth;
        if (at >= 0 && at < depth) dst[(i / inner * depth + at) * inner + i % inner] = values[1];
      }
    });
  });
  return one(std::move(y));
}

// ---- Trilu: of each matrix, what lies on or above (`upper`) or below the k-th diagonal; 0 elsewhere

std::vector<TensorType> trilu_shape(const ShapeArgs& args) {
  const auto& x = args.inputs[0].shape;
  if (x && x->size() < 2) fail(ErrorCode::kBadShape, args.node, to_string(*x) + " has no matrices");
  return {args.inputs[0]};
}

std::vector<Tensor> trilu(const ComputeArgs& args) {
  Tensor y = args.inputs[0];
  const bool upper = args.node.get_int("upper", 1) != 0;
  std::int64_t k = 0;
  if (args.inputs[1].defined()) {
    if (args.inputs[1].size() != 1) fail(ErrorCode::kBadShape, args.node, "k is not one number");
    k = std::clamp<std::int64_t>(ints(args.inputs[1])[0], -(std::int64_t{1} << 45), std::int64_t{1} << 45);
  }
  const std::int64_t rows = y.dim(y.rank() - 2), columns = y.dim(y.rank() - 1);
  with_words(args.node, y.dtype(), [&]<class W>(W) {
    const auto dst = mutable_words<W>(y);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const std::int64_t row = i / columns % rows, column = i % columns;
      if (upper ? column < row + k : column > row + k) dst[i] = 0;
    }
  });
  return one(std::move(y));
}

// ---- Unique: of the elements, or of the slices along `axis`: each once, sorted or in order of appearance; where each was
// first, which of them every element is, and how often they appear

std::vector<TensorType> unique_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  std::optional<Shape> shape = Shape{Dim()};
  if (args.node.find("axis") != nullptr) {
    shape = x.shape;
    if (shape) (*shape)[normalize_axis(args.node, args.node.get_int("axis", 0), shape->size())] = Dim();
  }
  return {{x.dtype, shape}, {DType::s64, unknown_shape(1)}, {DType::s64, unknown_shape(1)}, {DType::s64, unknown_shape(1)}};
}

std::vector<Tensor> unique(const ComputeArgs& args) {
  const Tensor& given = args.inputs[0];
  const bool by_axis = args.node.find("axis") != nullptr, sorted = args.node.get_int("sorted", 1) != 0;
  Tensor x = by_axis ? given : given.reshaped({given.size()});
  if (x.dtype() == DType::b8) x = Tensor::of<std::uint8_t>(x.dims(), words<std::uint8_t>(x));
  const std::size_t axis = by_axis ? normalize_axis(args.node, args.node.get_int("axis", 0), x.rank()) : 0;
  const std::int64_t length = x.dim(axis), inner = element_count(std::span(x.dims()).subspan(axis + 1));
  const std::int64_t outer = element_count(std::span(x.dims()).first(axis));
  std::vector<std::int64_t> inverse(static_cast<std::size_t>(length)), first, counts;
  Tensor y;
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    // -1, 0, 1: slice a before, equal to, behind b; NaN is the largest.
    const auto order = [&](std::int64_t a, std::int64_t b) {
      for (std::int64_t o = 0; o < outer; ++o)
        for (std::int64_t i = 0; i < inner; ++i) {
          const T p = src[(o * length + a) * inner + i], q = src[(o * length + b) * inner + i];
          if (p < q || (p == p && q != q)) return -1;
          if (q < p || (p != p && q == q)) return 1;
        }
      return 0;
    };
    std::vector<std::int64_t> slices(static_cast<std::size_t>(length));
    std::iota(slices.begin(), slices.end(), 0);
    std::stable_sort(slices.begin(), slices.end(), [&](std::int64_t a, std::int64_t b) { return order(a, b) < 0; });
    for (std::size_t i = 0; i < slices.size(); ++i) {
      if (i == 0 || order(slices[i - 1], slices[i]) != 0) {
        first.push_back(slices[i]);
        counts.push_back(0);
      }
      ++counts.back();
      inverse[static_cast<std::size_t>(slices[i])] = static_cast<std::int64_t>(first.size()) - 1;
    }
    if (!sorted) {
      std::vector<std::int64_t> by_place(first.size()), rank(first.size()), old_first = first, old_counts = counts;
      std::iota(by_place.begin(), by_place.end(), 0);
      std::sort(by_place.begin(), by_place.end(), [&](std::int64_t a, std::int64_t b) { return old_first[a] < old_first[b]; });
      for (std::size_t i = 0; i < by_place.size(); ++i) {
        first[i] = old_first[by_place[i]];
        counts[i] = old_counts[by_place[i]];
        rank[by_place[i]] = static_cast<std::int64_t>(i);
      }
      for (std::int64_t& place : inverse) place = rank[place];
    }
    Dims dims = x.dims();
    dims[axis] = static_cast<std::int64_t>(first.size());
    y = Tensor(x.dtype(), dims);
    const auto dst = y.mutable_values<T>();
    for (std::int64_t o = 0; o < outer; ++o)
      for (std::int64_t k = 0; k < dims[axis]; ++k)
        for (std::int64_t i = 0; i < inner; ++i)
          dst[(o * dims[axis] + k) * inner + i] = src[(o * length + first[k]) * inner + i];
  });
  if (given.dtype() == DType::b8) {
    Tensor bools(DType::b8, y.dims());
    std::ranges::copy(words<std::uint8_t>(y), mutable_words<std::uint8_t>(bools).begin());
    y = bools;
  }
  return {std::move(y), Tensor::of_ints(first), Tensor::of_ints(inverse), Tensor::of_ints(counts)};
}

}  // namespace

std::vector<Operator> selection_operators() {
  return {
      {.op_type = "NonZero", .since = 9, .shape = non_zero_shape, .reference = non_zero},
      {.op_type = "Compress",
       .since = 9,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = compress_shape,
       .reference = small_in_bytes<compress>},
      {.op_type = "OneHot", .since = 9, .min_inputs = 3, .max_inputs = 3, .shape = one_hot_shape, .reference = one_hot},
      {.op_type = "Trilu",
       .since = 14,
       .min_inputs = 1,
       .max_inputs = 2,
       .shape = trilu_shape,
       .reference = small_in_bytes<trilu>},
      {.op_type = "Unique", .since = 11, .shape = unique_shape, .reference = half_in_f32<unique>},
  };
}

}  // namespace zeropoint::ops
