#include "quant/quantize_weight.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "numerics/quantize.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

constexpr std::int64_t kLanes = 64;               // neighbours in memory that are gathered together
constexpr std::int64_t kBlockElements = 1 << 16;  // of a block: stays in cache

// A weight as sets of elements that share parameters. Set (o, g, i) holds the elements
//   outer * outer_step + o * group_step_outer + ...
// spelled out: the tensor is [outer, length, inner]; PerGroup has a set for each (outer, group, inner), PerChannel one for each
// place on the axis, over all outer and inner.
struct Sets {
  std::int64_t outer = 1, length = 1, inner = 1;
  std::int64_t group = 0;  // 0: channels
  std::int64_t groups() const { return (length + group - 1) / group; }
  std::int64_t count() const { return group > 0 ? outer * groups() * inner : length; }
};

Sets sets_of(const Dims& dims, const Granularity& granularity, std::int64_t axis) {
  Sets sets;
  if (std::holds_alternative<PerTensor>(granularity)) {
    sets.inner = element_count(dims);
    return sets;
  }
  const auto rank = static_cast<std::int64_t>(dims.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank)
    throw Error(ErrorCode::kBadArgument, "", "axis " + std::to_string(axis) + " is not one of a tensor of " + to_string(dims));
  const auto at = static_cast<std::size_t>(axis);
  sets.outer = element_count(std::span(dims).first(at));
  sets.length = dims[at];
  sets.inner = element_count(std::span(dims).subspan(at + 1));
  if (const auto* group = std::get_if<PerGroup>(&granularity))
    sets.group = std::min(group->size, std::max<std::int64_t>(1, sets.length));
  return sets;
}

struct Quantizing {
  ConstantRange range;
  Levels levels;
  float factor;
};

// Quantizes the values of one set; q gets them one a byte.
ScaleZeroPoint quantize_set(const Quantizing& how, std::span<float> values, std::span<std::int8_t> q) {
  const ScaleZeroPoint chosen = how.levels.scale_of(how.range(values, how.levels));
  const numerics::Limits limits{how.levels.limits.low, how.levels.limits.high};
  for (std::size_t i = 0; i < values.size(); ++i)
    q[i] = static_cast<std::int8_t>(numerics::quantize(values[i], chosen.scale, chosen.zero_point, limits));
  return chosen;
}

// Sets [begin, end) whose elements lie `stride` apart, the sets themselves side by side in memory: gathered into rows first.
struct Strip {
  std::int64_t first_element, first_set, sets, elements, stride;
};

class Worker {
 public:
  Worker(const Quantizing& how, const float* x, std::int8_t* q, ScaleZeroPoint* chosen)
      : how_(how), x_(x), q_(q), chosen_(chosen) {}

  // False when a value is not finite.
  bool run(const Strip& strip) {
    const auto count = static_cast<std::size_t>(strip.sets * strip.elements);
    values_.resize(count);
    bytes_.resize(count);
    bool finite = true;
    for (std::int64_t e = 0; e < strip.elements; ++e) {
      const float* from = x_ + strip.first_element + e * strip.stride;
      for (std::int64_t s = 0; s < strip.sets; ++s) {
        const float value = from[s] * how_.factor;
        finite = finite && std::isfinite(value);
        values_[static_cast<std::size_t>(s * strip.elements + e)] = value;
      }
    }
    if (!finite) return false;
    for (std::int64_t s = 0; s < strip.sets; ++s) {
      const auto at = static_cast<std::size_t>(s * strip.elements), size = static_cast<std::size_t>(strip.elements);
      chosen_[strip.first_set + s] = quantize_set(how_, {values_.data() + at, size}, {bytes_.data() + at, size});
    }
    for (std::int64_t e = 0; e < strip.elements; ++e) {
      std::int8_t* to = q_ + strip.first_element + e * strip.stride;
      for (std::int64_t s = 0; s < strip.sets; ++s) to[s] = bytes_[static_cast<std::size_t>(s * strip.elements + e)];
    }
    return true;
  }
  // A set whose elements are `runs` runs of `run` neighbours, `stride` apart.
  bool run_one(std::int64_t set, std::int64_t first, std::int64_t runs, std::int64_t run, std::int64_t stride) {
    const auto count = static_cast<std::size_t>(runs * run);
    values_.resize(count);
    bytes_.resize(count);
    bool finite = true;
    for (std::int64_t r = 0, at = 0; r < runs; ++r)
      for (std::int64_t i = 0; i < run; ++i, ++at) {
        const float value = x_[first + r * stride + i] * how_.factor;
        finite = finite && std::isfinite(value);
        values_[static_cast<std::size_t>(at)] = value;
      }
    if (!finite) return false;
    chosen_[set] = quantize_set(how_, values_, bytes_);
    for (std::int64_t r = 0, at = 0; r < runs; ++r)
      for (std::int64_t i = 0; i < run; ++i, ++at) q_[first + r * stride + i] = bytes_[static_cast<std::size_t>(at)];
    return true;
  }

