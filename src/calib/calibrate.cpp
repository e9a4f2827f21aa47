#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>

#include "base/thread_pool.h"
#include "calib/batch.h"
#include "calib/hash64.h"
#include "calib/observer.h"
#include "calib/runner.h"
#include "ir/naming.h"
#include "ops/operator.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace calib {
namespace {

using Clock = std::chrono::steady_clock;

// Resident bytes of this process; 0 where the system does not say.
std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  return file >> total >> resident ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

// Typical of a trained network: values of one sign and the other over some 30 powers of two each.
constexpr std::uint64_t kTypicalHistogramBytes = 64 * sizeof(Histogram::Octave);

std::string in_mib(std::uint64_t bytes) { return fmt::format("{} MiB", (bytes + (1 << 20) - 1) >> 20); }

std::uint64_t hash_names(const Samples& samples) {
  std::uint64_t hash = samples.size();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    // Without the folder: shards of a cluster may mount it elsewhere.
    const std::string name = std::filesystem::path(samples.describe(i)).filename().string();
    hash = hash64(std::as_bytes(std::span(name)), hash);
  }
  return hash;
}

bool contains(const std::vector<std::array<std::uint64_t, 2>>& ranges, std::uint64_t index) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const auto& r) { return r[0] <= index && index < r[1]; });
}

std::vector<std::array<std::uint64_t, 2>> ranges_of(const std::vector<bool>& done) {
  std::vector<std::array<std::uint64_t, 2>> ranges;
  for (std::uint64_t i = 0; i < done.size(); ++i) {
    if (!done[i]) continue;
    if (ranges.empty() || ranges.back()[1] != i) ranges.push_back({i, i});
    ranges.back()[1] = i + 1;
  }
  return ranges;
}

// Which values of the graph to observe, checked.
std::vector<std::string> observed_values(const Graph& graph, const CalibrateOptions& options) {
  const ValueIndex types(graph);
  std::vector<std::string> values = options.values;
  if (values.empty()) {
    for (const ValueInfo& input : graph.inputs)
      if (types.type_of(input.name).dtype == DType::f32) values.push_back(input.name);
    for (const Node& node : graph.nodes)
      for (const std::string& output : node.outputs)
        if (!output.empty() && types.type_of(output).dtype == DType::f32) values.push_back(output);
    if (values.empty()) throw Error(ErrorCode::kBadArgument, "graph", "it has no float values to calibrate");
    return values;
  }
  std::set<std::string> known;
  for (const std::string& value : values) {
    if (!known.insert(value).second) throw Error(ErrorCode::kBadArgument, "value '" + value + "'", "is asked for twice");
    const DType dtype = types.type_of(value).dtype;
    if (dtype == DType::undefined || graph.constant(value) != nullptr)
      throw Error(ErrorCode::kBadArgument, "value '" + value + "'",
                  graph.constant(value) != nullptr ? "is a constant, whose range is known" : "the graph has no such value");
    if (dtype != DType::f32)
      throw Error(ErrorCode::kBadArgument, "value '" + value + "'",
                  fmt::format("is {}; f32 values are calibrated", name(dtype)));
  }
  const auto check = [&](const std::string& value) {
    if (known.count(value) == 0)
      throw Error(ErrorCode::kBadArgument, "value '" + value + "'", "is not among the observed values");
  };
  for (const auto& [value, axis] : options.channel_axes) check(value);
  for (const std::string& value : options.row_values) check(value);
  return values;
}

class Calibration {
 public:
  Calibration(const Graph& source, const Samples& samples, const CalibrateOptions& options, const MakeRunner& make_runner,
              const std::string& isas)
      : samples_(samples), options_(options), make_runner_(make_runner), isas_(isas), graph_(source) {
    ops::infer_shapes(graph_, options.shapes);
    values_ = observed_values(graph_, options);
    open_batch_ = has_open_batch(graph_);
    model_hash_ = graph_hash(source);
    for (const std::string& value : values_) {
      ValueObserver::Wanted wanted;
      if (const auto axis = options.channel_axes.find(value); axis != options.channel_axes.end())
        wanted.channel_axis = axis->second;
      if (std::count(options.row_values.begin(), options.row_values.end(), value) != 0) wanted.row_bytes = options.row_bytes;
      observers_.push_back(std::make_unique<ValueObserver>(wanted));
    }
    choose_samples();
    if (options.resume && std::filesystem::exists(options.checkpoint)) restore(load_statistics(options.checkpoint));
    for (std::size_t i = begin_; i < end_; ++i)
      if (!done_[i]) queue_.push_back(i);
  }

