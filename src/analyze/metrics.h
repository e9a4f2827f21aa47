// Sums from which the metrics of a Report follow; one pass, no values kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "zeropoint/report.h"
#include "zeropoint/tensor.h"

namespace zeropoint::analyze {

class ErrorSums {
 public:
  void add(std::span<const float> x, std::span<const float> y);  // of equal length, in the same order
  ErrorMetrics metrics() const;

 private:
  std::uint64_t count_ = 0;
  double xx_ = 0, yy_ = 0, xy_ = 0, errors_ = 0, abs_ = 0, max_abs_ = 0;
};

// Rows of classes: which places are largest, the first of equals first. NaN is never largest.
bool is_among_largest(std::span<const float> row, std::size_t place, std::size_t k);
std::size_t largest(std::span<const float> row);

class AgreementSums {
 public:
  void add(const Tensor& x, const Tensor& y);  // [N, classes] of f32; other shapes are passed over
  void fill(OutputMetrics& metrics) const;

 private:
  std::uint64_t rows_ = 0, top1_ = 0, top5_ = 0;
  bool has_five_ = false;
};

class AccuracySums {
 public:
  // Throws Error kBadShape when the output is not one row of classes, kBadSample when the label is not one of them.
  void add(const Tensor& output, std::int64_t label, const std::string& sample);
  Accuracy accuracy() const;

 private:
  std::uint64_t samples_ = 0, top1_ = 0, top5_ = 0;
  bool has_five_ = false;
};

}  // namespace zeropoint::analyze
