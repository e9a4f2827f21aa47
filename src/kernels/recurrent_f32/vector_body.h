// The recurrent part in vectors of any width: the body of each ISA file. Vectors run over hidden units; a block of them has the
// sums of all its gates in registers, so that the gates follow without a pass over memory.
#pragma once

#include "kernels/recurrent_f32/recurrent_f32_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"

namespace zeropoint::kernels {
namespace {

// sums[g] = start[g] + sum over k of state[k] * weights[k][g], as the contract forms it.
template <int kGates>
inline void gate_sums(const float* state, const float* weights, int64_t hidden, F32 (&sums)[kGates]) {
  F32 odd[kGates];
#pragma GCC unroll 4
  for (int g = 0; g < kGates; ++g) odd[g] = broadcast(0.0F);
  int64_t k = 0;
  for (; k + 2 <= hidden; k += 2, weights += 2 * kGates * kLanes) {
    const F32 first = broadcast(state[k]), second = broadcast(state[k + 1]);
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g) sums[g] = fma(first, load(weights + g * kLanes, Whole{}), sums[g]);
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g) odd[g] = fma(second, load(weights + (kGates + g) * kLanes, Whole{}), odd[g]);
  }
  if (k < hidden)
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g) sums[g] = fma(broadcast(state[k]), load(weights + g * kLanes, Whole{}), sums[g]);
#pragma GCC unroll 4
  for (int g = 0; g < kGates; ++g) sums[g] = add(sums[g], odd[g]);
}

struct RecurrentRow {
  const float* in;  // products of this step
  const float* h;
  float *next, *c, *z, *kept;
};

template <class Extent>
inline F32 mixed(F32 update, F32 candidate, const float* h, Extent part) {  // (1 - z) h~ + z h
  return add(mul(sub(broadcast(1.0F), update), candidate), mul(update, load(h, part)));
}

// c = f * c + i * c~; h = o * tanh(c)
template <class Extent>
inline void finish_lstm(const F32 (&sums)[4], float* c, float* h, Extent part) {
  const F32 cell = add(mul(sigmoid(sums[2]), load(c, part)), mul(sigmoid(sums[0]), tanh(sums[3])));
  store(c, cell, part);
  store(h, mul(sigmoid(sums[1]), tanh(cell)), part);
}

void lstm_cell(int64_t H, const LstmCellArgs& args) noexcept {
  for_each_vector(0, H, [&](int64_t i, auto part) {
    F32 sums[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const int64_t at = g * H + i;
      sums[g] =
          add(add(load(args.input_products + at, part), load(args.state_products + at, part)), load(args.bias + at, part));
    }
    finish_lstm(sums, args.c + i, args.h + i, part);
  });
}

// One step of one row.
inline void recurrent_step(RecurrentKind kind, int64_t H, const float* packed, const float* bias, const RecurrentRow& row) {
  const auto weights = [&](int64_t i, int gates) { return packed + i * H * gates; };
  const auto input = [&](int64_t g, int64_t i, auto part) { return load(row.in + g * H + i, part); };
  switch (kind) {
    case RecurrentKind::rnn_tanh:
    case RecurrentKind::rnn_relu:
      return for_each_vector(0, H, [&](int64_t i, auto part) {
        F32 sums[1] = {input(0, i, part)};
        gate_sums<1>(row.h, weights(i, 1), H, sums);
        const F32 zero = broadcast(0.0F);
        store(row.next + i, kind == RecurrentKind::rnn_tanh ? tanh(sums[0]) : select_less(sums[0], zero, zero, sums[0]), part);
      });
    case RecurrentKind::lstm:
      return for_each_vector(0, H, [&](int64_t i, auto part) {
        F32 sums[4] = {input(0, i, part), input(1, i, part), input(2, i, part), input(3, i, part)};
        gate_sums<4>(row.h, weights(i, 4), H, sums);
        finish_lstm(sums, row.c + i, row.next + i, part);
      });
    case RecurrentKind::gru_linear_before_reset:
      return for_each_vector(0, H, [&](int64_t i, auto part) {
        F32 sums[3] = {input(0, i, part), input(1, i, part), load(bias + i, part)};
        gate_sums<3>(row.h, weights(i, 3), H, sums);
        const F32 candidate = tanh(add(input(2, i, part), mul(sigmoid(sums[1]), sums[2])));
        store(row.next + i, mixed(sigmoid(sums[0]), candidate, row.h + i, part), part);
      });
    case RecurrentKind::gru:
      for_each_vector(0, H, [&](int64_t i, auto part) {
        F32 sums[2] = {input(0, i, part), input(1, i, part)};
        gate_sums<2>(row.h, weights(i, 2), H, sums);
        store(row.z + i, sigmoid(sums[0]), part);
        store(row.kept + i, mul(sigmoid(sums[1]), load(row.h + i, part)), part);
      });
      packed += (H + kLanes - 1) / kLanes * kLanes * H * 2;
      return for_each_vector(0, H, [&](int64_t i, auto part) {
        F32 sums[1] = {input(2, i, part)};
        gate_sums<1>(row.kept, weights(i, 1), H, sums);
        store(row.next + i, mixed(load(row.z + i, part), tanh(sums[0]), row.h + i, part), part);
      });
  }
}

inline void copy_row(const float* from, float* to, int64_t count) {
  for_each_vector(0, count, [&](int64_t i, auto part) { store(to + i, load(from + i, part), part); });
}

void run(const RecurrentF32Shape& s, const RecurrentF32Args& args, float* scratch, int64_t begin, int64_t end) noexcept {
  const int64_t H = s.hidden, padded = (H + 15) / 16 * 16;
  for (int64_t row = begin; row < end; ++row) {
    float *h = scratch, *next = h + padded, *c = next + padded;
    for (int64_t i = 0; i < H; ++i) {
      h[i] = args.h0 != nullptr ? args.h0[row * H + i] : 0;
      c[i] = args.c0 != nullptr ? args.c0[row * H + i] : 0;
    }
    for (int64_t step = 0; step < s.steps; ++step) {
      const int64_t at = s.reverse ? s.steps - 1 - step : step;
      recurrent_step(s.kind, H, args.packed, args.bias,
                     {.in = args.products + (at * s.batch + row) * s.product_row,
                      .h = h,
                      .next = next,
                      .c = c,
                      .z = c + padded,
                      .kept = c + 2 * padded});
      float* done = next;
      next = h;
      h = done;
      if (args.y != nullptr) copy_row(h, args.y + at * s.y_step + row * s.y_row, H);
    }
    if (args.h_last != nullptr) copy_row(h, args.h_last + row * H, H);
    if (args.c_last != nullptr) copy_row(c, args.c_last + row * H, H);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
