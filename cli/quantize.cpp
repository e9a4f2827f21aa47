// zeropoint quantize: from a float model to an integer one.
#include "zeropoint/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <regex>

#include "base/file.h"
#include "budget.h"
#include "command.h"
#include "write_report.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  DataFlags data;
  BudgetFlags budget;
  std::string model, output, recipe = "static_w8a8", target, range, statistics, report, save_recipe;
  std::vector<std::string> exclude, steps;
  bool allow_non_finite = false, external_data = false, resume = false, speed_aware = false, all_integers = false,
       no_verify = false;
};

// NAME[=KEY=VALUE,...], as "adaround=iterations=2000,learning_rate=0.02".
Step parse_step(const std::string& text) {
  const std::size_t equals = text.find('=');
  Step step{.name = text.substr(0, equals)};
  for (std::size_t begin = equals; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin + 1), text.size());
    const std::string pair = text.substr(begin + 1, end - begin - 1);
    begin = end;
    const std::size_t middle = pair.find('=');
    const std::string value = middle == pair.npos ? "" : pair.substr(middle + 1);
    double number = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (middle == pair.npos || error != std::errc() || stop != value.data() + value.size())
      throw Error(ErrorCode::kBadArgument, "--step " + text, "'" + pair + "' is not KEY=NUMBER; write NAME=KEY=NUMBER,...");
    step.parameters.emplace_back(pair.substr(0, middle), number);
  }
  return step;
}

void add_steps(Recipe& recipe, const std::vector<std::string>& steps) {
  for (const std::string& text : steps) {
    Step step = parse_step(text);
    try {
      recipe.add_step(std::move(step));
    } catch (const Error& error) {
      throw Error(ErrorCode::kBadArgument, "--step " + text, error.message());
    }
  }
}

Recipe choose_recipe(const Flags& flags) {
  Recipe recipe = read_recipe(flags.recipe, flags.target);
  if (!flags.range.empty()) {
    if (!is_range_method(flags.range)) {
      std::string names;
      for (const auto& method : range_methods()) names += " " + method;
      throw Error(ErrorCode::kBadArgument, "--range", "no method is called '" + flags.range + "'; there are:" + names);
    }
    for (Rule& rule : recipe.rules)
      if (rule.activation && !rule.activation->dynamic) rule.activation->range = flags.range;
    recipe.checked = false;
  }
  for (const auto& scope : flags.exclude) recipe.keep_float(scope);
  add_steps(recipe, flags.steps);
  if (flags.all_integers) {
    if (recipe.target != Target::zeropoint)
      throw Error(ErrorCode::kBadArgument, "--all-integers",
                  "only the target zeropoint leaves in float what integers make slower");
    recipe.checked = recipe.checked && recipe.all_integers;
    recipe.all_integers = true;
  }
  return recipe;
}

// A typing error must not quantize what shall stay in float.
void check_exclusions(const std::vector<std::string>& scopes, const Graph& model) {
  for (const auto& scope : scopes) {
    try {
      const std::regex pattern(scope);
      const bool found = std::any_of(model.nodes.begin(), model.nodes.end(),
                                     [&](const Node& node) { return std::regex_match(node.name, pattern); });
      if (!found) throw Error(ErrorCode::kBadArgument, "--exclude " + scope, "matches the name of no node, whole");
    } catch (const std::regex_error& error) {
      throw Error(ErrorCode::kBadArgument, "--exclude " + scope, "is no regular expression: " + std::string(error.what()));
    }
  }
}

// Of a model and the weights beside it.
double megabytes(const std::string& model) {
  std::uintmax_t bytes = std::filesystem::file_size(model);
  std::error_code none;
  if (const auto data = std::filesystem::file_size(model + ".data", none); !none) bytes += data;
  return static_cast<double>(bytes) / 1e6;
}

int exit_code_of(const Report& report) {
  if (report.budget && !report.budget->met) return kMissed;
  if (!report.self_check || report.self_check->samples == 0 || report.self_check->sound) return kGood;
  std::fputs(("zeropoint: the model is poor: " + report.self_check->reason +
              "; zeropoint sensitivity tells why, --no-verify accepts it\n")
                 .c_str(),
             stderr);
  return kMissed;
}

