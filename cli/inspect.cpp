// zeropoint inspect: what a model is, and what would become of it.
#include "zeropoint/inspect.h"

#include <fmt/format.h>

#include <filesystem>

#include "command.h"
#include "ops/operator.h"
#include "zeropoint/passes.h"

namespace zeropoint::cli {
namespace {

// Compiling packs all weights once more and plans every node; above these it has to be asked for.
constexpr std::uint64_t kCompiledUnasked = 128ULL << 20;
constexpr std::size_t kNodesUnasked = 20'000;

struct Flags {
  CommonFlags common;
  std::string model, recipe = "static_w8a8", target;
  bool sizes = false, text = false, fused = false, explain = false, all = false, engine = false;
};

void inspect(const Flags& flags) {
  Graph graph = load(flags.model);
  const SessionOptions session = flags.common.session_options();
  if (flags.text || flags.explain) {
    ops::infer_shapes(graph, session.shapes);
    if (flags.fused) graph = fuse(std::move(graph));
    return print(flags.text ? to_text(graph) : Session(graph, session).explain());
  }
  if (flags.fused) graph = fuse(std::move(graph));
  InspectOptions options{.shapes = session.shapes, .max_isa = session.max_isa};
  if (!flags.sizes) {
    options.recipe = read_recipe(flags.recipe, flags.target);
    options.engine = flags.engine || (constant_bytes(graph) <= kCompiledUnasked && graph.nodes.size() <= kNodesUnasked);
  }
  const Inspection inspection = zeropoint::inspect(graph, options);
  const std::uint64_t file_bytes = std::filesystem::file_size(flags.model);
  const bool external = inspection.parameter_bytes > file_bytes;
  if (flags.common.json) {
    nlohmann::ordered_json json = {{"model", flags.model}, {"file_bytes", file_bytes}, {"external_data", external}};
    json.update(nlohmann::ordered_json::parse(to_json(inspection)));
    return print(json);
  }
  std::string text = flags.model + ": ";
  if (external) text += fmt::format("{:.1f} MB, weights in external data beside it; ", static_cast<double>(file_bytes) / 1e6);
  text += to_text(inspection, {.all = flags.all, .sizes = flags.sizes});
  if (!flags.sizes && !options.engine)
    text += "(--engine compiles it, too, which takes time, and memory for all weights once more)\n";
  print(text);
}

}  // namespace

void add_inspect(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      program.add_subcommand("inspect", "tell what a model is, what quantize would do to it, how the engine runs it");
  verb->add_option("model", flags->model, "ONNX file")->required();
  verb->add_flag("--sizes", flags->sizes, "size of the weights at each bit width, and nothing else");
  verb->add_option("--recipe", flags->recipe, "name or JSON file of the recipe to plan")->capture_default_str();
  verb->add_option("--target", flags->target, "whose fusions to plan for: onnxruntime, openvino or zeropoint");
  verb->add_flag("--all", flags->all, "lists in full, with the names of nodes");
  verb->add_flag("--engine", flags->engine, "compile the model whatever its size");
  verb->add_flag("--text", flags->text, "print the whole graph as text");
  verb->add_flag("--fuse", flags->fused, "after folding constants, BatchNorm and padding");
  verb->add_flag("--explain", flags->explain, "how the engine runs it: kernel, instruction set, integer or float, and why");
  flags->common.add_to(*verb);
  verb->callback([flags] { inspect(*flags); });
}

}  // namespace zeropoint::cli
