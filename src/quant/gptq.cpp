#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "numerics/quantize.h"
#include "quant/check_rows.h"
#include "quant/matrix.h"
#include "zeropoint/error.h"
#include "zeropoint/rounding.h"

namespace zeropoint {
namespace {

using quant::at;

using quant::multiply;

constexpr std::int64_t kTogether = 16;   // outputs that share one walk over U
constexpr double kLeastDamping = 1e-10;  // of the mean diagonal: keeps the factorization from dividing by zero

// The outputs of one group of a layer: they see the same inputs. `first`: of the outputs; `order`: of the weights.
class Group {
 public:
  Group(const WeightGrid& grid, const LayerRows& rows, std::int64_t group, const GptqOptions& options, ThreadPool& pool)
      : grid_(grid),
        rows_(rows),
        options_(options),
        pool_(pool),
        depth_(grid.depth),
        outputs_(grid.outputs / rows.groups),
        first_(group * outputs_),
        x_(rows.x.data() + group * depth_),
        stride_(rows.groups * depth_) {}

  // `scale`: of the layer's grid.
  void round(std::vector<std::int32_t>& q, std::vector<float>* scale) {
    gather();
    aim();
    std::vector<std::int32_t> best(at(outputs_ * depth_)), chosen(best.size());
    for (std::size_t i = 0; i < best.size(); ++i) best[i] = nearest(i, weight_[i]);
    const std::vector<double> simple = losses(best);
    const std::vector<float> factors = choose_scales();
    round_in_order(chosen);
    descend(chosen);
    const std::vector<double> better = losses(chosen);
    for (std::int64_t o = 0; o < outputs_; ++o)
      for (std::int64_t k = 0; k < depth_; ++k) {
        const std::size_t i = at(o * depth_ + k);
        const bool gained = better[at(o)] < simple[at(o)];
        q[entry(i)] = gained ? chosen[i] : best[i];
        if (gained && scale) (*scale)[entry(i)] *= factors[at(o)];
      }
  }

 private:
  // Where entry i of this group's ordered matrix lies in the layer's.
  std::size_t entry(std::size_t i) const {
    const auto o = static_cast<std::int64_t>(i) / depth_, k = static_cast<std::int64_t>(i) % depth_;
    return at((first_ + o) * depth_ + order_[at(k)]);
  }

  float value(std::size_t i, std::int32_t q) const { return numerics::dequantize(q, scale_[i], zero_point_[i]); }
  std::int32_t nearest(std::size_t i, float weight) const {
    return numerics::quantize(weight, scale_[i], zero_point_[i], {grid_.limits.low, grid_.limits.high});
  }

  void gather() {
    std::vector<double> h = quant::gram(x_, rows_.rows, depth_, stride_, pool_);
    const double count = static_cast<double>(std::max<std::int64_t>(1, rows_.rows));
    double trace = 0;
    for (std::int64_t k = 0; k < depth_; ++k) trace += h[at(k * depth_ + k)];
    order_.resize(at(depth_));
    std::iota(order_.begin(), order_.end(), 0);
    if (options_.act_order)
      std::stable_sort(order_.begin(), order_.end(),
                       [&](std::int64_t a, std::int64_t b) { return h[at(a * depth_ + a)] > h[at(b * depth_ + b)]; });
    const double mean = trace / count / static_cast<double>(depth_);
    damping_ = mean > 0 ? mean * std::max(options_.damping, kLeastDamping) : 1;
    h_.resize(h.size());
    factor_.resize(h.size());
    for (std::int64_t i = 0; i < depth_; ++i)
      for (std::int64_t j = 0; j < depth_; ++j) {
        const double value = h[at(order_[at(i)] * depth_ + order_[at(j)])] / count + (i == j ? damping_ : 0);
        factor_[at(i * depth_ + j)] = value;
        h_[at(i * depth_ + j)] = static_cast<float>(value);
      }
    quant::factor_udu(factor_, depth_, damping_ * 1e-3, pool_);
    u_.assign(factor_.begin(), factor_.end());
    const std::size_t weights = at(outputs_ * depth_);
    weight_.resize(weights);
    scale_.resize(weights);
    zero_point_.resize(weights);
    for (std::size_t i = 0; i < weights; ++i) {
      weight_[i] = grid_.weight[entry(i)];
      scale_[i] = grid_.scale[entry(i)];
      zero_point_[i] = grid_.zero_point[entry(i)];
    }
  }

