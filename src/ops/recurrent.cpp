// RNN, GRU, LSTM and com.microsoft's DynamicQuantizeLSTM.
//
// X [S,B,I], W [directions,G*H,I], R [directions,G*H,H], B [directions,2*G*H] with G gates; layout 1 puts the batch first. For
// each step, with ' for the values of the step before:
//   RNN   H = f(xW + H'R + b)
//   GRU   z, r = f(xW + H'R + b);  h = g(xW + (r H')R + b), or g(xW + r (H'R + Rb) + Wb) where linear_before_reset;
//         H = (1 - z) h + z H'
//   LSTM  i, f = f(xW + H'R + P C' + b);  c = g(xW + H'R + b);  C = f C' + i c;  o = f(xW + H'R + P C + b);  H = o h(C)
// Sums over inputs are formed in order, then sums over the state are added, peepholes, and the sum of both biases last. `clip`
// limits what goes into the gates, not h(C), as in ONNX Runtime.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>

#include "numerics/elementary.h"
#include "ops/families.h"
#include "ops/quantized.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

struct Kind {
  std::int64_t gates;
  std::size_t functions;  // activations of one direction
  std::vector<std::string> defaults;
};
Kind kind_of(const Node& node) {
  if (node.op_type == "RNN") return {1, 1, {"Tanh"}};
  if (node.op_type == "GRU") return {3, 2, {"Sigmoid", "Tanh"}};
  return {4, 3, {"Sigmoid", "Tanh", "Tanh"}};
}

std::int64_t direction_count(const Node& node) {
  const std::string direction = node.get_string("direction", "forward");
  if (direction == "bidirectional") return 2;
  if (direction != "forward" && direction != "reverse")
    fail(ErrorCode::kBadAttribute, node, "direction is '" + direction + "'");
  return 1;
}

bool batch_first(const Node& node) {
  const std::int64_t layout = node.get_int("layout", 0);
  if (layout != 0 && layout != 1) fail(ErrorCode::kBadAttribute, node, fmt::format("layout is {}", layout));
  return layout == 1;
}

// ---- activations

struct Activation {
  std::string name;  // lower case
  float alpha = 0, beta = 0;

  template <class T>
  T operator()(T x) const {
    const auto a = static_cast<T>(alpha), b = static_cast<T>(beta);
    if (name == "tanh") return numerics::tanh(x);
    if (name == "sigmoid") return numerics::sigmoid(x);
    if (name == "relu") return x < 0 ? T{0} : x;
    if (name == "affine") return a * x + b;
    if (name == "leakyrelu") return x < 0 ? a * x : x;
    if (name == "thresholdedrelu") return x > a || x != x ? x : T{0};
    if (name == "scaledtanh") return a * numerics::tanh(b * x);
    if (name == "hardsigmoid") return std::min(T{1}, std::max(T{0}, a * x + b));
    if (name == "elu") return x < 0 ? a * (numerics::exp(x) - 1) : x;
    if (name == "softsign") return x / (1 + std::fabs(x));
    return x > 0 ? x + numerics::log(1 + numerics::exp(-x)) : numerics::log(1 + numerics::exp(x));  // softplus
  }
};

// Those of each direction in turn. alpha and beta are taken in order by the functions that have them.
std::vector<Activation> activations(const Node& node) {
  struct Known {
    const char* name;
    int parameters;
    float alpha, beta;
  };
  static constexpr Known kKnown[] = {
      {"tanh", 0, 0, 0},          {"sigmoid", 0, 0, 0},         {"relu", 0, 0, 0},       {"affine", 2, 1, 0},
      {"leakyrelu", 1, 0.01F, 0}, {"thresholdedrelu", 1, 1, 0}, {"scaledtanh", 2, 1, 1}, {"hardsigmoid", 2, 0.2F, 0.5F},
      {"elu", 1, 1, 0},           {"softsign", 0, 0, 0},        {"softplus", 0, 0, 0},
  };
  const Kind kind = kind_of(node);
  const std::size_t count = kind.functions * static_cast<std::size_t>(direction_count(node));
  std::vector<std::string> names;
  if (const Attribute* given = node.find("activations")) {
    const auto* list = std::get_if<std::vector<std::string>>(given);
    if (list == nullptr || list->size() != count)
      fail(ErrorCode::kBadAttribute, node, fmt::format("activations needs {} names", count));
    names = *list;
  } else {
    while (names.size() < count) names.insert(names.end(), kind.defaults.begin(), kind.defaults.end());
  }
  const std::vector<float> alphas = node.get_floats("activation_alpha"), betas = node.get_floats("activation_beta");
  std::size_t alpha = 0, beta = 0;
  std::vector<Activation> result;
  for (std::string name : names) {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const auto known =
        std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& entry) { return name == entry.name; });
    if (known == std::end(kKnown)) fail(ErrorCode::kBadAttribute, node, "activations has '" + name + "'");
    Activation activation{name, known->alpha, known->beta};
    if (known->parameters > 0 && alpha < alphas.size()) activation.alpha = alphas[alpha++];
    if (known->parameters > 1 && beta < betas.size()) activation.beta = betas[beta++];
    result.push_back(std::move(activation));
  }
  return result;
}

