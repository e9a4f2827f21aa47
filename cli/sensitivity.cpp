// zeropoint sensitivity: which nodes make a quantized model lose what it loses, why, and what to do.
#include "zeropoint/sensitivity.h"

#include "command.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  DataFlags data;
  std::string model, recipe = "static_w8a8", target, statistics;
  std::size_t measure_on = 4, restored = 8, most = 20;
};

void run(const Flags& flags) {
  const Recipe recipe = read_recipe(flags.recipe, flags.target);
  const Graph model = load(flags.model);
  const ChosenSamples samples = open(flags.data, flags.common, model);
  const SessionOptions session = flags.common.session_options();
  Sensitivity result;
  {
    Progress progress("measuring", flags.common.quiet);
    const SensitivityOptions options{.threads = flags.common.threads,
                                     .max_isa = session.max_isa,
                                     .shapes = session.shapes,
                                     .samples = flags.measure_on,
                                     .restored = flags.restored,
                                     .progress = [&](std::size_t done, std::size_t total) { progress(done, total); },
                                     .interrupt = &interrupted()};
    result = flags.statistics.empty() ? sensitivity(model, samples.get(), recipe, options)
                                      : sensitivity(model, read_statistics(flags.statistics), samples.get(), recipe, options);
  }
  if (flags.common.json) return print(nlohmann::ordered_json::parse(to_json(result)));
  print(to_text(result, flags.most == 0 ? std::nullopt : std::optional(flags.most)));
}

}  // namespace

void add_sensitivity(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand(
      "sensitivity", "rank the nodes of a float model by what quantizing each would cost, with the cause and a fix");
  verb->add_option("model", flags->model, "float ONNX file")->required();
  verb->add_option("--recipe", flags->recipe, "name or JSON file of the recipe to quantize by")->capture_default_str();
  verb->add_option("--target", flags->target, "in place of the recipe's: onnxruntime, openvino or zeropoint");
  verb->add_option("--statistics", flags->statistics, "use what calibrate wrote; --data are then only measured on");
  verb->add_option("--measure-on", flags->measure_on, "samples on which each node's loss is measured")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--restored", flags->restored, "of how many of the worst nodes the model is made again without them")
      ->capture_default_str();
  verb->add_option("--most", flags->most, "nodes to print; 0: all")->capture_default_str();
  flags->data.add_to(*verb, true);
  flags->common.add_to(*verb);
  verb->callback([flags] { run(*flags); });
}

}  // namespace zeropoint::cli
