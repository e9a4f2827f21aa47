// Rounding of weights by what it does to a layer's output, in place of each weight's own error.
//
// A layer is a product of matrices: y[n, o] = sum over k of x[n, g, k] * w[o, k], g = o / (outputs / groups) (a convolution by
// its patches). Each weight has a grid, scale * (q - zero_point); the functions here choose q.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "zeropoint/quantize_tensor.h"

namespace zeropoint {

// Weights [outputs, depth] and the integers that they may become. `scale` and `zero_point` have an entry for each weight.
struct WeightGrid {
  std::int64_t outputs = 0, depth = 0;
  std::vector<float> weight, scale;
  std::vector<std::int32_t> zero_point;
  IntegerLimits limits;
  std::vector<float> least_scale;                // [outputs], for functions that choose scales anew; empty: any

  float value(std::size_t entry, std::int32_t q) const { return scale[entry] * static_cast<float>(q - zero_point[entry]); }
};

// Rows of a layer's input beside what its output shall be.
struct LayerRows {
  std::int64_t rows = 0, groups = 1, depth = 0, outputs = 0;
  std::vector<float> x;                          // [rows, groups, depth]
  std::vector<float> target;                     // [rows, outputs]
  // The output is clipped to offset + y in [low, high] by what follows the layer (Relu, Clip, a quantizer).
  std::vector<float> offset;                     // [outputs], or empty: 0
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};

// Mean over the rows of (y - target)^2, by output: of the values themselves, or `clipped` as `rows` says.
std::vector<double> output_errors(const WeightGrid& grid, const std::vector<std::int32_t>& q, const LayerRows& rows,
                                  bool clipped, int threads = 1);
std::vector<std::int32_t> round_to_nearest(const WeightGrid& grid);

struct GptqOptions {
  double damping = 0.01;                         // share of the mean diagonal of X^T X that is added to it
  bool act_order = true;                         // weights of the largest inputs first
  int sweeps = 20;                               // of coordinate descent behind it, at most; 0: none
  // How much of the target the weights may make up for beyond their own rounding: 0 aims at x * w, 1 at `target`, which takes
  // in what the layers before did to x.
  double correct_inputs = 0;
  // By which the scales of an output may be multiplied where its error falls by it: the greedy rounding tries them all.
  std::vector<float> scale_factors;
  int threads = 1;                               // any number gives the same integers
};
// Integers q for the least sum over rows of |x (w_q - w)|^2, greedily: weight k is rounded to the nearest point, and its error
// goes on to the weights that are still free,
//   q_k = nearest(w_k + sum over j < k of (w_j - w_q_j) U_jk),  X^T X + damping = (U + I) D (U + I)^T, U strictly upper;
// then each weight in turn moves to the best of its grid, the others held, until none does. No output's error on `rows` is
// larger than that of rounding to nearest. gptq() leaves scale_factors aside.
// Sources: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022);
// J. Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees" (2023), theorem 6, for this form of it;
// K. Behdin et al., "QuantEase: Optimization-based Quantization for Language Models" (2023), for the descent.
// Throws Error kBadShape when the sizes don't fit.
std::vector<std::int32_t> gptq(const WeightGrid& grid, const LayerRows& rows, const GptqOptions& options = {});
// With scale_factors: multiplies the grid's scales, too.
std::vector<std::int32_t> gptq_with_scales(WeightGrid& grid, const LayerRows& rows, const GptqOptions& options);

struct AdaRoundOptions {
  int iterations = 500;
  std::int64_t batch = 128;                      // rows of an iteration, at least 1
  double learning_rate = 0.05;                   // of Adam
  double regularization = 5;                     // beside the output's error, which counts 1 where nothing is learnt
  double beta_start = 20, beta_end = 2;          // of the regularizer: whole numbers between are gone through
  double warm_up = 0.2;                          // share of the iterations without regularizer
  std::uint64_t seed = 0;                        // of the order of rows
  int threads = 1;                               // any number gives the same integers
};
// Learns for each weight whether it is rounded down or up: w_q = scale * (floor(w / scale) + h(v) + zero point), where
//   h(v) = clip(sigmoid(v) (zeta - gamma) + gamma, 0, 1), zeta = 1.1, gamma = -0.1,
// and v minimizes the mean over rows of (clip(offset + x w_q) - clip(offset + target))^2 and, with beta annealed from large to
// small, regularization / depth * sum of 1 - |2 h - 1|^beta, by Adam. An output's error counts relative to that of rounding to
// nearest, and where it ends up larger the nearest stay.
// Source: M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020), equations 21 to 25.
// Throws Error kBadShape when the sizes don't fit, kBadArgument for options out of bounds.
std::vector<std::int32_t> adaround(const WeightGrid& grid, const LayerRows& rows, const AdaRoundOptions& options = {});

}  // namespace zeropoint