// ---- shapes

std::vector<TensorType> outputs_of(const Node& node, DType dtype, const Dim& steps, const Dim& batch, const Dim& hidden) {
  const Dim directions(direction_count(node));
  const Shape all = batch_first(node) ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden};
  const Shape last = batch_first(node) ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  std::vector<TensorType> types = {{dtype, all}, {dtype, last}};
  if (kind_of(node).gates == 4) types.push_back({dtype, last});
  return types;
}

// Joins what is known of a parameter's dimensions with what they must be.
void check_parameter(const Node& node, const TensorType& type, const Shape& wanted, const char* what) {
  if (!type.shape) return;
  bool fits = type.shape->size() == wanted.size();
  for (std::size_t i = 0; fits && i < wanted.size(); ++i)
    fits = !wanted[i].fixed() || !(*type.shape)[i].fixed() || wanted[i] == (*type.shape)[i];
  if (!fits)
    fail(ErrorCode::kBadShape, node, fmt::format("{} is {}, must be {}", what, to_string(*type.shape), to_string(wanted)));
}

struct Sizes {
  Dim steps, batch, input, hidden;
};

// x, sequence_lens, initial states and peepholes lie at the same places in all of them.
Sizes check_common(const ShapeArgs& args, Dim hidden) {
  const Node& node = args.node;
  activations(node);
  Sizes sizes;
  const std::int64_t said = node.get_int("hidden_size", 0);
  if (node.find("hidden_size") != nullptr) {
    if (said < 1) fail(ErrorCode::kBadAttribute, node, fmt::format("hidden_size is {}", said));
    hidden = merge(node, hidden, Dim(said));
  }
  sizes.hidden = hidden;
  if (const auto& x = args.inputs[0].shape) {
    if (x->size() != 3) fail(ErrorCode::kBadShape, node, "input " + to_string(*x) + " must have 3 axes");
    sizes.steps = (*x)[batch_first(node) ? 1 : 0];
    sizes.batch = (*x)[batch_first(node) ? 0 : 1];
    sizes.input = (*x)[2];
  }
  const float clip = node.get_float("clip", 1);
  if (!(clip > 0)) fail(ErrorCode::kBadAttribute, node, fmt::format("clip is {}", clip));
  const Dim directions(direction_count(node));
  const Shape state = batch_first(node) ? Shape{sizes.batch, directions, hidden} : Shape{directions, sizes.batch, hidden};
  check_parameter(node, args.inputs[4], Shape{sizes.batch}, "sequence_lens");
  check_parameter(node, args.inputs[5], state, "initial_h");
  if (kind_of(node).gates == 4) {
    check_parameter(node, args.inputs[6], state, "initial_c");
    check_parameter(node, args.inputs[7], Shape{directions, hidden.fixed() ? Dim(3 * hidden.value) : Dim()}, "P");
  }
  return sizes;
}

Dim times(std::int64_t factor, const Dim& dim) { return dim.fixed() ? Dim(factor * dim.value) : Dim(); }

std::vector<TensorType> recurrent_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  DType dtype = args.inputs[0].dtype;
  for (const std::size_t i : {1, 2, 3, 5, 6, 7})
    if (i < args.inputs.size()) dtype = same_dtype(node, dtype, args.inputs[i].dtype);
  const auto& r = args.inputs[2].shape;
  const Sizes sizes = check_common(args, r && r->size() == 3 ? (*r)[2] : Dim());
  const std::int64_t gates = kind_of(node).gates;
  const Dim directions(direction_count(node));
  check_parameter(node, args.inputs[1], Shape{directions, times(gates, sizes.hidden), sizes.input}, "W");
  check_parameter(node, args.inputs[2], Shape{directions, times(gates, sizes.hidden), sizes.hidden}, "R");
  check_parameter(node, args.inputs[3], Shape{directions, times(2 * gates, sizes.hidden)}, "B");
  return outputs_of(node, dtype, sizes.steps, sizes.batch, sizes.hidden);
}