  // What the weights aim at: themselves, and with correct_inputs the least squares solution for the target, too.
  void aim() {
    aim_ = weight_;
    pull_.assign(weight_.size(), 0.0F);
    if (options_.correct_inputs == 0) return;
    std::vector<float> missing(at(rows_.rows * outputs_));  // target - x w
    const std::vector<float>& w = grid_.weight;
    multiply({.m = rows_.rows, .n = outputs_, .k = depth_, .a_row = stride_, .b_k = 1, .b_column = depth_, .c_row = outputs_},
             x_, w.data() + first_ * depth_, missing.data(), pool_);
    for (std::int64_t row = 0; row < rows_.rows; ++row)
      for (std::int64_t o = 0; o < outputs_; ++o) {
        float& value = missing[at(row * outputs_ + o)];
        value = rows_.target[at(row * rows_.outputs + first_ + o)] - value;
      }
    std::vector<float> product(weight_.size());  // X^T missing, as [outputs, depth]
    multiply({.m = outputs_, .n = depth_, .k = rows_.rows, .a_row = 1, .a_k = outputs_, .b_k = stride_, .c_row = depth_},
             missing.data(), x_, product.data(), pool_);
    const auto share = options_.correct_inputs / static_cast<double>(std::max<std::int64_t>(1, rows_.rows));
    for (std::size_t i = 0; i < pull_.size(); ++i)
      pull_[i] = static_cast<float>(
          share * static_cast<double>(product[static_cast<std::size_t>(static_cast<std::int64_t>(i) / depth_ * depth_ +
                                                                       order_[i % static_cast<std::size_t>(depth_)])]));
    pool_.run([&](int worker) {
      const Range64 part = partition(outputs_, worker, pool_.threads());
      std::vector<double> v(at(depth_));
      for (std::int64_t o = part.begin; o < part.end; ++o) {
        solve(pull_.data() + o * depth_, v);
        for (std::int64_t k = 0; k < depth_; ++k) aim_[at(o * depth_ + k)] += static_cast<float>(v[at(k)]);
      }
    });
  }

  // v = (U D U^T)^-1 b.
  void solve(const float* b, std::vector<double>& v) const {
    for (std::int64_t k = 0; k < depth_; ++k) v[at(k)] = static_cast<double>(b[k]);
    for (std::int64_t k = depth_ - 1; k >= 0; --k) {  // U z = b, rows from the last: z_i = b_i - sum over k > i of U_ik z_k
      const double* row = factor_.data() + k * depth_;
      double sum = v[at(k)];
      for (std::int64_t j = k + 1; j < depth_; ++j) sum -= row[j] * v[at(j)];
      v[at(k)] = sum;
    }
    for (std::int64_t k = 0; k < depth_; ++k) v[at(k)] /= factor_[at(k * depth_ + k)];
    for (std::int64_t k = 0; k < depth_; ++k) {  // U^T v = z, forward
      const double* row = factor_.data() + k * depth_;
      for (std::int64_t j = k + 1; j < depth_; ++j) v[at(j)] -= row[j] * v[at(k)];
    }
  }

  // The best factor of each output's scales, which become those.
  std::vector<float> choose_scales() {
    std::vector<float> best(at(outputs_), 1.0F);
    if (options_.scale_factors.empty()) return best;
    std::vector<std::int32_t> q(weight_.size());
    std::vector<double> least = round_in_order(q);
    const std::vector<float> given = scale_;
    for (const float factor : options_.scale_factors) {
      for (std::size_t i = 0; i < given.size(); ++i) scale_[i] = given[i] * factor;
      const std::vector<double> here = round_in_order(q);
      for (std::int64_t o = 0; o < outputs_; ++o) {
        const std::size_t output = at(first_ + o);
        if (!grid_.least_scale.empty() && scale_[at(o * depth_)] < grid_.least_scale[output]) continue;
        if (!(here[at(o)] < least[at(o)])) continue;
        least[at(o)] = here[at(o)];
        best[at(o)] = factor;
      }
    }
    for (std::size_t i = 0; i < given.size(); ++i) scale_[i] = given[i] * best[i / at(depth_)];
    return best;
  }