  Statistics run() {
    if (!queue_.empty()) {
      workers_.resize(choose_threads());
      ThreadPool pool(static_cast<int>(workers_.size()));
      last_checkpoint_ = Clock::now();
      while (true) {
        pause_ = false;
        pool.run([&](int worker) { work(workers_[static_cast<std::size_t>(worker)]); });
        if (error_) std::rethrow_exception(error_);
        if (next_ >= queue_.size()) break;
        write_checkpoint();
        if (interrupted()) throw Error(ErrorCode::kInterrupted, "calibration", interrupted_message());
      }
    }
    return statistics();
  }

 private:
  struct Worker {
    std::unique_ptr<Runner> runner;
    std::unique_ptr<Scratch> scratch;
  };

  void choose_samples() {
    const std::size_t size = samples_.size(), shards = options_.shards, shard = options_.shard;
    if (size == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none to calibrate with");
    if (shards == 0 || shard >= shards)
      throw Error(ErrorCode::kBadArgument, "shard", fmt::format("part {} of {}", shard, shards));
    // The first size % shards parts have one sample more.
    const auto start = [&](std::size_t part) { return part * (size / shards) + std::min(part, size % shards); };
    begin_ = start(shard);
    end_ = start(shard + 1);
    if (begin_ == end_)
      throw Error(ErrorCode::kBadSample, "samples",
                  fmt::format("part {} of {} is empty: there are {} samples", shard, shards, size));
    done_.assign(size, false);
    set_hash_ = hash_names(samples_);
  }

  void restore(const Statistics& earlier) {
    const std::string where = options_.checkpoint.string();
    const auto fail = [&](const std::string& message) {
      throw Error(ErrorCode::kMismatch, where, message + "; remove the file to begin anew");
    };
    if (earlier.model_hash != model_hash_) fail("the checkpoint is of another model");
    if (earlier.isas != isas_) fail(fmt::format("the checkpoint was computed by other instruction sets ({})", earlier.isas));
    if (!earlier.progress) fail("it is not a checkpoint but complete statistics");
    if (earlier.progress->total != samples_.size() || earlier.progress->set_hash != set_hash_)
      fail("the checkpoint is of other samples");
    if (earlier.row_bytes != row_bytes()) fail("the checkpoint keeps other rows");
    if (earlier.values.size() != values_.size()) fail("the checkpoint observed other values");
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const ValueStatistics* value = earlier.find(values_[i]);
      const auto axis = options_.channel_axes.find(values_[i]);
      if (value == nullptr || value->channel_axis != (axis == options_.channel_axes.end() ? 0 : axis->second))
        fail("the checkpoint observed other values");
    }
    for (std::size_t i = 0; i < done_.size(); ++i) {
      done_[i] = contains(earlier.progress->done, i);
      if (done_[i] && (i < begin_ || i >= end_)) fail("the checkpoint is of another part of the samples");
    }
    for (std::size_t i = 0; i < values_.size(); ++i) observers_[i]->add(*earlier.find(values_[i]));
    single_samples_ = earlier.samples;
    samples_hash_ = earlier.samples_hash;
    resumed_ = static_cast<std::size_t>(std::count(done_.begin(), done_.end(), true));
  }

  // Makes the first worker's runner too: what a worker takes is measured by it.
  std::size_t choose_threads() {
    const int wanted = options_.threads > 0 ? options_.threads : physical_cores();
    const std::size_t threads = std::min<std::size_t>(static_cast<std::size_t>(std::max(wanted, 1)), queue_.size());
    if (options_.max_memory == 0) return threads;
    const std::uint64_t before = resident_bytes();
    workers_.resize(1);
    prepare(workers_[0]);
    const std::size_t first = queue_.front();
    for (const Feeds& row : split_batch(samples_.get(first), open_batch_, samples_.describe(first)))
      workers_[0].runner->run(row, [](const TapView&) {});
    const std::uint64_t now = resident_bytes(), each = now > before ? now - before : 0;
    const std::uint64_t histograms = values_.size() * kTypicalHistogramBytes + options_.row_values.size() * options_.row_bytes;
    const std::uint64_t needed = now + histograms;
    if (needed > options_.max_memory)
      throw Error(ErrorCode::kLimit, "calibration",
                  fmt::format("one thread needs {}, of which {} are histograms of {} values; the limit is {}", in_mib(needed),
                              in_mib(histograms), values_.size(), in_mib(options_.max_memory)));
    if (each == 0) return threads;
    return std::min<std::size_t>(threads, 1 + static_cast<std::size_t>((options_.max_memory - needed) / each));
  }

