// zeropoint compare: what quantization cost. zeropoint evaluate: accuracy on labelled samples.
#include <fmt/format.h>

#include "command.h"
#include "write_report.h"
#include "zeropoint/report.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  DataFlags data;
  std::string model, quantized, report;
  bool values = false;
};

CompareOptions compare_options(const Flags& flags, Progress& progress) {
  const SessionOptions session = flags.common.session_options();
  return {.threads = flags.common.threads,
          .max_isa = session.max_isa,
          .shapes = session.shapes,
          .values = flags.values,
          .progress = [&](std::size_t done, std::size_t total) { progress(done, total); },
          .interrupt = &interrupted()};
}

void run_compare(const Flags& flags) {
  check_report_name("--report", flags.report);
  const Graph model = load(flags.model), quantized = load(flags.quantized);
  const ChosenSamples samples = open(flags.data, flags.common, model);
  Report report;
  {
    Progress progress("comparing", flags.common.quiet);
    report = compare(model, quantized, samples.get(), compare_options(flags, progress));
  }
  write_report(flags.report, report);
  flags.common.json ? print(nlohmann::ordered_json::parse(to_json(report))) : print(to_text(report));
}

void run_evaluate(const Flags& flags) {
  const Graph model = load(flags.model);
  const ChosenSamples samples = open(flags.data, flags.common, model);
  Accuracy accuracy;
  {
    Progress progress("evaluating", flags.common.quiet);
    accuracy = evaluate(model, samples.get(), compare_options(flags, progress));
  }
  if (flags.common.json) {
    nlohmann::ordered_json json = {{"model", flags.model}, {"samples", accuracy.samples}, {"top1", accuracy.top1}};
    if (accuracy.top5) json["top5"] = *accuracy.top5;
    return print(json);
  }
  print(fmt::format("{}: {:.2f} % right{} on {} samples\n", flags.model, 100 * accuracy.top1,
                    accuracy.top5 ? fmt::format(", {:.2f} % among the best five", 100 * *accuracy.top5) : "",
                    accuracy.samples));
}

}  // namespace

void add_compare(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("compare", "run a float and a quantized model over samples and tell how they differ");
  verb->add_option("float", flags->model, "float ONNX file")->required();
  verb->add_option("quantized", flags->quantized, "quantized ONNX file")->required();
  verb->add_flag("--values", flags->values, "the values on the way, too");
  verb->add_option("--report", flags->report, "write the report: a page (.html) or data (.json)");
  flags->data.add_to(*verb, true);
  flags->common.add_to(*verb);
  verb->callback([flags] { run_compare(*flags); });
}

void add_evaluate(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("evaluate", "accuracy of a model on labelled samples");
  verb->add_option("model", flags->model, "ONNX file, float or quantized")->required();
  flags->data.add_to(*verb, true);
  flags->common.add_to(*verb);
  verb->callback([flags] { run_evaluate(*flags); });
}

}  // namespace zeropoint::cli
