// The whole way in one call, and what it cost: quantize, compare, evaluate.
#include "zeropoint/quantize.h"

#include <fmt/format.h>
#include <nanobind/operators.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "feeds.h"
#include "samples.h"
#include "waiting.h"
#include "zeropoint/bias_correction.h"
#include "zeropoint/sensitivity.h"

namespace zeropoint::python {
namespace {

using Shapes = std::optional<std::map<std::string, Dims>>;
using Labels = std::optional<std::vector<std::int64_t>>;

Quantized quantize_in_python(nb::handle source, nb::handle samples, nb::handle recipe_source,
                             const std::optional<Statistics>& statistics, const std::optional<std::string>& target, int threads,
                             const std::optional<std::string>& max_isa, const Shapes& shapes,
                             std::optional<std::uint64_t> max_memory, bool allow_non_finite, nb::handle timed_on, bool verify,
                             nb::handle progress) {
  const Recipe recipe = recipe_from(recipe_source, target);
  if (!samples.is_none() && statistics) throw nb::type_error("give samples or statistics, not both");
  if (samples.is_none() && !statistics && recipe.needs_samples())
    throw nb::type_error(
        "give samples or statistics: this recipe needs to know what values occur; 'dynamic_w8a8' and 'weight_only_w8' do not");
  const Model model = model_from(source);
  Watch watch(progress);
  Quantized quantized;
  QuantizeOptions options{.threads = threads,
                          .max_isa = isa_from(max_isa),
                          .max_memory = max_memory.value_or(0),
                          .allow_non_finite = allow_non_finite,
                          .interrupt = watch.interrupt(),
                          .verify = verify};
  if (shapes) options.shapes = *shapes;
  if (!timed_on.is_none()) options.timed_on = to_feeds(timed_on, &model.graph->inputs, "timed_on");
  const bool given = statistics || !samples.is_none();
  if (!recipe.needs_samples() && !(recipe.converts_floats() && given)) {
    watch.run([&] { quantized = quantize(*model.graph, recipe, options); });
    return quantized;
  }
  if (statistics) {
    watch.run([&] { quantized = quantize(*model.graph, *statistics, recipe, options); });
    return quantized;
  }
  if (!progress.is_none()) {
    options.progress = [&](std::size_t done, std::size_t total) { watch.report(done, total); };
    options.step_progress = [&](std::string_view, std::size_t done, std::size_t total) { watch.report(done, total); };
  }
  SampleSource sample_source(samples, model.graph->inputs);
  sample_source.run(watch, [&] { quantized = quantize(*model.graph, sample_source.get(), recipe, options); });
  return quantized;
}

CompareOptions compare_options(Watch& watch, int threads, const std::optional<std::string>& max_isa, const Shapes& shapes,
                               bool values, nb::handle progress) {
  CompareOptions options{.threads = threads, .max_isa = isa_from(max_isa), .values = values, .interrupt = watch.interrupt()};
  if (shapes) options.shapes = *shapes;
  if (!progress.is_none()) options.progress = [&watch](std::size_t done, std::size_t total) { watch.report(done, total); };
  return options;
}

Report compare_in_python(nb::handle float_source, nb::handle quantized_source, nb::handle samples, const Labels& labels,
                         bool values, int threads, const std::optional<std::string>& max_isa, const Shapes& shapes,
                         nb::handle progress) {
  const Model float_model = model_from(float_source), quantized_model = model_from(quantized_source);
  SampleSource sample_source(samples, float_model.graph->inputs, labels);
  Watch watch(progress);
  const CompareOptions options = compare_options(watch, threads, max_isa, shapes, values, progress);
  Report report;
  sample_source.run(watch, [&] { report = compare(*float_model.graph, *quantized_model.graph, sample_source.get(), options); });
  return report;
}

Sensitivity sensitivity_in_python(nb::handle source, nb::handle samples, nb::handle recipe_source,
                                  const std::optional<Statistics>& statistics, const std::optional<std::string>& target,
                                  std::size_t measure_on, std::size_t restored, int threads,
                                  const std::optional<std::string>& max_isa, const Shapes& shapes, nb::handle progress) {
  const Recipe recipe = recipe_from(recipe_source, target);
  const Model model = model_from(source);
  SampleSource sample_source(samples, model.graph->inputs);
  Watch watch(progress);
  SensitivityOptions options{.threads = threads,
                             .max_isa = isa_from(max_isa),
                             .samples = measure_on,
                             .restored = restored,
                             .interrupt = watch.interrupt()};
  if (shapes) options.shapes = *shapes;
  if (!progress.is_none()) options.progress = [&](std::size_t done, std::size_t total) { watch.report(done, total); };
  Sensitivity result;
  sample_source.run(watch, [&] {
    result = statistics ? sensitivity(*model.graph, *statistics, sample_source.get(), recipe, options)
                        : sensitivity(*model.graph, sample_source.get(), recipe, options);
  });
  return result;
}

Accuracy evaluate_in_python(nb::handle source, nb::handle samples, const Labels& labels, int threads,
                            const std::optional<std::string>& max_isa, const Shapes& shapes, nb::handle progress) {
  const Model model = model_from(source);
  SampleSource sample_source(samples, model.graph->inputs, labels);
  Watch watch(progress);
  const CompareOptions options = compare_options(watch, threads, max_isa, shapes, false, progress);
  Accuracy accuracy;
  sample_source.run(watch, [&] { accuracy = evaluate(*model.graph, sample_source.get(), options); });
  return accuracy;
}

std::string share(const std::optional<double>& value) { return value ? fmt::format("{:.4f}", *value) : "None"; }

std::string repr_error(const ErrorMetrics& self) {
  return fmt::format("ErrorMetrics(sqnr_db={:.2f}, cosine={:.6f}, mean_abs={:.4g}, max_abs={:.4g}, count={})", self.sqnr_db,
                     self.cosine, self.mean_abs, self.max_abs, self.count);
}

void bind_report(nb::module_& m) {
  nb::class_<NodeSpeed>(m, "NodeSpeed", "One node, timed on the machine that quantized.")
      .def_ro("node", &NodeSpeed::node)
      .def_ro("op_type", &NodeSpeed::op_type)
      .def_ro("float_seconds", &NodeSpeed::float_seconds)
      .def_ro("integer_seconds", &NodeSpeed::integer_seconds, "With the conversions around it.");
  nb::class_<SpeedReport>(m, "SpeedReport", "What speed-aware quantization measured.")
      .def_ro("float_seconds", &SpeedReport::float_seconds, "Of a run of the float model.")
      .def_ro("seconds", &SpeedReport::seconds, "Of a run of the model that was chosen.")
      .def_ro("kept_float", &SpeedReport::kept_float, "Nodes that are slower in integers, the worst first.");
  nb::class_<ErrorMetrics>(m, "ErrorMetrics", "How far quantized values lie from the float ones.")
      .def_ro("count", &ErrorMetrics::count, "Elements.")
      .def_ro("sqnr_db", &ErrorMetrics::sqnr_db, "10 log10(sum x^2 / sum (x - y)^2); infinite when equal.")
      .def_ro("cosine", &ErrorMetrics::cosine)
      .def_ro("mean_abs", &ErrorMetrics::mean_abs)
      .def_ro("max_abs", &ErrorMetrics::max_abs)
      .def("__repr__", &repr_error);
  nb::class_<OutputMetrics>(m, "OutputMetrics", "Of one output of the model.")
      .def_ro("name", &OutputMetrics::name)
      .def_ro("error", &OutputMetrics::error)
      .def_ro("rows", &OutputMetrics::rows)
      .def_ro("top1_agreement", &OutputMetrics::top1_agreement, "Share of rows whose largest element stands at the same place.")
      .def_ro("top5_agreement", &OutputMetrics::top5_agreement,
              "Share of rows whose float winner is among the quantized five largest.")
      .def("__repr__", [](const OutputMetrics& self) {
        return fmt::format("OutputMetrics(name='{}', top1_agreement={}, error={})", self.name, share(self.top1_agreement),
                           repr_error(self.error));
      });
  nb::class_<ValueMetrics>(m, "ValueMetrics", "Of one value inside the model.")
      .def_ro("value", &ValueMetrics::value, "Its name in the float model.")
      .def_ro("node", &ValueMetrics::node, "The operator that makes it; '' for an input.")
      .def_ro("error", &ValueMetrics::error)
      .def_ro("saturated", &ValueMetrics::saturated, "Share beyond the quantizer's limits, 0 to 1.")
      .def_ro("dead", &ValueMetrics::dead, "Share that became 0 and was not.")
      .def("__repr__", [](const ValueMetrics& self) {
        return fmt::format("ValueMetrics(value='{}', node='{}', error={})", self.value, self.node, repr_error(self.error));
      });
  nb::class_<Accuracy>(m, "Accuracy", "Against labels, as shares from 0 to 1.")
      .def(
          "__init__",
          [](Accuracy* self, std::uint64_t samples, double top1, std::optional<double> top5) {
            new (self) Accuracy{samples, top1, top5};
          },
          nb::arg("samples"), nb::arg("top1"), nb::arg("top5") = nb::none())
      .def_ro("samples", &Accuracy::samples)
      .def_ro("top1", &Accuracy::top1)
      .def_ro("top5", &Accuracy::top5, "With at least 6 classes.")
      .def("__repr__",
           [](const Accuracy& self) {
             return fmt::format("Accuracy(top1={:.4f}, top5={}, samples={})", self.top1, share(self.top5), self.samples);
           })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .attr("__hash__") = nb::none();
  nb::class_<FloatNode>(m, "FloatNode", "An operator that stayed in float, and why.")
      .def_ro("node", &FloatNode::node)
      .def_ro("op_type", &FloatNode::op_type)
      .def_ro("reason", &FloatNode::reason)
      .def("__repr__", [](const FloatNode& self) {
        return fmt::format("FloatNode(node='{}', op_type='{}', reason='{}')", self.node, self.op_type, self.reason);
      });
  nb::class_<StepGain>(m, "StepGain", "What one step of the recipe gained.")
      .def_ro("step", &StepGain::step, "Its name in the recipe.")
      .def_ro("what", &StepGain::what, "What the figures are of.")
      .def_ro("unit", &StepGain::unit, "Of both figures, such as 'dB'.")
      .def_ro("before", &StepGain::before)
      .def_ro("after", &StepGain::after)
      .def("__repr__", [](const StepGain& self) {
        return fmt::format("StepGain(step='{}', what='{}', unit='{}', before={:.4g}, after={:.4g})", self.step, self.what,
                           self.unit, self.before, self.after);
      });
  nb::class_<SelfCheck>(m, "SelfCheck", "Float and quantized model side by side, at the end of quantize().")
      .def_ro("samples", &SelfCheck::samples, "That both models ran on; 0: there was no check.")
      .def_ro("calibrated_on", &SelfCheck::calibrated_on)
      .def_ro("kept_aside", &SelfCheck::kept_aside, "Whether those were not calibrated on.")
      .def_ro("sound", &SelfCheck::sound)
      .def_ro("reason", &SelfCheck::reason, "Why it is not sound, or why there was no check.")
      .def_ro("sqnr_db", &SelfCheck::sqnr_db, "Of the worst output.")
      .def_ro("before_db", &SelfCheck::before_db, "The same before repairs.")
      .def_ro("least_db", &SelfCheck::least_db, "From which on a model counts as sound.")
      .def_ro("top1_agreement", &SelfCheck::top1_agreement)
      .def("__repr__", [](const SelfCheck& self) {
        return fmt::format("SelfCheck(sound={}, sqnr_db={:.2f}, samples={}, reason='{}')", self.sound ? "True" : "False",
                           self.sqnr_db, self.samples, self.reason);
      });
  nb::class_<Repair>(m, "Repair", "What quantize() changed because the model lost too much.")
      .def_ro("node", &Repair::node)
      .def_ro("op_type", &Repair::op_type)
      .def_ro("cause", &Repair::cause)
      .def_ro("action", &Repair::action)
      .def_ro("before_db", &Repair::before_db, "SQNR of the outputs before the round of repairs that it was part of.")
      .def_ro("after_db", &Repair::after_db)
      .def("__repr__", [](const Repair& self) {
        return fmt::format("Repair(node='{}', cause='{}', action='{}')", self.node, self.cause, self.action);
      });
  nb::class_<NodeSensitivity>(m, "NodeSensitivity", "What one node costs the whole model.")
      .def_ro("node", &NodeSensitivity::node)
      .def_ro("op_type", &NodeSensitivity::op_type)
      .def_ro("alone_db", &NodeSensitivity::alone_db, "SQNR of the outputs with only this node quantized.")
      .def_ro("values_db", &NodeSensitivity::values_db, "Of it, by its activations.")
      .def_ro("weights_db", &NodeSensitivity::weights_db, "Of it, by its weights.")
      .def_ro("share", &NodeSensitivity::share, "Of the noise of all nodes, 0 to 1.")
      .def_ro("restored_db", &NodeSensitivity::restored_db, "SQNR of the outputs with all nodes quantized but this.")
      .def_ro("measured", &NodeSensitivity::measured, "Else the loss is estimated.")
      .def_ro("restored_measured", &NodeSensitivity::restored_measured)
      .def_ro("macs_share", &NodeSensitivity::macs_share)
      .def_ro("cause", &NodeSensitivity::cause)
      .def_ro("figures", &NodeSensitivity::figures, "That show the cause.")
      .def_ro("fix", &NodeSensitivity::fix)
      .def_ro("recipe", &NodeSensitivity::recipe, "The fix as a rule or step of a recipe, JSON; '' where there is none.")
      .def("__repr__", [](const NodeSensitivity& self) {
        return fmt::format("NodeSensitivity(node='{}', alone_db={:.2f}, cause='{}')", self.node, self.alone_db, self.cause);
      });
  nb::class_<Sensitivity>(m, "Sensitivity", "Which nodes make a quantized model lose what it loses. print() shows all of it.")
      .def_ro("recipe", &Sensitivity::recipe)
      .def_ro("samples", &Sensitivity::samples, "That each node was measured on.")
      .def_ro("sqnr_db", &Sensitivity::sqnr_db, "Of the outputs with every node quantized.")
      .def_ro("sources", &Sensitivity::sources, "Quantizers and weights.")
      .def_ro("measured", &Sensitivity::measured, "Of them; the others' loss is estimated.")
      .def_ro("nodes", &Sensitivity::nodes, "The worst first.")
      .def("to_json", [](const Sensitivity& self) { return to_json(self); })
      .def(
          "to_dict", [](const Sensitivity& self) { return nb::module_::import_("json").attr("loads")(to_json(self)); },
          nb::sig("def to_dict(self) -> dict[str, typing.Any]"))
      .def("__str__", [](const Sensitivity& self) { return to_text(self); })
      .def("__repr__", [](const Sensitivity& self) {
        return fmt::format("<zeropoint.Sensitivity: {:.2f} dB, {} nodes>", self.sqnr_db, self.nodes.size());
      });
  nb::class_<Report>(m, "Report", "What quantization cost and gained. print() shows all of it.")
      .def_ro("recipe", &Report::recipe, "The recipe's name.")
      .def_ro("float_bytes", &Report::float_bytes, "Of all constants.")
      .def_ro("quantized_bytes", &Report::quantized_bytes)
      .def_ro("integer_coverage", &Report::integer_coverage,
              "Share of multiply-accumulates in integers, 0 to 1; None where they are not known.")
      .def_ro("left_in_float", &Report::left_in_float)
      .def_ro("notes", &Report::notes)
      .def_ro("steps", &Report::steps, "What each step of the recipe gained, in the order in which they ran.")
      .def_ro("budget", &Report::budget, "Of quantize_within(), else None.")
      .def_ro("speed", &Report::speed, "Of speed-aware quantization, else None.")
      .def_ro("self_check", &Report::self_check, "Of quantize(); None where it did not look.")
      .def_ro("repairs", &Report::repairs, "That the self check called for.")
      .def_ro("samples", &Report::samples, "On which both models ran; 0 for a report of quantize().")
      .def_ro("outputs", &Report::outputs)
      .def_ro("values", &Report::values, "In the order of the float model; where asked for.")
      .def_ro("float_accuracy", &Report::float_accuracy, "Where samples have labels.")
      .def_ro("quantized_accuracy", &Report::quantized_accuracy)
      .def("to_json", [](const Report& self) { return to_json(self); })
      .def(
          "to_html", [](const Report& self) { return to_html(self); }, "One page that opens offline, with the JSON in it.")
      .def(
          "to_dict", [](const Report& self) { return nb::module_::import_("json").attr("loads")(to_json(self)); },
          nb::sig("def to_dict(self) -> dict[str, typing.Any]"))
      .def("__str__", [](const Report& self) { return to_text(self); })
      .def("__repr__", [](const Report& self) {
        std::string text = fmt::format("<zeropoint.Report: {:.2f} MB -> {:.2f} MB", static_cast<double>(self.float_bytes) / 1e6,
                                       static_cast<double>(self.quantized_bytes) / 1e6);
        if (self.integer_coverage)
          text += fmt::format(", {:.1f} % of multiply-accumulates in integers", *self.integer_coverage * 100);
        return text + fmt::format(", {} samples compared>", self.samples);
      });
}

}  // namespace

Recipe recipe_from(nb::handle source, const std::optional<std::string>& target) {
  Recipe recipe = source.is_none()                  ? recipes::static_w8a8()
                  : nb::isinstance<nb::str>(source) ? recipes::named(nb::cast<std::string>(source))
                                                    : nb::cast<Recipe>(source);
  if (!target) return recipe;
  const auto parsed = parse_target(*target);
  if (!parsed) throw Error(ErrorCode::kBadArgument, "target", "'" + *target + "' is not known; see Recipe.with_target");
  recipe.target = *parsed;
  return recipe;
}

void bind_quantize(nb::module_& m) {
  bind_report(m);
  nb::class_<Quantized>(m, "Quantized", "What quantize() returns.")
      .def_prop_ro(
          "model", [](const Quantized& self) { return to_model(self.model); },
          "The quantized model: standard ONNX, with the recipe in its metadata.")
      .def_prop_ro(
          "fused", [](const Quantized& self) { return to_model(self.fused); }, "The float model that it was made of.")
      .def_prop_ro("qparams", [](const Quantized& self) { return self.qparams; })
      .def_prop_ro("statistics", [](const Quantized& self) { return self.statistics; })
      .def_prop_ro("report", [](const Quantized& self) { return self.report; })
      .def("__repr__", [](const Quantized& self) {
        return fmt::format("<zeropoint.Quantized by {}: {} tensors in integers, {} operators left in float>",
                           self.report.recipe, self.qparams.size(), self.report.left_in_float.size());
      });

  m.def("quantize", &quantize_in_python, nb::arg("model"), nb::arg("samples") = nb::none(), nb::arg("recipe") = nb::none(),
        nb::kw_only(), nb::arg("statistics") = nb::none(), nb::arg("target") = nb::none(), nb::arg("threads") = 0,
        nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(), nb::arg("max_memory") = nb::none(),
        nb::arg("allow_non_finite") = false, nb::arg("timed_on") = nb::none(), nb::arg("verify") = true,
        nb::arg("progress") = nb::none(),
        nb::sig(
            "def quantize(model: Model | str | os.PathLike[str] | bytes, samples: SampleSource | None = None, "
            "recipe: Recipe | str | None "
            "= None, *, "
            "statistics: Statistics | None = None, target: str | None = None, threads: int = 0, max_isa: str | None = None, "
            "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, max_memory: int | None = None, "
            "allow_non_finite: bool = False, timed_on: collections.abc.Mapping[str, numpy.typing.ArrayLike] | None = None, "
            "verify: bool = True, "
            "progress: Progress | None = None) -> Quantized"),
        "Float model and samples to quantized model: fuse, calibrate, choose_qparams, the recipe's steps and insert_qdq in one "
        "call.\n\n"
        "samples: a sequence or iterable of {input name: array}, Samples, or a path that open_samples takes.\n"
        "recipe: static_w8a8 when None; a string names a built-in one. Dynamic and weight-only recipes need no samples.\n"
        "target: takes the place of the recipe's.\n"
        "statistics: of an earlier calibrate(fuse(model), samples, recipe), in place of samples.\n"
        "verify: keep some samples aside, run float and quantized model on them and repair what breaks it (report.self_check,\n"
        "report.repairs); the repairs stand in the recipe of the result.\n"
        "timed_on: inputs to time models with; nodes that integers make slower on this machine then stay in float, and the\n"
        "recipe of the result says which (report.speed).\n"
        "max_memory: bytes, of calibration. progress: called with (done, total) by this thread, or True for a bar of tqdm's: "
        "samples of calibration, then\n"
        "layers of each step that takes long.");
  m.def(
      "prepare",
      [](const Model& model, const Recipe& recipe) {
        nb::gil_scoped_release release;
        return to_model(prepare(*model.graph, recipe));
      },
      nb::arg("model"), nb::arg("recipe"),
      "The float model that a recipe calibrates: fuse(model), and the recipe's steps before calibration. Steps that need "
      "samples "
      "raise Error.");
  m.def(
      "compare", &compare_in_python, nb::arg("float_model"), nb::arg("quantized_model"), nb::arg("samples"), nb::kw_only(),
      nb::arg("labels") = nb::none(), nb::arg("values") = false, nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(),
      nb::arg("shapes") = nb::none(), nb::arg("progress") = nb::none(),
      nb::sig("def compare(float_model: Model | str | os.PathLike[str] | bytes, quantized_model: Model | str | "
              "os.PathLike[str] | bytes, "
              "samples: SampleSource, *, labels: collections.abc.Sequence[int] | None = None, values: bool = "
              "False, threads: int "
              "= 0, "
              "max_isa: str | None = None, shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, "
              "progress: Progress | None = None) -> Report"),
      "Runs both models over the samples and reports how far the quantized one's outputs lie from the float one's.\n\n"
      "labels: classes of the samples, for accuracy; samples from files may bring their own. values: compare the values "
      "inside, too.");
  m.def(
      "sensitivity", &sensitivity_in_python, nb::arg("model"), nb::arg("samples"), nb::arg("recipe") = nb::none(),
      nb::kw_only(), nb::arg("statistics") = nb::none(), nb::arg("target") = nb::none(), nb::arg("measure_on") = 4,
      nb::arg("restored") = 8, nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(),
      nb::arg("progress") = nb::none(),
      nb::sig("def sensitivity(model: Model | str | os.PathLike[str] | bytes, samples: SampleSource, "
              "recipe: Recipe | str | None = None, *, statistics: Statistics | None = None, target: str | None = None, "
              "measure_on: int = 4, restored: int = 8, threads: int = 0, max_isa: str | None = None, "
              "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, "
              "progress: Progress | None = None) -> Sensitivity"),
      "Ranks the nodes of a float model by what quantizing each by the recipe costs at the outputs, with cause and fix.\n\n"
      "measure_on: samples on which each node's loss is measured. restored: of how many of the worst nodes the model is made\n"
      "again without them. statistics: of an earlier calibrate(); the samples are then only measured on.");
  m.def("evaluate", &evaluate_in_python, nb::arg("model"), nb::arg("samples"), nb::kw_only(), nb::arg("labels") = nb::none(),
        nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(), nb::arg("shapes") = nb::none(),
        nb::arg("progress") = nb::none(),
        nb::sig("def evaluate(model: Model | str | os.PathLike[str] | bytes, samples: SampleSource, *, labels: "
                "collections.abc.Sequence[int] | None = None, threads: int = 0, max_isa: str | None = None, "
                "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, "
                "progress: Progress | None = None) -> Accuracy"),
        "Share of samples whose label is the place of the largest element of the model's first output.");
  m.def(
      "correct_biases",
      [](const Model& model, const QParamsMap& qparams, const Statistics& statistics) {
        nb::gil_scoped_release release;
        return to_model(correct_biases(*model.graph, qparams, statistics));
      },
      nb::arg("model"), nb::arg("qparams"), nb::arg("statistics"),
      "The step 'bias_correction' of recipes: takes the error that quantized weights make on average out of the output. The "
      "statistics must come from calibrate() with a recipe that has this step.");
}

}  // namespace zeropoint::python
