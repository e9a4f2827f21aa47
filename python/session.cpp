// Session: inference.
#include "zeropoint/session.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "arrays.h"
#include "binding.h"
#include "feeds.h"

namespace zeropoint::python {
namespace {

// A Session and the lock that makes it safe for Python's threads: runs of one session take turns, those of two run side by
// side.
struct LockedSession {
  LockedSession(const Graph& graph, SessionOptions options) : session(graph, interruptible(std::move(options))) {}

  // Waits for the runs of other threads. A signal's handler in the middle of a run on this thread may not wait for that run.
  std::unique_lock<std::mutex> turn() {
    if (runner.load() == std::this_thread::get_id())
      throw Error(ErrorCode::kBadArgument, "session", "a run of it is under way on this thread");
    return std::unique_lock(running);
  }
  // Between: a run, which may be interrupted.
  class Run {
   public:
    explicit Run(LockedSession& self) : self_(self) {
      self.asked = Clock::now();
      self.raised = nullptr;
      self.runner = std::this_thread::get_id();
    }
    ~Run() { self_.runner = std::thread::id(); }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

   private:
    LockedSession& self_;
  };

  // Ctrl-C is Python's to notice, so a long run asks it now and then; what a signal's handler raised is kept for the caller.
  bool interrupted() {
    if (!may_ask) return false;
    const auto now = Clock::now();
    if (now - asked < std::chrono::milliseconds(50)) return false;
    const nb::gil_scoped_acquire gil;
    asked = now;
    if (PyErr_CheckSignals() == 0) return false;
    raised = std::make_exception_ptr(nb::python_error());
    return true;
  }
  SessionOptions interruptible(SessionOptions options) {
    options.interrupted = [this] { return interrupted(); };
    return options;
  }

  using Clock = std::chrono::steady_clock;
  bool may_ask = true;        // signals reach Python's main thread alone
  Clock::time_point asked;    // of the run that holds `running`, like `raised`
  std::exception_ptr raised;  // by a signal's handler
  Session session;            // last of the three, since its constructor may ask
  std::mutex running;
  std::atomic<std::thread::id> runner{};  // the thread whose run holds `running`
};

bool on_main_thread() {
  static const unsigned long main =
      nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
  return PyThread_get_thread_ident() == main;
}

void make_session(LockedSession* self, nb::handle source, int threads, const std::optional<std::string>& max_isa,
                  const std::optional<std::map<std::string, Dims>>& shapes, bool profile, bool autotune,
                  const std::optional<std::filesystem::path>& tuning_cache, const LockedSession* share_weights_with) {
  const Model model = model_from(source);
  SessionOptions options{.threads = threads,
                         .max_isa = isa_from(max_isa),
                         .profile = profile,
                         .autotune = autotune,
                         .tuning_folder = tuning_cache.value_or(""),
                         .share_weights_with = share_weights_with ? &share_weights_with->session : nullptr};
  if (shapes) options.shapes = *shapes;
  nb::gil_scoped_release release;
  new (self) LockedSession(*model.graph, options);
}

std::vector<std::size_t> output_places(const Session& session, nb::handle names) {
  std::vector<std::size_t> places;
  const auto& outputs = session.outputs();
  if (names.is_none()) {
    for (std::size_t i = 0; i < outputs.size(); ++i) places.push_back(i);
    return places;
  }
  if (nb::isinstance<nb::str>(names)) throw nb::type_error("output_names is a list of names, or None for all");
  for (nb::handle item : names) {
    const auto wanted = nb::cast<std::string>(item);
    const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const ValueInfo& info) { return info.name == wanted; });
    if (found == outputs.end()) {
      std::string known;
      for (const ValueInfo& info : outputs) known += (known.empty() ? "'" : ", '") + info.name + "'";
      throw Error(ErrorCode::kBadArgument, "output '" + wanted + "'", "the model has none of that name, but " + known);
    }
    places.push_back(static_cast<std::size_t>(found - outputs.begin()));
  }
  return places;
}

