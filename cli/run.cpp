// zeropoint run: one inference.
#include <fmt/format.h>

#include <filesystem>
#include <random>

#include "base/file.h"
#include "command.h"
#include "zeropoint/data.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  std::string model, output_dir, profile;
  std::vector<std::string> inputs;
  bool random = false, explain = false;
};

Feeds read_feeds(const Flags& flags, const Graph& model) {
  Feeds feeds;
  for (const auto& text : flags.inputs) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error(ErrorCode::kBadArgument, "--input " + text, "write it as NAME=FILE.npy");
    const std::string input_name = text.substr(0, equals), file = text.substr(equals + 1);
    Tensor tensor = read_npy(file);
    for (const auto& input : model.inputs)
      if (input.name == input_name) tensor = fit_input(std::move(tensor), input, file);
    if (!feeds.emplace(input_name, std::move(tensor)).second)
      throw Error(ErrorCode::kBadArgument, "--input " + text, "this input was given twice");
  }
  check_finite(feeds, "--input");
  return feeds;
}

// A Chrome trace (chrome://tracing, Perfetto): the steps of the run, one behind the other.
void write_trace(const std::string& path, const Session& session) {
  auto events = nlohmann::ordered_json::array();
  double at = 0;
  for (const StepInfo& step : session.steps()) {
    events.push_back({{"name", step.name},
                      {"cat", step.integer ? "integer" : "float"},
                      {"ph", "X"},
                      {"ts", at * 1e6},
                      {"dur", step.seconds * 1e6},
                      {"pid", 1},
                      {"tid", 1},
                      {"args", {{"op", step.op}, {"kernel", step.kernel}, {"macs", step.macs}}}});
    at += step.seconds;
  }
  write_file(path, nlohmann::ordered_json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump());
}

void run(const Flags& flags) {
  const Graph model = load(flags.model);
  SessionOptions options = flags.common.session_options();
  Feeds feeds = read_feeds(flags, model);
  if (flags.random)
    for (auto& [input_name, tensor] : random_feeds(model, options.shapes, flags.common.seed))
      feeds.try_emplace(input_name, std::move(tensor));
  for (const auto& input : model.inputs)
    if (!feeds.contains(input.name))
      throw Error(ErrorCode::kBadArgument, "run",
                  fmt::format("input '{0}' ({1}) is missing: --input {0}=FILE.npy, or --random to make it up", input.name,
                              to_string(input.type)));
  options.profile = !flags.profile.empty();
  if (options.autotune)
    for (const auto& [input_name, tensor] : feeds) options.shapes[input_name] = tensor.dims();
  Session session(model, options);
  const std::vector<Tensor> results = session.run(feeds);
  if (!flags.output_dir.empty()) std::filesystem::create_directories(flags.output_dir);
  if (!flags.profile.empty()) write_trace(flags.profile, session);
  auto json = nlohmann::ordered_json::array();
  std::string text;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string& output = session.outputs()[i].name;
    std::string file;
    if (!flags.output_dir.empty()) {
      std::string plain = output;  // names may hold slashes
      for (char& c : plain)
        if (c == '/' || c == '\0') c = '_';
      file = (std::filesystem::path(flags.output_dir) / (plain + ".npy")).string();
      write_npy(results[i], file);
    }
    json.push_back({{"name", output}, {"dtype", name(results[i].dtype())}, {"dims", results[i].dims()}, {"file", file}});
    text += fmt::format("{}: {}{}{}\n", output, name(results[i].dtype()), to_string(results[i].dims()),
                        file.empty() ? "" : " -> " + file);
  }
  if (flags.explain) text = session.explain() + text;
  flags.common.json ? print(json) : print(text);
}

}  // namespace

namespace {

// Zeros. What an input of a model asks for may be more than there is.
Tensor input_tensor(const Graph& model, const ValueInfo& input, const Dims& dims) {
  const std::string where = (model.source.empty() ? "" : model.source + ", ") + "input '" + input.name + "'";
  try {
    return Tensor(input.type.dtype, dims);
  } catch (const Error& error) {
    throw Error(error.code, where, error.message());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kLimit, where, "a tensor of " + to_string(dims) + " takes more memory than there is");
  }
}

}  // namespace

Feeds random_feeds(const Graph& model, const std::map<std::string, Dims>& shapes, std::uint64_t seed) {
  Feeds feeds;
  std::mt19937_64 random(seed);
  for (const auto& input : model.inputs) {
    Dims dims;
    if (const auto fixed = shapes.find(input.name); fixed != shapes.end()) {
      dims = fixed->second;
    } else if (input.type.shape) {
      for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
    } else {
      throw Error(ErrorCode::kBadArgument, "input '" + input.name + "'", "its shape is unknown; give it with --shape");
    }
    Tensor tensor = input_tensor(model, input, dims);
    switch (input.type.dtype) {
      case DType::f32:
        for (float& x : tensor.mutable_values<float>()) x = static_cast<float>(random() >> 40) * 0x1p-23F - 1.0F;  // [-1, 1)
        break;
      case DType::u8:
      case DType::s8:
        for (std::byte& x : tensor.mutable_bytes()) x = static_cast<std::byte>(random() & 0xFF);
        break;
      case DType::s64:
        for (std::int64_t& x : tensor.mutable_values<std::int64_t>()) x = static_cast<std::int64_t>(random() % 2);
        break;
      default:
        break;  // zeros
    }
    feeds.emplace(input.name, std::move(tensor));
  }
  return feeds;
}

void add_run(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("run", "run a model once");
  verb->add_option("model", flags->model, "ONNX file, float or quantized")->required();
  verb->add_option("--input", flags->inputs, "NAME=FILE.npy, once for each input")->allow_extra_args(false);
  verb->add_flag("--random", flags->random, "make up the inputs that are not given");
  verb->add_option("--output-dir", flags->output_dir, "write each output there as .npy");
  verb->add_option("--profile", flags->profile, "write a Chrome trace of the run");
  verb->add_flag("--explain", flags->explain, "print how each node runs");
  flags->common.add_to(*verb);
  flags->common.add_autotune(*verb);
  verb->callback([flags] { run(*flags); });
}

}  // namespace zeropoint::cli