  // Gives the error of each output, as far as it does not hang on the target.
  std::vector<double> round_in_order(std::vector<std::int32_t>& q) const {
    std::vector<double> result(at(outputs_), 0.0);
    pool_.run([&](int worker) {
      const Range64 part = partition(outputs_, worker, pool_.threads());
      std::vector<float> moved(at(kTogether * depth_));
      for (std::int64_t begin = part.begin; begin < part.end; begin += kTogether) {
        const std::int64_t count = std::min(kTogether, part.end - begin);
        std::copy_n(aim_.begin() + begin * depth_, count * depth_, moved.begin());
        for (std::int64_t k = 0; k < depth_; ++k) {
          const float* factors = u_.data() + k * depth_;
          for (std::int64_t o = 0; o < count; ++o) {
            const std::size_t i = at((begin + o) * depth_ + k);
            float* row = moved.data() + o * depth_;
            q[i] = nearest(i, row[k]);
            const float rounded = value(i, q[i]), error = aim_[i] - rounded;
            const auto rest = static_cast<double>(row[k] - rounded);
            result[at(begin + o)] += factor_[at(k * depth_ + k)] * rest * rest;
            for (std::int64_t j = k + 1; j < depth_; ++j) row[j] += error * factors[j];
          }
        }
      }
    });
    return result;
  }

  // What the integers differ by from what they aim at, times the matrix: half the gradient.
  std::vector<float> gradients(const std::vector<std::int32_t>& q, const std::vector<float>& from) const {
    std::vector<float> errors(q.size()), result(q.size());
    for (std::size_t i = 0; i < q.size(); ++i) errors[i] = value(i, q[i]) - from[i];
    multiply({.m = outputs_, .n = depth_, .k = depth_, .a_row = depth_, .b_k = depth_, .c_row = depth_}, errors.data(),
             h_.data(), result.data(), pool_);
    return result;
  }

  void descend(std::vector<std::int32_t>& q) const {
    if (options_.sweeps == 0) return;
    std::vector<float> gradient = gradients(q, aim_);
    pool_.run([&](int worker) {
      const Range64 part = partition(outputs_, worker, pool_.threads());
      for (std::int64_t o = part.begin; o < part.end; ++o) {
        float* slope = gradient.data() + o * depth_;
        bool moved = true;
        for (int sweep = 0; sweep < options_.sweeps && moved; ++sweep) {
          moved = false;
          for (std::int64_t k = 0; k < depth_; ++k) {
            const std::size_t i = at(o * depth_ + k);
            const float* row = h_.data() + k * depth_;
            const float now = value(i, q[i]);
            const std::int32_t better = nearest(i, now - slope[k] / row[k]);
            if (better == q[i]) continue;
            const float step = value(i, better) - now;
            if (2 * step * slope[k] + step * step * row[k] >= 0) continue;
            q[i] = better;
            moved = true;
            for (std::int64_t j = 0; j < depth_; ++j) slope[j] += step * row[j];
          }
        }
      }
    });
  }

  // Of each output, but for a constant and without the damping: e^T H e - 2 e^T pull, e = w_q - w.
  std::vector<double> losses(const std::vector<std::int32_t>& q) const {
    const std::vector<float> slopes = gradients(q, weight_);
    std::vector<double> result(at(outputs_));
    for (std::int64_t o = 0; o < outputs_; ++o)
      for (std::int64_t k = 0; k < depth_; ++k) {
        const std::size_t i = at(o * depth_ + k);
        const auto error = static_cast<double>(value(i, q[i]) - weight_[i]);
        result[at(o)] += error * (static_cast<double>(slopes[i]) - damping_ * error - 2 * static_cast<double>(pull_[i]));
      }
    return result;
  }

