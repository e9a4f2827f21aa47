#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <filesystem>
#include <random>

#include "calib/batch.h"
#include "calib/observer.h"
#include "calib/runner.h"
#include "ops/operator.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// x -> a = x * factor -> b = relu(a) -> y = b + x
Graph test_graph(Dim batch = Dim("N")) {
  Graph graph;
  graph.opsets[""] = 17;
  graph.ir_version = 8;
  graph.inputs.push_back({"x", {DType::f32, Shape{batch, 2, 3}}, {}});
  graph.outputs.push_back({"y", {DType::f32, Shape{batch, 2, 3}}, {}});
  graph.initializers["factor"] = Tensor::of<float>({2, 1}, {2, -3});
  const auto node = [&](const char* name, const char* type, std::vector<std::string> inputs, const char* output) {
    Node made;
    made.name = name;
    made.op_type = type;
    made.inputs = std::move(inputs);
    made.outputs = {output};
    graph.nodes.push_back(made);
  };
  node("scale", "Mul", {"x", "factor"}, "a");
  node("clip", "Relu", {"a"}, "b");
  node("join", "Add", {"b", "x"}, "y");
  return graph;
}

// Values by the operators' references; every second one shown channel-last, as an engine may.
class ReferenceRunner final : public calib::Runner {
 public:
  ReferenceRunner(const Graph& graph, std::vector<std::string> values) : graph_(graph), values_(std::move(values)) {}
  void run(const Feeds& feeds, const Observe& observe) override {
    const std::vector<Tensor> tensors = ops::evaluate(graph_, feeds, values_);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto values = tensors[i].values<float>();
      const Dims& dims = tensors[i].dims();
      if (i % 2 == 0) {
        observe({i, values, dims, false});
        continue;
      }
      const auto channels = static_cast<std::size_t>(dims[1]), spatial = static_cast<std::size_t>(dims[2]);
      std::vector<float> turned(values.size());
      for (std::size_t at = 0; at < values.size(); ++at) {
        const std::size_t s = at % spatial, c = at / spatial % channels, n = at / spatial / channels;
        turned[(n * spatial + s) * channels + c] = values[at];
      }
      observe({i, turned, dims, true});
    }
  }

 private:
  Graph graph_;
  std::vector<std::string> values_;
};

Statistics run(const Graph& graph, const Samples& samples, const CalibrateOptions& options = {}) {
  return calib::calibrate(
      graph, samples, options,
      [&](const std::vector<std::string>& values) { return std::make_unique<ReferenceRunner>(graph, values); }, "scalar");
}

std::vector<Feeds> random_feeds(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Feeds> feeds(count);
  for (Feeds& sample : feeds) {
    std::vector<float> x(6);
    for (float& v : x) v = random() % 4 == 0 ? 0 : normal(random);
    if (random() % 7 == 0) x[random() % 6] = 1e4F;
    if (random() % 11 == 0) x[random() % 6] = -FLT_MAX / 4;
    sample["x"] = Tensor::of<float>({1, 2, 3}, x);
  }
  return feeds;
}

std::unique_ptr<Samples> samples_of(std::vector<Feeds> feeds) { return memory_samples(std::move(feeds), test_graph().inputs); }

