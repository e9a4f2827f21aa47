// Einsum: each letter is an axis; axes that are not in the result are summed over, in the order in which the equation names
// them. A letter twice in one input takes its diagonal; "..." stands for axes that broadcast.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// Axes as numbers: letters by their code, axis i of the ellipsis from the right as 256 + i.
using Axes = std::vector<int>;
constexpr int kEllipsis = 256;

struct Equation {
  std::vector<std::string> inputs;  // '.' stands for an ellipsis
  std::optional<std::string> output;
};

std::string term(const Node& node, const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text.compare(i, 3, "...") == 0 && result.find('.') == std::string::npos) {
      result += '.';
      i += 2;
    } else if ((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z')) {
      result += text[i];
    } else {
      fail(ErrorCode::kBadAttribute, node, fmt::format("the equation has '{}' in '{}'", text[i], text));
    }
  }
  return result;
}

Equation parse(const Node& node) {
  const std::string text = node.get_string("equation", "");
  Equation equation;
  std::string left = text;
  if (const std::size_t arrow = text.find("->"); arrow != std::string::npos) {
    left = text.substr(0, arrow);
    equation.output = term(node, text.substr(arrow + 2));
    for (std::size_t i = 0; i < equation.output->size(); ++i)
      if (equation.output->find((*equation.output)[i], i + 1) != std::string::npos)
        fail(ErrorCode::kBadAttribute, node, fmt::format("the result of '{}' has an axis twice", text));
  }
  std::size_t start = 0;
  for (std::size_t comma = left.find(','); comma != std::string::npos; comma = left.find(',', start)) {
    equation.inputs.push_back(term(node, left.substr(start, comma - start)));
    start = comma + 1;
  }
  equation.inputs.push_back(term(node, left.substr(start)));
  if (equation.inputs.size() != node.inputs.size())
    fail(ErrorCode::kBadAttribute, node,
         fmt::format("the equation '{}' has {} inputs, the node {}", text, equation.inputs.size(), node.inputs.size()));
  return equation;
}

// The axes of one term; `ellipsis` counts those that "..." stands for.
Axes axes_of(const std::string& term, std::size_t ellipsis) {
  Axes axes;
  for (const char c : term) {
    if (c != '.') {
      axes.push_back(c);
      continue;
    }
    for (std::size_t i = ellipsis; i-- > 0;) axes.push_back(kEllipsis + static_cast<int>(i));
  }
  return axes;
}

struct Layout {
  std::vector<Axes> inputs;
  Axes output, summed;
  std::map<int, Dim> sizes;
};

// Nullopt when a rank that an ellipsis needs is not known.
std::optional<Layout> layout(const Node& node, std::span<const std::optional<Shape>> shapes) {
  const Equation equation = parse(node);
  Layout result;
  std::size_t widest = 0;
  for (std::size_t i = 0; i < equation.inputs.size(); ++i) {
    const std::string& own = equation.inputs[i];
    const bool dots = own.find('.') != std::string::npos;
    if (!shapes[i]) {
      if (dots) return std::nullopt;
      result.inputs.push_back(axes_of(own, 0));
      continue;
    }
    const std::size_t letters = own.size() - (dots ? 1 : 0), rank = shapes[i]->size();
    if (dots ? rank < letters : rank != letters)
      fail(ErrorCode::kBadShape, node, fmt::format("input {} {} does not fit '{}'", i, to_string(*shapes[i]), own));
    widest = std::max(widest, rank - letters);
    result.inputs.push_back(axes_of(own, rank - letters));
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const Dim& dim = (*shapes[i])[axis];
      const auto [entry, fresh] = result.sizes.emplace(result.inputs.back()[axis], dim);
      if (!fresh) entry->second = broadcast(node, Shape{entry->second}, Shape{dim})[0];
    }
  }
  Axes all;  // in the order of their first mention
  for (const Axes& axes : result.inputs)
    for (const int axis : axes)
      if (std::find(all.begin(), all.end(), axis) == all.end()) all.push_back(axis);
  if (equation.output) {
    result.output = axes_of(*equation.output, widest);
  } else {  // the ellipsis, then letters that stand once, sorted
    for (std::size_t i = widest; i-- > 0;) result.output.push_back(kEllipsis + static_cast<int>(i));
    Axes once;
    for (const int axis : all) {
      std::ptrdiff_t count = 0;
      for (const Axes& axes : result.inputs) count += std::count(axes.begin(), axes.end(), axis);
      if (axis < kEllipsis && count == 1) once.push_back(axis);
    }
    std::sort(once.begin(), once.end());
    result.output.insert(result.output.end(), once.begin(), once.end());
  }
  for (const int axis : result.output)
    if (std::find(all.begin(), all.end(), axis) == all.end())
      fail(ErrorCode::kBadAttribute, node, "the result has an axis that no input has");
  for (const int axis : all)
    if (std::find(result.output.begin(), result.output.end(), axis) == result.output.end()) result.summed.push_back(axis);
  return result;
}

