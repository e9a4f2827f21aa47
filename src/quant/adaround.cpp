#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "base/splitmix64.h"
#include "base/thread_pool.h"
#include "numerics/elementary.h"
#include "quant/check_rows.h"
#include "quant/matrix.h"
#include "zeropoint/error.h"
#include "zeropoint/rounding.h"

namespace zeropoint {
namespace {

using quant::at;

using quant::multiply;

constexpr float kZeta = 1.1F, kGamma = -0.1F;
constexpr std::int64_t kOutputs = 64;  // that are learnt together: outputs do not depend on each other
constexpr std::int64_t kLanes = 8;

// 1 / (1 + exp(-x)) within 1e-6, in operations that vectorize and are the same everywhere.
inline float quick_sigmoid(float x) {
  constexpr float kMost = 20, kShift = 12582912.0F, kLog2E = 1.44269504F;
  const float cut = x < -kMost ? -kMost : (x > kMost ? kMost : x);
  const float t = -cut * kLog2E, n = (t + kShift) - kShift, f = t - n;
  // 2^f on [-0.5, 0.5], by the series of exp(f log 2)
  const float p =
      1.0F + f * (0.693147181F +
                  f * (0.240226507F + f * (0.0555041087F + f * (0.00961812911F + f * (0.00133335581F + f * 1.54035304e-4F)))));
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
  float power = 0;
  std::memcpy(&power, &bits, sizeof(power));
  return 1.0F / (1.0F + p * power);
}

std::vector<std::int64_t> shuffled(std::int64_t count, std::uint64_t seed) {
  std::vector<std::int64_t> order(at(count));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = count - 1; i > 0; --i)
    std::swap(order[at(i)], order[splitmix64(seed + static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(i + 1)]);
  return order;
}

// The inputs of a group, in shuffled order, both ways round.
struct Inputs {
  std::vector<float> by_row, by_weight;  // [rows, depth], [depth, rows]
};
Inputs inputs_of(const LayerRows& rows, std::int64_t group, const std::vector<std::int64_t>& order) {
  Inputs inputs{std::vector<float>(at(rows.rows * rows.depth)), std::vector<float>(at(rows.rows * rows.depth))};
  for (std::int64_t i = 0; i < rows.rows; ++i) {
    const float* from = rows.x.data() + (order[at(i)] * rows.groups + group) * rows.depth;
    for (std::int64_t k = 0; k < rows.depth; ++k)
      inputs.by_row[at(i * rows.depth + k)] = inputs.by_weight[at(k * rows.rows + i)] = from[k];
  }
  return inputs;
}

// Some outputs of a group, learnt on one thread.
class Learner {
 public:
  Learner(const WeightGrid& grid, const LayerRows& rows, const Inputs& inputs, const std::vector<std::int64_t>& order,
          std::int64_t first, std::int64_t outputs, const AdaRoundOptions& options)
      : grid_(grid),
        rows_(rows),
        inputs_(inputs),
        options_(options),
        depth_(grid.depth),
        first_(first),
        outputs_(outputs),
        batch_(std::min(options.batch, rows.rows)),
        pool_(1) {
    target_.resize(at(outputs_ * rows.rows));  // [outputs, rows]
    for (std::int64_t o = 0; o < outputs_; ++o) {
      const float offset = rows.offset.empty() ? 0.0F : rows.offset[at(first_ + o)];
      for (std::int64_t i = 0; i < rows.rows; ++i)
        target_[at(o * rows.rows + i)] =
            std::clamp(rows.target[at(order[at(i)] * rows.outputs + first_ + o)] + offset, rows.low, rows.high);
    }
  }

  void run(std::vector<std::int32_t>& q) {
    begin();
    normalize(q);
    const std::int64_t steps = (rows_.rows + batch_ - 1) / batch_;
    for (int iteration = 0; iteration < options_.iterations; ++iteration) {
      soften();
      const std::int64_t window = std::min(iteration % steps * batch_, rows_.rows - batch_);
      find_gradient(window);
      learn(iteration);
    }
    for (std::size_t i = 0; i < v_.size(); ++i) q[entry(i)] = base_[i] + (v_[i] >= 0 ? 1 : 0);  // h(0) = 1/2
  }

 private:
  std::size_t entry(std::size_t i) const { return at(first_ * depth_) + i; }

  void begin() {
    const std::size_t weights = at(outputs_ * depth_);
    base_.resize(weights);
    v_.resize(weights);
    for (std::size_t i = 0; i < weights; ++i) {
      const std::size_t e = entry(i);
      const float steps = grid_.weight[e] / grid_.scale[e] + static_cast<float>(grid_.zero_point[e]);
      auto base = static_cast<std::int32_t>(
          std::floor(std::clamp(steps, static_cast<float>(grid_.limits.low), static_cast<float>(grid_.limits.high))));
      base = std::clamp(base, grid_.limits.low, std::max(grid_.limits.low, grid_.limits.high - 1));
      const float h = std::clamp(steps - static_cast<float>(base), 0.0F, 1.0F);
      const float share = (std::clamp(h, 0.01F, 0.99F) - kGamma) / (kZeta - kGamma);
      base_[i] = base;
      v_[i] = numerics::log(share / (1 - share));
    }
    weight_.resize(weights);
    slope_.resize(weights);
    softness_.resize(weights);
    gradient_.resize(weights);
    mean_.assign(weights, 0.0F);
    square_.assign(weights, 0.0F);
    y_.resize(at(outputs_ * std::max(batch_, std::int64_t{1})));
  }

