// GridSample over any number of spatial axes: y[n, c, p...] is x[n, c] interpolated at grid[n, p...], whose numbers -1 and 1
// are the centres (align_corners) or outer edges of the first and last elements, the last axis of x first. Modes nearest (ties
// to even), linear, cubic (Keys 1981 with -0.75); outside lie zeros, the border's elements, or reflections.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

enum class Mode { kNearest, kLinear, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

Mode mode_of(const Node& node) {  // names of opset 16 and of 20
  const std::string mode = node.get_string("mode", "linear");
  if (mode == "nearest") return Mode::kNearest;
  if (mode == "linear" || mode == "bilinear") return Mode::kLinear;
  if (mode == "cubic" || mode == "bicubic") return Mode::kCubic;
  fail(ErrorCode::kBadAttribute, node, "mode is '" + mode + "'");
}
Padding padding_of(const Node& node) {
  const std::string padding = node.get_string("padding_mode", "zeros");
  if (padding == "zeros") return Padding::kZeros;
  if (padding == "border") return Padding::kBorder;
  if (padding == "reflection") return Padding::kReflection;
  fail(ErrorCode::kBadAttribute, node, "padding_mode is '" + padding + "'");
}

std::vector<TensorType> grid_sample_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &grid = args.inputs[1];
  mode_of(args.node);
  padding_of(args.node);
  if (!x.shape || !grid.shape) return {{x.dtype, std::nullopt}};
  const std::size_t rank = x.shape->size();
  if (rank < 3 || rank > 8 || grid.shape->size() != rank)
    fail(ErrorCode::kBadShape, args.node,
         fmt::format("X {} and grid {} are not [N,C,...] and [N,...,axes]", to_string(*x.shape), to_string(*grid.shape)));
  if (grid.shape->back().fixed() && grid.shape->back().value != static_cast<std::int64_t>(rank - 2))
    fail(ErrorCode::kBadShape, args.node, fmt::format("grid {} does not name {} axes", to_string(*grid.shape), rank - 2));
  Shape shape = {merge(args.node, (*x.shape)[0], (*grid.shape)[0]), (*x.shape)[1]};
  shape.insert(shape.end(), grid.shape->begin() + 1, grid.shape->end() - 1);
  return {{x.dtype, shape}};
}

// Back and forth between low and high.
template <class F>
F reflect(F x, F low, F high) {
  const F range = high - low;
  if (!(range > 0)) return low;
  const bool below = x < low;
  if (!below && !(x > high)) return x;
  const F distance = below ? low - x : x - high;
  const F turns = std::floor(distance / range);
  const F rest = distance - turns * range;
  const bool odd = std::fmod(turns, F{2}) != 0;
  return below != odd ? low + rest : high - rest;
}

// Along one axis: where values come from and what they weigh; at -1 lies a zero.
template <class F>
struct Taps {
  int count = 0;
  std::int64_t at[4];
  F weight[4];
};