std::vector<TensorType> einsum_shape(const ShapeArgs& args) {
  DType dtype = DType::undefined;
  std::vector<std::optional<Shape>> shapes;
  for (std::size_t i = 0; i < args.node.inputs.size(); ++i) {
    dtype = same_dtype(args.node, dtype, args.inputs[i].dtype);
    shapes.push_back(args.inputs[i].shape);
  }
  const auto found = layout(args.node, shapes);
  if (!found) return {{dtype, std::nullopt}};
  Shape shape;
  for (const int axis : found->output) {
    const auto size = found->sizes.find(axis);
    shape.push_back(size == found->sizes.end() ? Dim() : size->second);
  }
  return {{dtype, shape}};
}

std::vector<Tensor> einsum(const ComputeArgs& args) {
  const Node& node = args.node;
  std::vector<std::optional<Shape>> shapes;
  for (const Tensor& input : args.inputs) shapes.emplace_back(to_shape(input.dims()));
  const Layout found = *layout(node, shapes);
  Axes order = found.output;
  order.insert(order.end(), found.summed.begin(), found.summed.end());
  Dims sizes;
  for (const int axis : order) sizes.push_back(found.sizes.at(axis).value);
  const std::int64_t total = element_count(sizes);
  // Strides of each input along the axes of `order`.
  std::vector<Dims> strides;
  for (std::size_t i = 0; i < args.inputs.size(); ++i) {
    const Dims own = strides_of(args.inputs[i].dims());
    Dims along(order.size(), 0);
    for (std::size_t k = 0; k < found.inputs[i].size(); ++k)
      if (args.inputs[i].dim(k) != 1)
        along[static_cast<std::size_t>(std::find(order.begin(), order.end(), found.inputs[i][k]) - order.begin())] += own[k];
    strides.push_back(std::move(along));
  }
  Tensor y = make_output(args);
  const std::int64_t terms = y.size() == 0 ? 0 : total / y.size();
  with_numbers(node, args.inputs[0].dtype(), [&]<class T>(T) {
    using Sum = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;  // integers wrap around
    std::vector<std::span<const T>> inputs;
    for (const Tensor& input : args.inputs) inputs.push_back(input.values<T>());
    const auto out = y.mutable_values<T>();
    Dims index(order.size(), 0);
    std::vector<std::int64_t> at(inputs.size(), 0);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      Sum sum = 0;
      for (std::int64_t k = 0; k < terms; ++k) {
        auto product = static_cast<Sum>(inputs[0][at[0]]);
        for (std::size_t n = 1; n < inputs.size(); ++n) product *= static_cast<Sum>(inputs[n][at[n]]);
        sum += product;
        for (std::size_t axis = order.size(); axis-- > 0;) {
          for (std::size_t n = 0; n < at.size(); ++n) at[n] += strides[n][axis];
          if (++index[axis] < sizes[axis]) break;
          for (std::size_t n = 0; n < at.size(); ++n) at[n] -= strides[n][axis] * sizes[axis];
          index[axis] = 0;
        }
      }
      out[i] = static_cast<T>(sum);
    }
  });
  return one(std::move(y));
}

std::int64_t einsum_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType>) {
  std::vector<std::optional<Shape>> shapes;
  for (std::size_t i = 0; i < node.inputs.size() && i < inputs.size(); ++i) shapes.push_back(inputs[i].shape);
  if (shapes.size() != node.inputs.size()) return 0;
  const auto found = layout(node, shapes);
  if (!found) return 0;
  std::optional<std::int64_t> count = 1;
  for (const auto& [axis, size] : found->sizes) count = product(count, size.fixed() ? size.value : 0);
  return *count;
}

}  // namespace

std::vector<Operator> einsum_operators() {
  return {{.op_type = "Einsum",
           .since = 12,
           .max_inputs = kAnyNumber,
           .shape = einsum_shape,
           .reference = half_in_f32<einsum>,
           .macs = einsum_macs}};
}

}  // namespace zeropoint::ops
