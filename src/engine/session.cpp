#include "zeropoint/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/thread_pool.h"
#include "engine/autotune.h"
#include "engine/stage.h"
#include "engine/tap.h"
#include "engine/widen_halves.h"
#include "ir/naming.h"
#include "ops/operator.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

std::string names_of(const std::vector<ValueInfo>& values) {
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "'" : ", '") + value.name + "' " + to_string(value.type);
  return text;
}

// One fixed shape that fits the declared one: unknown dimensions become 1.
Dims smallest(const TensorType& type) {
  Dims dims;
  if (type.shape)
    for (const Dim& dim : *type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
  return dims;
}

double coverage(const engine::StageSummary& summary) {
  return summary.total_macs == 0 ? 0.0 : static_cast<double>(summary.integer_macs) / static_cast<double>(summary.total_macs);
}

std::size_t weight_bytes_of(const engine::StageSummary& summary) {
  std::size_t bytes = 0;
  for (const engine::PackCache* packs : summary.packs) bytes += packs->bytes();
  return bytes;
}

}  // namespace

struct Session::Impl {
  const std::string source;  // of the model, for messages
  SessionOptions options;
  ThreadPool pool;
  std::vector<ValueInfo> inputs, outputs;  // as the model declares them
  IsaSet isas;
  std::shared_ptr<engine::PackCache> packs;
  std::vector<Dims> last_dims;
  std::shared_ptr<const engine::Tuning> tuning;  // null where it was not asked for
  std::optional<engine::Stage> stage;

  Impl(const Graph& model, SessionOptions session_options, std::vector<std::string> taps)
      : source(model.source),
        options(std::move(session_options)),
        pool(options.threads > 0 ? options.threads : physical_cores()),
        packs(options.share_weights_with ? options.share_weights_with->impl_->packs : std::make_shared<engine::PackCache>()) {
    options.share_weights_with = nullptr;  // it may be gone later
    naming_source(source, [&] { compile(model, std::move(taps)); });
  }

  void compile(Graph graph, std::vector<std::string> taps) {
    verify(graph);
    graph = engine::widen_halves(std::move(graph));
    fix_shapes(graph);
    ops::infer_shapes(graph);
    // Taps name values that fusing could remove, and calibration gives fused graphs already.
    if (taps.empty()) graph = fuse(std::move(graph));
    check_taps(graph, taps);
    inputs = graph.inputs;
    outputs = graph.outputs;
    isas = allowed_isas(options.max_isa);
    engine::StageOptions how{.lower = {.threads = pool.threads(), .isas = isas, .taps = std::move(taps)},
                             .profile = options.profile,
                             .interrupted = options.interrupted};
    if (options.autotune) how.lower.tuning = tuning = std::make_shared<const engine::Tuning>(tune(graph, how));
    stage.emplace(std::move(graph), std::move(how), pool, packs);
    plan_ahead();
  }

  // From the file that an earlier session left, else by measuring, which leaves one unless it failed.
  engine::Tuning tune(const Graph& graph, const engine::StageOptions& how) {
    const engine::TuningKey key{.model = graph_hash(graph), .processor = engine::processor_of(isas), .threads = pool.threads()};
    const std::filesystem::path file = engine::tuning_file(options.tuning_folder, key);
    if (auto known = file.empty() ? std::nullopt : engine::read_tuning(file, key)) return *std::move(known);
    std::vector<Dims> dims;
    for (const auto& input : inputs) dims.push_back(smallest(input.type));
    std::optional<engine::Tuning> measured = engine::autotune(graph, dims, how, pool);
    if (measured && !file.empty()) engine::write_tuning(file, key, *measured);
    return std::move(measured).value_or(engine::Tuning{});
  }

  // A plan for the declared shapes, so that what cannot run is known at once. Where shapes are open, dimensions of 1 stand in;
  // they may be too small for the network (a pooling of 2x2), and then the first run decides.
  void plan_ahead() {
    std::vector<Dims> dims;
    bool open = false;
    for (const auto& input : inputs) {
      dims.push_back(smallest(input.type));
      open = open || !input.type.shape || !fixed(*input.type.shape);
    }
    try {
      check_symbols(dims);
      stage->prepare(dims);
    } catch (const Error& error) {
      if (!open || (error.code != ErrorCode::kBadShape && error.code != ErrorCode::kBadAttribute)) throw;
    }
  }

