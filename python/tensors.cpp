// The tensor level: quantize_tensor and dequantize_tensor, scales and ranges.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "arrays.h"
#include "binding.h"
#include "quant/activation_ranges.h"
#include "schemes.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/ranges.h"

namespace zeropoint::python {
namespace {

using Bounds = std::pair<double, double>;

// Scales or zero points as the array that belongs to x: a scalar, or of the dimensions of scale_dims.
template <class T>
nb::object parameters(const std::vector<T>& values, const Dims& dims, const Granularity& granularity) {
  return to_scalar_or_array(Tensor::of<T>(scale_dims(dims, granularity), values));
}

// Arrays of float32 as they are, of float64 rounded, of other types refused; lists and numbers become float32.
Tensor real_tensor(nb::handle x, const std::string& what) {
  const nb::object numpy = nb::module_::import_("numpy");
  if (!nb::hasattr(x, "dtype")) return to_tensor(numpy.attr("asarray")(x, "float32"), what, DType::f32);
  const nb::object array = numpy.attr("asarray")(x);
  const bool wide = array.attr("dtype").equal(numpy.attr("dtype")("float64"));
  return to_tensor(wide ? array.attr("astype")("float32") : array, what, DType::f32);
}

template <class T>
std::vector<T> flat(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  return {values.begin(), values.end()};
}

// What is seen of the values of one tensor, for the range methods of activations.
ValueStatistics observe(const Tensor& x) {
  ValueStatistics seen;
  bool any = false;
  for (const float value : x.values<float>()) {
    if (std::isnan(value)) {
      ++seen.nans;
    } else if (std::isinf(value)) {
      ++seen.infinities;
    } else {
      seen.min = any ? std::min(seen.min, value) : value;
      seen.max = any ? std::max(seen.max, value) : value;
      any = true;
      seen.histogram.add(value);
    }
  }
  if (seen.nans + seen.infinities > 0)
    throw Error(ErrorCode::kNonFinite, "x", fmt::format("{} elements are NaN and {} infinite", seen.nans, seen.infinities));
  return seen;
}

void check_method(const std::string& method) {
  // Averaging over samples has no meaning for one tensor.
  if (!is_range_method(method) || method == "averaged_min_max")
    throw Error(ErrorCode::kBadArgument, "range",
                fmt::format("no method is called '{}'; known are {}", method, fmt::join(range_methods(), ", ")));
}

Range range_of(const Tensor& x, const std::string& method, IntegerLimits limits, bool symmetric, double parameter) {
  check_method(method);
  const ValueStatistics seen = observe(x);
  const HistogramView histogram = seen.view();
  if (histogram.empty()) return {};
  return quant::find_activation_range(method)({.histogram = histogram,
                                               .mean_min = seen.min,
                                               .mean_max = seen.max,
                                               .limits = limits,
                                               .symmetric = symmetric,
                                               .parameter = parameter});
}

DType storage(int bits, bool is_signed) {
  return bits <= 8 ? (is_signed ? DType::s8 : DType::u8) : is_signed ? DType::s16 : DType::u16;
}

nb::tuple quantize(nb::handle source, int bits, bool symmetric, std::optional<int> axis, std::optional<std::int64_t> group,
                   const std::variant<std::string, Bounds>& range, const std::string& zero_point, bool is_signed,
                   double parameter) {
  const Tensor x = real_tensor(source, "x");
  if (zero_point != "integer" && zero_point != "real")
    throw Error(ErrorCode::kBadArgument, "zero_point", "is 'integer' or 'real', not '" + zero_point + "'");
  const bool real = zero_point == "real";
  const Granularity granularity = granularity_from(axis, group);
  const auto* method = std::get_if<std::string>(&range);
  const auto& constant_methods = weight_range_methods();
  const bool by_values =
      method != nullptr && std::find(constant_methods.begin(), constant_methods.end(), *method) != constant_methods.end();
  QuantizedTensor quantized;
  if (by_values) {
    const TensorScheme scheme{.bits = bits,
                              .symmetric = symmetric,
                              .is_signed = is_signed,
                              .real_zero_point = real,
                              .granularity = granularity,
                              .range = *method};
    nb::gil_scoped_release release;
    quantized = quantize_tensor(x, scheme);
  } else {
    if (method != nullptr) check_method(*method);
    if (axis || real)
      throw Error(ErrorCode::kBadArgument, "range",
                  fmt::format("per channel, and with real zero points, choose one of {}", fmt::join(constant_methods, ", ")));
    const IntegerLimits limits = limits_of_bits(bits, is_signed || symmetric, symmetric);
    nb::gil_scoped_release release;
    const Range chosen = method != nullptr ? range_of(x, *method, limits, symmetric, parameter)
                                           : Range{static_cast<float>(std::get<Bounds>(range).first),
                                                   static_cast<float>(std::get<Bounds>(range).second)};
    const ScaleZeroPoint scale = choose_scale(chosen, limits, symmetric);
    quantized.qparams = {storage(bits, is_signed || symmetric), PerTensor{}, {scale.scale}, {scale.zero_point}};
    quantized.q = quantize_tensor(x, quantized.qparams, limits);
  }
  const nb::object scale = parameters(quantized.qparams.scale, x.dims(), granularity);
  const nb::object zero = real ? parameters(quantized.real_zero_point, x.dims(), granularity)
                               : parameters(quantized.qparams.zero_point, x.dims(), granularity);
  return nb::make_tuple(to_array(std::move(quantized.q)), scale, zero);
}

nb::object dequantize(nb::handle source, nb::handle scale, nb::handle zero_point, std::optional<int> axis,
                      std::optional<std::int64_t> group) {
  QuantizedTensor quantized{.q = to_tensor(source, "q")};
  if (!is_integer(quantized.q.dtype())) throw nb::type_error("q is an array of integers");
  QParams& qparams = quantized.qparams;
  qparams.dtype = quantized.q.dtype();
  qparams.granularity = granularity_from(axis, group);
  qparams.scale = flat<float>(real_tensor(scale, "scale"));
  const nb::object zero = nb::module_::import_("numpy").attr("asarray")(zero_point);
  if (nb::cast<std::string>(zero.attr("dtype").attr("kind")) == "f")
    quantized.real_zero_point = flat<float>(real_tensor(zero, "zero_point"));
  else
    qparams.zero_point =
        flat<std::int32_t>(to_tensor(zero.attr("astype")("int32", nb::arg("casting") = "same_kind"), "zero_point", DType::s32));
  // One zero point may stand for all.
  if (qparams.zero_point.size() == 1) qparams.zero_point.resize(qparams.scale.size(), qparams.zero_point[0]);
  if (quantized.real_zero_point.size() == 1)
    quantized.real_zero_point.resize(qparams.scale.size(), quantized.real_zero_point[0]);
  if (!quantized.real_zero_point.empty()) qparams.zero_point.resize(qparams.scale.size());
  Tensor x;
  {
    nb::gil_scoped_release release;
    x = quantized.real_zero_point.empty() ? dequantize_tensor(quantized.q, qparams) : dequantize_tensor(quantized);
  }
  return to_array(std::move(x));
}

nb::object quantize_linear(nb::handle source, nb::handle scale, nb::handle zero_point, const std::string& dtype,
                           std::optional<int> axis, std::optional<std::int64_t> group) {
  const Tensor x = real_tensor(source, "x");
  QParams qparams{.dtype = parse_numpy_name(dtype), .granularity = granularity_from(axis, group)};
  qparams.scale = flat<float>(real_tensor(scale, "scale"));
  const nb::object zero = nb::module_::import_("numpy").attr("asarray")(zero_point);
  qparams.zero_point =
      flat<std::int32_t>(to_tensor(zero.attr("astype")("int32", nb::arg("casting") = "same_kind"), "zero_point", DType::s32));
  if (qparams.zero_point.size() == 1) qparams.zero_point.resize(qparams.scale.size(), qparams.zero_point[0]);
  Tensor q;
  {
    nb::gil_scoped_release release;
    q = quantize_tensor(x, qparams);
  }
  return to_array(std::move(q));
}

std::pair<float, std::int32_t> scale_of(double min, double max, int bits, bool symmetric, bool is_signed) {
  const ScaleZeroPoint chosen = choose_scale({static_cast<float>(min), static_cast<float>(max)},
                                             limits_of_bits(bits, is_signed || symmetric, symmetric), symmetric);
  return {chosen.scale, chosen.zero_point};
}

std::pair<float, float> choose_range(nb::handle source, const std::string& method, int bits, bool symmetric, double parameter) {
  const Tensor x = real_tensor(source, "x");
  nb::gil_scoped_release release;
  const Range range = range_of(x, method, limits_of_bits(bits, symmetric, symmetric), symmetric, parameter);
  return {range.min, range.max};
}

}  // namespace

void bind_tensors(nb::module_& m) {
  m.def(
      "quantize_tensor", &quantize, nb::arg("x"), nb::arg("bits") = 8, nb::arg("symmetric") = false, nb::kw_only(),
      nb::arg("axis") = nb::none(), nb::arg("group") = nb::none(), nb::arg("range") = "min_max",
      nb::arg("zero_point") = "integer", nb::arg("signed") = false, nb::arg("parameter") = 0.0,
      nb::sig(
          "def quantize_tensor(x: numpy.typing.ArrayLike, bits: int = 8, symmetric: bool = False, *, axis: int | None = None, "
          "group: int | None = None, range: str | tuple[float, float] = 'min_max', zero_point: str = 'integer', "
          "signed: bool = False, parameter: float = 0.0) -> tuple[numpy.ndarray, typing.Any, typing.Any]"),
      "Real numbers to integers: returns (q, scale, zero_point) with x = scale * (q - zero_point), as nearly as ``bits`` "
      "allow.\n\n"
      "q = round_half_even(x / scale) + zero_point, kept within 0 ... 2**bits - 1 (the twin of that around 0 when ``signed``; "
      "-(2**(bits-1) - 1) ... 2**(bits-1) - 1 with zero point 0 when ``symmetric``). bits: 2 to 16.\n\n"
      "axis: parameters for each index along that axis; with ``group``, for each group of so many along it.\n"
      "range: 'min_max' or 'mse'; for the whole tensor also 'percentile' (``parameter`` percent are kept), 'kl_divergence', or "
      "the pair (min, max) itself. It always contains 0.\n"
      "zero_point: 'integer', as ONNX and every runtime need it: 0 is exact. 'real' is the textbook's -min / scale, a float.");
  m.def("dequantize_tensor", &dequantize, nb::arg("q"), nb::arg("scale"), nb::arg("zero_point") = 0, nb::kw_only(),
        nb::arg("axis") = nb::none(), nb::arg("group") = nb::none(),
        nb::sig("def dequantize_tensor(q: numpy.typing.ArrayLike, scale: numpy.typing.ArrayLike, zero_point: "
                "numpy.typing.ArrayLike = 0, "
                "*, axis: int | None = None, group: int | None = None) -> numpy.ndarray"),
        "Back to real numbers: scale * (q - zero_point) as float32, rounded once. ``axis`` and ``group`` as for "
        "quantize_tensor.");
  m.def("quantize_linear", &quantize_linear, nb::arg("x"), nb::arg("scale"), nb::arg("zero_point") = 0, nb::kw_only(),
        nb::arg("dtype") = "uint8", nb::arg("axis") = nb::none(), nb::arg("group") = nb::none(),
        nb::sig("def quantize_linear(x: numpy.typing.ArrayLike, scale: numpy.typing.ArrayLike, zero_point: "
                "numpy.typing.ArrayLike = 0, *, "
                "dtype: str = 'uint8', axis: int | None = None, group: int | None = None) -> numpy.ndarray"),
        "ONNX's QuantizeLinear: x in the given scale and zero point, saturated to the whole range of ``dtype``.");
  m.def("choose_scale", &scale_of, nb::arg("min"), nb::arg("max"), nb::arg("bits") = 8, nb::arg("symmetric") = false,
        nb::kw_only(), nb::arg("signed") = false,
        "(scale, zero_point) that map [min, max], widened to contain 0, onto the integers of quantize_tensor.");
  m.def(
      "choose_range", &choose_range, nb::arg("x"), nb::arg("method") = "min_max", nb::kw_only(), nb::arg("bits") = 8,
      nb::arg("symmetric") = false, nb::arg("parameter") = 0.0,
      nb::sig("def choose_range(x: numpy.typing.ArrayLike, method: str = 'min_max', *, bits: int = 8, symmetric: bool = False, "
              "parameter: float = 0.0) -> tuple[float, float]"),
      "The range (min, max) that a method of calibration keeps of the values of x: 'min_max', 'percentile' (``parameter`` "
      "percent, "
      "99.99 when 0), 'mse' or 'kl_divergence'.");
}

}  // namespace zeropoint::python
