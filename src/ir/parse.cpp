// Text form of graphs: parser, by recursive descent over characters. A statement is one line; brackets may span lines; # begins
// a comment.
//
//   model     := { 'ir_version' INT | 'opset' [NAME] INT | 'metadata' STRING STRING | 'model_extra' STRING } graph
//   graph     := 'graph' [NAME] '(' values ')' '->' '(' values ')' ['extra' STRING] '{' { statement } '}'
//   values    := [ value { ',' value } ]           value := NAME [':' type] ['extra' STRING]
//   statement := NAME '=' tensor ['extra' STRING]                                          an initializer
//              | 'type' value                                                              of a value that no node here makes
//              | ('()' | values) '=' [NAME '::'] NAME '(' [NAME {',' NAME}] ')' [STRING] [attributes] ['extra' STRING]
//   type      := ('?' | DTYPE) [ '[' dims ']' ]    with INT, NAME or '?' as dimensions
//   tensor    := DTYPE '[' dims ']' '{' numbers '}'
//   attributes:= '{' NAME '=' attribute {',' NAME '=' attribute} '}'
//   attribute := INT | FLOAT | STRING | tensor | graph | 'opaque' STRING | list of one kind in '[' ']'
//   NAME      := letters, digits, _ . / or a STRING
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <system_error>