  void check_memory() {
    if (options_.max_memory == 0) return;
    const std::uint64_t now = resident_bytes();
    if (now > options_.max_memory)
      throw Error(ErrorCode::kLimit, "calibration",
                  fmt::format("{} are in use; the limit is {}: use fewer threads or a larger limit", in_mib(now),
                              in_mib(options_.max_memory)));
  }

  void prepare(Worker& worker) {
    if (!worker.runner) worker.runner = make_runner_(values_);
    if (!worker.scratch) worker.scratch = std::make_unique<Scratch>(allowed_isas(options_.max_isa));
  }

  bool interrupted() const { return options_.interrupt != nullptr && options_.interrupt->load(); }
  std::string interrupted_message() const {
    if (options_.checkpoint.empty()) return "stopped by the user";
    return fmt::format("stopped by the user; {} of {} samples are in '{}': resume from there", completed(), end_ - begin_,
                       options_.checkpoint.string());
  }
  std::size_t completed() const { return static_cast<std::size_t>(std::count(done_.begin(), done_.end(), true)); }

  // Takes samples until there are none left, or it is time to stop between samples.
  void work(Worker& worker) {
    try {
      prepare(worker);
    } catch (...) {
      fail(0);
      return;
    }
    while (!pause_) {
      if (interrupted()) {
        pause_ = true;
        return;
      }
      const std::size_t place = next_++;
      if (place >= queue_.size()) return;
      const std::size_t index = queue_[place];
      try {
        observe(worker, index);
        finish(index);
      } catch (...) {
        fail(index);
        return;
      }
    }
  }

  // All samples before a failed one have been taken by some worker, and each finishes its own: so of several bad samples the
  // first is the one that is reported, whatever the threads.
  void fail(std::size_t index) {
    const std::lock_guard lock(mutex_);
    if (!error_ || index < failed_) {
      error_ = std::current_exception();
      failed_ = index;
    }
    pause_ = true;
  }

  void observe(Worker& worker, std::size_t index) {
    const std::string where = samples_.describe(index);
    const Feeds feeds = samples_.get(index);
    if (!options_.allow_non_finite) check_finite(feeds, where);
    std::uint64_t rows = 0, hash = 0;
    for (const Feeds& row : split_batch(feeds, open_batch_, where)) {
      observe_row(worker, row, where);
      ++rows;
      hash += content_hash(row);
    }
    check_memory();
    const std::lock_guard lock(mutex_);
    single_samples_ += rows;
    samples_hash_ += hash;
  }

  void observe_row(Worker& worker, const Feeds& row, const std::string& where) {
    std::exception_ptr failed;
    std::size_t first_bad = values_.size();
    Seen bad;
    const auto rethrow = [&](const std::exception_ptr& error) {
      try {
        std::rethrow_exception(error);
      } catch (const Error& plain) {  // not yet knowing its sample
        throw Error(plain.code, where, plain.what());
      }
    };
    try {
      worker.runner->run(row, [&](const TapView& view) {
        if (failed) return;
        try {
          const Seen seen = observers_[view.index]->add(view, *worker.scratch);
          if (seen.nans + seen.infinities != 0 && (first_bad == values_.size() || maker(view.index) < maker(first_bad))) {
            first_bad = view.index;
            bad = seen;
          }
        } catch (const Error& error) {
          failed = std::make_exception_ptr(Error(error.code, fmt::format("value '{}'", values_[view.index]), error.what()));
        } catch (...) {
          failed = std::current_exception();
        }
      });
    } catch (const Error&) {
      rethrow(std::current_exception());
    }
    if (failed) rethrow(failed);
    if (first_bad != values_.size() && !options_.allow_non_finite) {
      const std::size_t node = maker(first_bad);
      throw Error(ErrorCode::kNonFinite, where,
                  fmt::format("value '{}'{} holds {} NaN and {} infinite of {} elements", values_[first_bad],
                              node < graph_.nodes.size() ? ", made by " + describe(graph_.nodes[node]) + "," : "", bad.nans,
                              bad.infinities, bad.count + bad.nans + bad.infinities));
    }
  }

