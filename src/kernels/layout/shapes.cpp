#include <cassert>
#include <vector>

#include "kernels/layout/layout.h"

namespace zeropoint::kernels {

TransposeShape dense_transpose(std::int64_t batch, std::int64_t rows, std::int64_t columns, int element_bytes) {
  return {.batch = batch,
          .rows = rows,
          .columns = columns,
          .src_batch_stride = rows * columns,
          .src_row_stride = columns,
          .dst_batch_stride = rows * columns,
          .dst_row_stride = rows,
          .element_bytes = element_bytes};
}

StridedCopy permutation(std::span<const std::int64_t> src_dims, std::span<const std::int64_t> perm, int element_bytes) {
  assert(src_dims.size() == perm.size());
  const std::size_t rank = src_dims.size();
  std::vector<std::int64_t> src_strides(rank, 1);
  for (std::size_t axis = rank; axis-- > 1;) src_strides[axis - 1] = src_strides[axis] * src_dims[axis];

  StridedCopy copy{.element_bytes = element_bytes};
  for (const std::int64_t source : perm) {  // dst axes from the outermost
    const auto axis = static_cast<std::size_t>(source);
    const std::int64_t dim = src_dims[axis], stride = src_strides[axis];
    if (dim == 1) continue;
    if (copy.rank > 0 && copy.src_strides[copy.rank - 1] == dim * stride) {  // goes on where the axis before it left off
      copy.dims[copy.rank - 1] *= dim;
      copy.src_strides[copy.rank - 1] = stride;
      continue;
    }
    assert(copy.rank < kMaxRank);
    copy.dims[copy.rank] = dim;
    copy.src_strides[copy.rank++] = stride;
  }
  std::int64_t stride = 1;
  for (int axis = copy.rank - 1; axis >= 0; --axis) {
    copy.dst_strides[axis] = stride;
    stride *= copy.dims[axis];
  }
  return copy;
}

}  // namespace zeropoint::kernels