  void fix_shapes(Graph& graph) const {
    for (const auto& [input_name, dims] : options.shapes) {
      const auto input =
          std::find_if(graph.inputs.begin(), graph.inputs.end(), [&](const auto& i) { return i.name == input_name; });
      if (input == graph.inputs.end())
        throw Error(ErrorCode::kBadArgument, "shape '" + input_name + "'",
                    "the model has no such input; it has " + names_of(graph.inputs));
      check_dims(*input, dims, ErrorCode::kBadArgument);
      input->type.shape = to_shape(dims);
    }
  }

  static void check_taps(const Graph& graph, const std::vector<std::string>& taps) {
    const ValueIndex values(graph);
    for (const auto& tap : taps)
      if (values.type_of(tap).dtype == DType::undefined)
        throw Error(ErrorCode::kBadArgument, "value '" + tap + "'", "the graph has no such value, or its type is unknown");
  }

  void check_dims(const ValueInfo& input, const Dims& dims, ErrorCode code) const {
    const auto complain = [&] {
      throw Error(code, "input '" + input.name + "'",
                  fmt::format("has shape {}, the model wants {}", to_string(dims), to_string(input.type)));
    };
    if (!input.type.shape) return;
    if (input.type.shape->size() != dims.size()) complain();
    for (std::size_t axis = 0; axis < dims.size(); ++axis) {
      const Dim& wanted = (*input.type.shape)[axis];
      if ((wanted.fixed() && wanted.value != dims[axis]) || dims[axis] < 0) complain();
    }
  }

  void check_input(const ValueInfo& input, const Tensor& tensor) const {
    if (input.type.dtype != DType::undefined && tensor.dtype() != input.type.dtype)
      throw Error(ErrorCode::kBadSample, "input '" + input.name + "'",
                  fmt::format("is {}, the model wants {}", name(tensor.dtype()), name(input.type.dtype)));
    check_dims(input, tensor.dims(), ErrorCode::kBadSample);
  }

  // The same for tensors, without allocation when their shapes are those of the last run.
  void check_symbols(std::span<const Tensor> in) {
    if (std::equal(in.begin(), in.end(), last_dims.begin(), last_dims.end(),
                   [](const Tensor& tensor, const Dims& dims) { return tensor.dims() == dims; }))
      return;
    std::vector<Dims> dims;
    for (const auto& tensor : in) dims.push_back(tensor.dims());
    check_symbols(dims);
    last_dims = std::move(dims);
  }

  // Symbols must mean one number in all inputs.
  void check_symbols(const std::vector<Dims>& dims) const {
    std::map<std::string, std::pair<std::int64_t, std::string>> bound;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      const ValueInfo& input = inputs[i];
      if (!input.type.shape) continue;
      for (std::size_t axis = 0; axis < dims[i].size(); ++axis) {
        const Dim& dim = (*input.type.shape)[axis];
        if (dim.fixed() || dim.symbol.empty()) continue;
        const auto [entry, is_new] = bound.try_emplace(dim.symbol, dims[i][axis], input.name);
        if (!is_new && entry->second.first != dims[i][axis])
          throw Error(ErrorCode::kBadSample, "input '" + input.name + "'",
                      fmt::format("dimension {} is {}, but '{}' is {} in input '{}'", axis, dims[i][axis], dim.symbol,
                                  entry->second.first, entry->second.second));
      }
    }
  }

  std::vector<Tensor> in_order(const Feeds& feeds) const {
    for (const auto& [feed_name, tensor] : feeds)
      if (std::none_of(inputs.begin(), inputs.end(), [&](const auto& input) { return input.name == feed_name; }))
        throw Error(ErrorCode::kBadSample, "input '" + feed_name + "'",
                    "the model has no such input; it has " + names_of(inputs));
    std::vector<Tensor> in;
    for (const auto& input : inputs) {
      const auto feed = feeds.find(input.name);
      if (feed == feeds.end())
        throw Error(ErrorCode::kBadSample, "input '" + input.name + "'",
                    "is missing; the model wants " + to_string(input.type));
      check_input(input, feed->second);
      in.push_back(feed->second);
    }
    return in;
  }

  std::vector<Tensor> run(const Feeds& feeds, const Observe* observe) {
    return naming_source(source, [&] {
      const std::vector<Tensor> in = in_order(feeds);
      check_symbols(in);
      return stage->run(in, observe);
    });
  }

  engine::StageSummary summary() const {
    if (!stage->planned())
      throw Error(ErrorCode::kBadArgument, "session",
                  "no plan yet: the shapes are open; run it once, or give them with `shapes`");
    return stage->summary();
  }
};

Session::Session(const Graph& graph, SessionOptions options)
    : impl_(std::make_unique<Impl>(graph, std::move(options), std::vector<std::string>())) {}
Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

