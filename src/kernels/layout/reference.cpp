// The definition of the layout family.
#include <cstring>

#include "kernels/layout/layout_functions.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

void copy_element(const void* src, int64_t from, void* dst, int64_t to, int bytes) {
  std::memcpy(static_cast<char*>(dst) + to * bytes, static_cast<const char*>(src) + from * bytes,
              static_cast<std::size_t>(bytes));
}

void transpose(const TransposeShape& s, const void* src, void* dst, int worker, int workers) noexcept {
  const int64_t lines = s.batch * s.columns;
  for (int64_t line = lines * worker / workers; line < lines * (worker + 1) / workers; ++line) {
    const int64_t b = line / s.columns, c = line % s.columns;
    for (int64_t r = 0; r < s.rows; ++r)
      copy_element(src, b * s.src_batch_stride + r * s.src_row_stride + c, dst,
                   b * s.dst_batch_stride + c * s.dst_row_stride + r, s.element_bytes);
  }
}

void strided_copy(const StridedCopy& copy, const void* src, void* dst, int worker, int workers) noexcept {
  int64_t count = 1;
  for (int axis = 0; axis < copy.rank; ++axis) count *= copy.dims[axis];
  for (int64_t flat = count * worker / workers; flat < count * (worker + 1) / workers; ++flat) {
    int64_t rest = flat, from = 0, to = 0;
    for (int axis = copy.rank - 1; axis >= 0; --axis) {
      const int64_t i = rest % copy.dims[axis];
      rest /= copy.dims[axis];
      from += i * copy.src_strides[axis];
      to += i * copy.dst_strides[axis];
    }
    copy_element(src, from, dst, to, copy.element_bytes);
  }
}

}  // namespace

const LayoutFunctions layout_reference = {.transpose = transpose, .strided_copy = strided_copy};

}  // namespace zeropoint::kernels