CalibrateOptions all_options() {
  CalibrateOptions options;
  options.channel_axes = {{"a", 1}, {"b", 1}, {"y", -1}};
  options.row_values = {"x", "a", "b"};
  options.row_bytes = 100;
  options.threads = 1;
  return options;
}

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(fs::temp_directory_path() / ("zeropoint_calibrate_" + std::to_string(std::random_device()()))) {
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

template <class Call>
std::string error_of(const Call& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code), name(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Calibrate, SeesWhatTheReferenceComputes) {
  const auto feeds = random_feeds(1, 20);
  const auto samples = samples_of(feeds);
  const Graph graph = test_graph();
  const Statistics statistics = run(graph, *samples, all_options());
  EXPECT_EQ(statistics.samples, 20U);
  EXPECT_EQ(statistics.model_hash, graph_hash(graph));
  EXPECT_FALSE(statistics.progress);
  ASSERT_EQ(statistics.values.size(), 4U);
  for (const std::string& value : {std::string("x"), std::string("a"), std::string("b"), std::string("y")}) {
    const ValueStatistics& seen = statistics.values.at(value);
    float low = INFINITY, high = -INFINITY;
    double low_sum = 0, high_sum = 0;
    Histogram histogram;
    std::vector<float> by_channel(2), by_place(3);
    std::vector<double> channel_sums(2), place_sums(3);
    std::vector<double> mean_of_channel(2);
    const std::vector<std::string> asked{value};
    for (const Feeds& sample : feeds) {
      const Tensor tensor = ops::evaluate(graph, sample, asked)[0];
      const auto values = tensor.values<float>();
      histogram.add(values);
      const auto [l, h] = std::minmax_element(values.begin(), values.end());
      low = std::min(low, *l);
      high = std::max(high, *h);
      low_sum += static_cast<double>(*l);
      high_sum += static_cast<double>(*h);
      for (std::size_t i = 0; i < 6; ++i) {
        by_channel[i / 3] = std::max(by_channel[i / 3], std::abs(values[i]));
        mean_of_channel[i / 3] += static_cast<double>(values[i]) / (3 * 20);
        by_place[i % 3] = std::max(by_place[i % 3], std::abs(values[i]));
        channel_sums[i / 3] += static_cast<double>(values[i]) / (3 * 20);
        place_sums[i % 3] += static_cast<double>(values[i]) / (2 * 20);
      }
    }
    EXPECT_EQ(seen.samples, 20U);
    EXPECT_EQ(seen.count(), 120U);
    EXPECT_EQ(seen.histogram, histogram) << value;
    EXPECT_EQ(seen.min, low);
    EXPECT_EQ(seen.max, high);
    EXPECT_NEAR(seen.mean_min(), low_sum / 20, 1e-9 * std::abs(low_sum));
    EXPECT_NEAR(seen.mean_max(), high_sum / 20, 1e-9 * std::abs(high_sum));
    const std::vector<float> none;
    EXPECT_EQ(seen.channel_max, value == "x" ? none : value == "y" ? by_place : by_channel) << value;
    const std::vector<double> means = seen.channel_means(), &sums = value == "y" ? place_sums : channel_sums;
    ASSERT_EQ(means.size(), seen.channel_max.size());
    for (std::size_t c = 0; c < means.size(); ++c)
      EXPECT_NEAR(means[c], sums[c], 1e-5 * static_cast<double>(seen.channel_max[c]));
    EXPECT_EQ(seen.rows.size(), value == "y" ? 0U : 9U) << value;  // of 12 bytes, up to the bound of 100
    for (const auto& row : seen.rows) EXPECT_EQ(row.size(), 3U);
  }
  EXPECT_EQ(parse_statistics(serialize(statistics)), statistics);
}

TEST(Calibrate, MeansOfHugeValuesStayFinite) {
  Graph graph = test_graph();
  graph.initializers["factor"] = Tensor::of<float>({2, 1}, {1, 1});
  std::vector<Feeds> feeds;
  for (int i = 0; i < 3; ++i) feeds.push_back({{"x", Tensor::of<float>({1, 2, 3}, {-FLT_MAX, -FLT_MAX, -FLT_MAX, 1, 2, 3})}});
  CalibrateOptions options;
  options.values = {"x", "a"};  // row-major and channel-last
  options.channel_axes = {{"x", 1}, {"a", 1}};
  const Statistics statistics = run(graph, *memory_samples(feeds, graph.inputs), options);
  for (const char* value : {"x", "a"})
    EXPECT_EQ(statistics.values.at(value).channel_means(), (std::vector<double>{-static_cast<double>(FLT_MAX), 2.0})) << value;
  EXPECT_EQ(parse_statistics(serialize(statistics)), statistics);
}

// The promise of calibration: only the multiset of samples shows.
TEST(Calibrate, OrderBatchThreadsAndShardsGiveTheSameBytes) {
  constexpr unsigned kSeed = 61;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const Graph graph = test_graph();
  for (unsigned round = 0; round < 10; ++round) {
    std::vector<Feeds> feeds = random_feeds(kSeed + round, 24);
    CalibrateOptions options = all_options();
    const std::string expected = serialize(run(graph, *samples_of(feeds), options));

    options.threads = 2 + static_cast<int>(round % 4);
    EXPECT_EQ(serialize(run(graph, *samples_of(feeds), options)), expected) << "threads";

    std::shuffle(feeds.begin(), feeds.end(), random);
    EXPECT_EQ(serialize(run(graph, *samples_of(feeds), options)), expected) << "order";

    for (const std::size_t batch : {std::size_t{2}, std::size_t{3}, std::size_t{24}}) {
      std::vector<Feeds> batches;
      for (std::size_t first = 0; first < feeds.size(); first += batch) {
        std::vector<float> joined;
        for (std::size_t i = first; i < first + batch; ++i) {
          const auto row = feeds[i].at("x").values<float>();
          joined.insert(joined.end(), row.begin(), row.end());
        }
        batches.push_back({{"x", Tensor::of<float>({static_cast<std::int64_t>(batch), 2, 3}, joined)}});
      }
      EXPECT_EQ(serialize(run(graph, *samples_of(batches), options)), expected) << "batch " << batch;
    }

    const auto samples = samples_of(feeds);
    options.shards = 2 + random() % 6;
    std::vector<Statistics> parts;
    for (options.shard = 0; options.shard < options.shards; ++options.shard)
      parts.push_back(parse_statistics(serialize(run(graph, *samples, options))));
    std::shuffle(parts.begin(), parts.end(), random);
    Statistics merged = parts[0];
    for (std::size_t i = 1; i < parts.size(); ++i) merged = merge(merged, parts[i]);
    EXPECT_EQ(serialize(merged), expected) << options.shards << " shards";
    EXPECT_THROW(merge(merged, parts[0]), Error);
  }
}

// Gives the samples of another set, and stops the run at one of them.
class StoppingSamples final : public Samples {
 public:
  StoppingSamples(const Samples& samples, std::size_t stop_at, std::atomic<bool>& flag)
      : samples_(samples), stop_at_(stop_at), flag_(flag) {}
  std::size_t size() const override { return samples_.size(); }
  Feeds get(std::size_t index) const override {
    if (index == stop_at_) flag_ = true;
    return samples_.get(index);
  }

 private:
  const Samples& samples_;
  std::size_t stop_at_;
  std::atomic<bool>& flag_;
};

TEST(Calibrate, AnInterruptedRunResumes) {
  const Graph graph = test_graph();
  const auto samples = samples_of(random_feeds(2, 30));
  const TemporaryFolder folder;
  for (const int threads : {1, 3}) {
    CalibrateOptions options = all_options();
    options.threads = threads;
    const std::string expected = serialize(run(graph, *samples, options));
    options.checkpoint = folder / "state";
    options.resume = true;
    std::atomic<bool> stop{false};
    options.interrupt = &stop;
    for (const std::size_t at : {4U, 11U, 25U}) {
      stop = false;
      EXPECT_THAT(error_of([&] { run(graph, StoppingSamples(*samples, at, stop), options); }, ErrorCode::kInterrupted),
                  AllOf(HasSubstr("of 30 samples"), HasSubstr("state")));
      const Statistics state = load_statistics(options.checkpoint);
      ASSERT_TRUE(state.progress);
      EXPECT_GE(state.samples, at);
      EXPECT_LE(state.samples, at + static_cast<std::size_t>(threads));
    }
    stop = false;
    std::vector<std::size_t> done;
    options.progress = [&](std::size_t n, std::size_t total) {
      EXPECT_EQ(total, 30U);
      done.push_back(n);
    };
    EXPECT_EQ(serialize(run(graph, *samples, options)), expected);
    EXPECT_GE(done.front(), 25U);
    EXPECT_EQ(done.back(), 30U);
    fs::remove(options.checkpoint);
  }
}

TEST(Calibrate, CheckpointsOnTheWay) {
  const Graph graph = test_graph();
  const auto samples = samples_of(random_feeds(3, 12));
  const TemporaryFolder folder;
  CalibrateOptions options = all_options();
  const std::string expected = serialize(run(graph, *samples, options));
  options.checkpoint = folder / "state";
  options.checkpoint_seconds = 0;
  options.threads = 2;
  EXPECT_EQ(serialize(run(graph, *samples, options)), expected);
  EXPECT_TRUE(load_statistics(options.checkpoint).progress);  // of before the last samples
  options.resume = true;
  EXPECT_EQ(serialize(run(graph, *samples, options)), expected);

  // Only what belongs to this run is taken up.
  const auto others = samples_of(random_feeds(3, 13));
  EXPECT_THAT(error_of([&] { run(graph, *others, options); }, ErrorCode::kMismatch), HasSubstr("other samples"));
  CalibrateOptions fewer = options;
  fewer.row_values.clear();
  EXPECT_THAT(error_of([&] { run(graph, *samples, fewer); }, ErrorCode::kMismatch), HasSubstr("other rows"));
  CalibrateOptions shard = options;
  shard.shards = 2;
  EXPECT_THAT(error_of([&] { run(graph, *samples, shard); }, ErrorCode::kMismatch), HasSubstr("another part"));
  Graph other_graph = graph;
  other_graph.initializers["factor"] = Tensor::of<float>({2, 1}, {2, -4});
  EXPECT_THAT(error_of([&] { run(other_graph, *samples, options); }, ErrorCode::kMismatch), HasSubstr("another model"));
}

TEST(Calibrate, NonFiniteValuesAreNamed) {
  const Graph graph = test_graph();
  std::vector<Feeds> feeds = random_feeds(4, 16);
  feeds[9]["x"] = Tensor::of<float>({1, 2, 3}, {1, 2, 3, 1, FLT_MAX, -2});  // times -3: infinite
  feeds[13]["x"] = feeds[9]["x"];
  for (const int threads : {1, 4}) {
    CalibrateOptions options;
    options.threads = threads;
    EXPECT_THAT(
        error_of([&] { run(graph, *samples_of(feeds), options); }, ErrorCode::kNonFinite),
        AllOf(HasSubstr("sample 9"), HasSubstr("value 'a'"), HasSubstr("node 'scale' (Mul)"), HasSubstr("1 infinite of 6")));
    options.allow_non_finite = true;
    options.channel_axes = {{"a", 1}};
    const Statistics statistics = run(graph, *samples_of(feeds), options);
    EXPECT_EQ(statistics.values.at("a").infinities, 2U);
    EXPECT_EQ(statistics.values.at("a").count(), 94U);
    EXPECT_TRUE(std::isfinite(statistics.values.at("a").min));
    EXPECT_EQ(parse_statistics(serialize(statistics)), statistics);
  }
  feeds[5]["x"] = Tensor::of<float>({1, 2, 3}, {1, 2, NAN, 1, 1, 1});
  EXPECT_THAT(error_of([&] { run(graph, *samples_of(feeds)); }, ErrorCode::kNonFinite),
              AllOf(HasSubstr("sample 5"), HasSubstr("input 'x'"), HasSubstr("element 2")));
}

TEST(Calibrate, BadCallsAreNamed) {
  const Graph graph = test_graph();
  const auto samples = samples_of(random_feeds(5, 4));
  EXPECT_THAT(error_of([&] { run(graph, *samples_of({})); }, ErrorCode::kBadSample), HasSubstr("none to calibrate"));
  CalibrateOptions options;
  options.values = {"a", "nothing"};
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadArgument), HasSubstr("'nothing'"));
  options.values = {"a", "factor"};
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadArgument), HasSubstr("constant"));
  options.values = {"a", "a"};
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadArgument), HasSubstr("twice"));
  options.values = {"a"};
  options.row_values = {"b"};
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadArgument), HasSubstr("'b'"));
  options = {};
  options.shards = 5;
  options.shard = 4;
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadSample), HasSubstr("part 4 of 5 is empty"));
  options.shard = 5;
  error_of([&] { run(graph, *samples, options); }, ErrorCode::kBadArgument);
  options = {};
  options.max_memory = 1 << 20;
  EXPECT_THAT(error_of([&] { run(graph, *samples, options); }, ErrorCode::kLimit),
              AllOf(HasSubstr("MiB"), HasSubstr("4 values")));
  options.max_memory = std::uint64_t{1} << 40;
  EXPECT_EQ(run(graph, *samples, options).samples, 4U);
  const auto wrong = memory_samples({{{"x", Tensor(DType::f32, {1, 3, 3})}}}, {{"x", {DType::f32, std::nullopt}, {}}});
  EXPECT_THAT(error_of([&] { run(graph, *wrong); }, ErrorCode::kBadShape), HasSubstr("sample 0"));
}

