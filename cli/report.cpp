// zeropoint report: everything about a quantized model on one page.
#include "zeropoint/report.h"

#include <algorithm>
#include <map>

#include "analyze/bench.h"
#include "analyze/node_reports.h"
#include "base/file.h"
#include "command.h"
#include "write_report.h"
#include "zeropoint/quantize.h"
#include "zeropoint/sensitivity.h"

namespace zeropoint::cli {
namespace {

constexpr int kTurns = 2;  // of the two models, so that a slow moment of the machine hits both

struct Flags {
  CommonFlags common;
  DataFlags data;
  std::vector<std::string> files;
  std::string output;
  double seconds = 2;
  bool sensitivity = false;
};

// Time of the whole and of each node, in float and in integers.
void add_times(Report& report, const Graph& model, const Graph& quantized, const Feeds& feeds, const Flags& flags) {
  const SessionOptions options = flags.common.session_options();
  std::map<std::string, double> float_seconds, seconds;
  std::vector<StepInfo> steps;
  Latency latency;
  for (int turn = 0; turn < kTurns; ++turn) {
    const auto measure = [&](const Graph& graph, double& whole, std::map<std::string, double>& each) {
      const analyze::BenchReport one = analyze::bench(graph, feeds, options, flags.seconds / kTurns, &interrupted());
      whole = turn == 0 ? one.min_seconds : std::min(whole, one.min_seconds);
      for (const analyze::StepSpeed& step : one.steps) {
        const auto [found, is_new] = each.emplace(step.step.name, step.step.seconds);
        if (!is_new) found->second = std::min(found->second, step.step.seconds);
      }
      return one;
    };
    measure(model, latency.float_seconds, float_seconds);
    const analyze::BenchReport one = measure(quantized, latency.seconds, seconds);
    latency.threads = one.threads;
    latency.isas = one.isas;
    steps.clear();
    for (const analyze::StepSpeed& step : one.steps) steps.push_back(step.step);
  }
  report.latency = latency;
  report.nodes = analyze::node_reports(quantized, steps);
  for (NodeReport& node : report.nodes) {
    if (const auto found = seconds.find(node.node); found != seconds.end()) node.seconds = found->second;
    if (const auto found = float_seconds.find(node.node); found != float_seconds.end()) node.float_seconds = found->second;
  }
}

// What quantizing each node costs, by the recipe in the quantized file; --data are calibrated and measured on.
void measure_sensitivity(Report& report, const Graph& model, const Graph& quantized, const Samples& samples,
                         const Flags& flags) {
  const auto recipe = quantized.metadata.find(kRecipeKey);
  if (recipe == quantized.metadata.end())
    throw Error(ErrorCode::kBadArgument, "--sensitivity",
                flags.files[1] + " holds no recipe: zeropoint did not make it; zeropoint sensitivity takes one");
  const SessionOptions session = flags.common.session_options();
  Progress progress("measuring", flags.common.quiet);
  const Sensitivity found = sensitivity(model, samples, parse_recipe(recipe->second, flags.files[1]),
                                        {.threads = flags.common.threads,
                                         .max_isa = session.max_isa,
                                         .shapes = session.shapes,
                                         .progress = [&](std::size_t done, std::size_t total) { progress(done, total); },
                                         .interrupt = &interrupted()});
  report.sensitivity = found.nodes;
}

void run(const Flags& flags) {
  check_report_name("-o", flags.output);
  if (flags.files.size() == 1) {
    if (!flags.files[0].ends_with(".json"))
      throw Error(ErrorCode::kBadArgument, "report",
                  "give a report in JSON alone, or a float model, a quantized one and --data");
    const std::string page = to_html(read_file(flags.files[0]), flags.files[0]);
    if (flags.output.ends_with(".json")) throw Error(ErrorCode::kBadArgument, flags.output, "a report in JSON becomes .html");
    return write_file(flags.output, page);
  }
  if (flags.data.path.empty()) throw Error(ErrorCode::kBadArgument, "report", "give --data: samples to compare the models on");
  const Graph model = load(flags.files[0]), quantized = load(flags.files[1]);
  const ChosenSamples samples = open(flags.data, flags.common, model);
  const SessionOptions session = flags.common.session_options();
  Report report;
  {
    Progress progress("comparing", flags.common.quiet);
    report = compare(model, quantized, samples.get(),
                     {.threads = flags.common.threads,
                      .max_isa = session.max_isa,
                      .shapes = session.shapes,
                      .values = true,
                      .progress = [&](std::size_t done, std::size_t total) { progress(done, total); },
                      .interrupt = &interrupted()});
  }
  if (flags.seconds > 0) add_times(report, model, quantized, samples.get().get(0), flags);
  if (flags.sensitivity) measure_sensitivity(report, model, quantized, samples.get(), flags);
  if (const auto recipe = quantized.metadata.find(kRecipeKey); recipe != quantized.metadata.end()) {
    report.recipe_json = recipe->second;
    {
      const auto parsed = nlohmann::json::parse(recipe->second, nullptr, false);  // of anybody's file
      if (parsed.is_object() && parsed.contains("name") && parsed["name"].is_string()) report.recipe = parsed["name"];
    }
  }
  write_report(flags.output, std::move(report));
}

}  // namespace

void add_report(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      program.add_subcommand("report", "write one page about a quantized model: accuracy, size, time, nodes, ranges");
  verb->add_option("files", flags->files, "float ONNX file and quantized one; or a report in JSON, to make a page of it")
      ->required()
      ->expected(1, 2);
  verb->add_option("-o,--output", flags->output, "file to write: .html or .json")->required();
  verb->add_option("--seconds", flags->seconds, "how long to time each model; 0: not at all")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  verb->add_flag("--sensitivity", flags->sensitivity,
                 "also what quantizing each node costs, with causes and fixes, by the recipe in the quantized file");
  flags->data.add_to(*verb, false);
  flags->common.add_to(*verb);
  verb->callback([flags] { run(*flags); });
}

}  // namespace zeropoint::cli
