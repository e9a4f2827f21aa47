// The loops of scaled dot-product attention, shared by Attention of ONNX and those of com.microsoft.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "numerics/elementary.h"
#include "numerics/lane_sum.h"
#include "ops/rules.h"

namespace zeropoint::ops {

// q [B,heads,S,D], k [B,kv_heads,T,D], v [B,kv_heads,T,V] -> y [B,heads,S,V]. Query head h reads key head h / (heads /
// kv_heads).
struct AttentionSizes {
  std::int64_t B, heads, kv_heads, S, T, D, V;
};

// [B,S,heads*D] -> [B,heads,S,D] and back.
template <class Value>
std::vector<Value> split_heads(std::span<const Value> x, std::int64_t B, std::int64_t S, std::int64_t heads, std::int64_t D) {
  std::vector<Value> result(x.size());
  for (std::int64_t i = 0; i < B * S * heads; ++i) {
    const std::int64_t b = i / (S * heads), s = i / heads % S, h = i % heads;
    std::copy_n(x.data() + i * D, D, result.data() + ((b * heads + h) * S + s) * D);
  }
  return result;
}
template <class Value>
std::vector<Value> join_heads(std::span<const Value> x, std::int64_t B, std::int64_t S, std::int64_t heads, std::int64_t D) {
  return split_heads(x, B, heads, S, D);  // the same exchange of two axes
}

// What the rows of scores go through; each is called on one row of T entries, with the position of the row.
// scores = sum over D, in order, of q k; then before_softmax(b, h, s, row) changes them; then softmax; after_softmax(b, h, s,
// row) may change or store the probabilities; y = sum over T, in order, of p v.
template <class Value, class Before, class Softmax, class After>
void attend(const AttentionSizes& sizes, std::span<const Value> q, std::span<const Value> k, std::span<const Value> v,
            std::span<Value> y, Before before_softmax, Softmax softmax, After after_softmax) {
  const auto [B, heads, kv_heads, S, T, D, V] = sizes;
  std::vector<Value> row(static_cast<std::size_t>(T));
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t kv = b * kv_heads + h / (heads / kv_heads);
      for (std::int64_t s = 0; s < S; ++s) {
        const std::int64_t at = (b * heads + h) * S + s;
        for (std::int64_t t = 0; t < T; ++t) {
          Value sum = 0;
          for (std::int64_t d = 0; d < D; ++d) sum += q[at * D + d] * k[(kv * T + t) * D + d];
          row[t] = sum;
        }
        before_softmax(b, h, s, std::span<Value>(row));
        softmax(std::span<Value>(row));
        after_softmax(b, h, s, std::span<Value>(row));
        Value* const out = y.data() + at * V;
        std::fill(out, out + V, Value{});
        for (std::int64_t t = 0; t < T; ++t)
          for (std::int64_t i = 0; i < V; ++i) out[i] += row[t] * v[(kv * T + t) * V + i];
      }
    }
}

// exp(x - max) / sum of them in the order of numerics/lane_sum.h. A row of -inf alone becomes zeros.
template <class Value>
void masked_softmax(std::span<Value> row) {
  if (row.empty()) return;
  Value most = row[0];
  for (const Value value : row) most = value > most || value != value ? value : most;
  if (most == -std::numeric_limits<Value>::infinity()) {
    std::fill(row.begin(), row.end(), Value{});
    return;
  }
  for (Value& value : row) value = numerics::exp(value - most);
  const Value sum = numerics::lane_sum<Value>(row);
  for (Value& value : row) value /= sum;
}

// [B,heads,past,D] and [B,heads,S,D] joined along the sequence.
template <class Value>
std::vector<Value> append_sequence(std::span<const Value> past, std::span<const Value> now, std::int64_t outer,
                                   std::int64_t past_size, std::int64_t now_size) {
  std::vector<Value> result;
  result.reserve(past.size() + now.size());
  for (std::int64_t i = 0; i < outer; ++i) {
    result.insert(result.end(), past.begin() + i * past_size, past.begin() + (i + 1) * past_size);
    result.insert(result.end(), now.begin() + i * now_size, now.begin() + (i + 1) * now_size);
  }
  return result;
}

}  // namespace zeropoint::ops
