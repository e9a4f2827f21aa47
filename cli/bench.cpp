// zeropoint bench: how fast a model runs.
#include "analyze/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "command.h"

namespace zeropoint::cli {
namespace {

constexpr std::size_t kShownSteps = 15;

struct Flags {
  CommonFlags common;
  DataFlags data;
  std::string model, report;
  std::int64_t batch = 1;
  double seconds = 2;
  bool nodes = false, batch_given = false;
};

// The shape of each input whose rank is known: open dimensions are what --shape says of those with the same name, or 1, the
// first one --batch.
std::map<std::string, Dims> shapes(const Flags& flags, const Graph& model, std::map<std::string, Dims> given) {
  std::map<std::string, std::int64_t> named;
  for (const auto& input : model.inputs)
    if (const auto own = given.find(input.name); own != given.end() && input.type.shape)
      for (std::size_t axis = 0; axis < std::min(own->second.size(), input.type.shape->size()); ++axis)
        if (const std::string& symbol = (*input.type.shape)[axis].symbol; !symbol.empty()) named[symbol] = own->second[axis];
  for (const auto& input : model.inputs) {
    if (const auto own = given.find(input.name);
        own != given.end() && flags.batch_given && !own->second.empty() && own->second[0] != flags.batch)
      throw Error(
          ErrorCode::kBadArgument, "--batch",
          fmt::format("{} contradicts --shape {}={}; give one of them", flags.batch, input.name, to_string(own->second)));
    if (given.contains(input.name) || !input.type.shape || input.type.shape->empty()) continue;
    Dims dims;
    for (const Dim& dim : *input.type.shape) {
      const auto same = named.find(dim.symbol);
      dims.push_back(dim.fixed() ? dim.value : same != named.end() ? same->second : 1);
    }
    if (const Dim& batch = input.type.shape->front(); !batch.fixed() && !named.contains(batch.symbol)) {
      dims[0] = flags.batch;
    } else if (flags.batch != 1 && dims[0] != flags.batch) {
      throw Error(ErrorCode::kBadArgument, "--batch",
                  "input '" + input.name + "' has a fixed first dimension: " + to_string(input.type));
    }
    given[input.name] = dims;
  }
  return given;
}

// `count` tensors as one, joined along the first axis.
Tensor join(const std::vector<Tensor>& rows, const std::string& input) {
  Dims dims = rows.front().dims();
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const Dims& other = rows[i].dims();
    if (dims.empty() || other.size() != dims.size() || !std::equal(dims.begin() + 1, dims.end(), other.begin() + 1))
      throw Error(ErrorCode::kBadSample, "--batch",
                  fmt::format("samples of input '{}' differ in shape: {} and {}", input, to_string(rows.front().dims()),
                              to_string(other)));
    dims[0] += other[0];
  }
  Tensor joined(rows.front().dtype(), dims);
  std::byte* to = joined.mutable_bytes().data();
  for (const Tensor& row : rows) {
    std::memcpy(to, row.bytes().data(), row.bytes().size());
    to += row.bytes().size();
  }
  return joined;
}

// The first --batch samples, from the start again where there are fewer.
Feeds read_feeds(const Flags& flags, const Graph& model) {
  const ChosenSamples samples = open(flags.data, flags.common, model);
  if (flags.batch == 1) return samples.get().get(0);
  std::map<std::string, std::vector<Tensor>> rows;
  for (std::int64_t i = 0; i < flags.batch; ++i)
    for (auto& [input, tensor] : samples.get().get(static_cast<std::size_t>(i) % samples.get().size()))
      rows[input].push_back(tensor);
  Feeds feeds;
  for (const auto& [input, tensors] : rows) feeds.emplace(input, join(tensors, input));
  return feeds;
}

void run_bench(const Flags& flags) {
  const Graph model = load(flags.model);
  SessionOptions options = flags.common.session_options();
  Feeds feeds;
  if (flags.data.path.empty()) {
    options.shapes = shapes(flags, model, options.shapes);
    feeds = random_feeds(model, options.shapes, flags.common.seed);
  } else {
    feeds = read_feeds(flags, model);
    if (options.autotune)
      for (const auto& [input, tensor] : feeds) options.shapes[input] = tensor.dims();
  }
  const analyze::BenchReport report = analyze::bench(model, feeds, options, flags.seconds, &interrupted());
  nlohmann::ordered_json json = {{"model", flags.model}, {"batch", flags.batch}};
  for (const auto& [input, tensor] : feeds) json["shapes"][input] = tensor.dims();
  json.update(nlohmann::ordered_json::parse(analyze::to_json(report)));
  if (!flags.report.empty()) write_file(flags.report, json.dump(2) + "\n");
  if (flags.common.json) return print(json);
  print(analyze::to_text(report, flags.nodes ? std::nullopt : std::optional(kShownSteps)));
}

}  // namespace

void add_bench(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("bench", "time a model, node by node, beside what the machine could do");
  verb->add_option("model", flags->model, "ONNX file, float or quantized")->required();
  verb->add_option("--batch", flags->batch, "first dimension where the model leaves it open; with --data, samples")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  verb->add_option("--data", flags->data.path, "inputs: the first samples of a folder or .npz; default: random numbers");
  verb->add_option("--preprocess", flags->data.preprocess,
                   "how pictures become tensors; default: preprocess.json in their folder");
  verb->add_option("--seconds", flags->seconds, "how long to measure")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  verb->add_flag("--nodes", flags->nodes, "all nodes in their order, not the slowest ones alone");
  verb->add_option("--report", flags->report, "write the figures as JSON");
  flags->common.add_to(*verb);
  flags->common.add_autotune(*verb);
  verb->callback([flags, verb] {
    flags->batch_given = verb->count("--batch") > 0;
    run_bench(*flags);
  });
}

}  // namespace zeropoint::cli