#include "ir/float8.h"
#include "ir/names.h"
#include "numerics/float16.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph model() {
    Graph graph;
    for (;;) {
      const std::size_t start = next();
      const std::string word = name();
      if (word == "ir_version") {
        graph.ir_version = integer();
      } else if (word == "opset") {
        next();
        const bool standard = peek() != '"' && is_number(bare_ahead());
        std::string domain = standard ? "" : name();
        if (!graph.opsets.emplace(std::move(domain), integer()).second) fail(start, "this opset is given twice");
      } else if (word == "metadata") {
        std::string key = string();
        if (!graph.metadata.emplace(std::move(key), string()).second) fail(start, "this metadata key is given twice");
      } else if (word == "model_extra") {
        graph.model_extra = string();
      } else if (word == "graph") {
        graph_after_keyword(graph);
        next();
        if (position_ != text_.size()) fail(position_, "the text goes on after the graph");
        return graph;
      } else {
        fail(start, fmt::format("'{}' where ir_version, opset, metadata or graph should be", word));
      }
    }
  }

 private:
  [[noreturn]] void fail(std::size_t position, const std::string& message) const {
    const std::string_view before = text_.substr(0, position);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    throw Error(ErrorCode::kBadFile, fmt::format("line {}, column {}", line, position - line_start + 1), message);
  }

  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  // To the next character that is neither space nor comment.
  std::size_t next() {
    while (position_ < text_.size()) {
      const char c = text_[position_];
      if (c == '#') {
        position_ = std::min(text_.find('\n', position_), text_.size());
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++position_;
      } else {
        break;
      }
    }
    return position_;
  }
  // The same within the line: the next character of this statement, or 0.
  char next_in_line() {
    while (peek() == ' ' || peek() == '\t') ++position_;
    const char c = peek();
    return c == '\n' || c == '\r' || c == '#' ? '\0' : c;
  }

  bool take(std::string_view token) {
    next();
    if (!text_.substr(position_).starts_with(token)) return false;
    position_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) fail(position_, fmt::format("'{}' should be here", token));
  }

  std::string_view bare_ahead() const {
    std::size_t end = position_;
    while (end < text_.size() && is_bare(text_[end])) ++end;
    return text_.substr(position_, end - position_);
  }
  static bool is_number(std::string_view word) {
    return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  std::string string() {
    const std::size_t start = next();
    if (peek() != '"') fail(start, "a string in double quotes should be here");
    std::string value;
    for (++position_; peek() != '"'; ++position_) {
      if (position_ >= text_.size() || peek() == '\n') fail(start, "this string has no end");
      if (peek() != '\\') {
        value += peek();
        continue;
      }
      ++position_;
      switch (peek()) {
        case 'n':
          value += '\n';
          break;
        case 'r':
          value += '\r';
          break;
        case 't':
          value += '\t';
          break;
        case '"':
        case '\\':
          value += peek();
          break;
        case 'x': {
          unsigned code = 0;
          const char* digits = text_.data() + position_ + 1;
          if (text_.size() - position_ < 3 || std::from_chars(digits, digits + 2, code, 16).ptr != digits + 2)
            fail(position_, "\\x needs two hexadecimal digits");
          value += static_cast<char>(code);
          position_ += 2;
          break;
        }
        default:
          fail(position_, "this escape does not exist: use \\n \\r \\t \\\" \\\\ or \\xHH");
      }
    }
    ++position_;
    return value;
  }

  std::string name() {
    next();
    if (peek() == '"') return string();
    const std::string_view word = bare_ahead();
    if (word.empty()) fail(position_, "a name should be here");
    position_ += word.size();
    return std::string(word);
  }

  // A number as it stands: 1, -2.5e-07, -inf, nan(7fc00001).
  std::string_view number_token() {
    const std::size_t start = next();
    while (is_bare(peek()) || peek() == '-' || peek() == '+') ++position_;
    if (text_.substr(start, position_ - start) == "nan" && peek() == '(') {
      const std::size_t close = text_.find(')', position_);
      if (close == std::string_view::npos) fail(start, "this nan( has no end");
      position_ = close + 1;
    }
    if (position_ == start) fail(start, "a number should be here");
    return text_.substr(start, position_ - start);
  }

  template <class T>
  T whole(std::string_view token, int base = 10) const {
    T value{};
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value, base);
    if (error != std::errc() || end != token.data() + token.size())
      fail(static_cast<std::size_t>(token.data() - text_.data()), fmt::format("'{}' is not an integer of its type", token));
    return value;
  }
  std::int64_t integer() { return whole<std::int64_t>(number_token()); }

  // The bits of a NaN that is written with them.
  static std::optional<std::string_view> nan_bits(std::string_view token) {
    if (!token.starts_with("nan(")) return std::nullopt;
    return token.substr(4, token.size() - 5);
  }
  template <class T, class Bits>
  T real(std::string_view token) const {
    if (token == "nan")
      return std::bit_cast<T>(sizeof(T) == 4 ? static_cast<Bits>(0x7fc00000) : static_cast<Bits>(0x7ff8000000000000));
    if (const auto bits = nan_bits(token)) return std::bit_cast<T>(whole<Bits>(*bits, 16));
    T value{};
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
    if (error != std::errc() || end != token.data() + token.size())
      fail(static_cast<std::size_t>(token.data() - text_.data()), fmt::format("'{}' is not a number of its type", token));
    return value;
  }
  float real32(std::string_view token) const { return real<float, std::uint32_t>(token); }
  std::uint16_t half(std::string_view token, bool brain) const {
    if (token == "nan") return brain ? 0x7fc0 : 0x7e00;
    if (const auto bits = nan_bits(token)) return whole<std::uint16_t>(*bits, 16);
    const float value = real32(token);
    return brain ? numerics::to_bf16(value) : numerics::to_f16(value);
  }

  // ---- types and tensors

  std::optional<DType> dtype_ahead() const {
    const std::string_view word = bare_ahead();
    const std::size_t after = position_ + word.size();
    return after < text_.size() && text_[after] == '[' ? parse_dtype(word) : std::nullopt;
  }

  Dim dimension() {
    next();
    if (take("?")) return {};
    if (peek() != '"' && is_number(bare_ahead())) return integer();
    return Dim(name());
  }

  template <class Item>
  void list(std::string_view close, const Item& item) {
    if (take(close)) return;
    do item();
    while (take(","));
    expect(close);
  }

  TensorType type() {
    TensorType type;
    const std::size_t start = next();
    if (!take("?")) {
      const std::string word = name();
      const auto dtype = parse_dtype(word);
      if (!dtype) fail(start, fmt::format("'{}' is not an element type", word));
      type.dtype = *dtype;
    }
    if (peek() == '[') {
      ++position_;
      Shape& shape = type.shape.emplace();
      list("]", [&] { shape.push_back(dimension()); });
    }
    return type;
  }

  template <class T>
  static void put(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void put_element(std::string& bytes, DType dtype, std::string_view token, std::size_t index) const {
    switch (dtype) {
      case DType::f32:
        return put(bytes, real32(token));
      case DType::f64:
        return put(bytes, real<double, std::uint64_t>(token));
      case DType::f16:
        return put(bytes, half(token, false));
      case DType::bf16:
        return put(bytes, half(token, true));
      case DType::s64:
        return put(bytes, whole<std::int64_t>(token));
      case DType::u64:
        return put(bytes, whole<std::uint64_t>(token));
      case DType::s32:
        return put(bytes, whole<std::int32_t>(token));
      case DType::u32:
        return put(bytes, whole<std::uint32_t>(token));
      case DType::s16:
        return put(bytes, whole<std::int16_t>(token));
      case DType::u16:
        return put(bytes, whole<std::uint16_t>(token));
      default:
        break;
    }
    const auto width = static_cast<std::size_t>(bits(dtype)), per_byte = 8 / width, shift = index % per_byte * width;
    if (shift == 0) bytes += '\0';
    bytes.back() = static_cast<char>(static_cast<unsigned char>(bytes.back()) |
                                     (small_code(dtype, token) & ((std::uint64_t{1} << width) - 1)) << shift);
  }

  // The bits of an element of at most 8 of them.
  std::uint64_t small_code(DType dtype, std::string_view token) const {
    if (is_float8(dtype)) {
      if (const auto code = nan_bits(token)) return whole<std::uint8_t>(*code, 16);
      return encode_float8(dtype, real32(token));
    }
    const auto value = whole<std::int64_t>(token);
    const std::int64_t low = dtype == DType::b8 ? 0 : lowest(dtype), high = dtype == DType::b8 ? 255 : highest(dtype);
    if (value < low || value > high)
      fail(static_cast<std::size_t>(token.data() - text_.data()), fmt::format("{} is not between {} and {}", value, low, high));
    return static_cast<std::uint64_t>(value);
  }

  Tensor tensor() {
    const std::size_t start = next();
    const auto dtype = dtype_ahead();
    if (!dtype) fail(start, "a tensor should be here, such as f32[2]{1, 2.5}");
    position_ += bare_ahead().size() + 1;
    Dims dims;
    list("]", [&] { dims.push_back(integer()); });
    expect("{");
    try {
      if (take("...")) fail(start, "the numbers of this tensor were left out when it was printed");
      if (*dtype == DType::opaque) {
        std::string bytes = string();
        expect("}");
        return Tensor::opaque(std::move(dims), std::move(bytes));
      }
      // The numbers first: dimensions may claim more than there is.
      std::string bytes;
      std::size_t count = 0;
      list("}", [&] {
        const std::string_view token = number_token();
        if (*dtype == DType::undefined) fail(start, "a tensor without element type has no numbers");
        put_element(bytes, *dtype, token, count++);
      });
      if (*dtype == DType::undefined) return {};
      if (static_cast<std::int64_t>(count) != element_count(dims))
        fail(start, fmt::format("{} numbers for {}{}", count, zeropoint::name(*dtype), to_string(dims)));
      Tensor value(*dtype, std::move(dims));
      if (!bytes.empty()) std::memcpy(value.mutable_bytes().data(), bytes.data(), bytes.size());
      return value;
    } catch (const Error& error) {
      if (!error.where.empty()) throw;
      fail(start, error.what());
    }
  }

  // ---- graphs

  Attribute number_list() {
    std::vector<std::string_view> tokens;
    bool any_real = false;
    list("]", [&] {
      tokens.push_back(number_token());
      any_real |= is_real(tokens.back());
    });
    if (any_real) {
      std::vector<float> values;
      for (const std::string_view token : tokens) values.push_back(real32(token));
      return values;
    }
    std::vector<std::int64_t> values;
    for (const std::string_view token : tokens) values.push_back(whole<std::int64_t>(token));
    return values;
  }
  static bool is_real(std::string_view token) { return token.find_first_of(".eEn") != std::string_view::npos; }

  Attribute attribute() {
    next();
    if (peek() == '"') return string();
    if (take("[")) {
      next();
      if (peek() == '"') {
        std::vector<std::string> values;
        list("]", [&] { values.push_back(string()); });
        return values;
      }
      if (dtype_ahead()) {
        std::vector<Tensor> values;
        list("]", [&] { values.push_back(tensor()); });
        return values;
      }
      return number_list();
    }
    if (dtype_ahead()) return tensor();
    const std::string_view word = bare_ahead();
    const auto keyword = [&](std::string_view wanted) {
      if (word != wanted) return false;
      position_ += word.size();
      return true;
    };
    if (keyword("graph")) {
      auto graph = std::make_shared<Graph>();
      graph_after_keyword(*graph);
      return std::shared_ptr<const Graph>(std::move(graph));
    }
    if (keyword("opaque")) return OpaqueAttribute{string()};
    const auto empty_list = [&](std::string_view wanted, Attribute value) -> std::optional<Attribute> {
      if (!keyword(wanted)) return std::nullopt;
      expect("[");
      expect("]");
      return value;
    };
    if (auto value = empty_list("floats", std::vector<float>())) return *value;
    if (auto value = empty_list("strings", std::vector<std::string>())) return *value;
    if (auto value = empty_list("tensors", std::vector<Tensor>())) return *value;
    const std::string_view token = number_token();
    return is_real(token) ? Attribute(real32(token)) : Attribute(whole<std::int64_t>(token));
  }

  std::string extra_in_line() {
    if (next_in_line() != 'e' || bare_ahead() != "extra") return "";
    position_ += 5;
    return string();
  }

  ValueInfo value() {
    ValueInfo info;
    info.name = name();
    typed_ = next_in_line() == ':';
    if (typed_) {
      ++position_;
      info.type = type();
    }
    info.extra = extra_in_line();
    return info;
  }

  void declare(Graph& graph, ValueInfo&& info, std::size_t start) {
    if (!info.extra.empty()) graph.type_extras.emplace(info.name, std::move(info.extra));
    if (typed_ && !graph.types.emplace(std::move(info.name), std::move(info.type)).second)
      fail(start, "this value is declared a second time");
  }

  void statement(Graph& graph) {
    const std::size_t start = next();
    Node node;
    if (take("(")) {
      expect(")");
    } else {
      if (bare_ahead() == "type") {
        position_ += 4;
        const char c = next_in_line();
        if (is_bare(c) || c == '"') {
          ValueInfo info = value();
          return declare(graph, std::move(info), start);
        }
        position_ = start;  // a value of this name
      }
      do {
        const std::size_t place = next();
        ValueInfo info = value();
        node.outputs.push_back(info.name);
        declare(graph, std::move(info), place);
      } while (take(","));
    }
    expect("=");
    next();
    if (dtype_ahead()) {
      if (node.outputs.size() != 1) fail(start, "an initializer has one name");
      if (!graph.initializers.emplace(node.outputs[0], tensor()).second)
        fail(start, "this initializer is defined a second time");
      if (std::string extra = extra_in_line(); !extra.empty())
        graph.initializer_extras.emplace(node.outputs[0], std::move(extra));
      return;
    }
    node.op_type = name();
    if (take("::")) {
      node.domain = std::move(node.op_type);
      node.op_type = name();
    }
    expect("(");
    list(")", [&] { node.inputs.push_back(name()); });
    if (next_in_line() == '"') node.name = string();
    if (next_in_line() == '{') {
      ++position_;
      list("}", [&] {
        const std::size_t place = next();
        std::string key = name();
        expect("=");
        if (!node.attributes.emplace(std::move(key), attribute()).second) fail(place, "this attribute is given twice");
      });
    }
    node.extra = extra_in_line();
    graph.nodes.push_back(std::move(node));
  }

  void graph_after_keyword(Graph& graph) {
    constexpr int kDeepest = 100;
    if (++depth_ > kDeepest) fail(position_, "graphs nest deeper than 100");
    next();
    if (peek() != '(') graph.name = name();
    expect("(");
    list(")", [&] { graph.inputs.push_back(value()); });
    expect("->");
    expect("(");
    list(")", [&] { graph.outputs.push_back(value()); });
    graph.extra = extra_in_line();
    expect("{");
    while (!take("}")) {
      if (position_ == text_.size()) fail(position_, "the graph has no end: '}' is missing");
      statement(graph);
      if (next_in_line() != '\0' && peek() != '}') fail(position_, "a statement ends with its line");
    }
    --depth_;
  }

  std::string_view text_;
  std::size_t position_ = 0;
  int depth_ = 0;
  bool typed_ = false;  // whether value() saw a type, be it "?"
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser(text).model(); }

}  // namespace zeropoint
