#include "engine/stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "engine/split.h"
#include "ops/operator.h"
#include "passes/passes.h"
#include "zeropoint/passes.h"

namespace zeropoint::engine {
namespace {

// Plans for other shapes are kept, the least recently used one leaves first.
constexpr std::size_t kMostPlans = 8;

// Of nodes, while branches become known one after the other.
constexpr std::size_t kMostVisits = std::size_t{1} << 22;

// Outputs of this many bytes go to memory that the caller dropped, where there is some.
constexpr std::size_t kLargeOutput = std::size_t{1} << 16;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void check_operators(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    const ops::Operator* entry = ops::find(node);
    if (entry == nullptr || entry->reference == nullptr)
      throw Error(ErrorCode::kUnsupported, describe(node),
                  fmt::format("operator {}{} is not known to this version and cannot run",
                              node.domain.empty() ? "" : node.domain + ".", node.op_type));
    for (const auto& [name, attribute] : node.attributes)
      if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute)) check_operators(**body);
  }
}

std::string describe(const Step& step) { return fmt::format("node '{}' ({})", step.info.name, step.info.op); }

[[noreturn]] void fail_memory(const std::string& where, const std::string& what, std::size_t bytes) {
  throw Error(ErrorCode::kLimit, where, fmt::format("{} {} bytes, more than there is memory for", what, bytes));
}

// The activations, in whole huge pages where that wastes little beside them and the weights. An error names the step that makes
// the largest.
AlignedBuffer allocate_arena(const Plan& plan, std::size_t weight_bytes) {
  constexpr std::size_t kWasted = 16;  // at most a 16th of the weights
  try {
    return allocate_aligned(plan.arena_bytes, std::min(plan.arena_bytes, weight_bytes / kWasted));
  } catch (const std::bad_alloc&) {
    const Step* maker = nullptr;
    const PlanValue* largest = nullptr;
    for (const auto& step : plan.steps)
      for (const ValueId id : step->outputs) {
        if (id == kNoValue) continue;
        const PlanValue& value = plan.values[static_cast<std::size_t>(id)];
        if (value.place != Place::arena || (largest != nullptr && value.bytes <= largest->bytes)) continue;
        maker = step.get();
        largest = &value;
      }
    if (maker == nullptr) throw;
    fail_memory(describe(*maker),
                fmt::format("its result {}{} and what is held beside it take", name(largest->dtype), to_string(largest->dims)),
                plan.arena_bytes);
  }
}

// Zeros. Each worker is the first to write its share: on a machine whose processors have memory of their own, the pages come to
// lie beside those of them. Huge pages lie beside one.
void clear_arena(const Plan& plan, ThreadPool& pool, std::byte* arena) {
  constexpr std::int64_t kPage = 4096;
  pool.run([&](int worker) {
    const Range64 part = partition(static_cast<std::int64_t>(plan.arena_bytes), worker, pool.threads(), kPage);
    std::memset(arena + part.begin, 0, static_cast<std::size_t>(part.end - part.begin));
  });
}

AlignedBuffer allocate_scratch(const Plan& plan, int workers) {
  try {
    return allocate_aligned(plan.scratch_bytes);
  } catch (const std::bad_alloc&) {
    for (const auto& step : plan.steps)
      if (step->scratch_bytes(workers) == plan.scratch_bytes)
        fail_memory(describe(*step), "its work takes", plan.scratch_bytes);
    throw;
  }
}

Tensor allocate_output(const PlanValue& value, BufferPool& buffers) {
  try {
    if (value.bytes < kLargeOutput) return {value.dtype, value.dims};
    return Tensor::adopt(value.dtype, value.dims, buffers.take(value.bytes));
  } catch (const std::bad_alloc&) {
    fail_memory(fmt::format("output '{}'", value.name), fmt::format("{}{} takes", name(value.dtype), to_string(value.dims)),
                value.bytes);
  }
}

// Where a value comes from that is needed between plans.
struct Source {
  enum class From : std::uint8_t { input, head, edge, constant } from;
  std::size_t index = 0;  // of the stage's input, the head's output, all edges' outputs
  Tensor constant;
};

}  // namespace

struct Stage::EdgeNode {
  struct Body {
    std::vector<std::size_t> captured;  // of `reads`: the stage's inputs behind the subgraph's own
    std::unique_ptr<Stage> stage;
  };

  Node node;
  std::vector<std::string> reads;
  std::vector<Source> sources;  // as `reads`
  StepInfo info;
  std::map<const Graph*, Body> bodies;
};

struct Stage::Ready {
  std::vector<Dims> input_dims;
  Plan plan;
  AlignedBuffer arena, scratch;
  std::vector<std::byte*> pointers;

