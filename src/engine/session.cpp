#include "zeropoint/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <list>

#include "base/thread_pool.h"
#include "engine/lower.h"
#include "engine/plan.h"
#include "engine/tap.h"
#include "ops/operator.h"
#include "passes/passes.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

using engine::Place;
using engine::Plan;
using engine::PlanValue;
using engine::RunContext;
using engine::ValueId;

// Plans for other shapes are kept, the least recently used one leaves first.
constexpr std::size_t kMostPlans = 8;

struct ReadyPlan {
  std::vector<Dims> input_dims;
  Plan plan;
  AlignedBuffer arena, scratch;
  std::vector<std::byte*> pointers;
};

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

}  // namespace

struct Session::Impl {
  Graph graph;
  SessionOptions options;
  engine::LowerOptions lower_options;
  engine::PackCache packs;
  ThreadPool pool;
  std::list<std::unique_ptr<ReadyPlan>> plans;  // most recently used first

  Impl(const Graph& source, SessionOptions session_options, std::vector<std::string> taps)
      : options(std::move(session_options)), pool(options.threads > 0 ? options.threads : physical_cores()) {
    lower_options = {.threads = pool.threads(), .isas = allowed_isas(options.max_isa), .taps = std::move(taps)};
    graph = source;
    verify(graph);
    fix_shapes();
    ops::infer_shapes(graph);
    // Taps name values that fusing could remove, and calibration gives fused graphs already.
    if (lower_options.taps.empty()) graph = fuse(std::move(graph));
    check_taps();
    plan_ahead();
  }

  // A plan for the declared shapes, so that what cannot run is known at once. Where shapes are open, dimensions of 1 stand in;
  // they may be too small for the network (a pooling of 2x2), and then the first run decides.
  void plan_ahead() {
    std::vector<Dims> dims;
    bool open = false;
    for (const auto& input : graph.inputs) {
      dims.push_back(smallest(input.type));
      open = open || !input.type.shape || !fixed(*input.type.shape);
    }
    try {
      plan_for(dims);
    } catch (const Error& error) {
      if (!open || (error.code != ErrorCode::kBadShape && error.code != ErrorCode::kBadAttribute)) throw;
    }
  }