template <class F>
Taps<F> taps(F coordinate, std::int64_t size, Mode mode, Padding padding, bool align_corners) {
  const F low = align_corners ? F{0} : F{-0.5};
  const F high = align_corners ? static_cast<F>(size - 1) : static_cast<F>(size) - F{0.5};
  F x = align_corners ? (coordinate + 1) / 2 * static_cast<F>(size - 1) : ((coordinate + 1) * static_cast<F>(size) - 1) / 2;
  if (mode == Mode::kNearest) x = std::nearbyint(x);
  if (!(std::fabs(x) < F{1e9F})) {  // far away, or not a number: at the border
    if (padding == Padding::kZeros) return {1, {-1}, {0}};
    x = x > 0 ? static_cast<F>(size - 1) : F{0};
  }
  // As PyTorch and ONNX Runtime do: of cubic, every element by itself.
  if (padding == Padding::kBorder && mode != Mode::kCubic) x = std::clamp(x, F{0}, static_cast<F>(size - 1));
  if (padding == Padding::kReflection) x = reflect(x, low, high);
  // Where position p lies: inside, or by the padding.
  const auto place = [&](std::int64_t p) -> std::int64_t {
    if (p >= 0 && p < size) return p;
    if (padding == Padding::kZeros) return -1;
    if (padding == Padding::kReflection) p = static_cast<std::int64_t>(reflect(static_cast<F>(p), low, high));
    return std::clamp<std::int64_t>(p, 0, size - 1);
  };
  const auto first = static_cast<std::int64_t>(std::floor(x));
  const F t = x - static_cast<F>(first);
  Taps<F> result;
  const auto tap = [&](std::int64_t p, F weight) {
    result.at[result.count] = place(p);
    result.weight[result.count++] = weight;
  };
  if (mode == Mode::kNearest) {
    tap(static_cast<std::int64_t>(x), 1);
  } else if (mode == Mode::kLinear) {
    tap(first, 1 - t);
    tap(first + 1, t);
  } else {
    constexpr F a = F{-0.75F};
    const auto near = [](F d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [](F d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    tap(first - 1, far(t + 1));
    tap(first, near(t));
    tap(first + 1, near(1 - t));
    tap(first + 2, far(2 - t));
  }
  return result;
}

template <class F>
F sum_of_taps(const Taps<F>* along, std::size_t axes, const Dims& strides, std::int64_t offset, auto&& value) {
  if (axes == 0) return value(offset);
  F sum = 0;
  for (int i = 0; i < along->count; ++i)
    if (along->at[i] >= 0)
      sum += along->weight[i] *
             sum_of_taps<F>(along + 1, axes - 1, strides, offset + along->at[i] * strides[strides.size() - axes], value);
  return sum;
}

std::vector<Tensor> grid_sample(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &grid = args.inputs[1];
  const Mode mode = mode_of(args.node);
  const Padding padding = padding_of(args.node);
  const bool align_corners = args.node.get_int("align_corners", 0) != 0;
  const std::size_t axes = x.rank() - 2;
  const Dims strides = strides_of(x.dims());
  Tensor y = make_output(args);
  if (y.size() == 0) return one(std::move(y));
  const Dims spatial(x.dims().begin() + 2, x.dims().end());
  if (element_count(spatial) == 0) fail(ErrorCode::kBadShape, args.node, "nothing to sample in " + to_string(x.dims()));
  const std::int64_t channels = x.dim(1), points = y.size() / (y.dim(0) * channels);

  // body(n, p, taps of each axis), the first axis of x first; F is the type of the grid.
  const auto each_point = [&]<class F>(F, auto&& body) {
    const auto numbers = grid.values<F>();
    std::vector<Taps<F>> along(axes);
    for (std::int64_t n = 0; n < y.dim(0); ++n)
      for (std::int64_t p = 0; p < points; ++p) {
        for (std::size_t axis = 0; axis < axes; ++axis)
          along[axis] =
              taps(numbers[(n * points + p + 1) * static_cast<std::int64_t>(axes) - 1 - static_cast<std::int64_t>(axis)],
                   spatial[axis], mode, padding, align_corners);
        body(n, p, along.data());
      }
  };
  with_floats(args.node, grid.dtype(), [&]<class F>(F) {
    if (mode == Mode::kNearest) {  // moves elements of any type
      with_words(args.node, x.dtype(), [&]<class W>(W) {
        const auto src = words<W>(x);
        const auto dst = mutable_words<W>(y);
        each_point(F{}, [&](std::int64_t n, std::int64_t p, const Taps<F>* along) {
          std::int64_t offset = 0;
          bool inside = true;
          for (std::size_t axis = 0; axis < axes; ++axis) {
            inside = inside && along[axis].at[0] >= 0;
            offset += along[axis].at[0] * strides[axis + 2];
          }
          for (std::int64_t c = 0; c < channels; ++c)
            dst[(n * channels + c) * points + p] = inside ? src[n * strides[0] + c * strides[1] + offset] : W{0};
        });
      });
      return;
    }
    with_numbers(args.node, x.dtype(), [&]<class T>(T) {
      const auto src = x.values<T>();
      const auto dst = y.mutable_values<T>();
      // Integers are interpolated in double, rounded to the nearest and saturated.
      using Sum = std::conditional_t<std::is_integral_v<T>, double, std::conditional_t<sizeof(T) == 8, double, F>>;
      each_point(F{}, [&](std::int64_t n, std::int64_t p, const Taps<F>* along) {
        std::vector<Taps<Sum>> wide(axes);
        for (std::size_t axis = 0; axis < axes; ++axis) {
          wide[axis].count = along[axis].count;
          for (int i = 0; i < along[axis].count; ++i) {
            wide[axis].at[i] = along[axis].at[i];
            wide[axis].weight[i] = static_cast<Sum>(along[axis].weight[i]);
          }
        }
        for (std::int64_t c = 0; c < channels; ++c) {
          const Sum sum = sum_of_taps<Sum>(wide.data(), axes, strides, n * strides[0] + c * strides[1],
                                           [&](std::int64_t at) { return static_cast<Sum>(src[at]); });
          T& result = dst[(n * channels + c) * points + p];
          if constexpr (std::is_integral_v<T>)
            result = converted<T>(std::nearbyint(sum));
          else
            result = static_cast<T>(sum);
        }
      });
    });
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> grid_sample_operators() {
  return {{.op_type = "GridSample",
           .since = 16,
           .min_inputs = 2,
           .max_inputs = 2,
           .shape = grid_sample_shape,
           .reference = half_in_f32<grid_sample>}};
}

}  // namespace zeropoint::ops
