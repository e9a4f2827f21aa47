// The product of two activations in vectors of any width: the body of each ISA file. See vector.h.
//
// Vectors run over the columns of b. A panel of columns is read where it lies when they lie together and few rows use it, else
// it is packed first: [k][columns of the panel].
#pragma once

#include "kernels/matmul_f32/matmul_f32_functions.h"
#include "kernels/vector.h"
#if defined(__x86_64__)
#include "kernels/layout/x86_tiles.h"
#else
#include "kernels/layout/arm_tiles.h"
#endif

namespace zeropoint::kernels {
namespace {

#if defined(__AVX512F__) || !defined(__x86_64__)
constexpr int kBlockVectors = 4;  // 32 registers: 6x4, 8x3, 12x2, 12x1 sums
#else
constexpr int kBlockVectors = 2;  // 16 registers: 6x2, 10x1 sums
#endif
constexpr int64_t kPanel = kBlockVectors * kLanes;
static_assert(kPanel <= kMatmulPanel);

template <int V>
constexpr int kTileRows = kBlockVectors == 4 ? (V == 4   ? 6
                                                : V == 3 ? 8
                                                         : 12)
                                             : (V == 2 ? 6 : 10);

struct MatmulOperands {
  const float *a, *b;
  float* c;
  int64_t a_row, a_k, b_k, c_row, k;
  MatmulFinish finish;
  float factor;
};

// `count` rows (1...M; others repeat the last) by V vectors, of which `columns` are stored.
template <int M, int V, bool kDenseA>
inline void matmul_tile(const MatmulOperands& o, const float* a, float* c, int64_t count, int64_t columns) {
  const float* row[M];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) row[m] = a + (m < count ? m : count - 1) * o.a_row;
  F32 sum[M][V];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[m][v] = broadcast(0.0F);
  const float* b = o.b;
  for (int64_t k = 0; k < o.k; ++k) {
    F32 w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] = load(b + v * kLanes, Whole{});
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const F32 x = broadcast(kDenseA ? row[m][k] : row[m][k * o.a_k]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] = fma(x, w[v], sum[m][v]);
    }
    b += o.b_k;
  }
  if (o.finish != MatmulFinish::none) {
    const F32 factor = broadcast(o.factor);
    const bool multiply = o.finish == MatmulFinish::multiply;
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] = multiply ? mul(sum[m][v], factor) : div(sum[m][v], factor);
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    if (m >= count) break;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const int64_t left = columns - v * kLanes;
      if (left >= kLanes)
        store(c + m * o.c_row + v * kLanes, sum[m][v], Whole{});
      else
        store(c + m * o.c_row + v * kLanes, sum[m][v], Part{static_cast<int>(left)});
    }
  }
}

template <int V, bool kDenseA>
inline void matmul_rows(const MatmulOperands& o, int64_t begin, int64_t end, int64_t columns) {
  constexpr int M = kTileRows<V>;
  for (int64_t m = begin; m < end; m += M) {
    const int64_t count = end - m < M ? end - m : M;
    if (count == 1)
      matmul_tile<1, V, kDenseA>(o, o.a + m * o.a_row, o.c + m * o.c_row, 1, columns);
    else if (2 * count <= M)
      matmul_tile<M / 2, V, kDenseA>(o, o.a + m * o.a_row, o.c + m * o.c_row, count, columns);
    else
      matmul_tile<M, V, kDenseA>(o, o.a + m * o.a_row, o.c + m * o.c_row, count, columns);
  }
}

template <int V>
inline void matmul_panel(const MatmulOperands& o, int64_t begin, int64_t end, int64_t columns) {
  if (o.a_k == 1)
    matmul_rows<V, true>(o, begin, end, columns);
  else
    matmul_rows<V, false>(o, begin, end, columns);
}