 private:
  const Quantizing& how_;
  const float* x_;
  std::int8_t* q_;
  ScaleZeroPoint* chosen_;
  std::vector<float> values_;
  std::vector<std::int8_t> bytes_;
};

// Integers of 2 or 4 bits, one a byte, to several a byte: the first in the lowest bits.
Tensor packed(const Tensor& bytes, DType dtype) {
  Tensor result(dtype, bytes.dims());
  const std::span<const std::byte> from = bytes.bytes();
  const std::span<std::byte> to = result.mutable_bytes();
  const auto width = static_cast<std::size_t>(bits(dtype)), each = 8 / width;
  const auto mask = static_cast<std::byte>((1U << width) - 1);
  for (std::size_t i = 0; i < from.size(); ++i) to[i / each] |= (from[i] & mask) << (i % each * width);
  return result;
}

// By the plain way: few weights have 16 bits.
IntegerWeight quantize_wide_weight(const Tensor& weight, Scheme scheme, std::int64_t axis, float factor) {
  if (std::holds_alternative<PerChannel>(scheme.granularity)) scheme.granularity = PerChannel{static_cast<int>(axis)};
  if (auto* group = std::get_if<PerGroup>(&scheme.granularity)) group->axis = static_cast<int>(axis);
  Tensor scaled(DType::f32, weight.dims());
  const std::span<const float> from = weight.values<float>();
  std::transform(from.begin(), from.end(), scaled.mutable_values<float>().begin(), [&](float x) { return x * factor; });
  const QParams qparams = choose_qparams(scaled, scheme);
  const Dims dims = scale_dims(weight.dims(), scheme.granularity);
  IntegerWeight result;
  result.q = quantize_tensor(scaled, qparams, limits_of(scheme));
  result.scale = Tensor::of<float>(dims, qparams.scale);
  if (!scheme.symmetric) {
    const std::vector<float> zeros(qparams.zero_point.begin(), qparams.zero_point.end());
    result.zero_point = quantize_tensor(Tensor::of<float>(dims, zeros), {scheme.dtype, PerTensor{}, {1.0F}, {0}});
  }
  return result;
}

}  // namespace

