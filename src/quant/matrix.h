// Products and a factorization of plain matrices, the same bits for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace zeropoint::quant {

// Sizes and strides are signed, as everywhere; vectors count unsigned.
inline std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

// c[m, n] = sum over k of a[m, k] * b[k, n], by strides in elements; the columns of c lie together.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t a_row = 0, a_k = 1;
  std::int64_t b_k = 0, b_column = 1;
  std::int64_t c_row = 0;
};
void multiply(const Product& product, const float* a, const float* b, float* c, ThreadPool& pool);

// X^T X of x [rows, size], rows `stride` apart, summed in double over blocks of rows. [size, size]
std::vector<double> gram(const float* x, std::int64_t rows, std::int64_t size, std::int64_t stride, ThreadPool& pool);

// Symmetric positive definite h [size, size] -> U D U^T with U unit upper triangular: U above the diagonal, D on it, in place.
// What would leave the diagonal of a semidefinite h not positive is raised to `least`.
void factor_udu(std::vector<double>& h, std::int64_t size, double least, ThreadPool& pool);

}  // namespace zeropoint::quant