  const WeightGrid& grid_;
  const LayerRows& rows_;
  const GptqOptions& options_;
  ThreadPool& pool_;
  const std::int64_t depth_, outputs_, first_;
  const float* x_;
  const std::int64_t stride_;
  std::vector<std::int64_t> order_;
  double damping_ = 0;
  std::vector<double> factor_;                      // U above the diagonal, D on it
  std::vector<float> u_;                            // the same in fp32
  std::vector<float> h_;                            // damped mean of x x^T
  std::vector<float> weight_, scale_, aim_, pull_;  // [outputs, depth] in this order
  std::vector<std::int32_t> zero_point_;
};

}  // namespace

std::vector<std::int32_t> round_to_nearest(const WeightGrid& grid) {
  std::vector<std::int32_t> q(grid.weight.size());
  const numerics::Limits limits{grid.limits.low, grid.limits.high};
  for (std::size_t i = 0; i < q.size(); ++i)
    q[i] = numerics::quantize(grid.weight[i], grid.scale[i], grid.zero_point[i], limits);
  return q;
}

std::vector<double> output_errors(const WeightGrid& grid, const std::vector<std::int32_t>& q, const LayerRows& rows,
                                  bool clipped, int threads) {
  quant::check_rows(grid, rows);
  constexpr std::int64_t kBlock = 1024;
  ThreadPool pool(std::max(1, threads));
  std::vector<float> weights(q.size()), y(at(std::min(kBlock, rows.rows) * (rows.outputs / rows.groups)));
  for (std::size_t i = 0; i < q.size(); ++i) weights[i] = grid.value(i, q[i]);
  std::vector<double> sums(at(rows.outputs), 0.0);
  const std::int64_t outputs = rows.outputs / rows.groups, stride = rows.groups * rows.depth;
  for (std::int64_t g = 0; g < rows.groups; ++g)
    for (std::int64_t begin = 0; begin < rows.rows; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, rows.rows - begin);
      multiply({.m = count, .n = outputs, .k = rows.depth, .a_row = stride, .b_k = 1, .b_column = rows.depth, .c_row = outputs},
               rows.x.data() + begin * stride + g * rows.depth, weights.data() + g * outputs * rows.depth, y.data(), pool);
      for (std::int64_t row = 0; row < count; ++row)
        for (std::int64_t o = 0; o < outputs; ++o) {
          const std::int64_t output = g * outputs + o;
          float value = y[at(row * outputs + o)], wanted = rows.target[at((begin + row) * rows.outputs + output)];
          if (clipped) {
            const float offset = rows.offset.empty() ? 0.0F : rows.offset[at(output)];
            value = std::clamp(value + offset, rows.low, rows.high);
            wanted = std::clamp(wanted + offset, rows.low, rows.high);
          }
          const double error = static_cast<double>(value) - static_cast<double>(wanted);
          sums[at(output)] += error * error;
        }
    }
  for (double& sum : sums) sum /= static_cast<double>(std::max<std::int64_t>(1, rows.rows));
  return sums;
}

namespace {

// `scale`: of the grid, in a copy; null: it stays.
std::vector<std::int32_t> round_groups(const WeightGrid& grid, const LayerRows& rows, const GptqOptions& options,
                                       std::vector<float>* scale) {
  quant::check_rows(grid, rows);
  std::vector<std::int32_t> q(grid.weight.size());
  // Many small groups: each on one thread. Few large ones: each on all.
  const int threads = std::max(1, options.threads);
  const bool by_groups = rows.groups >= 4 * threads;
  ThreadPool pool(threads);
  if (!by_groups) {
    for (std::int64_t g = 0; g < rows.groups; ++g) Group(grid, rows, g, options, pool).round(q, scale);
    return q;
  }
  pool.run([&](int worker) {
    ThreadPool alone(1);
    const Range64 part = partition(rows.groups, worker, pool.threads());
    for (std::int64_t g = part.begin; g < part.end; ++g) Group(grid, rows, g, options, alone).round(q, scale);
  });
  return q;
}

}  // namespace

std::vector<std::int32_t> gptq(const WeightGrid& grid, const LayerRows& rows, const GptqOptions& options) {
  GptqOptions fixed = options;
  fixed.scale_factors.clear();
  return round_groups(grid, rows, fixed, nullptr);
}

std::vector<std::int32_t> gptq_with_scales(WeightGrid& grid, const LayerRows& rows, const GptqOptions& options) {
  std::vector<float> scale = grid.scale;
  std::vector<std::int32_t> q = round_groups(grid, rows, options, &scale);
  grid.scale = std::move(scale);
  return q;
}

}  // namespace zeropoint