IntegerWeight quantize_weight(const Tensor& weight, const Scheme& scheme, std::int64_t axis, float factor, int threads) {
  const ConstantRange range = find_constant_range(scheme.range);
  if (range == nullptr)
    throw Error(ErrorCode::kBadArgument, "", "no range method for constants is called '" + scheme.range + "'");
  if (bits(scheme.dtype) > 8) return quantize_wide_weight(weight, scheme, axis, factor);
  const Quantizing how{range, levels_of(scheme), factor};
  const Sets sets = sets_of(weight.dims(), scheme.granularity, axis);
  const float* x = weight.values<float>().data();
  const bool narrow = bits(scheme.dtype) < 8;
  Tensor q(narrow ? DType::s8 : scheme.dtype, weight.dims());
  auto* bytes = reinterpret_cast<std::int8_t*>(q.mutable_bytes().data());
  std::vector<ScaleZeroPoint> chosen(static_cast<std::size_t>(sets.count()));

  // Units of work, each written by one thread: (outer, group) rows of sets, or runs of channels.
  const std::int64_t rows = sets.group > 0 ? sets.outer * sets.groups() : 1;
  const bool by_channels = sets.group == 0 && sets.inner == 1;  // [K, N] by N: neighbours are different channels
  const std::int64_t deep = sets.group > 0 ? sets.group : sets.outer;
  const std::int64_t lanes = std::clamp<std::int64_t>(kBlockElements / std::max<std::int64_t>(1, deep), 1, kLanes);
  const std::int64_t side = sets.group > 0 ? sets.inner : sets.length;
  const std::int64_t strips = sets.group > 0 || by_channels ? (side + lanes - 1) / lanes : sets.length;
  std::atomic<bool> finite{true};
  ThreadPool pool(std::max(1, threads));
  pool.run([&](int which) {
    Worker worker(how, x, bytes, chosen.data());
    const Range64 part = partition(rows * strips, which, pool.threads());
    for (std::int64_t unit = part.begin; unit < part.end; ++unit) {
      const std::int64_t row = unit / strips, begin = unit % strips * lanes;
      bool good = true;
      if (sets.group > 0) {
        const std::int64_t o = row / sets.groups(), g = row % sets.groups();
        good = worker.run({.first_element = (o * sets.length + g * sets.group) * sets.inner + begin,
                           .first_set = row * sets.inner + begin,
                           .sets = std::min(lanes, sets.inner - begin),
                           .elements = std::min(sets.group, sets.length - g * sets.group),
                           .stride = sets.inner});
      } else if (by_channels) {
        good = worker.run({.first_element = begin,
                           .first_set = begin,
                           .sets = std::min(lanes, sets.length - begin),
                           .elements = sets.outer,
                           .stride = sets.length});
      } else {
        good = worker.run_one(unit, unit * sets.inner, sets.outer, sets.inner, sets.length * sets.inner);
      }
      if (!good) finite = false;
    }
  });
  if (!finite)
    throw Error(ErrorCode::kNonFinite, "",
                "it holds NaN or infinity, which cannot be quantized; repair the model or keep its nodes in float");

  IntegerWeight result;
  Dims dims;
  if (sets.group > 0) {
    dims = scale_dims(weight.dims(), PerGroup{static_cast<int>(axis), sets.group});
  } else if (std::holds_alternative<PerChannel>(scheme.granularity)) {
    dims = {sets.length};
  }
  result.scale = Tensor(DType::f32, dims);
  const std::span<float> scale = result.scale.mutable_values<float>();
  for (std::size_t i = 0; i < chosen.size(); ++i) scale[i] = chosen[i].scale;
  if (!scheme.symmetric) {
    Tensor zero_point(narrow ? DType::s8 : scheme.dtype, dims);
    const std::span<std::byte> to = zero_point.mutable_bytes();
    for (std::size_t i = 0; i < chosen.size(); ++i) to[i] = static_cast<std::byte>(chosen[i].zero_point);
    result.zero_point = narrow ? packed(zero_point, scheme.dtype) : std::move(zero_point);
  }
  result.q = narrow ? packed(q, scheme.dtype) : std::move(q);
  return result;
}

Tensor transposed_bytes(const Tensor& matrix) {
  const std::int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Tensor result(matrix.dtype(), {columns, rows});
  const std::span<const std::byte> from = matrix.bytes();
  const std::span<std::byte> to = result.mutable_bytes();
  for (std::int64_t c = 0; c < columns; ++c)
    for (std::int64_t r = 0; r < rows; ++r)
      to[static_cast<std::size_t>(c * rows + r)] = from[static_cast<std::size_t>(r * columns + c)];
  return result;
}

}  // namespace zeropoint::quant