// ---- one direction

// What one direction computes with; rows are sequences of the batch.
template <class T>
struct Direction {
  std::int64_t S, B, H;
  bool reverse;
  std::vector<std::int64_t> lengths;
  // Products of the whole input [S*B, G*H] and of a state [B,H] with the columns of gates first, first + 1, ... of R.
  std::vector<T> products;
  std::function<std::vector<T>(std::span<const T> state, std::int64_t first, std::int64_t gates)> recurrent;
  std::span<const T> bias;       // empty, or [2*G*H]
  std::span<const T> peepholes;  // empty, or [3*H]: of i, o, f
  std::span<const Activation> functions;
  T clip;
  bool coupled, linear_before_reset;  // input_forget
};

// y[s,b,h] of all steps, 0 behind the end of a sequence; h and c become the last states.
template <class T>
void run_direction(const Direction<T>& d, std::int64_t gates, std::span<T> y, std::vector<T>& h, std::vector<T>& c) {
  const std::int64_t H = d.H, width = gates * H;
  const auto w_bias = [&](std::int64_t at) { return d.bias.empty() ? T{0} : d.bias[at]; };
  const auto r_bias = [&](std::int64_t at) { return d.bias.empty() ? T{0} : d.bias[width + at]; };
  const auto clipped = [&](T value) { return std::min(d.clip, std::max(-d.clip, value)); };
  const Activation& f = d.functions[0];
  for (std::int64_t step = 0; step < d.S; ++step) {
    std::vector<T> sums;
    std::vector<T> next = h;
    // Sequences that run backwards start at their own end, so each has a place of its own in the input.
    const auto place = [&](std::int64_t b) { return d.reverse ? d.lengths[b] - 1 - step : step; };
    if (gates != 3) {
      sums = d.recurrent(h, 0, gates);
    } else {  // GRU: z and r first, as h may need r
      sums = d.recurrent(h, 0, d.linear_before_reset ? 3 : 2);
    }
    const std::int64_t stride = gates == 3 && !d.linear_before_reset ? 2 * H : width;
    std::vector<T> reset(gates == 3 ? h.size() : 0), update(reset.size());
    for (std::int64_t b = 0; b < d.B; ++b) {
      if (step >= d.lengths[b]) continue;
      const T* const in = d.products.data() + (place(b) * d.B + b) * width;
      const T* const state = sums.data() + b * stride;
      const auto gate = [&](std::int64_t g, std::int64_t i, T peephole) {
        const std::int64_t at = g * H + i;
        return clipped(((in[at] + state[at]) + peephole) + (w_bias(at) + r_bias(at)));
      };
      for (std::int64_t i = 0; i < H; ++i) {
        const std::int64_t at = b * H + i;
        if (gates == 1) {
          next[at] = f(gate(0, i, T{0}));
        } else if (gates == 3) {
          update[at] = f(gate(0, i, T{0}));
          reset[at] = f(gate(1, i, T{0}));
        } else {
          const auto peephole = [&](std::int64_t which, T cell) {
            return d.peepholes.empty() ? T{0} : d.peepholes[which * H + i] * cell;
          };
          const T before = c[at];
          const T input = f(gate(0, i, peephole(0, before)));
          const T forget = d.coupled ? 1 - input : f(gate(2, i, peephole(2, before)));
          const T candidate = d.functions[1](gate(3, i, T{0}));
          c[at] = forget * before + input * candidate;
          next[at] = f(gate(1, i, peephole(1, c[at]))) * d.functions[2](c[at]);
        }
      }
    }
    if (gates == 3) {
      std::vector<T> candidate_sums;
      if (!d.linear_before_reset) {
        std::vector<T> kept = h;
        for (std::size_t i = 0; i < kept.size(); ++i) kept[i] *= reset[i];
        candidate_sums = d.recurrent(kept, 2, 1);
      }
      for (std::int64_t b = 0; b < d.B; ++b) {
        if (step >= d.lengths[b]) continue;
        for (std::int64_t i = 0; i < H; ++i) {
          const std::int64_t at = b * H + i, column = 2 * H + i;
          const T in = d.products[(place(b) * d.B + b) * width + column];
          const T sum = d.linear_before_reset ? (in + reset[at] * (sums[b * width + column] + r_bias(column))) + w_bias(column)
                                              : (in + candidate_sums[at]) + (w_bias(column) + r_bias(column));
          next[at] = (1 - update[at]) * d.functions[1](clipped(sum)) + update[at] * h[at];
        }
      }
    }
    h = std::move(next);
    for (std::int64_t b = 0; b < d.B; ++b)
      if (step < d.lengths[b]) std::copy_n(h.data() + b * H, H, y.data() + (place(b) * d.B + b) * H);
  }
}