  // Where the plan is not all.
  std::vector<EdgeNode> edges;
  std::optional<Graph> rest_graph;  // until the first run tells the types of its inputs
  std::vector<Source> rest_sources;
  std::unique_ptr<Stage> rest;
  bool whole() const { return edges.empty(); }
};

Stage::Stage(Graph graph, StageOptions options, ThreadPool& pool, std::shared_ptr<PackCache> packs)
    : graph_(std::move(graph)), options_(std::move(options)), pool_(pool), packs_(std::move(packs)) {
  check_operators(graph_);
}

Stage::~Stage() = default;

void Stage::prepare(const std::vector<Dims>& dims) { plan(dims); }

Stage::Ready& Stage::plan(const std::vector<Dims>& dims) {
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if ((*it)->input_dims != dims) continue;
    if (it != plans_.begin()) plans_.splice(plans_.begin(), plans_, it);
    return *plans_.front();
  }
  Graph shaped = graph_;
  std::map<std::string, Dims> shapes;
  for (std::size_t i = 0; i < dims.size(); ++i) shapes[graph_.inputs[i].name] = dims[i];
  passes::FoldingBudget budget(shaped);
  std::size_t visits = 0;  // of nodes; branches that are left are taken when the plan runs
  do {
    visits += shaped.nodes.size();
    ops::infer_shapes(shaped, shapes);
    passes::fold_constants(shaped, budget);  // arithmetic on shapes, now that they are known
  } while (visits < kMostVisits && passes::inline_branches(shaped));

  Split parts = split(std::move(shaped));
  auto ready = std::make_unique<Ready>();
  ready->input_dims = dims;
  ready->plan = lower(parts.head, options_.lower, *packs_);
  ready->arena = allocate_arena(ready->plan, packs_->bytes());
  clear_arena(ready->plan, pool_, ready->arena.get());
  ready->scratch = allocate_scratch(ready->plan, options_.lower.threads);
  ready->pointers.resize(ready->plan.values.size());

  if (!parts.whole()) {
    std::unordered_map<std::string, Source> made;
    for (std::size_t i = 0; i < graph_.inputs.size(); ++i) made[graph_.inputs[i].name] = {Source::From::input, i, {}};
    for (std::size_t i = 0; i < parts.head.outputs.size(); ++i) made[parts.head.outputs[i].name] = {Source::From::head, i, {}};
    const auto source_of = [&](const std::string& name) -> Source {
      if (const auto found = made.find(name); found != made.end()) return found->second;
      const Tensor* constant = parts.constants.contains(name) ? &parts.constants.at(name) : nullptr;
      if (constant == nullptr) throw Error(ErrorCode::kInternal, "graph", "value '" + name + "' was never made");
      return {Source::From::constant, 0, *constant};
    };
    std::size_t edge_outputs = 0;
    std::unordered_map<std::string, Source> made_by_edges;
    for (Node& node : parts.edges) {
      EdgeNode edge;
      edge.reads = values_read(node);
      for (const std::string& name : edge.reads) edge.sources.push_back(source_of(name));
      for (const std::string& output : node.outputs) made_by_edges[output] = {Source::From::edge, edge_outputs++, {}};
      edge.info.name = node.name.empty() ? node.outputs.front() : node.name;
      edge.info.op = node.op_type;
      edge.info.kernel = "reference";
      if (has_subgraph(node)) edge.info.kernel = "subgraph";
      edge.info.reason = has_subgraph(node) ? "" : "the shape of its result depends on data";
      edge.node = std::move(node);
      ready->edges.push_back(std::move(edge));
    }
    made.merge(made_by_edges);
    for (const ValueInfo& input : parts.rest.inputs) ready->rest_sources.push_back(source_of(input.name));
    ready->rest_graph = std::move(parts.rest);
  }
  if (plans_.size() >= kMostPlans) plans_.pop_back();
  plans_.push_front(std::move(ready));
  return *plans_.front();
}

void Stage::point(Ready& ready, std::span<const Tensor> in, std::span<Tensor> out) const {
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
    std::size_t root = i, offset = 0;
    while (plan.values[root].place == Place::alias) {
      offset += plan.values[root].alias_offset;
      root = static_cast<std::size_t>(plan.values[root].alias);
    }
    if (root != i) ready.pointers[i] = ready.pointers[root] + offset;
  }
}

