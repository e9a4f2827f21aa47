// zeropoint inspect: what a model is.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "command.h"
#include "ops/operator.h"
#include "zeropoint/graph.h"
#include "zeropoint/passes.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  CommonFlags common;
  std::string model;
  bool sizes = false, text = false, fused = false, explain = false;
};

struct Facts {
  std::map<std::string, int> operators;
  std::vector<std::string> unknown;  // operators that this version cannot run
  std::int64_t parameters = 0, bytes = 0, macs = 0, quantizable = 0;
  bool macs_known = true;
};

std::string operator_name(const Node& node) { return node.domain.empty() ? node.op_type : node.domain + "." + node.op_type; }

Facts collect(const Graph& graph) {
  Facts facts;
  const auto count = [&](const Tensor& tensor) {
    facts.parameters += tensor.size();
    facts.bytes += static_cast<std::int64_t>(tensor.bytes().size());
  };
  for (const auto& [initializer, tensor] : graph.initializers) count(tensor);
  for (const Node& node : graph.nodes) {
    ++facts.operators[operator_name(node)];
    if (node.op_type == "Constant")
      if (const Attribute* value = node.find("value"))
        if (const auto* tensor = std::get_if<Tensor>(value)) count(*tensor);
    if (ops::find(node) == nullptr) facts.unknown.push_back(describe(node));
    try {
      facts.macs += ops::macs(graph, node);
    } catch (const Error&) {
      facts.macs_known = false;
    }
    if (node.is("Conv") || node.is("MatMul") || node.is("Gemm") || node.is("ConvTranspose"))
      if (const Tensor* weights = graph.constant(node.input(1)); weights != nullptr && weights->dtype() == DType::f32)
        facts.quantizable += weights->size();
  }
  return facts;
}

nlohmann::ordered_json values_json(const std::vector<ValueInfo>& values) {
  auto json = nlohmann::ordered_json::array();
  for (const auto& value : values)
    json.push_back({{"name", value.name},
                    {"dtype", name(value.type.dtype)},
                    {"shape", value.type.shape ? to_string(*value.type.shape) : "?"}});
  return json;
}

void inspect(const Flags& flags) {
  Graph graph = load(flags.model);
  const SessionOptions options = flags.common.session_options();
  ops::infer_shapes(graph, options.shapes);
  if (flags.fused) graph = fuse(std::move(graph));
  if (flags.text) return print(to_text(graph));
  if (flags.explain) return print(Session(graph, options).explain());

  std::map<std::string, Dims> shapes = options.shapes;  // MACs at the smallest shape when the model leaves it open
  for (const auto& input : graph.inputs) {
    if (!input.type.shape || shapes.contains(input.name)) continue;
    Dims dims;
    for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
    shapes[input.name] = dims;
  }
  Graph shaped = fuse(graph);
  try {
    ops::infer_shapes(shaped, shapes);
  } catch (const Error&) {
    if (!options.shapes.empty()) throw;  // dimensions of 1 may be too small for this network; its work is then not known
  }
  const Facts facts = collect(graph), work = collect(shaped);
  constexpr int kWidths[] = {16, 8, 4, 2};
  const auto size_at = [&](int bits_each) {
    return static_cast<double>(facts.bytes - 4 * work.quantizable) + static_cast<double>(work.quantizable) * bits_each / 8.0;
  };
  if (flags.common.json) {
    nlohmann::ordered_json json = {{"model", flags.model},
                                   {"opset", graph.opset()},
                                   {"nodes", graph.nodes.size()},
                                   {"parameters", facts.parameters},
                                   {"parameter_bytes", facts.bytes},
                                   {"macs", work.macs},
                                   {"quantizable_parameters", work.quantizable},
                                   {"inputs", values_json(graph.inputs)},
                                   {"outputs", values_json(graph.outputs)},
                                   {"operators", facts.operators},
                                   {"unknown", facts.unknown},
                                   {"metadata", graph.metadata}};
    for (const int width : kWidths) json["bytes_at_bits"][std::to_string(width)] = size_at(width);
    return print(json);
  }
  std::string text =
      fmt::format("{}: opset {}, IR {}, {} nodes\n", flags.model, graph.opset(), graph.ir_version, graph.nodes.size());
  for (const auto& input : graph.inputs) text += fmt::format("  input   {}: {}\n", input.name, to_string(input.type));
  for (const auto& output : graph.outputs) text += fmt::format("  output  {}: {}\n", output.name, to_string(output.type));
  std::vector<std::pair<std::string, int>> sorted(facts.operators.begin(), facts.operators.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  text += "  operators ";
  for (const auto& [op, count] : sorted) text += fmt::format(" {} {}", count, op);
  text += fmt::format("\n  {} parameters, {:.2f} MB; {} of them are weights of convolutions and matrix products\n",
                      facts.parameters, static_cast<double>(facts.bytes) / 1e6, work.quantizable);
  text += work.macs_known && work.macs > 0
              ? fmt::format("  {:.1f} M multiply-accumulates\n", static_cast<double>(work.macs) / 1e6)
              : "";
  if (flags.sizes)
    for (const int width : kWidths) text += fmt::format("  weights at {:>2} bits: {:.2f} MB\n", width, size_at(width) / 1e6);
  for (const auto& node : facts.unknown) text += "  unknown to this version, stays as it is: " + node + "\n";
  for (const auto& [key, value] : graph.metadata) {
    if (!key.starts_with("zeropoint.")) continue;
    std::string line;  // recipes are JSON over many lines
    for (const char c : value)
      if (!std::isspace(static_cast<unsigned char>(c))) line += c;
    text += fmt::format("  {}: {}\n", key, line.size() > 100 ? line.substr(0, 100) + "..." : line);
  }
  print(text);
}

}  // namespace

void add_inspect(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("inspect", "tell what a model is");
  verb->add_option("model", flags->model, "ONNX file")->required();
  verb->add_flag("--sizes", flags->sizes, "size of the weights at each bit width");
  verb->add_flag("--text", flags->text, "print the whole graph as text");
  verb->add_flag("--fuse", flags->fused, "after folding constants, BatchNorm and padding");
  verb->add_flag("--explain", flags->explain, "how the engine runs it: kernel, instruction set, integer or float, and why");
  flags->common.add_to(*verb);
  verb->callback([flags] { inspect(*flags); });
}

}  // namespace zeropoint::cli
