// CenterCropPad, Col2Im, AffineGrid: parts of pictures.
#include <fmt/format.h>

#include <algorithm>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;  // of an attribute or a size: keeps products below 2^63

// ---- CenterCropPad(x, shape): the middle of x, or x in the middle of zeros, along `axes`

std::vector<std::size_t> crop_axes(const Node& node, std::size_t rank) {
  std::vector<std::size_t> axes;
  if (node.find("axes") == nullptr) {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(i);
    return axes;
  }
  const std::vector<std::int64_t> given = node.get_ints("axes");
  normalize_axes(node, given, rank);
  for (const std::int64_t axis : given) axes.push_back(normalize_axis(node, axis, rank));  // in the order of `shape`
  return axes;
}

std::vector<TensorType> center_crop_pad_shape(const ShapeArgs& args) {
  TensorType y = args.inputs[0];
  if (!y.shape) return {y};
  const auto axes = crop_axes(args.node, y.shape->size());
  const auto wanted = known_shape(args, 1);
  if (wanted && wanted->size() != axes.size())
    fail(ErrorCode::kBadShape, args.node, fmt::format("shape has {} entries for {} axes", wanted->size(), axes.size()));
  for (std::size_t i = 0; i < axes.size(); ++i) (*y.shape)[axes[i]] = wanted ? (*wanted)[i] : Dim();
  return {y};
}

std::vector<Tensor> center_crop_pad(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  // Along each axis `count` elements go from `from` of x to `to` of y.
  Dims count(x.rank()), from(x.rank()), to(x.rank());
  for (std::size_t i = 0; i < x.rank(); ++i) {
    count[i] = std::min(x.dim(i), y.dim(i));
    from[i] = (x.dim(i) - count[i]) / 2;
    to[i] = (y.dim(i) - count[i]) / 2;
  }
  const Dims x_strides = strides_of(x.dims()), y_strides = strides_of(y.dims());
  std::array<std::int64_t, 2> start{};
  for (std::size_t i = 0; i < x.rank(); ++i) {
    start[0] += from[i] * x_strides[i];
    start[1] += to[i] * y_strides[i];
  }
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<2>(count, {x_strides, y_strides}, [&](std::int64_t, const auto& at) { dst[at[1]] = src[at[0]]; }, start);
  });
  return one(std::move(y));
}

// ---- Col2Im(x [N, C * block, L], image shape, block shape): sums blocks that overlap into a picture [N,C,...]

struct BlockAxis {
  std::int64_t image, block, stride, dilation, pad_begin, blocks;
};

std::vector<BlockAxis> block_axes(const Node& node, const std::vector<std::int64_t>& image,
                                  const std::vector<std::int64_t>& block) {
  const std::size_t rank = image.size();
  if (block.size() != rank || rank == 0)
    fail(ErrorCode::kBadShape, node, fmt::format("an image of {} axes with blocks of {}", rank, block.size()));
  const auto list = [&](const char* name, std::size_t count, std::int64_t otherwise, std::int64_t least) {
    std::vector<std::int64_t> values = node.get_ints(name, std::vector<std::int64_t>(count, otherwise));
    if (values.size() != count) fail(ErrorCode::kBadAttribute, node, fmt::format("{} has {} entries", name, values.size()));
    for (const std::int64_t value : values)
      if (value < least || value > kMost) fail(ErrorCode::kBadAttribute, node, fmt::format("{} has the entry {}", name, value));
    return values;
  };
  const auto strides = list("strides", rank, 1, 1), dilations = list("dilations", rank, 1, 1),
             pads = list("pads", 2 * rank, 0, 0);
  std::vector<BlockAxis> axes;
  for (std::size_t i = 0; i < rank; ++i) {
    if (image[i] < 1 || image[i] > kMost || block[i] < 1 || block[i] > kMost)
      fail(ErrorCode::kBadShape, node, fmt::format("an image of {} and blocks of {}", image[i], block[i]));
    const std::int64_t room = image[i] + pads[i] + pads[i + rank] - dilations[i] * (block[i] - 1) - 1;
    if (room < 0)
      fail(ErrorCode::kBadShape, node, fmt::format("a block of {} does not fit an image of {}", block[i], image[i]));
    axes.push_back({image[i], block[i], strides[i], dilations[i], pads[i], room / strides[i] + 1});
  }
  return axes;
}

std::vector<TensorType> col2im_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType& x = args.inputs[0];
  if (x.shape && x.shape->size() != 3) fail(ErrorCode::kBadShape, node, "input " + to_string(*x.shape) + " must have 3 axes");
  const auto image = known_ints(args, 1), block = known_ints(args, 2);
  if (!image) return {{x.dtype, std::nullopt}};
  Shape shape = {x.shape ? (*x.shape)[0] : Dim(), Dim()};
  for (const std::int64_t size : *image) shape.emplace_back(std::max<std::int64_t>(-1, size));
  if (block) {
    const auto axes = block_axes(node, *image, *block);
    const std::int64_t size = element_count(*block);
    std::int64_t blocks = 1;
    for (const BlockAxis& axis : axes) blocks = product(blocks, axis.blocks);
    if (x.shape) {
      const Dim &rows = (*x.shape)[1], &columns = (*x.shape)[2];
      if ((rows.fixed() && rows.value % size != 0) || (columns.fixed() && columns.value != blocks))
        fail(ErrorCode::kBadShape, node,
             fmt::format("input {} must have a multiple of {} rows and {} columns", to_string(*x.shape), size, blocks));
      if (rows.fixed()) shape[1] = Dim(rows.value / size);
    }
  }
  return {{x.dtype, shape}};
}

