#include "ops/window.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;  // of an attribute: keeps all products below 2^63

std::vector<std::int64_t> attribute(const Node& node, std::string_view name, std::size_t count, std::int64_t otherwise,
                                    std::int64_t least) {
  std::vector<std::int64_t> values = node.get_ints(name, std::vector<std::int64_t>(count, otherwise));
  if (values.size() != count)
    fail(ErrorCode::kBadAttribute, node, fmt::format("{} has {} entries, the input needs {}", name, values.size(), count));
  for (const std::int64_t value : values)
    if (value < least || value > kMost) fail(ErrorCode::kBadAttribute, node, fmt::format("{} has the entry {}", name, value));
  return values;
}

// Padding that makes output = ceil(input / stride).
void pad_to_same(WindowAxis& axis, bool upper) {
  const std::int64_t reach = (axis.kernel - 1) * axis.dilation + 1;
  axis.output = (axis.input + axis.stride - 1) / axis.stride;
  const std::int64_t total = std::max<std::int64_t>(0, (axis.output - 1) * axis.stride + reach - axis.input);
  axis.pad_begin = upper ? total / 2 : total - total / 2;
  axis.pad_end = total - axis.pad_begin;
}

}  // namespace

std::vector<WindowAxis> window_axes(const Node& node, std::span<const Dim> spatial, std::vector<std::int64_t> kernel) {
  const std::size_t count = spatial.size();
  if (node.find("kernel_shape") != nullptr || kernel.size() != count) {
    std::vector<std::int64_t> given = attribute(node, "kernel_shape", count, -1, 1);
    for (std::size_t i = 0; i < std::min(kernel.size(), count); ++i)
      if (kernel[i] >= 0 && kernel[i] != given[i])
        fail(ErrorCode::kBadAttribute, node,
             fmt::format("kernel_shape says {}, the weights {}", to_string(given), to_string(kernel)));
    kernel = std::move(given);
  }
  const auto strides = attribute(node, "strides", count, 1, 1);
  const auto dilations = attribute(node, "dilations", count, 1, 1);
  const auto pads = attribute(node, "pads", 2 * count, 0, 0);
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  const bool ceil = node.get_int("ceil_mode", 0) != 0;

  for (const std::int64_t size : kernel)
    if (size > kMost || size == 0)
      fail(size == 0 ? ErrorCode::kBadShape : ErrorCode::kLimit, node, fmt::format("a window of {}", size));

  std::vector<WindowAxis> axes(count);
  for (std::size_t i = 0; i < count; ++i) {
    WindowAxis& axis = axes[i];
    axis = {.kernel = kernel[i], .stride = strides[i], .dilation = dilations[i], .input = spatial[i].value, .output = -1};
    if (auto_pad == "NOTSET") {
      axis.pad_begin = pads[i];
      axis.pad_end = pads[i + count];
    } else if (auto_pad != "VALID" && auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER") {
      fail(ErrorCode::kBadAttribute, node, "auto_pad is '" + auto_pad + "'");
    }
    if (axis.input < 0 || axis.kernel < 0) {
      axis.output = -1;
      continue;
    }
    if (auto_pad.starts_with("SAME")) {
      pad_to_same(axis, auto_pad == "SAME_UPPER");
      continue;
    }
    const std::int64_t reach = (axis.kernel - 1) * axis.dilation + 1;
    const std::int64_t room = axis.input + axis.pad_begin + axis.pad_end - reach;
    if (room < 0)
      fail(ErrorCode::kBadShape, node,
           fmt::format("a window of {} does not fit an input of {} with padding {} and {}", reach, axis.input, axis.pad_begin,
                       axis.pad_end));
    axis.output = (ceil ? room + axis.stride - 1 : room) / axis.stride + 1;
    // A window that would start in the end padding does not count.
    if (ceil && (axis.output - 1) * axis.stride >= axis.input + axis.pad_begin) --axis.output;
  }
  return axes;
}

std::vector<WindowAxis> as_three(const Node& node, std::vector<WindowAxis> axes) {
  if (axes.size() > 3) fail(ErrorCode::kUnsupported, node, fmt::format("{} spatial dimensions; at most 3 run", axes.size()));
  axes.insert(axes.begin(), 3 - axes.size(), WindowAxis{});
  return axes;
}

}  // namespace zeropoint::ops