  // One over the error of each output with `start`, which are the nearest.
  void normalize(const std::vector<std::int32_t>& start) {
    for (std::size_t i = 0; i < weight_.size(); ++i) weight_[i] = grid_.value(entry(i), start[entry(i)]);
    std::vector<double> errors(at(outputs_), 0.0);
    for (std::int64_t window = 0; window < rows_.rows; window += batch_) {
      const std::int64_t begin = std::min(window, rows_.rows - batch_);
      forward(begin);
      for (std::int64_t o = 0; o < outputs_; ++o)
        for (std::int64_t i = 0; i < batch_; ++i) {
          const auto e = static_cast<double>(clipped(o, y_[at(o * batch_ + i)]) - target_[at(o * rows_.rows + begin + i)]);
          errors[at(o)] += e * e / static_cast<double>(rows_.rows);
        }
    }
    unit_.clear();
    for (const double error : errors) unit_.push_back(static_cast<float>(error > 0 ? 1 / error : 0));
  }

  float offset(std::int64_t o) const { return rows_.offset.empty() ? 0.0F : rows_.offset[at(first_ + o)]; }
  float clipped(std::int64_t o, float y) const { return std::clamp(y + offset(o), rows_.low, rows_.high); }

  // y [outputs, batch] = weights x
  void forward(std::int64_t begin) {
    if (outputs_ >= kLanes) {
      multiply({.m = outputs_, .n = batch_, .k = depth_, .a_row = depth_, .b_k = rows_.rows, .c_row = batch_}, weight_.data(),
               inputs_.by_weight.data() + begin, y_.data(), pool_);
      return;
    }
    std::fill(y_.begin(), y_.end(), 0.0F);
    for (std::int64_t o = 0; o < outputs_; ++o) {
      float* y = y_.data() + o * batch_;
      for (std::int64_t k = 0; k < depth_; ++k) {
        const float w = weight_[at(o * depth_ + k)];
        const float* x = inputs_.by_weight.data() + k * rows_.rows + begin;
        for (std::int64_t i = 0; i < batch_; ++i) y[i] += w * x[i];
      }
    }
  }

  void find_gradient(std::int64_t begin) {
    forward(begin);
    for (std::int64_t o = 0; o < outputs_; ++o) {
      float* y = y_.data() + o * batch_;
      const float* target = target_.data() + o * rows_.rows + begin;
      const float factor = 2 * unit_[at(o)] / static_cast<float>(batch_), shift = offset(o);
      for (std::int64_t i = 0; i < batch_; ++i) {
        const float value = y[i] + shift;
        const bool open = value > rows_.low && value < rows_.high;
        y[i] = open ? factor * (value - target[i]) : 0.0F;
      }
    }
    if (outputs_ >= kLanes) {
      multiply({.m = outputs_, .n = depth_, .k = batch_, .a_row = batch_, .b_k = depth_, .c_row = depth_}, y_.data(),
               inputs_.by_row.data() + begin * depth_, gradient_.data(), pool_);
      return;
    }
    std::fill(gradient_.begin(), gradient_.end(), 0.0F);
    for (std::int64_t o = 0; o < outputs_; ++o)
      for (std::int64_t i = 0; i < batch_; ++i) {
        const float e = y_[at(o * batch_ + i)];
        const float* x = inputs_.by_row.data() + (begin + i) * depth_;
        float* gradient = gradient_.data() + o * depth_;
        for (std::int64_t k = 0; k < depth_; ++k) gradient[k] += e * x[k];
      }
  }

  // Weights between their two neighbours, and how fast they move with v.
  void soften() {
    const std::int64_t count = outputs_ * depth_;
    const float *scale = grid_.scale.data() + first_ * depth_, *v = v_.data();
    const std::int32_t *zero_point = grid_.zero_point.data() + first_ * depth_, *base = base_.data();
    float *weight = weight_.data(), *slope = slope_.data(), *softness = softness_.data();
    for (std::int64_t i = 0; i < count; ++i) {
      const float s = quick_sigmoid(v[i]), wide = s * (kZeta - kGamma) + kGamma;
      const float low = wide < 0 ? 0.0F : wide, h = low > 1 ? 1.0F : low;
      softness[i] = h;
      slope[i] = wide == h ? (kZeta - kGamma) * s * (1 - s) : 0.0F;
      weight[i] = scale[i] * (static_cast<float>(base[i] - zero_point[i]) + h);
    }
  }