template <nb::object (*to_object)(Tensor)>
nb::list run(LockedSession& self, nb::handle output_names, nb::handle inputs) {
  const std::vector<std::size_t> places = output_places(self.session, output_names);
  const Feeds feeds = to_feeds(inputs, &self.session.inputs());
  std::vector<Tensor> results;
  std::exception_ptr raised;
  const bool may_ask = on_main_thread();
  {
    nb::gil_scoped_release release;
    const auto lock = self.turn();
    const LockedSession::Run run(self);
    self.may_ask = may_ask;
    try {
      results = self.session.run(feeds);
    } catch (const Error&) {
      raised = std::exchange(self.raised, nullptr);
      if (!raised) throw;
    }
  }
  if (raised) std::rethrow_exception(raised);
  // An output asked for once is handed over without a copy.
  nb::list arrays;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const bool again = std::find(places.begin() + static_cast<std::ptrdiff_t>(i) + 1, places.end(), places[i]) != places.end();
    arrays.append(to_object(again ? results[places[i]] : std::move(results[places[i]])));
  }
  return arrays;
}

// Seconds of each of `repeat` runs, as a program without Python has them: outputs in place, nothing allocated.
std::vector<double> native_seconds(LockedSession& self, nb::handle inputs, int repeat) {
  const Feeds feeds = to_feeds(inputs, &self.session.inputs());
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  self.may_ask = false;
  std::vector<Tensor> in, out = self.session.run(feeds);
  for (const ValueInfo& input : self.session.inputs()) in.push_back(feeds.at(input.name));
  std::vector<double> seconds;
  for (int i = 0; i < repeat; ++i) {
    const auto start = LockedSession::Clock::now();
    if (self.session.run(in, out) != ErrorCode::kOk) throw Error(ErrorCode::kInternal, "session", "the run failed");
    seconds.push_back(std::chrono::duration<double>(LockedSession::Clock::now() - start).count());
  }
  return seconds;
}

std::vector<StepInfo> steps(LockedSession& self) {
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  return self.session.steps();
}

std::string explain(LockedSession& self) {
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  return self.session.explain();
}

double integer_coverage(LockedSession& self) {
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  return self.session.integer_coverage();
}

std::size_t weight_bytes(LockedSession& self) {
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  return self.session.weight_bytes();
}

std::size_t arena_bytes(LockedSession& self) {
  nb::gil_scoped_release release;
  const auto lock = self.turn();
  return self.session.arena_bytes();
}

std::string repr_session(const LockedSession& self) {
  const auto list = [](const std::vector<ValueInfo>& values) {
    std::string text;
    for (const ValueInfo& value : values)
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", value.name, to_string(value.type));
    return text;
  };
  return fmt::format("<zeropoint.Session ({}) -> ({})>", list(self.session.inputs()), list(self.session.outputs()));
}

}  // namespace

