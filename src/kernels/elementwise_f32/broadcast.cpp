#include <algorithm>

#include "kernels/elementwise_f32/elementwise_f32.h"

namespace zeropoint::kernels {

bool broadcast(std::span<const std::int64_t> a_dims, std::span<const std::int64_t> b_dims, BroadcastF32& shape) {
  // Axes from the innermost; an axis is merged into the one inside it when both operands go on there without a gap.
  BroadcastF32 reversed;
  const std::size_t rank = std::max(a_dims.size(), b_dims.size());
  std::int64_t a_stride = 1, b_stride = 1;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const std::int64_t a = axis < a_dims.size() ? a_dims[a_dims.size() - 1 - axis] : 1;
    const std::int64_t b = axis < b_dims.size() ? b_dims[b_dims.size() - 1 - axis] : 1;
    if (a != b && a != 1 && b != 1) return false;
    const std::int64_t dim = a == 1 ? b : a;
    const std::int64_t a_step = a == 1 ? 0 : a_stride, b_step = b == 1 ? 0 : b_stride;
    a_stride *= a;
    b_stride *= b;
    if (dim == 1) continue;
    if (reversed.rank > 0) {
      const int inner = reversed.rank - 1;
      const std::int64_t inner_dim = reversed.dims[inner];
      if (a_step == reversed.a_strides[inner] * inner_dim && b_step == reversed.b_strides[inner] * inner_dim) {
        reversed.dims[inner] *= dim;
        continue;
      }
    }
    if (reversed.rank == kMaxBroadcastRank) return false;
    reversed.dims[reversed.rank] = dim;
    reversed.a_strides[reversed.rank] = a_step;
    reversed.b_strides[reversed.rank++] = b_step;
  }
  shape = {};
  shape.rank = reversed.rank;
  for (int axis = 0; axis < reversed.rank; ++axis) {
    const int from = reversed.rank - 1 - axis;
    shape.dims[axis] = reversed.dims[from];
    shape.a_strides[axis] = reversed.a_strides[from];
    shape.b_strides[axis] = reversed.b_strides[from];
  }
  return true;
}

}  // namespace zeropoint::kernels
