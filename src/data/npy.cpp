#include "data/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/file.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace data {
namespace {

struct NpyType {
  std::string_view code;  // without the byte order
  DType dtype;
};
constexpr NpyType kTypes[] = {{"f2", DType::f16}, {"f4", DType::f32}, {"f8", DType::f64}, {"i1", DType::s8},
                              {"i2", DType::s16}, {"i4", DType::s32}, {"i8", DType::s64}, {"u1", DType::u8},
                              {"u2", DType::u16}, {"u4", DType::u32}, {"u8", DType::u64}, {"b1", DType::b8}};
constexpr std::string_view kMagic = "\x93NUMPY";

[[noreturn]] void fail(const std::string& where, const std::string& message) {
  throw Error(ErrorCode::kBadFile, where, message);
}

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void read(NpyHeader& header) {
    bool has_type = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !has_type) {
        has_type = true;
        header.dtype = type();
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        header.dims = shape();
      } else {
        bad();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size() || !has_type || !has_order || !has_shape) bad();
  }

 private:
  [[noreturn]] void bad() const { fail(where_, "not a valid .npy file: its header cannot be read"); }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad();
  }
  std::string_view quoted() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const auto end = text_.find(quote, at_);
    if (end == std::string_view::npos) bad();
    const auto result = text_.substr(at_, end - at_);
    at_ = end + 1;
    return result;
  }
  DType type() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[') fail(where_, "holds records; zeropoint reads plain arrays");
    const std::string_view descr = quoted();
    if (descr.size() >= 2) {
      const char order = descr[0];
      const std::string_view code = descr.substr(1);
      for (const NpyType& known : kTypes) {
        if (code != known.code) continue;
        if (order == '>' && code[1] != '1') fail(where_, fmt::format("is big-endian ('{}'); save it as '<{}'", descr, code));
        if (order == '<' || order == '|' || order == '=' || order == '>') return known.dtype;
      }
    }
    fail(where_,
         fmt::format("has elements of type '{}'; zeropoint reads f2 f4 f8, i1 ... i8, u1 ... u8 and b1", descr.substr(0, 20)));
  }
  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}})
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    bad();
  }
  Dims shape() {
    Dims dims;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t value = 0;
      const std::size_t start = at_;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (value > (std::int64_t{1} << 58)) bad();
        value = value * 10 + (text_[at_] - '0');
      }
      if (at_ == start || dims.size() == 32) bad();
      accept('L');  // Python 2
      dims.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
};

std::size_t item_bytes(DType dtype) { return static_cast<std::size_t>(bits(dtype)) / 8; }

}  // namespace

std::size_t npy_header_bytes(std::span<const std::byte> prefix, const std::string& where) {
  if (prefix.size() < 10 || std::memcmp(prefix.data(), kMagic.data(), kMagic.size()) != 0) fail(where, "not an .npy file");
  const auto version = std::to_integer<int>(prefix[6]);
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(prefix[i]); };
  std::size_t bytes = 0;
  if (version == 1) {
    bytes = 10 + (byte(8) | byte(9) << 8);
  } else if (version == 2 || version == 3) {
    if (prefix.size() < 12) fail(where, "truncated: it ends in its header");
    bytes = 12 + (byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24);
  } else {
    fail(where, fmt::format("is of .npy version {}; zeropoint reads 1 to 3", version));
  }
  if (bytes > kNpyMostHeaderBytes) fail(where, fmt::format("not a valid .npy file: a header of {} bytes", bytes));
  return bytes;
}

NpyHeader parse_npy_header(std::span<const std::byte> bytes, const std::string& where) {
  NpyHeader header;
  header.data_offset = npy_header_bytes(bytes, where);
  if (bytes.size() < header.data_offset) fail(where, "truncated: it ends in its header");
  const std::size_t start = std::to_integer<int>(bytes[6]) == 1 ? 10 : 12;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + start, header.data_offset - start);
  HeaderReader(text, where).read(header);
  std::int64_t count = 0;
  try {
    count = element_count(header.dims);
  } catch (const Error& error) {
    fail(where, error.what());
  }
  if (count > (std::int64_t{1} << 58)) fail(where, "too many elements: " + to_string(header.dims));
  header.data_bytes = static_cast<std::size_t>(count) * item_bytes(header.dtype);
  return header;
}

Tensor npy_tensor(const NpyHeader& header, std::span<const std::byte> source) {
  Tensor tensor(header.dtype, header.dims);
  const auto target = tensor.mutable_bytes();
  if (header.dtype == DType::b8) {  // any byte but 0 is true: keep bool's own representation
    std::transform(source.begin(), source.end(), target.begin(), [](std::byte b) { return std::byte{b != std::byte{0}}; });
  } else if (!source.empty()) {
    std::memcpy(target.data(), source.data(), source.size());
  }
  if (!header.fortran_order || header.dims.size() < 2 || tensor.size() == 0) return tensor;

  // Walk the target in row-major order; the source's first axis is the fastest.
  Tensor ordered(header.dtype, header.dims);
  const std::size_t item = item_bytes(header.dtype), rank = header.dims.size();
  std::vector<std::size_t> stride(rank, item);
  for (std::size_t axis = 1; axis < rank; ++axis)
    stride[axis] = stride[axis - 1] * static_cast<std::size_t>(header.dims[axis - 1]);
  std::vector<std::int64_t> index(rank, 0);
  const std::byte* from = tensor.bytes().data();
  std::byte* to = ordered.mutable_bytes().data();
  for (std::int64_t i = 0; i < tensor.size(); ++i, to += item) {
    std::memcpy(to, from, item);
    for (std::size_t axis = rank; axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < header.dims[axis]) break;
      from -= stride[axis] * static_cast<std::size_t>(header.dims[axis]);
      index[axis] = 0;
    }
  }
  return ordered;
}

}  // namespace data

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& where) {
  const data::NpyHeader header = data::parse_npy_header(bytes, where);
  const std::size_t held = bytes.size() - header.data_offset;
  if (held != header.data_bytes)
    data::fail(where,
               fmt::format("{}: {} bytes of data where {} {} needs {}", held < header.data_bytes ? "truncated" : "too long",
                           held, name(header.dtype), to_string(header.dims), header.data_bytes));
  return data::npy_tensor(header, bytes.subspan(header.data_offset));
}

Tensor read_npy(const std::filesystem::path& path) { return parse_npy(MappedFile::open(path)->bytes(), path.string()); }

std::string serialize_npy(const Tensor& tensor) {
  std::string_view code;
  for (const auto& known : data::kTypes)
    if (known.dtype == tensor.dtype()) code = known.code;
  if (code.empty())
    throw Error(ErrorCode::kUnsupported, "npy", fmt::format(".npy files have no element type for {}", name(tensor.dtype())));
  std::string shape;
  for (const std::int64_t dim : tensor.dims()) shape += fmt::format("{}{},", shape.empty() ? "" : " ", dim);
  if (tensor.rank() > 1) shape.pop_back();  // a comma ends only (n,)
  std::string header =
      fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}", code[1] == '1' ? '|' : '<', code, shape);
  // As NumPy does: the data start at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string file(data::kMagic);
  file += '\x01';
  file += '\x00';
  file += static_cast<char>(header.size() & 0xFF);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  const auto bytes = tensor.bytes();
  file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return file;
}

void write_npy(const Tensor& tensor, const std::filesystem::path& path) { write_file(path, serialize_npy(tensor)); }

}  // namespace zeropoint