// panel[k][width] = the panel's columns, zeros beyond them.
inline void pack_panel(const float* b, int64_t b_k, int64_t b_column, int64_t depth, int64_t columns, int64_t width,
                       float* panel) {
  if (b_column == 1) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t n = 0; n < width; n += kLanes) {
        const int64_t left = columns - n;
        const F32 v = left >= kLanes ? load(b + k * b_k + n, Whole{})
                      : left > 0     ? load(b + k * b_k + n, Part{static_cast<int>(left)})
                                     : broadcast(0.0F);
        store(panel + k * width + n, v, Whole{});
      }
    return;
  }
  int64_t n = 0;
  using Block = Tile<uint32_t>;
  if (b_k == 1)
    for (; n + Block::kTile <= columns; n += Block::kTile) {
      int64_t k = 0;
      for (; k + Block::kTile <= depth; k += Block::kTile)
        Block::transpose(reinterpret_cast<const uint32_t*>(b + n * b_column + k), b_column,
                         reinterpret_cast<uint32_t*>(panel + k * width + n), width);
      for (; k < depth; ++k)
        for (int64_t i = n; i < n + Block::kTile; ++i) panel[k * width + i] = b[k + i * b_column];
    }
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t i = n; i < columns; ++i) panel[k * width + i] = b[k * b_k + i * b_column];
    for (int64_t i = columns; i < width; ++i) panel[k * width + i] = 0;
  }
}

struct MatmulRange {
  int64_t begin, end;
};
inline MatmulRange matmul_share(int64_t count, int worker, int workers) {
  return {count * worker / workers, count * (worker + 1) / workers};
}

// Workers share the batches or, where those are few, the rows, or the panels.
void run(const MatmulF32Shape& s, const float* a, const float* b, float* c, float* scratch, int worker, int workers) noexcept {
  constexpr int64_t kFewRows = 24;  // below, packing columns that lie together costs more than it brings
  int64_t batches = 1;
  for (int axis = 0; axis < s.batch_rank; ++axis) batches *= s.batch[axis];
  const int64_t panels = (s.n + kPanel - 1) / kPanel;
  const bool by_batch = batches >= 2 * workers, by_row = !by_batch && s.m >= 8 * workers;
  const MatmulRange all_batches = by_batch ? matmul_share(batches, worker, workers) : MatmulRange{0, batches};
  const MatmulRange rows = by_row ? matmul_share(s.m, worker, workers) : MatmulRange{0, s.m};
  const MatmulRange units = by_batch || by_row ? MatmulRange{0, panels} : matmul_share(panels, worker, workers);
  float* panel = scratch + worker * s.k * kMatmulPanel;
  for (int64_t batch = all_batches.begin; batch < all_batches.end; ++batch) {
    int64_t rest = batch, from_a = 0, from_b = 0, to = 0;
    for (int axis = s.batch_rank - 1; axis >= 0; --axis) {
      const int64_t i = rest % s.batch[axis];
      rest /= s.batch[axis];
      from_a += i * s.a_batch[axis];
      from_b += i * s.b_batch[axis];
      to += i * s.c_batch[axis];
    }
    for (int64_t unit = units.begin; unit < units.end; ++unit) {
      const int64_t first = unit * kPanel, columns = s.n - first < kPanel ? s.n - first : kPanel;
      const int64_t vectors = (columns + kLanes - 1) / kLanes, width = vectors * kLanes;
      const float* from = b + from_b + first * s.b_column;
      const bool in_place = s.b_column == 1 && columns == width && rows.end - rows.begin < kFewRows;
      if (!in_place) pack_panel(from, s.b_k, s.b_column, s.k, columns, width, panel);
      const MatmulOperands o = {.a = a + from_a,
                                .b = in_place ? from : panel,
                                .c = c + to + first,
                                .a_row = s.a_row,
                                .a_k = s.a_k,
                                .b_k = in_place ? s.b_k : width,
                                .c_row = s.c_row,
                                .k = s.k,
                                .finish = s.finish,
                                .factor = s.factor};
      if (vectors > 3 && kBlockVectors > 3)
        matmul_panel<kBlockVectors>(o, rows.begin, rows.end, columns);
      else if (vectors > 2 && kBlockVectors > 2)
        matmul_panel<kBlockVectors == 4 ? 3 : 2>(o, rows.begin, rows.end, columns);
      else if (vectors > 1)
        matmul_panel<2>(o, rows.begin, rows.end, columns);
      else
        matmul_panel<1>(o, rows.begin, rows.end, columns);
    }
  }
}

}  // namespace
}  // namespace zeropoint::kernels
