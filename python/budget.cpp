// The fastest or smallest model within a budget of accuracy.
#include "zeropoint/budget.h"

#include <fmt/format.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "samples.h"
#include "waiting.h"

namespace zeropoint::python {
namespace {

using Shapes = std::optional<std::map<std::string, Dims>>;
using Labels = std::optional<std::vector<std::int64_t>>;

// A function of Python, called on the thread that searches.
Metric metric_of(nb::handle function, bool larger_is_better) {
  nb::object name = nb::getattr(function, "__name__", nb::none());
  return {.name = name.is_none() ? "metric" : nb::cast<std::string>(name),
          .value =
              [function](const Graph& model) {
                const nb::gil_scoped_acquire held;
                const nb::object value = function(to_model(model));
                double number = 0;
                if (!nb::try_cast<double>(value, number)) throw nb::type_error("the metric must return a number");
                return number;
              },
          .larger_is_better = larger_is_better};
}

Quantized quantize_within_in_python(nb::handle source, nb::handle samples, nb::handle judged_on, const Labels& labels,
                                    std::optional<double> max_drop, std::optional<double> limit, nb::handle metric_source,
                                    bool larger_is_better, nb::handle recipe_source, const std::optional<std::string>& target,
                                    const std::string& objective, int threads, const std::optional<std::string>& max_isa,
                                    const Shapes& shapes, nb::handle cache, bool resume) {
  if (objective != "fastest" && objective != "smallest")
    throw Error(ErrorCode::kBadArgument, "objective", "'" + objective + "' is neither fastest nor smallest");
  const bool named = nb::isinstance<nb::str>(metric_source);
  if (named && judged_on.is_none())
    throw nb::type_error("a metric by name needs samples to judge on: judged_on, best others than those calibrated on");
  if (!named && PyCallable_Check(metric_source.ptr()) == 0)
    throw nb::type_error("metric must be a name or a function of a Model that returns a number");
  const Recipe recipe = recipe_from(recipe_source, target);
  const Model model = model_from(source);
  SampleSource calibrated(samples, model.graph->inputs);
  std::optional<SampleSource> judged;
  if (!judged_on.is_none()) judged.emplace(judged_on, model.graph->inputs, labels);
  const nb::object no_progress = nb::none();
  Watch watch(no_progress);
  BudgetOptions options{.objective = objective == "fastest" ? Objective::fastest : Objective::smallest, .resume = resume};
  options.quantize = {.threads = threads, .max_isa = isa_from(max_isa), .interrupt = watch.interrupt()};
  if (shapes) options.quantize.shapes = *shapes;
  if (!cache.is_none()) options.cache = to_path(cache);
  const CompareOptions how{.threads = threads,
                           .max_isa = options.quantize.max_isa,
                           .shapes = options.quantize.shapes,
                           .interrupt = watch.interrupt()};
  // Names and functions of Python are touched here, where the GIL is held.
  const std::string metric_name = named ? nb::cast<std::string>(metric_source) : "";
  Metric metric = named ? Metric() : metric_of(metric_source, larger_is_better);
  Quantized quantized;
  try {
    calibrated.run(watch, [&] {
      if (!metric_name.empty()) metric = named_metric(metric_name, *model.graph, judged->get(), how);
      options.timed_on = calibrated.get().get(0);
      quantized =
          quantize_within(*model.graph, calibrated.get(), metric, {.max_drop = max_drop, .limit = limit}, recipe, options);
    });
  } catch (const Error&) {
    if (judged) judged->rethrow_failure();
    throw;
  }
  return quantized;
}

}  // namespace

void bind_budget(nb::module_& m) {
  nb::class_<TriedModel>(m, "TriedModel", "One model that a search within a budget made and judged.")
      .def_ro("label", &TriedModel::label)
      .def_prop_ro("recipe", [](const TriedModel& self) { return parse_recipe(self.recipe); })
      .def_ro("value", &TriedModel::value, "Of the metric.")
      .def_ro("bytes", &TriedModel::bytes, "Of all constants.")
      .def_ro("seconds", &TriedModel::seconds, "Of a run on this machine.")
      .def_ro("float_seconds", &TriedModel::float_seconds, "Of a run of the float model, in turns with it.")
      .def_ro("within", &TriedModel::within, "The budget.")
      .def_ro("pareto", &TriedModel::pareto, "Nothing tried is better in all of value, size and time.")
      .def_ro("chosen", &TriedModel::chosen)
      .def("__repr__", [](const TriedModel& self) {
        return fmt::format("TriedModel(label='{}', value={:.6g}, bytes={}, seconds={:.3g}, within={})", self.label, self.value,
                           self.bytes, self.seconds, self.within ? "True" : "False");
      });
  nb::class_<BudgetReport>(m, "BudgetReport", "What a search within a budget tried.")
      .def_ro("metric", &BudgetReport::metric)
      .def_ro("larger_is_better", &BudgetReport::larger_is_better)
      .def_ro("met", &BudgetReport::met, "False: nothing met the budget, the result is the best by the metric.")
      .def_ro("float_value", &BudgetReport::float_value)
      .def_ro("limit", &BudgetReport::limit, "The worst value within the budget.")
      .def_ro("float_bytes", &BudgetReport::float_bytes)
      .def_ro("tried", &BudgetReport::tried, "In the order in which they were tried.");
  m.def(
      "quantize_within", &quantize_within_in_python, nb::arg("model"), nb::arg("samples"), nb::kw_only(),
      nb::arg("judged_on") = nb::none(), nb::arg("labels") = nb::none(), nb::arg("max_drop") = nb::none(),
      nb::arg("limit") = nb::none(), nb::arg("metric") = "top1", nb::arg("larger_is_better") = true,
      nb::arg("recipe") = nb::none(), nb::arg("target") = nb::none(), nb::arg("objective") = "fastest", nb::arg("threads") = 0,
      nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(), nb::arg("cache") = nb::none(), nb::arg("resume") = false,
      nb::sig("def quantize_within(model: Model | str | os.PathLike[str] | bytes, samples: SampleSource, *, "
              "judged_on: SampleSource | None = None, labels: collections.abc.Sequence[int] | None = None, "
              "max_drop: float | None = None, limit: float | None = None, "
              "metric: str | collections.abc.Callable[[Model], float] = 'top1', larger_is_better: bool = True, "
              "recipe: Recipe | str | None = None, target: str | None = None, objective: str = 'fastest', threads: int = 0, "
              "max_isa: str | None = None, "
              "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, "
              "cache: str | os.PathLike[str] | None = None, resume: bool = False) -> Quantized"),
      "The fastest (or smallest) quantized model that a metric finds good enough.\n\n"
      "samples: to calibrate on. judged_on: others, for metrics by name, with labels for top1 and top5.\n"
      "max_drop: worse than the float model by at most this; or limit: at least this value (mse: at most).\n"
      "metric: top1, top5, agreement (percent), cosine, mse, sqnr (dB), or a function of a Model that returns a number,\n"
      "of which larger is better unless larger_is_better is False.\n"
      "objective: 'fastest' in this engine on this machine, or 'smallest'.\n"
      "cache: a file that holds what was tried while the search goes on; resume: go on from it.\n"
      "report.budget of the result has all that was tried; its met is False where nothing was good enough, and the result is\n"
      "then the best. docs/budget.md.");
}

}  // namespace zeropoint::python