// a [rows,K] times the transpose of b [columns,K].
template <class T>
std::vector<T> multiply_transposed(std::span<const T> a, std::span<const T> b, std::int64_t rows, std::int64_t K) {
  const std::int64_t columns = K == 0 ? 0 : static_cast<std::int64_t>(b.size()) / K;
  std::vector<T> result(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) {
      T sum = 0;
      for (std::int64_t k = 0; k < K; ++k) sum += a[i * K + k] * b[j * K + k];
      result[i * columns + j] = sum;
    }
  return result;
}

// [B,S,...] <-> [S,B,...], blocks of `inner` elements.
template <class T>
std::vector<T> exchanged(std::span<const T> x, std::int64_t first, std::int64_t second, std::int64_t inner) {
  std::vector<T> result(x.size());
  for (std::int64_t i = 0; i < first * second; ++i)
    std::copy_n(x.data() + i * inner, inner, result.data() + (i % second * first + i / second) * inner);
  return result;
}

// Runs all directions. `prepare(direction, x)` fills products and recurrent.
template <class T, class Prepare>
std::vector<Tensor> run_recurrent(const ComputeArgs& args, Prepare prepare) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const std::int64_t gates = kind_of(node).gates, directions = direction_count(node);
  const bool first = batch_first(node);
  const Dims h_dims = output_dims(args, 1);
  const std::int64_t S = in[0].dim(first ? 1 : 0), B = in[0].dim(first ? 0 : 1), I = in[0].dim(2), H = h_dims[2];
  const auto given = in[0].values<T>();
  const std::vector<T> x = first ? exchanged(given, B, S, I) : std::vector<T>(given.begin(), given.end());
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(B), S);
  if (in[4].defined()) {
    lengths = ints(in[4]);
    if (static_cast<std::int64_t>(lengths.size()) != B)
      fail(ErrorCode::kBadShape, node, "sequence_lens must have one entry for each of the batch");
    for (const std::int64_t length : lengths)
      if (length < 0 || length > S)
        fail(ErrorCode::kBadShape, node, fmt::format("sequence_lens has the entry {}, inputs have {} steps", length, S));
  }
  const auto states = [&](std::size_t input) {  // [directions,B,H]
    std::vector<T> result(static_cast<std::size_t>(directions * B * H));
    if (input < in.size() && in[input].defined()) {
      const auto values = in[input].values<T>();
      result = first ? exchanged(values, B, directions, H) : std::vector<T>(values.begin(), values.end());
    }
    return result;
  };
  const std::vector<T> initial_h = states(5), initial_c = gates == 4 ? states(6) : std::vector<T>();
  const std::vector<Activation> functions = activations(node);
  const std::size_t per_direction = functions.size() / static_cast<std::size_t>(directions);

  std::vector<T> y(static_cast<std::size_t>(S * directions * B * H)), last_h, last_c;
  for (std::int64_t n = 0; n < directions; ++n) {
    Direction<T> d{S, B,     H,    n == 1 || node.get_string("direction", "forward") == "reverse", lengths, {}, {}, {}, {}, {},
                   0, false, false};
    const auto of_direction = [&](std::size_t input) {
      if (input >= in.size() || !in[input].defined()) return std::span<const T>();
      const auto values = in[input].values<T>();
      const std::size_t size = values.size() / static_cast<std::size_t>(directions);
      return values.subspan(static_cast<std::size_t>(n) * size, size);
    };
    d.bias = of_direction(3);
    if (gates == 4) d.peepholes = of_direction(7);
    d.functions = std::span(functions).subspan(static_cast<std::size_t>(n) * per_direction, per_direction);
    d.clip = node.find("clip") != nullptr ? static_cast<T>(node.get_float("clip", 0)) : std::numeric_limits<T>::infinity();
    d.coupled = node.get_int("input_forget", 0) != 0;
    d.linear_before_reset = node.get_int("linear_before_reset", 0) != 0;
    prepare(n, d, std::span<const T>(x));
    const auto part = [&](const std::vector<T>& all) {
      return all.empty() ? all : std::vector<T>(all.begin() + n * B * H, all.begin() + (n + 1) * B * H);
    };
    std::vector<T> own(static_cast<std::size_t>(S * B * H)), h = part(initial_h), c = part(initial_c);
    run_direction<T>(d, gates, own, h, c);
    for (std::int64_t s = 0; s < S; ++s)
      for (std::int64_t b = 0; b < B; ++b)
        std::copy_n(own.data() + (s * B + b) * H, H,
                    y.data() + (first ? ((b * S + s) * directions + n) : ((s * directions + n) * B + b)) * H);
    last_h.insert(last_h.end(), h.begin(), h.end());
    last_c.insert(last_c.end(), c.begin(), c.end());
  }
  const auto state = [&](const std::vector<T>& values) {
    return Tensor::of<T>(h_dims, first ? exchanged<T>(values, directions, B, H) : values);
  };
  std::vector<Tensor> results = {Tensor::of<T>(output_dims(args, 0), y), state(last_h)};
  if (gates == 4) results.push_back(state(last_c));
  return results;
}

