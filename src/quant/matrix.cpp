#include "quant/matrix.h"

#include <algorithm>
#include <cstddef>

#include "base/aligned_buffer.h"
#include "kernels/matmul_f32/matmul_f32.h"
#include "zeropoint/cpu.h"

namespace zeropoint::quant {
namespace {

constexpr std::int64_t kRows = 512;  // that are summed in fp32
constexpr std::int64_t kPanel = 48;  // columns that are eliminated together

}  // namespace

void multiply(const Product& product, const float* a, const float* b, float* c, ThreadPool& pool) {
  kernels::MatmulF32Shape shape;
  shape.m = product.m;
  shape.n = product.n;
  shape.k = product.k;
  shape.a_row = product.a_row;
  shape.a_k = product.a_k;
  shape.b_k = product.b_k;
  shape.b_column = product.b_column;
  shape.c_row = product.c_row;
  const kernels::MatmulF32Functions& functions = *kernels::select_matmul_f32(allowed_isas()).functions;
  const int workers = pool.threads();
  const AlignedBuffer scratch = allocate_aligned(kernels::matmul_f32_scratch_bytes(shape, workers));
  auto* room = reinterpret_cast<float*>(scratch.get());
  pool.run([&](int worker) { functions.run(shape, a, b, c, room, worker, workers); });
}

std::vector<double> gram(const float* x, std::int64_t rows, std::int64_t size, std::int64_t stride, ThreadPool& pool) {
  std::vector<double> result(at(size * size), 0.0);
  if (size <= 2 * kernels::kMatmulPanel) {  // too narrow for packed panels to pay
    pool.run([&](int worker) {
      const Range64 part = partition(size, worker, pool.threads());
      for (std::int64_t row = 0; row < rows; ++row) {
        const float* values = x + row * stride;
        for (std::int64_t i = part.begin; i < part.end; ++i) {
          const auto value = static_cast<double>(values[i]);
          double* sums = result.data() + i * size;
          for (std::int64_t j = 0; j <= i; ++j) sums[j] += value * static_cast<double>(values[j]);
        }
      }
    });
  } else {
    std::vector<float> block(at(size * size));
    for (std::int64_t begin = 0; begin < rows; begin += kRows) {
      const std::int64_t count = std::min(kRows, rows - begin);
      const float* from = x + begin * stride;
      // Rows i of the result need columns j <= i alone: strips of rows up to their last column.
      for (std::int64_t row = 0; row < size; row += 2 * kernels::kMatmulPanel) {
        const std::int64_t height = std::min<std::int64_t>(2 * kernels::kMatmulPanel, size - row);
        multiply({.m = height, .n = row + height, .k = count, .a_row = 1, .a_k = stride, .b_k = stride, .c_row = size},
                 from + row, from, block.data() + row * size, pool);
      }
      for (std::int64_t i = 0; i < size; ++i)
        for (std::int64_t j = 0; j <= i; ++j) result[at(i * size + j)] += static_cast<double>(block[at(i * size + j)]);
    }
  }
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = 0; j < i; ++j) result[at(j * size + i)] = result[at(i * size + j)];
  return result;
}

// From the last column to the first: D_k = h_kk, U_jk = h_jk / D_k, and U_ik D_k U_jk leaves h_ij for all i, j < k; for the
// columns before a panel once for the whole of it, as a product.
void factor_udu(std::vector<double>& h, std::int64_t size, double least, ThreadPool& pool) {
  std::vector<float> left, right, product;
  std::vector<double> column(at(size));
  for (std::int64_t end = size; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kPanel);
    for (std::int64_t k = end - 1; k >= begin; --k) {
      double& diagonal = h[at(k * size + k)];
      diagonal = std::max(diagonal, least);
      for (std::int64_t i = 0; i < k; ++i) column[at(i)] = h[at(i * size + k)];
      for (std::int64_t i = 0; i < k; ++i) {
        const double factor = column[at(i)] / diagonal;
        h[at(i * size + k)] = factor;
        double* row = h.data() + i * size;
        for (std::int64_t j = std::max(begin, i); j < k; ++j) row[j] -= factor * column[at(j)];  // the triangle, in this panel
      }
    }
    const std::int64_t width = end - begin;
    if (begin > 0) {
      left.resize(at(begin * width));
      right.resize(at(begin * width));
      product.resize(at(begin * begin));
      for (std::int64_t i = 0; i < begin; ++i)
        for (std::int64_t k = 0; k < width; ++k) {
          const double u = h[at(i * size + begin + k)];
          left[at(i * width + k)] = static_cast<float>(u);
          right[at(i * width + k)] = static_cast<float>(u * h[at((begin + k) * size + begin + k)]);
        }
      multiply({.m = begin, .n = begin, .k = width, .a_row = width, .b_k = 1, .b_column = width, .c_row = begin}, left.data(),
               right.data(), product.data(), pool);
      for (std::int64_t i = 0; i < begin; ++i)
        for (std::int64_t j = i; j < begin; ++j) h[at(i * size + j)] -= static_cast<double>(product[at(i * begin + j)]);
    }
    end = begin;
  }
}

}  // namespace zeropoint::quant