void Stage::execute(Ready& ready, const Observe* observe) {
  const Plan& plan = ready.plan;
  const auto call = [&](const Step& step) {
    std::byte* const* values = ready.pointers.data();
    std::byte* scratch = ready.scratch.get();
    if (step.single_threaded() || !step.shared) return step.run({values, scratch, 0, 1});
    pool_.run([&](int worker) { step.run({values, scratch, worker, pool_.threads()}); });
  };
  auto tap = plan.taps.begin();
  const auto show = [&](std::int64_t step) {
    for (; tap != plan.taps.end() && tap->after <= step; ++tap) {
      const PlanValue& value = plan.values[static_cast<std::size_t>(tap->value)];
      const PlanValue& root = plan.values[static_cast<std::size_t>(root_of(plan, tap->value))];
      const auto* data = reinterpret_cast<const float*>(ready.pointers[static_cast<std::size_t>(tap->value)]);
      (*observe)({.index = tap->index,
                  .values = {data, value.bytes / sizeof(float)},
                  .dims = value.dims,
                  .channel_last = value.layout == Layout::channel_last,
                  .constant = root.place == Place::constant});
    }
  };
  if (observe != nullptr) show(-1);
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    Step& step = *plan.steps[i];
    if (options_.interrupted && options_.interrupted()) throw Error(ErrorCode::kInterrupted, "run", "stopped by the user");
    if (options_.profile) {
      const Stopwatch stopwatch;
      call(step);
      step.info.seconds += stopwatch.seconds();
    } else {
      call(step);
    }
    if (observe != nullptr) show(static_cast<std::int64_t>(i));
  }
}

Stage::Ready& Stage::ready_for(std::span<const Tensor> in) {
  if (!plans_.empty()) {  // without allocation when the shapes are those of the last run
    const auto& last = plans_.front()->input_dims;
    if (std::equal(in.begin(), in.end(), last.begin(), last.end(),
                   [](const Tensor& t, const Dims& d) { return t.dims() == d; }))
      return *plans_.front();
  }
  std::vector<Dims> dims;
  for (const Tensor& tensor : in) dims.push_back(tensor.dims());
  return plan(dims);
}

std::vector<Tensor> Stage::run_edge(EdgeNode& edge, std::span<const Tensor> inputs) {
  const Stopwatch stopwatch;
  const auto read = [&](const std::string& name) -> const Tensor* {
    const auto found = std::find(edge.reads.begin(), edge.reads.end(), name);
    return found == edge.reads.end() ? nullptr : &inputs[static_cast<std::size_t>(found - edge.reads.begin())];
  };
  std::vector<Tensor> in;
  for (const std::string& input : edge.node.inputs) in.push_back(input.empty() ? Tensor() : *read(input));
  ops::Scope scope;
  scope.value = read;
  scope.run_body = [&](const Graph& body, std::span<const Tensor> given) { return run_body(edge, body, given, inputs); };
  std::vector<Tensor> out = ops::evaluate(graph_, edge.node, in, scope);
  out.resize(edge.node.outputs.size());
  edge.info.seconds += stopwatch.seconds();
  return out;
}

namespace {

// What a tuning says of the steps of a subgraph, which summary() names with this prefix.
std::shared_ptr<const Tuning> tuning_within(const Tuning& tuning, const std::string& prefix) {
  Tuning inner{.alternative = tuning.alternative, .all_other_sharing = tuning.all_other_sharing};
  for (const auto& [step, kernel] : tuning.kernels)
    if (step.starts_with(prefix)) inner.kernels.emplace(step.substr(prefix.size()), kernel);
  for (const std::string& step : tuning.other_sharing)
    if (step.starts_with(prefix)) inner.other_sharing.insert(step.substr(prefix.size()));
  return std::make_shared<const Tuning>(std::move(inner));
}

}  // namespace

std::vector<Tensor> Stage::run_body(EdgeNode& edge, const Graph& graph, std::span<const Tensor> inputs,
                                    std::span<const Tensor> read) {
  EdgeNode::Body& body = edge.bodies[&graph];
  if (!body.stage) {
    Graph own = graph;
    own.opsets = graph_.opsets;
    own.ir_version = graph_.ir_version;
    for (std::size_t i = 0; i < inputs.size(); ++i) own.inputs[i].type = {inputs[i].dtype(), std::nullopt};
    const std::set<std::string> outer = outer_names(graph);
    for (std::size_t i = 0; i < edge.reads.size(); ++i) {
      if (!outer.contains(edge.reads[i])) continue;
      if (edge.sources[i].from == Source::From::constant) {
        own.initializers.try_emplace(edge.reads[i], read[i]);
        continue;
      }
      body.captured.push_back(i);
      own.inputs.push_back({edge.reads[i], {read[i].dtype(), std::nullopt}, {}});
    }
    StageOptions options = options_;
    options.lower.taps.clear();
    if (options.lower.tuning) options.lower.tuning = tuning_within(*options.lower.tuning, edge.info.name + "/");
    // Packed weights are known by their content: a subgraph's names may mean something else here.
    body.stage = std::make_unique<Stage>(fuse(std::move(own)), std::move(options), pool_, packs_);
  }
  std::vector<Tensor> in(inputs.begin(), inputs.end());
  for (const std::size_t i : body.captured) in.push_back(read[i]);
  return body.stage->run(in);
}