std::vector<Tensor> recurrent(const ComputeArgs& args) {
  std::vector<Tensor> results;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) {
    const Tensor &W = args.inputs[1], &R = args.inputs[2];
    results = run_recurrent<T>(args, [&](std::int64_t n, Direction<T>& d, std::span<const T> x) {
      const auto own = [&](const Tensor& weights) {
        const auto values = weights.values<T>();
        const std::size_t size = values.size() / static_cast<std::size_t>(weights.dim(0));
        return values.subspan(static_cast<std::size_t>(n) * size, size);
      };
      d.products = multiply_transposed(x, own(W), d.S * d.B, W.dim(2));
      d.products.resize(static_cast<std::size_t>(d.S * d.B * W.dim(1)));
      const std::int64_t H = d.H, rows = d.B;
      d.recurrent = [=, r = own(R)](std::span<const T> state, std::int64_t first, std::int64_t gates) {
        return multiply_transposed(
            state, r.subspan(static_cast<std::size_t>(first * H * H), static_cast<std::size_t>(gates * H * H)), rows, H);
      };
    });
  });
  return results;
}

std::int64_t recurrent_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType>) {
  if (inputs.size() < 3 || !inputs[0].shape || !inputs[1].shape || !inputs[2].shape || inputs[0].shape->size() != 3) return 0;
  const auto rows = known_count(std::span(*inputs[0].shape).first(2)), w = known_count(*inputs[1].shape),
             r = known_count(*inputs[2].shape);
  static_cast<void>(node);
  return w && r ? product(rows, *w + *r) : 0;
}

// ---- DynamicQuantizeLSTM: W [directions,I,4*H] and R [directions,H,4*H] are 8-bit, scales and zero points one a direction or
// one a column. The whole input is quantized at once, the state of all sequences at each step, both to u8 as by
// DynamicQuantizeLinear; a product is float(sum) * (x_scale * w_scale).

std::vector<TensorType> dynamic_lstm_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const auto& r = args.inputs[2].shape;
  const Sizes sizes = check_common(args, r && r->size() == 3 ? (*r)[1] : Dim());
  const Dim directions(direction_count(node)), columns = times(4, sizes.hidden);
  check_parameter(node, args.inputs[1], Shape{directions, sizes.input, columns}, "W");
  check_parameter(node, args.inputs[2], Shape{directions, sizes.hidden, columns}, "R");
  check_parameter(node, args.inputs[3], Shape{directions, times(8, sizes.hidden)}, "B");
  for (std::size_t i = 8; i < 12; ++i) {
    const auto& shape = args.inputs[i].shape;
    if (!shape) continue;
    check_parameter(node, args.inputs[i], shape->size() == 2 ? Shape{directions, columns} : Shape{directions},
                    i < 10 ? "a parameter of W" : "a parameter of R");
  }
  return outputs_of(node, args.inputs[0].dtype, sizes.steps, sizes.batch, sizes.hidden);
}

