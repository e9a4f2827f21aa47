// The definition of the recurrent part.
#include <algorithm>

#include "kernels/recurrent_f32/recurrent_f32_functions.h"
#include "numerics/elementary.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

// start + sum over k of state[k] * weights[k * stride], as the contract forms it.
float sum(float start, const float* state, const float* weights, int64_t stride, int64_t hidden) {
  float even = start, odd = 0;
  for (int64_t k = 0; k < hidden; ++k) {
    float& chain = k % 2 == 0 ? even : odd;
    chain = __builtin_fmaf(state[k], weights[k * stride], chain);
  }
  return even + odd;
}

void run(const RecurrentF32Shape& s, const RecurrentF32Args& args, float* scratch, int64_t begin, int64_t end) noexcept {
  const int64_t H = s.hidden, gates = recurrent_gates(s.kind);
  const auto sigmoid = [](float x) { return numerics::sigmoid(x); };
  const auto tanh = [](float x) { return numerics::tanh(x); };
  for (int64_t row = begin; row < end; ++row) {
    float *h = scratch, *next = h + H, *c = next + H, *z = c + H, *kept = z + H;
    for (int64_t i = 0; i < H; ++i) {
      h[i] = args.h0 != nullptr ? args.h0[row * H + i] : 0;
      c[i] = args.c0 != nullptr ? args.c0[row * H + i] : 0;
    }
    for (int64_t step = 0; step < s.steps; ++step) {
      const int64_t at = s.reverse ? s.steps - 1 - step : step;
      const float* in = args.products + (at * s.batch + row) * s.product_row;
      // Packed with one lane: [i][k][gate].
      const auto gate = [&](int64_t g, int64_t i) { return sum(in[g * H + i], h, args.packed + i * H * gates + g, gates, H); };
      for (int64_t i = 0; i < H; ++i) switch (s.kind) {
          case RecurrentKind::rnn_tanh:
            next[i] = tanh(gate(0, i));
            break;
          case RecurrentKind::rnn_relu: {
            const float x = gate(0, i);
            next[i] = x < 0 ? 0 : x;
            break;
          }
          case RecurrentKind::lstm: {
            const float input = sigmoid(gate(0, i)), output = sigmoid(gate(1, i)), forget = sigmoid(gate(2, i));
            c[i] = forget * c[i] + input * tanh(gate(3, i));
            next[i] = output * tanh(c[i]);
            break;
          }
          case RecurrentKind::gru_linear_before_reset: {
            const float update = sigmoid(gate(0, i)), reset = sigmoid(gate(1, i));
            const float candidate = tanh(in[2 * H + i] + reset * sum(args.bias[i], h, args.packed + i * H * 3 + 2, 3, H));
            next[i] = (1.0F - update) * candidate + update * h[i];
            break;
          }
          case RecurrentKind::gru:
            z[i] = sigmoid(sum(in[i], h, args.packed + i * H * 2, 2, H));
            kept[i] = sigmoid(sum(in[H + i], h, args.packed + i * H * 2 + 1, 2, H)) * h[i];
            break;
        }
      if (s.kind == RecurrentKind::gru)
        for (int64_t i = 0; i < H; ++i) {
          const float candidate = tanh(sum(in[2 * H + i], kept, args.packed + 2 * H * H + i * H, 1, H));
          next[i] = (1.0F - z[i]) * candidate + z[i] * h[i];
        }
      std::swap(h, next);
      if (args.y != nullptr) std::copy_n(h, H, args.y + at * s.y_step + row * s.y_row);
    }
    if (args.h_last != nullptr) std::copy_n(h, H, args.h_last + row * H);
    if (args.c_last != nullptr) std::copy_n(c, H, args.c_last + row * H);
  }
}

void lstm_cell(int64_t H, const LstmCellArgs& args) noexcept {
  for (int64_t i = 0; i < H; ++i) {
    const auto gate = [&](int64_t g) {
      return (args.input_products[g * H + i] + args.state_products[g * H + i]) + args.bias[g * H + i];
    };
    const float input = numerics::sigmoid(gate(0)), output = numerics::sigmoid(gate(1)), forget = numerics::sigmoid(gate(2));
    args.c[i] = forget * args.c[i] + input * numerics::tanh(gate(3));
    args.h[i] = output * numerics::tanh(args.c[i]);
  }
}

}  // namespace

const RecurrentF32Functions recurrent_f32_reference = {.lanes = 1, .run = run, .lstm_cell = lstm_cell};

}  // namespace zeropoint::kernels
