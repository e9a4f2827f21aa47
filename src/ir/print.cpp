// Text form of graphs: printer. The parser is parse.cpp; docs/onnx.md shows the form.
#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <unordered_set>
#include <utility>

#include "ir/float8.h"
#include "ir/hash.h"
#include "ir/names.h"
#include "numerics/float16.h"
#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"

namespace zeropoint {
namespace {

// Shortest decimal that reads back to the same bits; a NaN other than the usual one shows its bits.
template <class T, class Bits>
std::string number(T value, Bits bits, Bits usual_nan) {
  if (value != value) return bits == usual_nan ? "nan" : fmt::format("nan({:x})", bits);
  return fmt::format("{}", value);
}
std::string number(float value) { return number(value, std::bit_cast<std::uint32_t>(value), std::uint32_t{0x7fc00000}); }
std::string number(double value) {
  return number(value, std::bit_cast<std::uint64_t>(value), std::uint64_t{0x7ff8000000000000});
}

// With a mark that tells it from an integer.
std::string marked(float value) {
  std::string text = number(value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

template <class T>
T element(const Tensor& tensor, std::size_t index) {
  T value;
  std::memcpy(&value, tensor.bytes().data() + index * sizeof(T), sizeof value);
  return value;
}

// An element of 1, 2, 4 or 8 bits out of its byte, the first in the lowest bits, sign-extended when `is_signed`.
int small_element(const Tensor& tensor, std::size_t index, int width, bool is_signed) {
  const std::size_t per_byte = 8 / static_cast<std::size_t>(width);
  const int shift = static_cast<int>(index % per_byte) * width;
  const int value = (std::to_integer<int>(tensor.bytes()[index / per_byte]) >> shift) & ((1 << width) - 1);
  return is_signed && value >= 1 << (width - 1) ? value - (1 << width) : value;
}

std::string element_text(const Tensor& tensor, std::size_t i) {
  switch (tensor.dtype()) {
    case DType::f32:
      return number(element<float>(tensor, i));
    case DType::f64:
      return number(element<double>(tensor, i));
    case DType::f16: {
      const auto bits = element<std::uint16_t>(tensor, i);
      return number(numerics::from_f16(bits), bits, std::uint16_t{0x7e00});
    }
    case DType::bf16: {
      const auto bits = element<std::uint16_t>(tensor, i);
      return number(numerics::from_bf16(bits), bits, std::uint16_t{0x7fc0});
    }
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
    case DType::f4e2m1: {
      const auto code = static_cast<std::uint8_t>(small_element(tensor, i, bits(tensor.dtype()), false));
      return number(decode_float8(tensor.dtype(), code), code,
                    encode_float8(tensor.dtype(), std::numeric_limits<double>::quiet_NaN()));
    }
    case DType::s64:
      return fmt::format("{}", element<std::int64_t>(tensor, i));
    case DType::u64:
      return fmt::format("{}", element<std::uint64_t>(tensor, i));
    case DType::s32:
      return fmt::format("{}", element<std::int32_t>(tensor, i));
    case DType::u32:
      return fmt::format("{}", element<std::uint32_t>(tensor, i));
    case DType::s16:
      return fmt::format("{}", element<std::int16_t>(tensor, i));
    case DType::u16:
      return fmt::format("{}", element<std::uint16_t>(tensor, i));
    default:
      return fmt::format("{}", small_element(tensor, i, bits(tensor.dtype()), lowest(tensor.dtype()) < 0));
  }
}

class Printer {
 public:
  explicit Printer(std::int64_t max_elements) : max_elements_(max_elements) {}

  std::string model(const Graph& graph) {
    line("ir_version {}", graph.ir_version);
    for (const auto& [domain, version] : graph.opsets)
      line("opset {}{}", domain.empty() ? "" : quoted_symbol(domain) + " ", version);
    for (const auto& [key, value] : graph.metadata) line("metadata {} {}", in_quotes(key), in_quotes(value));
    if (full() && !graph.model_extra.empty()) line("model_extra {}", in_quotes(graph.model_extra));
    print(graph);
    return text_ + "\n";
  }

 private:
  bool full() const { return max_elements_ < 0; }

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    indent();
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }
  void indent() { text_.append(static_cast<std::size_t>(depth_) * 2, ' '); }
  void extra(const std::string& bytes) {
    if (full() && !bytes.empty()) text_ += " extra " + in_quotes(bytes);
  }

  void values(const std::vector<ValueInfo>& list) {
    text_ += '(';
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i > 0) text_ += ", ";
      text_ += quoted_name(list[i].name);
      if (list[i].type != TensorType{}) text_ += ": " + to_string(list[i].type);
      extra(list[i].extra);
    }
    text_ += ')';
  }

  void declaration(const Graph& graph, const std::string& value) {
    text_ += quoted_name(value);
    if (value.empty()) return;
    if (const auto type = graph.types.find(value); type != graph.types.end()) text_ += ": " + to_string(type->second);
    if (const auto found = graph.type_extras.find(value); found != graph.type_extras.end()) extra(found->second);
  }