// Products of float rows, quantized together, with the 8-bit matrix of one direction.
class QuantizedWeights {
 public:
  QuantizedWeights(const Node& node, const Tensor& weights, const Tensor& scale, const Tensor& zero, std::int64_t n)
      : K_(weights.dim(1)), columns_(weights.dim(2)) {
    if (weights.dtype() != DType::s8 && weights.dtype() != DType::u8) fail_type(node, 1, weights.dtype());
    const std::vector<std::int32_t> all = read_integers(node, weights);
    const std::int64_t directions = weights.dim(0);
    const auto of_column = [&](auto values, std::int64_t column) {
      return values[values.size() == static_cast<std::size_t>(directions) ? n : n * columns_ + column];
    };
    const std::vector<std::int32_t> zeros = zero.defined() ? read_integers(node, zero) : std::vector<std::int32_t>();
    weights_.assign(all.begin() + n * K_ * columns_, all.begin() + (n + 1) * K_ * columns_);
    for (std::int64_t j = 0; j < columns_; ++j) {
      scales_.push_back(of_column(scale.values<float>(), j));
      const std::int32_t own = zeros.empty() ? 0 : of_column(std::span<const std::int32_t>(zeros), j);
      for (std::int64_t k = 0; k < K_; ++k) weights_[k * columns_ + j] -= own;
    }
  }

  std::vector<float> operator()(std::span<const float> rows) const {
    const DynamicQuantization p = dynamic_quantization(rows);
    const std::int64_t M = K_ == 0 ? 0 : static_cast<std::int64_t>(rows.size()) / K_;
    std::vector<float> result(static_cast<std::size_t>(M * columns_));
    std::vector<std::int64_t> sums(static_cast<std::size_t>(columns_));
    for (std::int64_t i = 0; i < M; ++i) {
      std::fill(sums.begin(), sums.end(), 0);
      for (std::int64_t k = 0; k < K_; ++k) {
        const std::int64_t q = numerics::quantize(rows[i * K_ + k], p.scale, p.zero_point, {0, 255}) - p.zero_point;
        for (std::int64_t j = 0; j < columns_; ++j) sums[j] += q * weights_[k * columns_ + j];
      }
      for (std::int64_t j = 0; j < columns_; ++j)
        result[i * columns_ + j] = static_cast<float>(static_cast<std::int32_t>(sums[j])) * (p.scale * scales_[j]);
    }
    return result;
  }

 private:
  std::int64_t K_, columns_;
  std::vector<std::int32_t> weights_;  // less their zero points
  std::vector<float> scales_;
};

std::vector<Tensor> dynamic_lstm(const ComputeArgs& args) {
  const auto& in = args.inputs;
  if (in[0].dtype() != DType::f32) fail_type(args.node, 0, in[0].dtype());
  for (std::size_t i = 8; i < 12; i += 2)
    if (!in[i].defined()) fail(ErrorCode::kBadModel, args.node, fmt::format("input {} is missing", i));
  return run_recurrent<float>(args, [&](std::int64_t n, Direction<float>& d, std::span<const float> x) {
    d.products = QuantizedWeights(args.node, in[1], in[8], in[9], n)(x);
    d.products.resize(static_cast<std::size_t>(d.S * d.B * 4 * d.H));
    d.recurrent = [weights = QuantizedWeights(args.node, in[2], in[10], in[11], n)](std::span<const float> state, std::int64_t,
                                                                                    std::int64_t) { return weights(state); };
  });
}

Operator recurrent_operator(std::string_view type, std::size_t most) {
  return {.op_type = type,
          .since = 7,
          .min_inputs = 3,
          .max_inputs = most,
          .shape = recurrent_shape,
          .reference = half_in_f32<recurrent>,
          .macs = recurrent_macs};
}

}  // namespace

std::vector<Operator> recurrent_operators() {
  return {recurrent_operator("RNN", 6),
          recurrent_operator("GRU", 6),
          recurrent_operator("LSTM", 8),
          {.domain = "com.microsoft",
           .op_type = "DynamicQuantizeLSTM",
           .min_inputs = 11,
           .max_inputs = 12,
           .shape = dynamic_lstm_shape,
           .reference = dynamic_lstm,
           .macs = recurrent_macs}};
}

}  // namespace zeropoint::ops