  // A step of Adam along the gradient of error and regularizer.
  void learn(int iteration) {
    constexpr float kFirst = 0.9F, kSecond = 0.999F, kTiny = 1e-8F;
    const double done = static_cast<double>(iteration) / std::max(1, options_.iterations), warm = options_.warm_up;
    const bool regularized = done >= warm;
    const double share = regularized ? (done - warm) / std::max(1e-9, 1 - warm) : 0;
    const int beta = static_cast<int>(std::lround(options_.beta_start + (options_.beta_end - options_.beta_start) * share));
    const auto strength =
        static_cast<float>(regularized ? options_.regularization / static_cast<double>(depth_) * 2 * beta : 0);
    first_power_ *= static_cast<double>(kFirst);
    second_power_ *= static_cast<double>(kSecond);
    const auto rate = static_cast<float>(options_.learning_rate * std::sqrt(1 - second_power_) / (1 - first_power_));
    const std::int64_t count = outputs_ * depth_;
    const float *scale = grid_.scale.data() + first_ * depth_, *gradient = gradient_.data(), *slope = slope_.data(),
                *softness = softness_.data();
    float *v = v_.data(), *mean = mean_.data(), *square = square_.data();
    pull_.resize(at(count));
    float* pull = pull_.data();  // |2h - 1|^(beta - 1), towards the nearer end
    for (std::int64_t i = 0; i < count; ++i) {
      const float u = 2 * softness[i] - 1;
      pull[i] = u < 0 ? -u : u;
    }
    power(pull, count, beta - 1);
    for (std::int64_t i = 0; i < count; ++i) {
      const float towards = softness[i] < 0.5F ? -strength : strength;
      const float g = (gradient[i] * scale[i] - towards * pull[i]) * slope[i];
      mean[i] = kFirst * mean[i] + (1 - kFirst) * g;
      square[i] = kSecond * square[i] + (1 - kSecond) * g * g;
      v[i] -= rate * mean[i] / (std::sqrt(square[i]) + kTiny);
    }
  }

  void power(float* values, std::int64_t count, int exponent) {
    product_.assign(at(count), 1.0F);
    float* product = product_.data();
    for (; exponent > 0; exponent /= 2) {
      if (exponent % 2 == 1)
        for (std::int64_t i = 0; i < count; ++i) product[i] *= values[i];
      for (std::int64_t i = 0; i < count; ++i) values[i] *= values[i];
    }
    std::copy_n(product, count, values);
  }

  const WeightGrid& grid_;
  const LayerRows& rows_;
  const Inputs& inputs_;
  const AdaRoundOptions& options_;
  const std::int64_t depth_, first_, outputs_, batch_;
  ThreadPool pool_;
  std::vector<float> target_;             // clipped, [outputs, rows]
  std::vector<std::int32_t> base_;        // the lower neighbour
  std::vector<float> v_, mean_, square_;  // what is learnt, and Adam's moments
  std::vector<float> weight_, slope_, softness_, gradient_, pull_, product_;
  std::vector<float> y_, unit_;
  double first_power_ = 1, second_power_ = 1;
};

}  // namespace

std::vector<std::int32_t> adaround(const WeightGrid& grid, const LayerRows& rows, const AdaRoundOptions& options) {
  quant::check_rows(grid, rows);
  if (options.batch < 1 || options.iterations < 0 || !(options.warm_up >= 0 && options.warm_up <= 1))
    throw Error(ErrorCode::kBadArgument, "adaround", "batch must be at least 1, iterations 0, warm_up from 0 to 1");
  const std::vector<std::int32_t> nearest = round_to_nearest(grid);
  std::vector<std::int32_t> q = nearest;
  if (rows.rows == 0 || grid.weight.empty()) return q;
  const std::int64_t each = rows.outputs / rows.groups, parts = (each + kOutputs - 1) / kOutputs;
  const std::vector<std::int64_t> order = shuffled(rows.rows, options.seed);
  ThreadPool pool(std::max(1, options.threads));
  Inputs shared;
  if (rows.groups == 1) shared = inputs_of(rows, 0, order);
  pool.run([&](int worker) {
    const Range64 units = partition(rows.groups * parts, worker, pool.threads());
    Inputs own;
    std::int64_t held = -1;
    for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
      const std::int64_t group = unit / parts, begin = unit % parts * kOutputs;
      if (rows.groups > 1 && held != group) own = inputs_of(rows, held = group, order);
      Learner(grid, rows, rows.groups > 1 ? own : shared, order, group * each + begin, std::min(kOutputs, each - begin),
              options)
          .run(q);
    }
  });
  const std::vector<double> before = output_errors(grid, nearest, rows, true, options.threads),
                            after = output_errors(grid, q, rows, true, options.threads);
  for (std::size_t i = 0; i < q.size(); ++i) {
    const std::size_t o = i / at(grid.depth);
    if (after[o] > before[o]) q[i] = nearest[i];
  }
  return q;
}

}  // namespace zeropoint
