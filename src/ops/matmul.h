// The loops of matrix multiplication, shared by MatMul, MatMulInteger, QLinearMatMul, Gemm and QGemm.
#pragma once

#include <cstdint>
#include <span>

#include "ops/rules.h"

namespace zeropoint::ops {

// Numpy's matmul: a [...,M,K], b [...,K,N] -> [...,M,N] with the leading dimensions broadcast; one-dimensional operands act as
// a row or a column that leaves the result again.
std::optional<Shape> matmul_shape(const Node& node, const TensorType& a, const TensorType& b);
std::int64_t matmul_macs(const TensorType& a, std::span<const TensorType> outputs);

struct MatMulGeometry {
  std::int64_t M, N, K;
  Dims batch, a_strides, b_strides;  // of the broadcast leading dimensions
};
MatMulGeometry matmul_geometry(const Node& node, const Dims& a, const Dims& b);

// y[m,n] = sum over k, in order, of a_value(a[m,k]) * b_value(b[k,n], n), for each matrix of the batch.
template <class Sum, class A, class B, class AValue, class BValue>
void multiply(const MatMulGeometry& geometry, std::span<const A> a, std::span<const B> b, std::span<Sum> y, AValue a_value,
              BValue b_value) {
  const auto [M, N, K, batch, a_strides, b_strides] = geometry;
  walk<2>(batch, {a_strides, b_strides}, [&, m_count = M, n_count = N, k_count = K](std::int64_t i, const auto& at) {
    for (std::int64_t m = 0; m < m_count; ++m) {
      Sum* const row = y.data() + (i * m_count + m) * n_count;
      std::fill(row, row + n_count, Sum{});
      for (std::int64_t k = 0; k < k_count; ++k) {
        const Sum left = a_value(a[at[0] + m * k_count + k]);
        for (std::int64_t n = 0; n < n_count; ++n) row[n] += left * b_value(b[at[1] + k * n_count + n], n);
      }
    }
  });
}

}  // namespace zeropoint::ops