void bind_session(nb::module_& m) {
  nb::class_<StepInfo>(m, "StepInfo", "One step of a compiled model.")
      .def_prop_ro(
          "name", [](const StepInfo& step) { return step.name; }, "Of the operators that it came from.")
      .def_prop_ro(
          "op", [](const StepInfo& step) { return step.op; }, "Such as 'Conv+Relu'.")
      .def_prop_ro(
          "sum_node", [](const StepInfo& step) { return step.sum_node; },
          "Node of a residual sum that it computes, too, as the end of `op` says; '' when there is none.")
      .def_prop_ro("kernel", [](const StepInfo& step) { return step.kernel; })
      .def_prop_ro(
          "integer", [](const StepInfo& step) { return step.integer; }, "Whether it calculates in integers.")
      .def_prop_ro(
          "macs", [](const StepInfo& step) { return step.macs; }, "Multiply-accumulates at the shapes of the last run.")
      .def_prop_ro(
          "reason", [](const StepInfo& step) { return step.reason; }, "Why not the faster way; '' when there is none.")
      .def_prop_ro(
          "seconds", [](const StepInfo& step) { return step.seconds; }, "Summed over runs, with profile=True.")
      .def("__repr__", [](const StepInfo& step) {
        return fmt::format("StepInfo(name='{}', op='{}', kernel='{}', integer={}, macs={})", step.name, step.op, step.kernel,
                           step.integer ? "True" : "False", step.macs);
      });

  nb::class_<LockedSession>(m, "Session",
                            "A compiled model, float or quantized (Q/DQ and QOperator files of any quantizer).\n\n"
                            "Everything is decided here once: checks, kernels, packed weights, memory. Threads may share a "
                            "session; their runs take turns.")
      .def(
          "__init__", &make_session, nb::arg("model"), nb::kw_only(), nb::arg("threads") = 0, nb::arg("max_isa") = nb::none(),
          nb::arg("shapes") = nb::none(), nb::arg("profile") = false, nb::arg("autotune") = false,
          nb::arg("tuning_cache") = nb::none(), nb::arg("share_weights_with") = nb::none(),
          nb::sig("def __init__(self, model: str | os.PathLike[str] | bytes | Model, *, threads: int = 0, max_isa: str | None "
                  "= None, "
                  "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, profile: bool = False, "
                  "autotune: bool = False, tuning_cache: str | os.PathLike[str] | None = None, share_weights_with: Session | "
                  "None = None) "
                  "-> None"),
          "threads: 0 stands for the physical cores. max_isa: use no instruction set above (see instruction_sets()).\n"
          "shapes: fixes open dimensions of inputs. profile: time every step.\n"
          "autotune: measure which kernels run fastest on this machine at these shapes; the results are the same. What was\n"
          "found is kept in a file of tuning_cache (None: zeropoint/tuning in $XDG_CACHE_HOME or ~/.cache) for the next time.\n"
          "share_weights_with: a session of the same model, which may run meanwhile; packed weights are then in memory once.")
      .def("run", &run<&to_array>, nb::arg("output_names").none(), nb::arg("feeds"),
           nb::sig("def run(self, output_names: collections.abc.Sequence[str] | None, feeds: collections.abc.Mapping[str, "
                   "numpy.typing.ArrayLike]) -> list[numpy.ndarray]"),
           "Runs the model on {input name: array} and returns the outputs asked for; None stands for all, in the model's "
           "order.\n\n"
           "Arrays that are C-contiguous are read in place, as are CPU tensors of PyTorch and all else that knows DLPack; "
           "others "
           "are copied first. Results own their memory. An element type that is not the input's is a TypeError; a missing, "
           "extra "
           "or misshaped input is an Error. Ctrl-C stops a run between two of its steps.")
      .def("run_dlpack", &run<&to_dlpack>, nb::arg("output_names").none(), nb::arg("feeds"),
           nb::sig("def run_dlpack(self, output_names: collections.abc.Sequence[str] | None, feeds: "
                   "collections.abc.Mapping[str, numpy.typing.ArrayLike]) -> list[DLPack]"),
           "As ``run``, with results for any library's ``from_dlpack``, such as torch's, which takes them over without a copy.")
      .def_prop_ro("inputs", [](const LockedSession& self) { return self.session.inputs(); })
      .def_prop_ro("outputs", [](const LockedSession& self) { return self.session.outputs(); })
      .def_prop_ro("steps", &steps, "What runs, in order.")
      .def("explain", &explain, "A line a step: integer or float, kernel, and why not a faster one. Then the integer coverage.")
      .def_prop_ro("integer_coverage", &integer_coverage, "Share of multiply-accumulates in integers, 0 to 1.")
      .def_prop_ro("weight_bytes", &weight_bytes,
                   "Memory of the weights packed for the engine's own kernels, by all sessions that share them.")
      .def_prop_ro("arena_bytes", &arena_bytes, "Memory planned for activations and scratch at the last run's shapes.")
      .def("__repr__", &repr_session);

  // For bench/python_overhead.py.
  m.def("_native_seconds", &native_seconds, nb::arg("session"), nb::arg("feeds"), nb::arg("repeat"));
  // For tests: where the session would read each input.
  m.def("_addresses", [](nb::handle feeds) {
    nb::dict addresses;
    for (const auto& [name, tensor] : to_feeds(feeds, nullptr))
      addresses[name.c_str()] = nb::int_(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()));
    return addresses;
  });
}

}  // namespace zeropoint::python
