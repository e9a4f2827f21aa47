// Metrics that have a name: accuracy against labels, and how near the outputs are to the float model's.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "analyze/compare_options.h"
#include "analyze/metrics.h"
#include "calib/hash64.h"
#include "zeropoint/error.h"
#include "zeropoint/metric.h"

namespace zeropoint {
namespace {

// Float outputs that are kept between judgements instead of being computed again.
constexpr std::size_t kKeptBytes = std::size_t{512} << 20;

// The outputs of the float model, kept as long as they are few.
class Reference {
 public:
  Reference(const Graph& original, const Samples& samples, CompareOptions options)
      : samples_(samples), options_(std::move(options)), session_(original, analyze::session_options(options_)) {}

  // Calls look(float outputs, outputs) for each sample.
  template <class Look>
  void beside(const Graph& model, const Look& look) {
    Session session(model, analyze::session_options(options_));
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      analyze::check_interrupt(options_.interrupt, "metric");
      const Feeds feeds = samples_.get(i);
      std::vector<Tensor> computed;
      if (i >= kept_.size()) {
        computed = session_.run(feeds);
        std::size_t bytes = 0;
        for (const Tensor& output : computed) bytes += output.byte_size();
        if (kept_.size() == i && kept_bytes_ + bytes <= kKeptBytes) {
          kept_bytes_ += bytes;
          kept_.push_back(computed);
        }
      }
      look(i < kept_.size() ? kept_[i] : computed, session.run(feeds));
      if (options_.progress) options_.progress(i + 1, samples_.size());
    }
  }

 private:
  const Samples& samples_;
  CompareOptions options_;
  Session session_;
  std::vector<std::vector<Tensor>> kept_;
  std::size_t kept_bytes_ = 0;
};

double agreement(Reference& reference, const Graph& model) {
  analyze::AgreementSums sums;
  reference.beside(model, [&](const std::vector<Tensor>& x, const std::vector<Tensor>& y) {
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i].dtype() == DType::f32 && x[i].dims() == y[i].dims()) sums.add(x[i], y[i]);
  });
  OutputMetrics metrics;
  sums.fill(metrics);
  if (!metrics.top1_agreement)
    throw Error(ErrorCode::kBadArgument, "metric agreement",
                "the model has no output [N, classes] of f32; cosine and sqnr compare outputs of any shape");
  return 100 * *metrics.top1_agreement;
}

ErrorMetrics error(Reference& reference, const Graph& model) {
  analyze::ErrorSums sums;
  reference.beside(model, [&](const std::vector<Tensor>& x, const std::vector<Tensor>& y) {
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i].dtype() == DType::f32 && x[i].dims() == y[i].dims()) sums.add(x[i].values<float>(), y[i].values<float>());
  });
  const ErrorMetrics metrics = sums.metrics();
  if (metrics.count == 0)
    throw Error(ErrorCode::kBadArgument, "metric", "no output of f32 has the float model's dimensions, so nothing compares");
  return metrics;
}

// Their number, three of them and all labels.
std::string identity_of(const Samples& samples) {
  const std::size_t size = samples.size();
  std::uint64_t hash = size;
  for (const std::size_t i : {std::size_t{0}, size / 2, size - 1})
    if (i < size)
      for (const auto& [name, tensor] : samples.get(i)) hash = calib::hash64(tensor.bytes(), hash);
  for (std::size_t i = 0; i < size; ++i) {
    const std::int64_t label = samples.label(i).value_or(-1);
    hash = calib::hash64(std::as_bytes(std::span(&label, 1)), hash);
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace

const std::vector<std::string>& metric_names() {
  static const std::vector<std::string> names = {"top1", "top5", "agreement", "cosine", "mse", "sqnr"};
  return names;
}

Metric named_metric(std::string_view name, const Graph& original, const Samples& samples, const CompareOptions& options) {
  if (std::ranges::find(metric_names(), name) == metric_names().end())
    throw Error(ErrorCode::kBadArgument, "metric",
                fmt::format("none is called '{}'; there are: {}", name, fmt::join(metric_names(), " ")));
  Metric metric{.name = std::string(name), .value = {}, .larger_is_better = name != "mse", .identity = identity_of(samples)};
  if (name == "top1" || name == "top5") {
    metric.value = [&samples, options, five = name == "top5"](const Graph& model) {
      const Accuracy accuracy = evaluate(model, samples, options);
      if (five && !accuracy.top5)
        throw Error(ErrorCode::kBadArgument, "metric top5", "the model has fewer than 6 classes; use top1");
      return 100 * (five ? *accuracy.top5 : accuracy.top1);
    };
    return metric;
  }
  auto reference = std::make_shared<Reference>(original, samples, options);
  if (name == "agreement")
    metric.value = [reference](const Graph& model) { return agreement(*reference, model); };
  else if (name == "cosine")
    metric.value = [reference](const Graph& model) { return error(*reference, model).cosine; };
  else if (name == "sqnr")
    metric.value = [reference](const Graph& model) { return error(*reference, model).sqnr_db; };
  else
    metric.value = [reference](const Graph& model) { return error(*reference, model).mean_square; };
  return metric;
}

}  // namespace zeropoint
