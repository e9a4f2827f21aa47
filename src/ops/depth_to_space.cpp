// DepthToSpace: y[n, c, h b + i, w b + j] = x[n, (i b + j) C + c, h, w] in mode DCR, x[n, c b b + i b + j, h, w] in mode CRD,
// with b the block size. SpaceToDepth is its inverse. ReverseSequence turns the first sequence_lens[k] steps of each row.
#include <fmt/format.h>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::int64_t block_size(const Node& node) {
  const std::int64_t block = node.get_int("blocksize", 0);
  if (block < 1 || block > 1 << 20) fail(ErrorCode::kBadAttribute, node, fmt::format("blocksize is {}", block));
  return block;
}

bool depth_first(const Node& node) {
  const std::string mode = node.get_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") fail(ErrorCode::kBadAttribute, node, "mode is '" + mode + "'");
  return mode == "DCR";
}

template <bool to_space>
std::vector<TensorType> blocks_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  const std::int64_t block = block_size(args.node);
  depth_first(args.node);
  if (!x.shape) return {{x.dtype, unknown_shape(4)}};
  if (x.shape->size() != 4) fail(ErrorCode::kBadShape, args.node, to_string(*x.shape) + " is not [N,C,H,W]");
  const auto divided = [&](const Dim& dim, std::int64_t by) {
    if (!dim.fixed()) return Dim();
    if (dim.value % by != 0) fail(ErrorCode::kBadShape, args.node, fmt::format("{} is not a multiple of {}", dim.value, by));
    return Dim(dim.value / by);
  };
  const auto times = [](const Dim& dim, std::int64_t by) { return dim.fixed() ? Dim(dim.value * by) : Dim(); };
  const Shape& s = *x.shape;
  for (const Dim& dim : s)
    if (dim.value > std::int64_t{1} << 22 && block > 1 && dim.value > (std::int64_t{1} << 60) / (block * block))
      fail(ErrorCode::kLimit, args.node, to_string(s) + " is too large");
  if (to_space) return {{x.dtype, Shape{s[0], divided(s[1], block * block), times(s[2], block), times(s[3], block)}}};
  return {{x.dtype, Shape{s[0], times(s[1], block * block), divided(s[2], block), divided(s[3], block)}}};
}

template <bool to_space>
std::vector<Tensor> move_blocks(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::int64_t block = block_size(args.node);
  const bool dcr = depth_first(args.node);
  Tensor y = make_output(args);
  // Of the deep tensor [N, C b b, H, W] and the wide one [N, C, H b, W b].
  const Dims &deep = to_space ? x.dims() : y.dims(), &wide = to_space ? y.dims() : x.dims();
  const Dims d = strides_of(deep), w = strides_of(wide);
  const std::int64_t channels = wide[1];
  // n, c, h, i, w, j
  const Dims index = {deep[0], channels, deep[2], block, deep[3], block};
  const Dims in_deep = {d[0], dcr ? d[1] : d[1] * block * block, d[2], (dcr ? d[1] * channels : d[1]) * block,
                        d[3], dcr ? d[1] * channels : d[1]};
  const Dims in_wide = {w[0], w[1], w[2] * block, w[2], w[3] * block, w[3]};
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<2>(index, {to_space ? in_wide : in_deep, to_space ? in_deep : in_wide},
            [&](std::int64_t, const auto& at) { dst[at[0]] = src[at[1]]; });
  });
  return one(std::move(y));
}

std::vector<TensorType> reverse_sequence_shape(const ShapeArgs& args) {
  const auto &x = args.inputs[0].shape, &lengths = args.inputs[1].shape;
  const std::int64_t batch = args.node.get_int("batch_axis", 1), time = args.node.get_int("time_axis", 0);
  if (batch + time != 1 || batch * time != 0)
    fail(ErrorCode::kBadAttribute, args.node, fmt::format("batch_axis {} and time_axis {}", batch, time));
  if (x && x->size() < 2) fail(ErrorCode::kBadShape, args.node, to_string(*x) + " has no batch and time");
  if (x && lengths) {
    if (lengths->size() != 1) fail(ErrorCode::kBadShape, args.node, "sequence_lens is not a list");
    merge(args.node, (*x)[static_cast<std::size_t>(batch)], (*lengths)[0]);
  }
  return {args.inputs[0]};
}

std::vector<Tensor> reverse_sequence(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const bool batch_first = args.node.get_int("batch_axis", 1) == 0;
  const std::vector<std::int64_t> lengths = ints(args.inputs[1]);
  const std::int64_t steps = x.dim(batch_first ? 1 : 0);
  for (const std::int64_t length : lengths)
    if (length < 0 || length > steps)
      fail(ErrorCode::kBadArgument, args.node, fmt::format("a sequence of {} among {} steps", length, steps));
  const std::int64_t inner = element_count(std::span(x.dims()).subspan(2));
  Tensor y = make_output(args);
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const std::int64_t row = i / inner / x.dim(1), column = i / inner % x.dim(1);
      const std::int64_t step = batch_first ? column : row, length = lengths[batch_first ? row : column];
      const std::int64_t from = step < length ? length - 1 - step : step;
      dst[i] = src[((batch_first ? row : from) * x.dim(1) + (batch_first ? from : column)) * inner + i % inner];
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> depth_to_space_operators() {
  return {
      {.op_type = "DepthToSpace", .shape = blocks_shape<true>, .reference = small_in_bytes<move_blocks<true>>},
      {.op_type = "SpaceToDepth", .shape = blocks_shape<false>, .reference = small_in_bytes<move_blocks<false>>},
      {.op_type = "ReverseSequence",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = reverse_sequence_shape,
       .reference = small_in_bytes<reverse_sequence>},
  };
}

}  // namespace zeropoint::ops
