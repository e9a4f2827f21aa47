// zeropoint bench: how fast a model runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/file.h"
#include "command.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  std::string model, report;
  std::int64_t batch = 1;
  double seconds = 2;
  bool nodes = false, batch_given = false;
};

void bench(const Flags& flags) {
  const Graph model = load(flags.model);
  SessionOptions options = flags.common.session_options();
  for (const auto& input : model.inputs) {
    if (const auto given = options.shapes.find(input.name);
        given != options.shapes.end() && flags.batch_given && !given->second.empty() && given->second[0] != flags.batch)
      throw Error(
          ErrorCode::kBadArgument, "--batch",
          fmt::format("{} contradicts --shape {}={}; give one of them", flags.batch, input.name, to_string(given->second)));
    if (options.shapes.contains(input.name) || !input.type.shape || input.type.shape->empty()) continue;
    Dims dims;
    for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
    if (!input.type.shape->front().fixed()) {
      dims[0] = flags.batch;
    } else if (flags.batch != 1) {
      throw Error(ErrorCode::kBadArgument, "--batch",
                  "input '" + input.name + "' has a fixed first dimension: " + to_string(input.type));
    }
    options.shapes[input.name] = dims;
  }
  const Feeds feeds = random_feeds(model, options.shapes, flags.common.seed);
  options.profile = flags.nodes;
  Session session(model, options);
  std::vector<Tensor> in, out = session.run(feeds);
  for (const auto& input : session.inputs()) in.push_back(feeds.at(input.name));

  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 10 || std::chrono::duration<double>(Clock::now() - start).count() < flags.seconds) {
    const auto before = Clock::now();
    if (const ErrorCode code = session.run(in, out); code != ErrorCode::kOk)
      throw Error(code, flags.model, "the run failed: " + std::string(name(code)));
    times.push_back(std::chrono::duration<double>(Clock::now() - before).count());
    if (interrupted()) throw Error(ErrorCode::kInterrupted, "bench", "interrupted");
  }
  std::sort(times.begin(), times.end());
  const double best = times.front(), median = times[times.size() / 2], p95 = times[times.size() * 95 / 100];
  std::int64_t macs = 0;
  const auto steps = session.steps();
  for (const auto& step : steps) macs += step.macs;
  const double gops = 2e-9 * static_cast<double>(macs) / best;
  const double coverage = 100 * session.integer_coverage();
  if (flags.common.json || !flags.report.empty()) {
    nlohmann::ordered_json json = {{"model", flags.model},
                                   {"batch", flags.batch},
                                   {"threads", flags.common.threads},
                                   {"runs", times.size()},
                                   {"min_ms", best * 1e3},
                                   {"median_ms", median * 1e3},
                                   {"p95_ms", p95 * 1e3},
                                   {"gop_per_s", gops},
                                   {"integer_percent", coverage},
                                   {"isas", to_string(allowed_isas(options.max_isa))}};
    if (flags.nodes)
      for (const auto& step : steps)
        json["nodes"].push_back({{"name", step.name},
                                 {"op", step.op},
                                 {"kernel", step.kernel},
                                 {"ms", 1e3 * step.seconds / static_cast<double>(times.size() + 1)},
                                 {"macs", step.macs}});
    if (!flags.report.empty()) write_file(flags.report, json.dump(2) + "\n");
    if (flags.common.json) return print(json);
  }
  std::string text;
  if (flags.nodes) {
    for (const auto& step : steps) {
      const double seconds = step.seconds / static_cast<double>(times.size() + 1);
      text += fmt::format("{:>9.1f} us  {:>7}  {:<28.28}  {:<34.34}  {}\n", seconds * 1e6,
                          step.macs > 0 ? fmt::format("{:.0f}", 2e-9 * static_cast<double>(step.macs) / seconds) : "", step.op,
                          step.kernel, step.name);
    }
    text += "(time, GOP/s, operator, kernel, node)\n";
  }
  text += fmt::format(
      "{}: min {:.3f} ms, median {:.3f} ms, p95 {:.3f} ms of {} runs; {:.1f} GOP/s; {:.1f} % of the work in integers\n",
      flags.model, best * 1e3, median * 1e3, p95 * 1e3, times.size(), gops, coverage);
  print(text);
}

}  // namespace

void add_bench(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("bench", "time a model");
  verb->add_option("model", flags->model, "ONNX file, float or quantized")->required();
  verb->add_option("--batch", flags->batch, "first dimension where the model leaves it open")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  verb->add_option("--seconds", flags->seconds, "how long to measure")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  verb->add_flag("--nodes", flags->nodes, "time of each node");
  verb->add_option("--report", flags->report, "write the figures as JSON");
  flags->common.add_to(*verb);
  verb->callback([flags, verb] {
    flags->batch_given = verb->count("--batch") > 0;
    bench(*flags);
  });
}

}  // namespace zeropoint::cli
