// The stages of quantization one by one: calibrate, choose_qparams, insert_qdq; their values Statistics and QParams.
#include "zeropoint/statistics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nanobind/operators.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "binding.h"
#include "samples.h"
#include "schemes.h"
#include "waiting.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/quantize.h"
#include "zeropoint/ranges.h"

namespace zeropoint::python {
namespace {

template <class T>
nb::object vector_array(const std::vector<T>& values) {
  return to_array(Tensor::of<T>({static_cast<std::int64_t>(values.size())}, values));
}

nb::tuple histogram(const ValueStatistics& self) {
  std::vector<double> low, high;
  std::vector<std::uint64_t> count;
  const HistogramView view = self.view();
  for (const HistogramBin& bin : view.bins()) {
    low.push_back(bin.low);
    high.push_back(bin.high);
    count.push_back(bin.count);
  }
  return nb::make_tuple(vector_array(low), vector_array(high), vector_array(count));
}

const ValueStatistics& value_of(const Statistics& self, const std::string& value) {
  const ValueStatistics* found = self.find(value);
  if (found == nullptr) throw nb::key_error(("no value '" + value + "' was observed").c_str());
  return *found;
}

std::vector<std::string> names_of(const Statistics& self) {
  std::vector<std::string> names;
  for (const auto& [name, value] : self.values) names.push_back(name);
  return names;
}

nb::bytes to_bytes(const Statistics& self) {
  const std::string bytes = serialize(self);
  return nb::bytes(bytes.data(), bytes.size());
}

Statistics from_bytes(const nb::bytes& bytes) {
  return parse_statistics({static_cast<const char*>(bytes.data()), bytes.size()});
}

Statistics calibrate_in_python(nb::handle source, nb::handle samples, const std::optional<Recipe>& recipe,
                               const std::optional<std::vector<std::string>>& values, int threads,
                               const std::optional<std::string>& max_isa,
                               const std::optional<std::map<std::string, Dims>>& shapes,
                               std::optional<std::uint64_t> max_memory, std::size_t shard, std::size_t shards,
                               std::optional<nb::object> checkpoint, bool resume, bool allow_non_finite, nb::handle progress) {
  const Model model = model_from(source);
  SampleSource sample_source(samples, model.graph->inputs);
  Watch watch(progress);
  CalibrateOptions options;
  if (recipe) options = calibrate_options(*model.graph, *recipe);
  options.threads = threads;
  options.max_isa = isa_from(max_isa);
  options.max_memory = max_memory.value_or(0);
  options.shard = shard;
  options.shards = shards;
  options.resume = resume;
  options.allow_non_finite = allow_non_finite;
  options.interrupt = watch.interrupt();
  if (values) options.values = *values;
  if (shapes) options.shapes = *shapes;
  if (checkpoint) options.checkpoint = to_path(*checkpoint);
  if (!progress.is_none()) options.progress = [&](std::size_t done, std::size_t total) { watch.report(done, total); };
  Statistics statistics;
  sample_source.run(watch, [&] { statistics = calibrate(*model.graph, sample_source.get(), options); });
  return statistics;
}

std::string repr_qparams(const QParams& self) {
  const bool one = std::holds_alternative<PerTensor>(self.granularity) && self.scale.size() == 1 && self.zero_point.size() == 1;
  const std::string bits = self.bits == 0 ? "" : fmt::format(", bits={}", self.bits);
  if (one) return fmt::format("QParams('{}', {}, {}{})", numpy_name(self.dtype), self.scale[0], self.zero_point[0], bits);
  return fmt::format("QParams('{}', [{}], [{}], {}{})", numpy_name(self.dtype), fmt::join(self.scale, ", "),
                     fmt::join(self.zero_point, ", "), repr(self.granularity), bits);
}

// A number or numbers.
template <class T>
std::vector<T> numbers(nb::handle source) {
  if (nb::isinstance<nb::int_>(source) || nb::isinstance<nb::float_>(source)) return {nb::cast<T>(source)};
  return nb::cast<std::vector<T>>(nb::module_::import_("numpy").attr("ravel")(source).attr("tolist")());
}

void bind_qparams(nb::module_& m) {
  nb::class_<QParams>(m, "QParams", "Quantization parameters of one tensor: real = scale * (q - zero_point).")
      .def(
          "__init__",
          [](QParams* self, const std::string& dtype, nb::handle scale, nb::handle zero_point,
             const std::optional<Granularity>& granularity, int bits) {
            QParams made{.dtype = parse_numpy_name(dtype),
                         .granularity = granularity.value_or(PerTensor{}),
                         .scale = numbers<float>(scale),
                         .zero_point = numbers<std::int32_t>(zero_point),
                         .bits = bits};
            if (made.zero_point.size() == 1) made.zero_point.resize(made.scale.size(), made.zero_point[0]);
            if (made.zero_point.size() != made.scale.size())
              throw Error(ErrorCode::kBadShape, "QParams",
                          fmt::format("{} scales and {} zero points", made.scale.size(), made.zero_point.size()));
            new (self) QParams(std::move(made));
          },
          nb::arg("dtype"), nb::arg("scale"), nb::arg("zero_point") = 0, nb::arg("granularity") = nb::none(), nb::kw_only(),
          nb::arg("bits") = 0,
          nb::sig("def __init__(self, dtype: str, scale: numpy.typing.ArrayLike, zero_point: numpy.typing.ArrayLike = 0, "
                  "granularity: PerTensor | PerChannel | PerGroup | None = None, *, bits: int = 0) -> None"))
      .def_prop_ro("dtype", [](const QParams& self) { return numpy_name(self.dtype); })
      .def_prop_ro(
          "granularity", [](const QParams& self) { return to_python(self.granularity); },
          nb::sig("def granularity(self) -> PerTensor | PerChannel | PerGroup"))
      .def_prop_ro(
          "scale", [](const QParams& self) { return vector_array(self.scale); }, nb::sig("def scale(self) -> numpy.ndarray"))
      .def_prop_ro(
          "zero_point", [](const QParams& self) { return vector_array(self.zero_point); },
          nb::sig("def zero_point(self) -> numpy.ndarray"))
      .def_ro("bits", &QParams::bits, "Of the levels, where they are fewer than the type has; 0: all of them.")
      .def("__repr__", &repr_qparams)
      .def(
          "__getstate__",
          [](const QParams& self) {
            return nb::make_tuple(numpy_name(self.dtype), self.scale, self.zero_point, to_python(self.granularity), self.bits);
          },
          nb::sig("def __getstate__(self) -> tuple[typing.Any, ...]"))
      .def("__setstate__",
           [](QParams& self,
              const std::tuple<std::string, std::vector<float>, std::vector<std::int32_t>, Granularity, int>& state) {
             const auto& [dtype, scale, zero_point, granularity, bits] = state;
             new (&self) QParams{parse_numpy_name(dtype), granularity, scale, zero_point, bits};
           })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .attr("__hash__") = nb::none();

  m.def(
      "choose_qparams",
      [](const Model& model, const Statistics& statistics, const Recipe& recipe) {
        nb::gil_scoped_release release;
        return choose_qparams(*model.graph, statistics, recipe);
      },
      nb::arg("model"), nb::arg("statistics"), nb::arg("recipe"),
      "Parameters of every value and weight of a fused model that the recipe quantizes, by name.");
  m.def(
      "insert_qdq",
      [](const Model& model, const QParamsMap& qparams) {
        nb::gil_scoped_release release;
        return to_model(insert_qdq(*model.graph, qparams));
      },
      nb::arg("model"), nb::arg("qparams"),
      "The model with quantizers, in standard ONNX operators: QuantizeLinear and DequantizeLinear behind each value, weights "
      "as "
      "integers, biases as int32.");
}

}  // namespace

void bind_statistics(nb::module_& m) {
  nb::class_<ValueStatistics>(m, "ValueStatistics", "What calibration saw of one value.")
      .def_ro("samples", &ValueStatistics::samples)
      .def_prop_ro("count", &ValueStatistics::count, "Finite elements.")
      .def_prop_ro("zeros", &ValueStatistics::zeros)
      .def_ro("nans", &ValueStatistics::nans)
      .def_ro("infinities", &ValueStatistics::infinities)
      .def_ro("min", &ValueStatistics::min)
      .def_ro("max", &ValueStatistics::max)
      .def_prop_ro("mean_min", &ValueStatistics::mean_min, "Average over samples of each sample's minimum.")
      .def_prop_ro("mean_max", &ValueStatistics::mean_max)
      .def(
          "quantile", [](const ValueStatistics& self, double fraction) { return self.view().quantile(fraction); },
          nb::arg("fraction"), "The value below which this share of the elements lies.")
      .def("histogram", &histogram, nb::sig("def histogram(self) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]"),
           "Lower edges, upper edges and counts of the filled bins, ascending.")
      .def("__repr__",
           [](const ValueStatistics& self) {
             return fmt::format("<zeropoint.ValueStatistics: {} elements in [{}, {}]>", self.count(), self.min, self.max);
           })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .attr("__hash__") = nb::none();

  nb::class_<Statistics> statistics(
      m, "Statistics",
      "What calibration saw of each float value of a model. A mapping from names to ValueStatistics that merges, "
      "compares, prints and pickles. It depends only on the samples, not on their order, threads or shards.");
  statistics.def_ro("samples", &Statistics::samples, "How many, single ones: a batch of 4 counts 4.")
      .def_ro("model_hash", &Statistics::model_hash)
      .def_ro("isas", &Statistics::isas, "Instruction sets that computed the floats.")
      .def_prop_ro(
          "complete", [](const Statistics& self) { return !self.progress; }, "False for a shard of a larger set.")
      .def_prop_ro("hash", &statistics_hash)
      .def("__len__", [](const Statistics& self) { return self.values.size(); })
      .def("__contains__", [](const Statistics& self, const std::string& value) { return self.find(value) != nullptr; })
      .def("__getitem__", &value_of, nb::rv_policy::reference_internal)
      .def(
          "__iter__", [](const Statistics& self) { return nb::iter(nb::cast(names_of(self))); },
          nb::sig("def __iter__(self) -> collections.abc.Iterator[str]"))
      .def("keys", &names_of, "Names of the values, sorted.")
      .def(
          "save",
          [](const Statistics& self, nb::handle path) {
            const std::filesystem::path to = to_path(path);
            nb::gil_scoped_release release;
            save(self, to);
          },
          nb::arg("path"), nb::sig("def save(self, path: str | os.PathLike[str]) -> None"))
      .def("to_bytes", &to_bytes)
      .def(
          "to_json", [](const Statistics& self) { return to_json(self); }, "A summary: counts, ranges and percentiles.")
      .def("__str__", [](const Statistics& self) { return to_text(self); })
      .def("__repr__",
           [](const Statistics& self) {
             return fmt::format("<zeropoint.Statistics of {} values over {} samples>", self.values.size(), self.samples);
           })
      .def("__getstate__", &to_bytes, nb::sig("def __getstate__(self) -> bytes"))
      .def("__setstate__", [](Statistics& self, const nb::bytes& bytes) { new (&self) Statistics(from_bytes(bytes)); })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .attr("__hash__") = nb::none();

  m.def(
      "calibrate", &calibrate_in_python, nb::arg("model"), nb::arg("samples"), nb::arg("recipe") = nb::none(), nb::kw_only(),
      nb::arg("values") = nb::none(), nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(),
      nb::arg("max_memory") = nb::none(), nb::arg("shard") = 0, nb::arg("shards") = 1, nb::arg("checkpoint") = nb::none(),
      nb::arg("resume") = false, nb::arg("allow_non_finite") = false, nb::arg("progress") = nb::none(),
      nb::sig(
          "def calibrate(model: Model | str | os.PathLike[str] | bytes, samples: SampleSource, recipe: Recipe "
          "| None = None, *, "
          "values: collections.abc.Sequence[str] | None = None, threads: int = 0, max_isa: str | None = None, "
          "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, max_memory: int | None = None, "
          "shard: int = 0, shards: int = 1, checkpoint: str | os.PathLike[str] | None = None, resume: bool = False, "
          "allow_non_finite: bool = False, progress: Progress | None = None) -> "
          "Statistics"),
      "Runs the float model over the samples once and observes its values; memory does not grow with the samples.\n\n"
      "samples: a sequence or iterable of {input name: array}, Samples, or a path that open_samples takes.\n"
      "recipe: observe what it quantizes; values: observe these; neither: every float value.\n"
      "max_memory: bytes. shard, shards: this call takes that part of the set; merge() joins them. checkpoint, resume: a file "
      "for "
      "unfinished state, and whether to go on from it. progress: called with (done, total) by this thread, or True for a bar "
      "of tqdm's.");
  m.def(
      "merge",
      [](const Statistics& first, const nb::args& others, bool mix_isas, bool same_samples) {
        Statistics merged = first;
        for (nb::handle other : others)
          merged = merge(merged, nb::cast<const Statistics&>(other), {.mix_isas = mix_isas, .same_samples = same_samples});
        return merged;
      },
      nb::arg("first"), nb::arg("others"), nb::kw_only(), nb::arg("mix_isas") = false, nb::arg("same_samples") = false,
      nb::sig("def merge(first: Statistics, *others: Statistics, mix_isas: bool = False, same_samples: bool = False) -> "
              "Statistics"),
      "The statistics of all shards together, in any order.\n\n"
      "mix_isas: accept floats computed by different instruction sets. same_samples: accept two sets of equal samples, where\n"
      "samples occur more than once and the caller sees to it that no set is counted twice.");
  m.def(
      "load_statistics",
      [](nb::handle source) {
        if (nb::isinstance<nb::bytes>(source)) return from_bytes(nb::borrow<nb::bytes>(source));
        const std::filesystem::path path = to_path(source);
        nb::gil_scoped_release release;
        return load_statistics(path);
      },
      nb::arg("source"), nb::sig("def load_statistics(source: str | os.PathLike[str] | bytes) -> Statistics"),
      "Reads what Statistics.save or to_bytes wrote.");
  bind_qparams(m);
}

}  // namespace zeropoint::python
