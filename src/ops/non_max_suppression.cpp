// NonMaxSuppression: for each batch and class, boxes in falling order of score (equal ones by index); a box is taken unless it
// overlaps one taken before by more than iou_threshold (intersection over union). Gives [batch, class, box] of each.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> non_max_suppression_shape(const ShapeArgs& args) {
  const auto &boxes = args.inputs[0].shape, &scores = args.inputs[1].shape;
  if (boxes && (boxes->size() != 3 || ((*boxes)[2].fixed() && (*boxes)[2].value != 4)))
    fail(ErrorCode::kBadShape, args.node, "boxes " + to_string(*boxes) + " are not [batches, boxes, 4]");
  if (scores && scores->size() != 3)
    fail(ErrorCode::kBadShape, args.node, "scores " + to_string(*scores) + " are not [batches, classes, boxes]");
  if (boxes && scores) {
    merge(args.node, (*boxes)[0], (*scores)[0]);
    merge(args.node, (*boxes)[1], (*scores)[2]);
  }
  const std::int64_t form = args.node.get_int("center_point_box", 0);
  if (form != 0 && form != 1) fail(ErrorCode::kBadAttribute, args.node, fmt::format("center_point_box is {}", form));
  return {{DType::s64, Shape{Dim(), Dim(3)}}};
}

struct Box {
  float x_low, y_low, x_high, y_high;
};

// [y1, x1, y2, x2] of any two opposite corners, or [x, y, width, height] around the centre.
Box read_box(const float* numbers, bool centre) {
  if (centre) {
    const float half_width = numbers[2] / 2, half_height = numbers[3] / 2;
    return {numbers[0] - half_width, numbers[1] - half_height, numbers[0] + half_width, numbers[1] + half_height};
  }
  return {std::min(numbers[1], numbers[3]), std::min(numbers[0], numbers[2]), std::max(numbers[1], numbers[3]),
          std::max(numbers[0], numbers[2])};
}

bool overlap_more(const Box& a, const Box& b, float threshold) {
  const float width = std::min(a.x_high, b.x_high) - std::max(a.x_low, b.x_low);
  const float height = std::min(a.y_high, b.y_high) - std::max(a.y_low, b.y_low);
  if (!(width > 0) || !(height > 0)) return false;
  const float both = width * height;
  const float area_a = (a.x_high - a.x_low) * (a.y_high - a.y_low), area_b = (b.x_high - b.x_low) * (b.y_high - b.y_low);
  const float either = area_a + area_b - both;
  if (!(both > 0) || !(area_a > 0) || !(area_b > 0) || !(either > 0)) return false;
  return both / either > threshold;
}

template <class T>
std::optional<T> scalar_input(const ComputeArgs& args, std::size_t input) {
  const Tensor& tensor = args.inputs[input];
  if (!tensor.defined() || tensor.size() == 0) return std::nullopt;
  if (tensor.size() != 1) fail(ErrorCode::kBadShape, args.node, fmt::format("input {} is not one number", input));
  return tensor.values<T>()[0];
}

std::vector<Tensor> non_max_suppression(const ComputeArgs& args) {
  const Tensor &boxes = args.inputs[0], &scores = args.inputs[1];
  const bool centre = args.node.get_int("center_point_box", 0) != 0;
  const auto most = std::max<std::int64_t>(0, scalar_input<std::int64_t>(args, 2).value_or(0));
  const float iou_threshold = scalar_input<float>(args, 3).value_or(0);
  const std::optional<float> score_threshold = scalar_input<float>(args, 4);
  if (!(iou_threshold >= 0 && iou_threshold <= 1))
    fail(ErrorCode::kBadArgument, args.node, fmt::format("iou_threshold {} is not between 0 and 1", iou_threshold));
  const std::int64_t count = boxes.dim(1), classes = scores.dim(1);
  if (boxes.size() == 0 || scores.size() == 0) return one(Tensor(DType::s64, {0, 3}));  // of any number of pictures
  const auto corners = boxes.values<float>();
  const auto all_scores = scores.values<float>();

  std::vector<std::int64_t> result;
  for (std::int64_t batch = 0; batch < boxes.dim(0); ++batch) {
    std::vector<Box> all;
    for (std::int64_t i = 0; i < count; ++i) all.push_back(read_box(&corners[(batch * count + i) * 4], centre));
    for (std::int64_t c = 0; c < classes; ++c) {
      const auto score =
          all_scores.subspan(static_cast<std::size_t>((batch * classes + c) * count), static_cast<std::size_t>(count));
      std::vector<std::int64_t> order;
      for (std::int64_t i = 0; i < count; ++i)  // NaN is above no threshold
        if (score[i] == score[i] && (!score_threshold || score[i] > *score_threshold)) order.push_back(i);
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });
      std::vector<std::int64_t> taken;
      for (const std::int64_t i : order) {
        if (static_cast<std::int64_t>(taken.size()) >= most) break;
        if (std::none_of(taken.begin(), taken.end(),
                         [&](std::int64_t other) { return overlap_more(all[i], all[other], iou_threshold); })) {
          taken.push_back(i);
          result.insert(result.end(), {batch, c, i});
        }
      }
    }
  }
  return one(Tensor::of<std::int64_t>({static_cast<std::int64_t>(result.size()) / 3, 3}, result));
}

}  // namespace

std::vector<Operator> non_max_suppression_operators() {
  return {{.op_type = "NonMaxSuppression",
           .since = 10,
           .min_inputs = 2,
           .max_inputs = 5,
           .shape = non_max_suppression_shape,
           .reference = non_max_suppression}};
}

}  // namespace zeropoint::ops