const std::vector<ValueInfo>& Session::inputs() const { return impl_->inputs; }
const std::vector<ValueInfo>& Session::outputs() const { return impl_->outputs; }

std::vector<Tensor> Session::run(const Feeds& feeds) { return impl_->run(feeds, nullptr); }

ErrorCode Session::run(std::span<const Tensor> in, std::span<Tensor> out) noexcept {
  try {
    if (in.size() != impl_->inputs.size() || out.size() != impl_->outputs.size()) return ErrorCode::kBadArgument;
    for (std::size_t i = 0; i < in.size(); ++i) impl_->check_input(impl_->inputs[i], in[i]);
    impl_->check_symbols(in);
    return impl_->stage->run(in, out);
  } catch (const Error& error) {
    return error.code;
  } catch (...) {
    return ErrorCode::kInternal;
  }
}

std::vector<StepInfo> Session::steps() const { return impl_->summary().steps; }

double Session::integer_coverage() const { return coverage(impl_->summary()); }

std::size_t Session::weight_bytes() const { return weight_bytes_of(impl_->summary()); }

std::size_t Session::arena_bytes() const { return impl_->summary().arena_bytes; }

std::string Session::explain() const {
  const engine::StageSummary summary = impl_->summary();
  std::size_t name_width = 4, op_width = 2, kernel_width = 6;
  for (const StepInfo& info : summary.steps) {
    name_width = std::min<std::size_t>(48, std::max(name_width, info.name.size()));
    op_width = std::min<std::size_t>(28, std::max(op_width, info.op.size()));
    kernel_width = std::max(kernel_width, info.kernel.size());
  }
  std::string text = fmt::format("{:<{}}  {:<{}}  {:<7}  {:<{}}  {:>8}  {}\n", "node", name_width, "op", op_width, "numbers",
                                 "kernel", kernel_width, "MMACs", "remark");
  std::string islands;
  for (const StepInfo& info : summary.steps) {
    const std::string macs = info.macs > 0 ? fmt::format("{:.2f}", static_cast<double>(info.macs) / 1e6) : "";
    text += fmt::format("{:<{}.{}}  {:<{}.{}}  {:<7}  {:<{}}  {:>8}  {}\n", info.name, name_width, name_width, info.op,
                        op_width, op_width, info.integer ? "integer" : "float", info.kernel, kernel_width, macs, info.reason);
    if (!info.integer && info.macs > 0) islands += (islands.empty() ? "" : ", ") + info.name;
  }
  while (text.find(" \n") != std::string::npos) text.replace(text.find(" \n"), 2, "\n");
  text += fmt::format(
      "integer coverage: {:.2f} % of {:.2f} M multiply-accumulates; weights: {:.2f} MB; activations: {:.2f} MB; threads: {}; "
      "ISAs: {}\n",
      100 * coverage(summary), static_cast<double>(summary.total_macs) / 1e6,
      static_cast<double>(weight_bytes_of(summary)) / 1e6, static_cast<double>(summary.arena_bytes) / 1e6,
      impl_->pool.threads(), to_string(impl_->isas));
  if (impl_->tuning) {  // what was done of it: a kernel may not take the shapes at hand
    std::size_t kernels = 0, sharing = 0;
    for (const StepInfo& info : summary.steps) {
      const auto chosen = impl_->tuning->kernels.find(info.name);
      if (chosen != impl_->tuning->kernels.end() && chosen->second == info.kernel) ++kernels;
      if (impl_->pool.threads() > 1 && impl_->tuning->other_sharing.contains(info.name)) ++sharing;
    }
    text += fmt::format("autotuned: {} steps by another kernel than the tables', {} shared otherwise among the threads\n",
                        kernels, sharing);
  }
  if (summary.integer_macs > 0 && !islands.empty()) text += "float islands: " + islands + "\n";
  return text;
}

TapSession::TapSession(const Graph& graph, std::vector<std::string> values, SessionOptions options)
    : session_(std::make_unique<Session::Impl>(graph, std::move(options), std::move(values))) {}

std::vector<Tensor> TapSession::run(const Feeds& feeds, const Observe& observe) { return session_.impl_->run(feeds, &observe); }

std::vector<Tensor> TapSession::run_altered(const Feeds& feeds, const Alter& alter) {
  Feeds own = feeds;  // inputs may be altered, too
  for (auto& [input, tensor] : own) tensor.mutable_bytes();
  const Observe observe = [&](const TapView& view) {
    if (!view.constant) alter(view, {const_cast<float*>(view.values.data()), view.values.size()});
  };
  return session_.impl_->run(own, &observe);
}

}  // namespace zeropoint