  void tensor(const Tensor& tensor) {
    text_ += std::string(name(tensor.dtype())) + to_string(tensor.dims()) + "{";
    if (!full() && tensor.size() > max_elements_) {
      fmt::format_to(std::back_inserter(text_), "... {} elements, {}", tensor.size(), hash_of(tensor.bytes()));
    } else if (tensor.dtype() == DType::opaque) {
      const auto bytes = tensor.bytes();
      text_ += in_quotes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    } else if (tensor.defined()) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.size()); ++i) {
        if (i > 0) text_ += ", ";
        text_ += element_text(tensor, i);
      }
    }
    text_ += '}';
  }

  void item(std::int64_t value) { fmt::format_to(std::back_inserter(text_), "{}", value); }
  void item(float value) { text_ += marked(value); }
  void item(const std::string& value) { text_ += in_quotes(value); }
  void item(const Tensor& value) { tensor(value); }
  void item(const OpaqueAttribute& value) { text_ += "opaque " + in_quotes(value.bytes); }
  void item(const std::shared_ptr<const Graph>& value) {
    if (value) print(*value);
  }
  template <class T>
  void item(const std::vector<T>& list) {
    if (list.empty() && !std::is_same_v<T, std::int64_t>)
      text_ += std::is_same_v<T, float> ? "floats" : std::is_same_v<T, std::string> ? "strings" : "tensors";
    text_ += '[';
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i > 0) text_ += ", ";
      item(list[i]);
    }
    text_ += ']';
  }

  void node(const Graph& graph, const Node& node) {
    indent();
    if (node.outputs.empty()) text_ += "()";
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (i > 0) text_ += ", ";
      declaration(graph, node.outputs[i]);
    }
    text_ += " = ";
    if (!node.domain.empty()) text_ += quoted_name(node.domain) + "::";
    text_ += quoted_name(node.op_type) + "(";
    for (std::size_t i = 0; i < node.inputs.size(); ++i) text_ += (i > 0 ? ", " : "") + quoted_name(node.inputs[i]);
    text_ += ')';
    if (!node.name.empty()) text_ += ' ' + in_quotes(node.name);
    if (!node.attributes.empty()) {
      text_ += " {";
      bool first = true;
      for (const auto& [key, attribute] : node.attributes) {
        if (!first) text_ += ", ";
        first = false;
        text_ += quoted_name(key) + "=";
        std::visit([this](const auto& value) { item(value); }, attribute);
      }
      text_ += '}';
    }
    extra(node.extra);
    text_ += '\n';
  }

  void print(const Graph& graph) {
    text_ += "graph ";
    if (!graph.name.empty()) text_ += quoted_name(graph.name);
    values(graph.inputs);
    text_ += " -> ";
    values(graph.outputs);
    extra(graph.extra);
    text_ += " {\n";
    ++depth_;
    for (const auto& [value, constant] : graph.initializers) {
      indent();
      text_ += quoted_name(value) + " = ";
      tensor(constant);
      if (const auto found = graph.initializer_extras.find(value); found != graph.initializer_extras.end())
        extra(found->second);
      text_ += '\n';
    }
    // Declarations of values that no node here makes.
    std::unordered_set<std::string_view> made;
    for (const Node& maker : graph.nodes) made.insert(maker.outputs.begin(), maker.outputs.end());
    const auto declare = [&](const std::string& value) {
      if (!made.insert(value).second) return;
      indent();
      text_ += "type ";
      declaration(graph, value);
      text_ += '\n';
    };
    for (const auto& [value, type] : graph.types) declare(value);
    if (full())
      for (const auto& [value, bytes] : graph.type_extras) declare(value);
    for (const Node& each : graph.nodes) node(graph, each);
    --depth_;
    indent();
    text_ += '}';
  }

  std::int64_t max_elements_;
  int depth_ = 0;
  std::string text_;
};

}  // namespace

std::string to_text(const Graph& graph, std::int64_t max_elements) { return Printer(max_elements).model(graph); }

std::string to_text(const QParamsMap& qparams) {
  std::string text;
  for (const auto& [value, params] : qparams) {
    text += fmt::format("{}: {}", quoted_name(value), name(params.dtype));
    if (params.bits != 0) text += fmt::format(" of {} bits", params.bits);
    if (const auto* channel = std::get_if<PerChannel>(&params.granularity))
      text += fmt::format(" per_channel axis {}", channel->axis);
    if (const auto* group = std::get_if<PerGroup>(&params.granularity))
      text += fmt::format(" per_group axis {} size {}", group->axis, group->size);
    const char* separator = "";
    text += " scale {";
    for (const float scale : params.scale) text += std::exchange(separator, ", ") + number(scale);
    separator = "";
    text += "} zero_point {";
    for (const std::int32_t zero_point : params.zero_point)
      text += fmt::format("{}{}", std::exchange(separator, ", "), zero_point);
    text += "}\n";
  }
  return text;
}

}  // namespace zeropoint
