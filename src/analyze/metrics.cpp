#include "analyze/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "zeropoint/error.h"

namespace zeropoint::analyze {
namespace {

constexpr std::size_t kFewestForTop5 = 6;  // of five classes or fewer, all are among the largest five

}  // namespace

void ErrorSums::add(std::span<const float> x, std::span<const float> y) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double a = static_cast<double>(x[i]), b = static_cast<double>(y[i]), error = std::abs(a - b);
    xx_ += a * a;
    yy_ += b * b;
    xy_ += a * b;
    errors_ += error * error;
    abs_ += error;
    max_abs_ = std::max(max_abs_, error);
  }
  count_ += x.size();
}

ErrorMetrics ErrorSums::metrics() const {
  ErrorMetrics metrics;
  metrics.count = count_;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  metrics.sqnr_db = errors_ == 0 ? kInfinity : xx_ == 0 ? -kInfinity : 10 * std::log10(xx_ / errors_);
  metrics.cosine = xx_ == 0 || yy_ == 0 ? (errors_ == 0 ? 1 : 0) : xy_ / std::sqrt(xx_ * yy_);
  metrics.mean_abs = count_ == 0 ? 0 : abs_ / static_cast<double>(count_);
  metrics.mean_square = count_ == 0 ? 0 : errors_ / static_cast<double>(count_);
  metrics.max_abs = max_abs_;
  return metrics;
}

std::size_t largest(std::span<const float> row) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < row.size(); ++i)
    if (row[i] > row[best] || std::isnan(row[best])) best = i;
  return best;
}

bool is_among_largest(std::span<const float> row, std::size_t place, std::size_t k) {
  if (std::isnan(row[place])) return false;
  std::size_t before = 0;
  for (std::size_t i = 0; i < row.size(); ++i) before += row[i] > row[place] || (row[i] == row[place] && i < place);
  return before < k;
}

void AgreementSums::add(const Tensor& x, const Tensor& y) {
  if (x.dtype() != DType::f32 || y.dtype() != DType::f32 || x.rank() != 2 || x.dims() != y.dims() || x.dim(1) < 2) return;
  const auto classes = static_cast<std::size_t>(x.dim(1));
  has_five_ = classes >= kFewestForTop5;
  for (std::size_t row = 0; row < static_cast<std::size_t>(x.dim(0)); ++row) {
    const auto a = x.values<float>().subspan(row * classes, classes), b = y.values<float>().subspan(row * classes, classes);
    const std::size_t winner = largest(a);
    ++rows_;
    top1_ += largest(b) == winner;
    top5_ += is_among_largest(b, winner, 5);
  }
}

void AgreementSums::fill(OutputMetrics& metrics) const {
  metrics.rows = rows_;
  if (rows_ == 0) return;
  metrics.top1_agreement = static_cast<double>(top1_) / static_cast<double>(rows_);
  if (has_five_) metrics.top5_agreement = static_cast<double>(top5_) / static_cast<double>(rows_);
}

void AccuracySums::add(const Tensor& output, std::int64_t label, const std::string& sample) {
  if (output.dtype() != DType::f32 || output.rank() == 0 || output.size() != output.dims().back() || output.size() < 2)
    throw Error(ErrorCode::kBadShape, sample,
                fmt::format("the first output is {}{}, not a row of classes", name(output.dtype()), to_string(output.dims())));
  if (label < 0 || label >= output.size())
    throw Error(ErrorCode::kBadSample, sample, fmt::format("its label is {}, of {} classes", label, output.size()));
  const auto place = static_cast<std::size_t>(label);
  has_five_ = static_cast<std::size_t>(output.size()) >= kFewestForTop5;
  ++samples_;
  top1_ += largest(output.values<float>()) == place;
  top5_ += is_among_largest(output.values<float>(), place, 5);
}

Accuracy AccuracySums::accuracy() const {
  Accuracy accuracy;
  accuracy.samples = samples_;
  if (samples_ == 0) return accuracy;
  accuracy.top1 = static_cast<double>(top1_) / static_cast<double>(samples_);
  if (has_five_) accuracy.top5 = static_cast<double>(top5_) / static_cast<double>(samples_);
  return accuracy;
}

}  // namespace zeropoint::analyze