TEST(Calibrate, ACallbackMayStopTheRun) {
  CalibrateOptions options;
  options.threads = 2;
  options.progress = [](std::size_t, std::size_t) { throw std::runtime_error("enough"); };
  EXPECT_THROW(run(test_graph(), *samples_of(random_feeds(6, 8)), options), std::runtime_error);
}

TEST(Batch, OnlyAnOpenBatchIsSplit) {
  EXPECT_TRUE(calib::has_open_batch(test_graph()));
  EXPECT_TRUE(calib::has_open_batch(test_graph(Dim("batch_size"))));
  EXPECT_FALSE(calib::has_open_batch(test_graph(Dim(1))));
  EXPECT_FALSE(calib::has_open_batch(test_graph(Dim("seq_len"))));
  Graph two = test_graph();
  two.inputs.push_back({"state", {DType::f32, Shape{2, Dim("N")}}, {}});
  EXPECT_FALSE(calib::has_open_batch(two));
  two.inputs.back().type.shape = Shape{Dim("N"), 2};
  EXPECT_TRUE(calib::has_open_batch(two));

  const Feeds batch{{"a", Tensor::of<float>({2, 2}, {1, 2, 3, 4})}, {"b", Tensor::of<std::int64_t>({2}, {5, 6})}};
  const auto rows = calib::split_batch(batch, true, "s");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].at("a"), Tensor::of<float>({1, 2}, {3, 4}));
  EXPECT_EQ(rows[1].at("b"), Tensor::of<std::int64_t>({1}, {6}));
  EXPECT_EQ(calib::split_batch(batch, false, "s").size(), 1U);
  EXPECT_NE(calib::content_hash(rows[0]), calib::content_hash(rows[1]));
  const Feeds uneven{{"a", Tensor(DType::f32, {2, 2})}, {"b", Tensor(DType::f32, {3})}};
  EXPECT_THAT(error_of([&] { calib::split_batch(uneven, true, "file.npz"); }, ErrorCode::kBadSample),
              AllOf(HasSubstr("file.npz"), HasSubstr("[3]")));
  error_of([&] { calib::split_batch({{"a", Tensor(DType::f32, {0, 2})}}, true, "s"); }, ErrorCode::kBadSample);
}

}  // namespace
}  // namespace zeropoint