  void fix_shapes() {
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

  void check_taps() const {
    for (const auto& tap : lower_options.taps)
      if (graph.type_of(tap).dtype == DType::undefined)
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

  // Symbols must mean one number in all inputs.
  void check_symbols(const std::vector<Dims>& dims) const {
    std::map<std::string, std::pair<std::int64_t, std::string>> bound;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      const ValueInfo& input = graph.inputs[i];
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

  ReadyPlan& plan_for(const std::vector<Dims>& dims) {
    for (auto it = plans.begin(); it != plans.end(); ++it) {
      if ((*it)->input_dims != dims) continue;
      if (it != plans.begin()) plans.splice(plans.begin(), plans, it);
      return *plans.front();
    }
    check_symbols(dims);
    Graph shaped = graph;
    std::map<std::string, Dims> shapes;
    for (std::size_t i = 0; i < dims.size(); ++i) shapes[graph.inputs[i].name] = dims[i];
    ops::infer_shapes(shaped, shapes);
    passes::fold_constants(shaped);  // arithmetic on shapes, now that they are known
    auto ready = std::make_unique<ReadyPlan>();
    ready->input_dims = dims;
    ready->plan = engine::lower(shaped, lower_options, packs);
    Plan& plan = ready->plan;
    ready->arena = allocate_aligned(plan.arena_bytes);
    std::memset(ready->arena.get(), 0, plan.arena_bytes);
    ready->scratch = allocate_aligned(plan.scratch_bytes);
    ready->pointers.resize(plan.values.size());
    if (plans.size() >= kMostPlans) plans.pop_back();
    plans.push_front(std::move(ready));
    return *plans.front();
  }

  void point(ReadyPlan& ready, std::span<const Tensor> in, std::span<Tensor> out) const {
    const Plan& plan = ready.plan;
    for (std::size_t i = 0; i < plan.values.size(); ++i) {
      const PlanValue& value = plan.values[i];
      switch (value.place) {
        case Place::arena:
          ready.pointers[i] = ready.arena.get() + value.slot;
          break;
        case Place::input:
          ready.pointers[i] = const_cast<std::byte*>(in[value.slot].bytes().data());
          break;
        case Place::output:
          ready.pointers[i] = out[value.slot].mutable_bytes().data();
          break;
        case Place::constant:
          ready.pointers[i] = const_cast<std::byte*>(value.constant.bytes().data());
          break;
        case Place::alias:
          break;
      }
    }
    for (std::size_t i = 0; i < plan.values.size(); ++i) {
      std::size_t root = i;
      while (plan.values[root].place == Place::alias) root = static_cast<std::size_t>(plan.values[root].alias);
      ready.pointers[i] = ready.pointers[root];
    }
  }

  template <class AfterStep>
  void execute(ReadyPlan& ready, const AfterStep& after_step) {
    const auto call = [&](const engine::Step& step) {
      std::byte* const* values = ready.pointers.data();
      std::byte* scratch = ready.scratch.get();
      if (step.single_threaded()) return step.run({values, scratch, 0, 1});
      pool.run([&](int worker) { step.run({values, scratch, worker, pool.threads()}); });
    };
    for (std::size_t i = 0; i < ready.plan.steps.size(); ++i) {
      engine::Step& step = *ready.plan.steps[i];
      if (options.profile) {
        const auto start = std::chrono::steady_clock::now();
        call(step);
        step.info.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      } else {
        call(step);
      }
      after_step(i);
    }
  }

  std::vector<Tensor> in_order(const Feeds& feeds) const {
    for (const auto& [feed_name, tensor] : feeds)
      if (std::none_of(graph.inputs.begin(), graph.inputs.end(), [&](const auto& input) { return input.name == feed_name; }))
        throw Error(ErrorCode::kBadSample, "input '" + feed_name + "'",
                    "the model has no such input; it has " + names_of(graph.inputs));
    std::vector<Tensor> in;
    for (const auto& input : graph.inputs) {
      const auto feed = feeds.find(input.name);
      if (feed == feeds.end())
        throw Error(ErrorCode::kBadSample, "input '" + input.name + "'",
                    "is missing; the model wants " + to_string(input.type));
      check_input(input, feed->second);
      in.push_back(feed->second);
    }
    return in;
  }

  ReadyPlan& plan_of(std::span<const Tensor> in) {
    if (!plans.empty()) {  // without allocation when the shapes are those of the last run
      const auto& last = plans.front()->input_dims;
      if (std::equal(in.begin(), in.end(), last.begin(), last.end(),
                     [](const Tensor& t, const Dims& d) { return t.dims() == d; }))
        return *plans.front();
    }
    std::vector<Dims> dims;
    for (const auto& tensor : in) dims.push_back(tensor.dims());
    return plan_for(dims);
  }

  template <class Before, class AfterStep>
  std::vector<Tensor> run(const Feeds& feeds, const Before& before, const AfterStep& after_step) {
    const std::vector<Tensor> in = in_order(feeds);
    ReadyPlan& ready = plan_of(in);
    std::vector<Tensor> out;
    for (const ValueId id : ready.plan.outputs) {
      const PlanValue& value = ready.plan.values[static_cast<std::size_t>(id)];
      out.emplace_back(value.dtype, value.dims);
    }
    point(ready, in, out);
    before(ready);
    execute(ready, [&](std::size_t step) { after_step(ready, step); });
    return out;
  }

  const Plan& last_plan() const {
    if (plans.empty())
      throw Error(ErrorCode::kBadArgument, "session",
                  "no plan yet: the shapes are open; run it once, or give them with `shapes`");
    return plans.front()->plan;
  }
};

Session::Session(const Graph& graph, SessionOptions options)
    : impl_(std::make_unique<Impl>(graph, std::move(options), std::vector<std::string>())) {}
Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

const std::vector<ValueInfo>& Session::inputs() const { return impl_->graph.inputs; }
const std::vector<ValueInfo>& Session::outputs() const { return impl_->graph.outputs; }

std::vector<Tensor> Session::run(const Feeds& feeds) {
  return impl_->run(feeds, [](const ReadyPlan&) {}, [](const ReadyPlan&, std::size_t) {});
}

ErrorCode Session::run(std::span<const Tensor> in, std::span<Tensor> out) noexcept {
  try {
    const Graph& graph = impl_->graph;
    if (in.size() != graph.inputs.size() || out.size() != graph.outputs.size()) return ErrorCode::kBadArgument;
    for (std::size_t i = 0; i < in.size(); ++i) impl_->check_input(graph.inputs[i], in[i]);
    ReadyPlan& ready = impl_->plan_of(in);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const PlanValue& value = ready.plan.values[static_cast<std::size_t>(ready.plan.outputs[i])];
      if (out[i].dtype() != value.dtype || out[i].dims() != value.dims) return ErrorCode::kBadArgument;
    }
    impl_->point(ready, in, out);
    impl_->execute(ready, [](std::size_t) {});
    return ErrorCode::kOk;
  } catch (const Error& error) {
    return error.code;
  } catch (...) {
    return ErrorCode::kInternal;
  }
}

std::vector<StepInfo> Session::steps() const {
  std::vector<StepInfo> infos;
  for (const auto& step : impl_->last_plan().steps) infos.push_back(step->info);
  return infos;
}

double Session::integer_coverage() const {
  const Plan& plan = impl_->last_plan();
  return plan.total_macs == 0 ? 0.0 : static_cast<double>(plan.integer_macs) / static_cast<double>(plan.total_macs);
}

std::size_t Session::arena_bytes() const { return impl_->last_plan().arena_bytes; }

std::string Session::explain() const {
  const Plan& plan = impl_->last_plan();
  std::size_t name_width = 4, op_width = 2, kernel_width = 6;
  for (const auto& step : plan.steps) {
    name_width = std::min<std::size_t>(48, std::max(name_width, step->info.name.size()));
    op_width = std::min<std::size_t>(28, std::max(op_width, step->info.op.size()));
    kernel_width = std::max(kernel_width, step->info.kernel.size());
  }
  std::string text = fmt::format("{:<{}}  {:<{}}  {:<7}  {:<{}}  {:>8}  {}\n", "node", name_width, "op", op_width, "numbers",
                                 "kernel", kernel_width, "MMACs", "remark");
  std::string islands;
  for (const auto& step : plan.steps) {
    const StepInfo& info = step->info;
    const std::string macs = info.macs > 0 ? fmt::format("{:.2f}", static_cast<double>(info.macs) / 1e6) : "";
    text += fmt::format("{:<{}.{}}  {:<{}.{}}  {:<7}  {:<{}}  {:>8}  {}\n", info.name, name_width, name_width, info.op,
                        op_width, op_width, info.integer ? "integer" : "float", info.kernel, kernel_width, macs, info.reason);
    if (!info.integer && info.macs > 0) islands += (islands.empty() ? "" : ", ") + info.name;
  }
  while (text.find(" \n") != std::string::npos) text.replace(text.find(" \n"), 2, "\n");
  text += fmt::format(
      "integer coverage: {:.2f} % of {:.2f} M multiply-accumulates; activations: {:.2f} MB; threads: {}; ISAs: {}\n",
      100 * integer_coverage(), static_cast<double>(plan.total_macs) / 1e6, static_cast<double>(plan.arena_bytes) / 1e6,
      impl_->pool.threads(), to_string(impl_->lower_options.isas));
  if (plan.integer_macs > 0 && !islands.empty()) text += "float islands: " + islands + "\n";
  return text;
}

TapSession::TapSession(const Graph& graph, std::vector<std::string> values, SessionOptions options)
    : session_(std::make_unique<Session::Impl>(graph, std::move(options), std::move(values))) {}

std::vector<Tensor> TapSession::run(const Feeds& feeds, const Observe& observe) {
  auto tap = std::vector<Plan::Tap>::const_iterator();
  const auto show = [&](const ReadyPlan& ready, std::int64_t step) {
    for (; tap != ready.plan.taps.end() && tap->after <= step; ++tap) {
      const PlanValue& value = ready.plan.values[static_cast<std::size_t>(tap->value)];
      const auto* data = reinterpret_cast<const float*>(ready.pointers[static_cast<std::size_t>(tap->value)]);
      observe({.index = tap->index,
               .values = {data, value.bytes / sizeof(float)},
               .dims = value.dims,
               .channel_last = value.layout == engine::Layout::channel_last});
    }
  };
  return session_.impl_->run(
      feeds,
      [&](const ReadyPlan& ready) {
        tap = ready.plan.taps.begin();
        show(ready, -1);
      },
      [&](const ReadyPlan& ready, std::size_t step) { show(ready, static_cast<std::int64_t>(step)); });
}

}  // namespace zeropoint