  // Index of the node that makes a value; of graph inputs: beyond all nodes.
  std::size_t maker(std::size_t value) const {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto& outputs = graph_.nodes[i].outputs;
      if (std::find(outputs.begin(), outputs.end(), values_[value]) != outputs.end()) return i;
    }
    return graph_.nodes.size();
  }

  void finish(std::size_t index) {
    const std::lock_guard lock(mutex_);
    done_[index] = true;
    ++finished_;
    if (options_.progress) options_.progress(resumed_ + finished_, end_ - begin_);
    const std::chrono::duration<double> since = Clock::now() - last_checkpoint_;
    if (!options_.checkpoint.empty() && since.count() >= options_.checkpoint_seconds) pause_ = true;
  }

  void write_checkpoint() {
    if (options_.checkpoint.empty()) return;
    save(statistics(), options_.checkpoint);
    last_checkpoint_ = Clock::now();
  }

  std::uint64_t row_bytes() const { return options_.row_values.empty() ? 0 : options_.row_bytes; }

  Statistics statistics() const {
    Statistics result;
    result.model_hash = model_hash_;
    result.isas = isas_;
    result.samples = single_samples_;
    result.samples_hash = samples_hash_;
    result.row_bytes = row_bytes();
    auto ranges = ranges_of(done_);
    if (ranges.size() != 1 || ranges[0] != std::array<std::uint64_t, 2>{0, done_.size()})
      result.progress = CalibrationProgress{done_.size(), set_hash_, std::move(ranges)};
    for (std::size_t i = 0; i < values_.size(); ++i) result.values.emplace(values_[i], observers_[i]->statistics());
    return result;
  }

  const Samples& samples_;
  const CalibrateOptions& options_;
  const MakeRunner& make_runner_;
  const std::string& isas_;
  Graph graph_;
  std::string model_hash_;
  bool open_batch_ = false;
  std::vector<std::string> values_;
  std::vector<std::unique_ptr<ValueObserver>> observers_;
  std::size_t begin_ = 0, end_ = 0, resumed_ = 0;
  std::uint64_t set_hash_ = 0;
  std::vector<std::size_t> queue_;
  std::vector<Worker> workers_;

  std::atomic<std::size_t> next_{0};
  std::atomic<bool> pause_{false};
  std::mutex mutex_;  // guards all below while workers run
  std::vector<bool> done_;
  std::uint64_t single_samples_ = 0, samples_hash_ = 0;
  std::size_t finished_ = 0, failed_ = 0;
  std::exception_ptr error_;
  Clock::time_point last_checkpoint_;
};

class EngineRunner final : public Runner {
 public:
  EngineRunner(const Graph& graph, const std::vector<std::string>& values, const CalibrateOptions& options)
      : session_(graph, values, {.threads = 1, .max_isa = options.max_isa, .shapes = options.shapes}) {}
  void run(const Feeds& feeds, const Observe& observe) override { session_.run(feeds, observe); }

 private:
  TapSession session_;
};

}  // namespace

std::unique_ptr<Runner> engine_runner(const Graph& graph, const std::vector<std::string>& values,
                                      const CalibrateOptions& options) {
  return std::make_unique<EngineRunner>(graph, values, options);
}

Statistics calibrate(const Graph& graph, const Samples& samples, const CalibrateOptions& options, const MakeRunner& make_runner,
                     const std::string& isas) {
  return naming_source(graph, [&] { return Calibration(graph, samples, options, make_runner, isas).run(); });
}

}  // namespace calib

Statistics calibrate(const Graph& graph, const Samples& samples, const CalibrateOptions& options) {
  const auto make_runner = [&](const std::vector<std::string>& values) { return calib::engine_runner(graph, values, options); };
  return calib::calibrate(graph, samples, options, make_runner, to_string(allowed_isas(options.max_isa)));
}

}  // namespace zeropoint