std::vector<Tensor> col2im(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const auto image = ints(args.inputs[1]), block = ints(args.inputs[2]);
  const auto axes = block_axes(args.node, image, block);
  Tensor y = make_output(args);
  const std::int64_t planes = y.dim(0) * y.dim(1), size = element_count(block), columns = x.dim(2),
                     plane = element_count(image);
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    for (std::int64_t p = 0; p < planes; ++p)
      for (std::int64_t k = 0; k < size; ++k)
        for (std::int64_t column = 0; column < columns; ++column) {
          std::int64_t at = 0, stride = 1, k_rest = k, c_rest = column;
          bool inside = true;
          for (std::size_t i = axes.size(); i-- > 0;) {
            const BlockAxis& axis = axes[i];
            const std::int64_t position =
                c_rest % axis.blocks * axis.stride + k_rest % axis.block * axis.dilation - axis.pad_begin;
            inside = inside && position >= 0 && position < axis.image;
            at += position * stride;
            stride *= axis.image;
            k_rest /= axis.block;
            c_rest /= axis.blocks;
          }
          if (inside) dst[p * plane + at] = static_cast<T>(dst[p * plane + at] + src[(p * size + k) * columns + column]);
        }
  });
  return one(std::move(y));
}

// ---- AffineGrid(theta [N,2,3] or [N,3,4], size): places in [-1, 1] (x first) of a picture's elements, times theta

std::vector<TensorType> affine_grid_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType& theta = args.inputs[0];
  const auto size = known_shape(args, 1);
  if (!size) return {{theta.dtype, std::nullopt}};
  if (size->size() != 4 && size->size() != 5)
    fail(ErrorCode::kBadShape, node, fmt::format("size has {} entries, must have 4 or 5", size->size()));
  const auto axes = static_cast<std::int64_t>(size->size()) - 2;
  if (theta.shape) {
    const Shape wanted = {(*size)[0], Dim(axes), Dim(axes + 1)};
    if (theta.shape->size() != 3) fail(ErrorCode::kBadShape, node, "theta " + to_string(*theta.shape) + " must have 3 axes");
    for (std::size_t i = 0; i < 3; ++i) merge(node, (*theta.shape)[i], wanted[i]);
  }
  Shape shape = {(*size)[0]};
  shape.insert(shape.end(), size->begin() + 2, size->end());
  shape.emplace_back(axes);
  return {{theta.dtype, shape}};
}

std::vector<Tensor> affine_grid(const ComputeArgs& args) {
  const Tensor& theta = args.inputs[0];
  Tensor y = make_output(args);
  const std::size_t axes = y.rank() - 2;
  const bool align = args.node.get_int("align_corners", 0) != 0;
  with_floats(args.node, theta.dtype(), [&]<class T>(T) {
    const auto matrix = theta.values<T>();
    const auto dst = y.mutable_values<T>();
    const std::int64_t points = y.size() == 0 ? 0 : y.size() / (y.dim(0) * static_cast<std::int64_t>(axes));
    for (std::int64_t i = 0; i < y.dim(0) * points; ++i) {
      std::vector<T> place;  // x, y, z, 1
      std::int64_t rest = i % points;
      for (std::size_t axis = axes; axis > 0; --axis) {
        const std::int64_t length = y.dim(axis), at = rest % length;
        rest /= length;
        if (align)
          place.push_back(length == 1 ? T{-1} : static_cast<T>(2 * at) / static_cast<T>(length - 1) - 1);
        else
          place.push_back(static_cast<T>(2 * at + 1) / static_cast<T>(length) - 1);
      }
      place.push_back(1);
      for (std::size_t row = 0; row < axes; ++row) {
        const std::size_t first = (static_cast<std::size_t>(i / points) * axes + row) * (axes + 1);
        T sum = 0;
        for (std::size_t k = 0; k <= axes; ++k) sum += matrix[first + k] * place[k];
        dst[static_cast<std::size_t>(i) * axes + row] = sum;
      }
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> patch_operators() {
  return {
      {.op_type = "CenterCropPad",
       .since = 18,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = center_crop_pad_shape,
       .reference = center_crop_pad},
      {.op_type = "Col2Im",
       .since = 18,
       .min_inputs = 3,
       .max_inputs = 3,
       .shape = col2im_shape,
       .reference = half_in_f32<col2im>},
      {.op_type = "AffineGrid",
       .since = 20,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = affine_grid_shape,
       .reference = half_in_f32<affine_grid>},
  };
}

}  // namespace zeropoint::ops
