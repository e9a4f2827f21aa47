// zeropoint calibrate: what a model's values look like on samples.
#include <fmt/format.h>

#include "command.h"
#include "zeropoint/passes.h"
#include "zeropoint/quantize.h"
#include "zeropoint/statistics.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  DataFlags data;
  std::string model, output, shard;
  bool resume = false, all_values = false, allow_non_finite = false;
};

std::pair<std::size_t, std::size_t> parse_shard(const std::string& text) {
  if (text.empty()) return {0, 1};
  std::size_t part = 0, parts = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%zu/%zu%c", &part, &parts, &rest) != 2 || part < 1 || part > parts)
    throw Error(ErrorCode::kBadArgument, "--shard " + text, "write it as I/N with I from 1 to N");
  return {part - 1, parts};
}

void run(const Flags& flags) {
  const Graph graph = fuse(load(flags.model));
  const ChosenSamples samples = open(flags.data, flags.common, graph);
  const SessionOptions session = flags.common.session_options();
  CalibrateOptions options = calibrate_options(graph);
  if (flags.all_values) options.values.clear();
  options.threads = flags.common.threads;
  options.max_isa = session.max_isa;
  options.shapes = session.shapes;
  options.max_memory = flags.common.max_memory;
  std::tie(options.shard, options.shards) = parse_shard(flags.shard);
  options.checkpoint = flags.output + ".part";
  options.resume = flags.resume;
  options.allow_non_finite = flags.allow_non_finite;
  options.interrupt = &interrupted();
  Statistics statistics;
  {
    Progress progress("calibrating", flags.common.quiet);
    options.progress = [&](std::size_t done, std::size_t total) { progress(done, total); };
    statistics = calibrate(graph, samples.get(), options);
  }
  save(statistics, flags.output);
  std::error_code ignored;
  std::filesystem::remove(options.checkpoint, ignored);
  if (flags.common.json) return print(nlohmann::ordered_json::parse(to_json(statistics)));
  print(fmt::format("{}: {} values over {} samples, hash {}\n", flags.output, statistics.values.size(), statistics.samples,
                    statistics_hash(statistics)));
}

}  // namespace

void add_calibrate(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("calibrate", "run a float model over samples and keep statistics of its values");
  verb->add_option("model", flags->model, "float ONNX file")->required();
  verb->add_option("-o,--output", flags->output, "statistics file to write")->required();
  verb->add_option("--shard", flags->shard, "do part I of N only (I/N); join the parts with merge");
  verb->add_flag("--resume", flags->resume, "go on from OUTPUT.part, which an interrupted run left");
  verb->add_flag("--all-values", flags->all_values, "observe every float value, not only those that get quantized");
  verb->add_flag("--allow-non-finite", flags->allow_non_finite, "count NaN and infinity in values in place of stopping");
  flags->data.add_to(*verb, true);
  flags->common.add_to(*verb);
  flags->common.add_max_memory(*verb);
  verb->callback([flags] { run(*flags); });
}

}  // namespace zeropoint::cli