std::vector<Tensor> Stage::run(std::span<const Tensor> in, const Observe* observe) {
  Ready& ready = ready_for(in);
  std::vector<Tensor> out;
  for (const ValueId id : ready.plan.outputs) {
    const PlanValue& value = ready.plan.values[static_cast<std::size_t>(id)];
    out.push_back(allocate_output(value, *buffers_));
  }
  point(ready, in, out);
  execute(ready, observe);
  if (ready.whole()) return out;

  std::vector<Tensor> edge_outputs;
  const auto get = [&](const Source& source) {
    switch (source.from) {
      case Source::From::input:
        return in[source.index];
      case Source::From::head:
        return out[source.index];
      case Source::From::edge:
        return edge_outputs[source.index];
      case Source::From::constant:
        break;
    }
    return source.constant;
  };
  for (EdgeNode& edge : ready.edges) {
    std::vector<Tensor> inputs;
    for (const Source& source : edge.sources) inputs.push_back(get(source));
    for (Tensor& tensor : run_edge(edge, inputs)) edge_outputs.push_back(std::move(tensor));
  }
  std::vector<Tensor> rest_in;
  for (const Source& source : ready.rest_sources) rest_in.push_back(get(source));
  if (!ready.rest) {
    Graph rest = std::move(*ready.rest_graph);
    ready.rest_graph.reset();
    StageOptions options = options_;
    for (std::size_t i = 0; i < rest.inputs.size(); ++i) {
      rest.inputs[i].type = {rest_in[i].dtype(), std::nullopt};
      if (ready.rest_sources[i].from == Source::From::edge) continue;
      for (std::string& tap : options.lower.taps)  // shown already
        if (tap == rest.inputs[i].name) tap.clear();
    }
    ready.rest = std::make_unique<Stage>(std::move(rest), std::move(options), pool_, packs_);
  }
  return ready.rest->run(rest_in, observe);
}

ErrorCode Stage::run(std::span<const Tensor> in, std::span<Tensor> out) {
  Ready& ready = ready_for(in);
  const auto fits = [](const Tensor& tensor, DType dtype, const Dims& dims) {
    return tensor.dtype() == dtype && tensor.dims() == dims;
  };
  if (!ready.whole()) {
    const std::vector<Tensor> results = run(in);
    for (std::size_t i = 0; i < out.size(); ++i)
      if (!fits(out[i], results[i].dtype(), results[i].dims())) return ErrorCode::kBadArgument;
    for (std::size_t i = 0; i < out.size(); ++i)
      std::memcpy(out[i].mutable_bytes().data(), results[i].bytes().data(), results[i].bytes().size());
    return ErrorCode::kOk;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const PlanValue& value = ready.plan.values[static_cast<std::size_t>(ready.plan.outputs[i])];
    if (!fits(out[i], value.dtype, value.dims)) return ErrorCode::kBadArgument;
  }
  point(ready, in, out);
  execute(ready, nullptr);
  return ErrorCode::kOk;
}

StageSummary Stage::summary() const {
  StageSummary result;
  if (plans_.empty()) return result;
  const Ready& ready = *plans_.front();
  for (const auto& step : ready.plan.steps) result.steps.push_back(step->info);
  result.packs = {packs_.get()};
  result.arena_bytes = ready.plan.arena_bytes + ready.plan.scratch_bytes;
  result.integer_macs = ready.plan.integer_macs;
  result.total_macs = ready.plan.total_macs;
  const auto add = [&](const Stage& stage, const std::string& prefix) {
    StageSummary more = stage.summary();
    for (StepInfo& info : more.steps) {
      info.name = prefix + info.name;
      if (!info.sum_node.empty()) info.sum_node = prefix + info.sum_node;
      result.steps.push_back(std::move(info));
    }
    result.packs.merge(more.packs);
    result.arena_bytes += more.arena_bytes;
    result.integer_macs += more.integer_macs;
    result.total_macs += more.total_macs;
  };
  for (const EdgeNode& edge : ready.edges) {
    result.steps.push_back(edge.info);
    for (const auto& [graph, body] : edge.bodies) add(*body.stage, edge.info.name + "/");
  }
  if (ready.rest) add(*ready.rest, "");
  return result;
}

}  // namespace zeropoint::engine
