// The recurrent part of fp32 LSTM, GRU and RNN: what one instruction set offers. Safe to include in files of any ISA.
//
// Inputs of the gates, x W' + Wb + Rb, come ready made ("products"; for GRU with linear_before_reset the candidate's without
// Rb). With H = hidden and gates in ONNX's order (LSTM i o f c, GRU z r h, RNN one):
//   sum(gate) = even + odd, even: products, then fma(h[k], R[gate][k], .) over even k; odd: 0, then over odd k
//   RNN   h = f(sum),                                       f = tanh or relu
//   GRU   z, r = sigmoid(sum); h~ = tanh(sum over r * h), or tanh(products + r * (Rb + sum over h)) (even starts at Rb);
//         h = (1 - z) * h~ + z * h
//   LSTM  i, f, o = sigmoid(sum), c~ = tanh(sum); c = f * c + i * c~; h = o * tanh(c)
// Functions are those of numerics/elementary.h, every other operation rounds once: the same bytes on every ISA.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

enum class RecurrentKind : std::uint8_t { rnn_tanh, rnn_relu, gru, gru_linear_before_reset, lstm };
constexpr int recurrent_gates(RecurrentKind kind) {
  return kind == RecurrentKind::lstm ? 4 : kind == RecurrentKind::gru || kind == RecurrentKind::gru_linear_before_reset ? 3 : 1;
}

// One direction. Row = one sequence of the batch.
struct RecurrentF32Shape {
  RecurrentKind kind = RecurrentKind::lstm;
  std::int64_t steps = 0, batch = 0, hidden = 0;
  bool reverse = false;
  std::int64_t product_row = 0;        // floats from one (step, row) of the products to the next; [steps, batch]
  std::int64_t y_step = 0, y_row = 0;  // floats from one step and row of y to the next
};

struct RecurrentF32Args {
  const float* products = nullptr;
  const float* packed = nullptr;               // by pack_recurrent_f32
  const float* bias = nullptr;                 // GRU with linear_before_reset: Rb of the candidate, [hidden]
  const float *h0 = nullptr, *c0 = nullptr;    // [batch, hidden]; null: zeros
  float* y = nullptr;                          // may be null, as the next two
  float *h_last = nullptr, *c_last = nullptr;  // [batch, hidden]
};

// One step of one LSTM row whose products with the input and with the state are made elsewhere (in integers):
//   gate = (input_products + state_products) + bias, each [4 * H] in ONNX's order; c and h [H] follow as above
struct LstmCellArgs {
  const float *input_products = nullptr, *state_products = nullptr, *bias = nullptr;
  float* c = nullptr;  // of the step before, becomes this step's
  float* h = nullptr;
};

// Floats of scratch for one worker.
constexpr std::int64_t recurrent_f32_scratch(std::int64_t hidden) { return 5 * ((hidden + 15) / 16 * 16); }

struct RecurrentF32Functions {
  int lanes;  // of the packed weights
  // Rows begin ... end - 1 of the batch, all steps. scratch: recurrent_f32_scratch floats, of this worker alone.
  void (*run)(const RecurrentF32Shape& shape, const RecurrentF32Args& args, float* scratch, std::int64_t begin,
              std::int64_t end) noexcept;
  void (*lstm_cell)(std::int64_t hidden, const LstmCellArgs& args) noexcept;
};

// Weights in the order of use: [block of `lanes` hidden units][k][gate][lane], zeros beyond H; GRU without linear_before_reset:
// z and r so, then h so.
constexpr std::int64_t packed_recurrent_f32(RecurrentKind kind, std::int64_t hidden, int lanes) {
  return (hidden + lanes - 1) / lanes * lanes * hidden * recurrent_gates(kind);
}
// r: [gates * H, H] as in ONNX.
void pack_recurrent_f32(RecurrentKind kind, std::int64_t hidden, int lanes, const float* r, float* packed);

// One a file; table.cpp lists them.
extern const RecurrentF32Functions recurrent_f32_reference, recurrent_f32_avx2, recurrent_f32_avx512vnni, recurrent_f32_neon;

}  // namespace zeropoint::kernels
