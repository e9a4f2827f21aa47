// What a worker of a cluster keeps between the shards that it is handed: Calibrator and Evaluator.
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "binding.h"
#include "samples.h"
#include "waiting.h"
#include "zeropoint/calibrator.h"
#include "zeropoint/quantize.h"
#include "zeropoint/report.h"

namespace zeropoint::python {
namespace {

using Shapes = std::optional<std::map<std::string, Dims>>;

// Calls of two threads take turns.
struct LockedCalibrator {
  LockedCalibrator(const Graph& graph, CalibrateOptions options) : calibrator(graph, std::move(options)) {}
  Calibrator calibrator;
  std::mutex running;
};

void make_calibrator(LockedCalibrator* self, nb::handle source, const std::optional<Recipe>& recipe,
                     const std::optional<std::vector<std::string>>& values, int threads,
                     const std::optional<std::string>& max_isa, const Shapes& shapes, bool allow_non_finite) {
  const Model model = model_from(source);
  CalibrateOptions options;
  if (recipe) options = calibrate_options(*model.graph, *recipe);
  if (values) options.values = *values;
  options.threads = threads;
  options.max_isa = isa_from(max_isa);
  if (shapes) options.shapes = *shapes;
  options.allow_non_finite = allow_non_finite;
  new (self) LockedCalibrator(*model.graph, std::move(options));
}

Statistics calibrate_shard(LockedCalibrator& self, nb::handle samples) {
  SampleSource sample_source(samples, self.calibrator.graph().inputs);
  Watch watch{nb::none()};
  Statistics statistics;
  sample_source.run(watch, [&] {
    const std::lock_guard lock(self.running);
    statistics = self.calibrator.calibrate(sample_source.get(), watch.interrupt());
  });
  return statistics;
}

struct LockedEvaluator {
  LockedEvaluator(const Graph& graph, const SessionOptions& options) : session(graph, options) {}
  Session session;
  std::mutex running;
};

void make_evaluator(LockedEvaluator* self, nb::handle source, int threads, const std::optional<std::string>& max_isa,
                    const Shapes& shapes) {
  const Model model = model_from(source);
  SessionOptions options{.threads = threads, .max_isa = isa_from(max_isa)};
  if (shapes) options.shapes = *shapes;
  nb::gil_scoped_release release;
  new (self) LockedEvaluator(*model.graph, options);
}

Accuracy evaluate_shard(LockedEvaluator& self, nb::handle samples, const std::optional<std::vector<std::int64_t>>& labels) {
  SampleSource sample_source(samples, self.session.inputs(), labels);
  Watch watch{nb::none()};
  Accuracy accuracy;
  sample_source.run(watch, [&] {
    const std::lock_guard lock(self.running);
    accuracy = evaluate(self.session, sample_source.get(), {.interrupt = watch.interrupt()});
  });
  return accuracy;
}

}  // namespace

void bind_workers(nb::module_& m) {
  nb::class_<LockedCalibrator>(m, "Calibrator",
                               "calibrate() for set after set of samples: sessions are made once and kept. For workers of a "
                               "cluster that are handed shards; merge() joins what they return.")
      .def("__init__", &make_calibrator, nb::arg("model"), nb::arg("recipe") = nb::none(), nb::kw_only(),
           nb::arg("values") = nb::none(), nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(),
           nb::arg("shapes") = nb::none(), nb::arg("allow_non_finite") = false,
           nb::sig("def __init__(self, model: Model | str | os.PathLike[str] | bytes, recipe: Recipe | None = None, *, values: "
                   "collections.abc.Sequence[str] | None = None, threads: int = 0, max_isa: str | None = None, shapes: "
                   "collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, allow_non_finite: bool = False) "
                   "-> None"),
           "Arguments as of calibrate().")
      .def("calibrate", &calibrate_shard, nb::arg("samples"),
           nb::sig("def calibrate(self, samples: SampleSource) -> Statistics"), "What calibrate() gives for these samples.");
  nb::class_<LockedEvaluator>(m, "Evaluator", "evaluate() for set after set of samples, on one session.")
      .def("__init__", &make_evaluator, nb::arg("model"), nb::kw_only(), nb::arg("threads") = 0,
           nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(),
           nb::sig("def __init__(self, model: Model | str | os.PathLike[str] | bytes, *, threads: int = 0, max_isa: str | None "
                   "= None, shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None) -> None"),
           "Arguments as of evaluate().")
      .def("evaluate", &evaluate_shard, nb::arg("samples"), nb::kw_only(), nb::arg("labels") = nb::none(),
           nb::sig("def evaluate(self, samples: SampleSource, *, labels: collections.abc.Sequence[int] | None = None) -> "
                   "Accuracy"),
           "What evaluate() gives for these samples.");
}

}  // namespace zeropoint::python