int run(const Flags& flags) {
  check_report_name("--report", flags.report);
  const Recipe recipe = choose_recipe(flags);
  const bool no_samples = flags.data.path.empty() && flags.statistics.empty();
  if (no_samples && recipe.needs_samples())
    throw Error(ErrorCode::kBadArgument, "quantize",
                "the recipe '" + recipe.name +
                    "' fixes ranges of activations beforehand and needs samples: give --data, or --statistics of an earlier "
                    "calibrate; without samples there are --recipe dynamic_w8a8 and weight_only_w8");
  // 16-bit floats take samples where there are any: they show values out of range.
  const bool needs_samples = recipe.needs_samples(), takes_samples = needs_samples || (recipe.converts_floats() && !no_samples);
  if (!no_samples && !takes_samples && !flags.common.quiet)
    std::fputs(("note: the recipe '" + recipe.name + "' needs no samples; they are not read\n").c_str(), stderr);
  if (!flags.range.empty() && !needs_samples)
    throw Error(ErrorCode::kBadArgument, "--range", "the recipe '" + recipe.name + "' fixes no ranges of activations");
  const Graph model = load(flags.model);
  check_exclusions(flags.exclude, model);
  const SessionOptions session = flags.common.session_options();
  const std::filesystem::path checkpoint = flags.output + ".part";
  Quantized result;
  QuantizeOptions options{.threads = flags.common.threads,
                          .max_isa = session.max_isa,
                          .shapes = session.shapes,
                          .max_memory = flags.common.max_memory,
                          .allow_non_finite = flags.allow_non_finite,
                          .interrupt = &interrupted(),
                          .checkpoint = checkpoint,
                          .resume = flags.resume,
                          .verify = !flags.no_verify,
                          .folder = std::filesystem::absolute(flags.output).parent_path()};
  flags.budget.check();
  if (flags.budget.given() && (flags.speed_aware || !flags.statistics.empty()))
    throw Error(ErrorCode::kBadArgument, "quantize", "a budget goes with --data alone, without --statistics or --speed-aware");
  if (flags.speed_aware && flags.data.path.empty()) options.timed_on = random_feeds(model, session.shapes, flags.common.seed);
  if (flags.budget.given()) {
    result = flags.budget.run(model, recipe, flags.data, flags.common, options, flags.output);
  } else if (!takes_samples) {
    result = quantize(model, recipe, options);
  } else if (!flags.statistics.empty()) {
    if (!flags.data.path.empty()) throw Error(ErrorCode::kBadArgument, "quantize", "give --data or --statistics, not both");
    result = quantize(model, read_statistics(flags.statistics), recipe, options);
  } else {
    const ChosenSamples samples = open(flags.data, flags.common, model);
    Progress progress("calibrating", flags.common.quiet);
    options.progress = [&](std::size_t done, std::size_t total) { progress(done, total); };
    std::map<std::string, Progress, std::less<>> steps;  // one bar a step
    options.step_progress = [&](std::string_view step, std::size_t done, std::size_t total) {
      steps.try_emplace(std::string(step), std::string(step), flags.common.quiet).first->second(done, total);
    };
    if (flags.speed_aware) options.timed_on = samples.get().get(0);
    result = quantize(model, samples.get(), recipe, options);
  }
  SaveOptions how;
  if (flags.external_data) how.external_data = true;
  save(result.model, flags.output, how);
  std::error_code ignored;
  std::filesystem::remove(checkpoint, ignored);
  for (const std::string& note : result.report.notes)
    if (note.starts_with("warning: ")) std::fputs((note + "\n").c_str(), stderr);
  if (!flags.save_recipe.empty()) write_file(flags.save_recipe, result.model.metadata.at(kRecipeKey));
  write_report(flags.report, result.report);
  if (flags.common.json) {
    print(nlohmann::ordered_json::parse(to_json(result.report)));
  } else {
    print(to_text(result.report));
    print(fmt::format("wrote {}: {:.2f} MB, was {:.2f} MB\n", flags.output, megabytes(flags.output), megabytes(flags.model)));
  }
  return exit_code_of(result.report);
}

}  // namespace

void add_quantize(CLI::App& program, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand(
      "quantize", "make an integer model: calibrate (where the recipe needs it), choose parameters, write standard ONNX");
  verb->add_option("model", flags->model, "float ONNX file")->required();
  verb->add_option("-o,--output", flags->output, "file to write")->required();
  verb->add_option("--recipe", flags->recipe, "name or JSON file of a recipe")->capture_default_str();
  verb->add_option("--target", flags->target, "whose fusions the file serves best: onnxruntime, openvino or zeropoint");
  verb->add_option("--range", flags->range, "how ranges of activations are chosen, in place of the recipe's method");
  verb->add_option("--exclude", flags->exclude, "keep nodes in float whose name matches this regular expression")
      ->allow_extra_args(false);
  verb->add_option("--step", flags->steps,
                   "run this algorithm, too: NAME[=KEY=NUMBER,...], see docs/recipes.md; can be given several times")
      ->allow_extra_args(false);
  verb->add_flag("--speed-aware", flags->speed_aware,
                 "time nodes on this machine, keep in float what integers make slower, and write it into the recipe");
  verb->add_flag("--no-verify", flags->no_verify,
                 "do not run the model on samples kept aside, and do not repair what breaks it");
  verb->add_flag("--all-integers", flags->all_integers,
                 "target zeropoint: quantize what the table of costs finds slower in integers, too");
  verb->add_option("--save-recipe", flags->save_recipe, "write the recipe that made the file: --recipe makes the same again");
  verb->add_option("--statistics", flags->statistics, "use what calibrate wrote, in place of --data");
  verb->add_option("--report", flags->report, "write the report: a page (.html) or data (.json)");
  verb->add_flag("--allow-non-finite", flags->allow_non_finite, "count NaN and infinity in values in place of stopping");
  verb->add_flag("--external-data", flags->external_data,
                 "write the weights to a file of their own, OUT.onnx.data; done unasked where OUT.onnx would pass 2 GB");
  flags->budget.add_to(*verb);
  flags->data.add_to(*verb, false);
  flags->common.add_to(*verb);
  flags->common.add_max_memory(*verb);
  verb->add_flag("--resume", flags->resume,
                 "go on from OUTPUT.part (or OUTPUT.search, of a budget), which an interrupted run left");
  verb->callback([flags, exit_code] {
    try {
      *exit_code = run(*flags);
    } catch (const Error& error) {
      const std::string part = flags->output + (flags->budget.given() ? ".search" : ".part");
      std::error_code ignored;
      if (error.code != ErrorCode::kInterrupted || !std::filesystem::exists(part, ignored)) throw;
      throw Error(error.code, "quantize",
                  fmt::format("stopped by the user; the same command with --resume goes on from {}", part));
    }
  });
}

}  // namespace zeropoint::cli
