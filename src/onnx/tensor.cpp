#include "onnx/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "ir/names.h"
#include "onnx/external_data.h"
#include "zeropoint/error.h"

namespace zeropoint::onnx_file {
namespace {

using ::onnx::SparseTensorProto;
using ::onnx::TensorProto;

constexpr std::int32_t kString = TensorProto::STRING;

// TensorProto.DataType -> DType.
constexpr std::array<DType, 27> kDTypes = {
    DType::undefined, DType::f32,    DType::u8,     DType::s8,       DType::u16,        DType::s16,    DType::s32,
    DType::s64,       DType::opaque, DType::b8,     DType::f16,      DType::f64,        DType::u32,    DType::u64,
    DType::opaque,    DType::opaque, DType::bf16,   DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2, DType::f8e5m2fnuz,
    DType::u4,        DType::s4,     DType::f4e2m1, DType::f8e8m0,   DType::u2,         DType::s2};

// First byte of an opaque tensor: the message that follows.
constexpr char kDense = 'T', kSparse = 'S';

[[noreturn]] void fail(ErrorCode code, const Source& source, const std::string& what, const std::string& message) {
  throw Error(code, fmt::format("{}, {}", source.where, what), message);
}

Dims read_dims(const ::google::protobuf::RepeatedField<std::int64_t>& list, const Source& source, const std::string& what) {
  Dims dims(list.begin(), list.end());
  if (std::any_of(dims.begin(), dims.end(), [](std::int64_t dim) { return dim < 0; }))
    fail(ErrorCode::kBadModel, source, what, "a dimension is negative: " + to_string(dims));
  try {
    element_count(dims);
  } catch (const Error& error) {
    fail(error.code, source, what, error.what());
  }
  return dims;
}

// Bytes from one of the typed lists of a TensorProto: each entry one T.
template <class T, class List>
Tensor typed(DType dtype, Dims dims, const List& list, const Source& source, const std::string& what) {
  Tensor tensor(dtype, std::move(dims));
  const auto entries = tensor.mutable_bytes().size() / sizeof(T);
  if (static_cast<std::size_t>(list.size()) != entries)
    fail(ErrorCode::kBadShape, source, what,
         fmt::format("{} numbers for {}{}, which takes {}", list.size(), name(dtype), to_string(tensor.dims()), entries));
  std::byte* out = tensor.mutable_bytes().data();
  for (const auto entry : list) {
    const T value = static_cast<T>(entry);
    std::memcpy(out, &value, sizeof value);
    out += sizeof value;
  }
  return tensor;
}

void check_range(const TensorProto& proto, std::int64_t low, std::int64_t high, const Source& source, const std::string& what) {
  for (const std::int32_t value : proto.int32_data())
    if (value < low || value > high)
      fail(ErrorCode::kBadModel, source, what, fmt::format("the number {} is outside of its type, {} to {}", value, low, high));
}

Tensor read_typed(DType dtype, Dims dims, const TensorProto& proto, const Source& source, const std::string& what) {
  // Checked before anything is allocated: dimensions may claim what the file does not hold.
  const std::int64_t count = element_count(dims);
  const std::int64_t entries = std::max({proto.float_data_size(), proto.int32_data_size(), proto.int64_data_size(),
                                         proto.double_data_size(), proto.uint64_data_size()});
  if (count / 8 > entries)
    fail(ErrorCode::kBadShape, source, what, fmt::format("{} numbers for {}{}", entries, name(dtype), to_string(dims)));
  switch (dtype) {
    case DType::f32:
      return typed<float>(dtype, std::move(dims), proto.float_data(), source, what);
    case DType::f64:
      return typed<double>(dtype, std::move(dims), proto.double_data(), source, what);
    case DType::s64:
      return typed<std::int64_t>(dtype, std::move(dims), proto.int64_data(), source, what);
    case DType::u64:
      return typed<std::uint64_t>(dtype, std::move(dims), proto.uint64_data(), source, what);
    case DType::u32:
      for (const std::uint64_t value : proto.uint64_data())
        if (value > std::numeric_limits<std::uint32_t>::max())
          fail(ErrorCode::kBadModel, source, what, fmt::format("the number {} is outside of its type, u32", value));
      return typed<std::uint32_t>(dtype, std::move(dims), proto.uint64_data(), source, what);
    case DType::s32:
      return typed<std::int32_t>(dtype, std::move(dims), proto.int32_data(), source, what);
    case DType::b8:
      check_range(proto, 0, 1, source, what);
      break;
    case DType::f16:
    case DType::bf16:
      check_range(proto, 0, 0xffff, source, what);
      break;
    case DType::s4:
    case DType::u4:
    case DType::s2:
    case DType::u2:
    case DType::f4e2m1:
      check_range(proto, -128, 255, source, what);
      break;  // packed
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
      check_range(proto, 0, 255, source, what);
      break;
    default:
      check_range(proto, lowest(dtype), highest(dtype), source, what);
      break;
  }
  if (bits(dtype) == 16) return typed<std::uint16_t>(dtype, std::move(dims), proto.int32_data(), source, what);
  return typed<std::uint8_t>(dtype, std::move(dims), proto.int32_data(), source, what);
}

// One form for equal values: a bool is 0 or 1 (any other byte would be undefined behaviour to read as one), and the bits behind
// the last element of 2 or 4 bits are zero.
void normalize(Tensor& tensor) {
  const auto odd = [](std::byte value) { return value > std::byte{1}; };
  const auto bytes = tensor.unaligned_bytes();
  if (tensor.dtype() == DType::b8 && std::any_of(bytes.begin(), bytes.end(), odd))
    for (std::byte& value : tensor.mutable_bytes()) value = std::byte{value != std::byte{0}};
  const std::int64_t used = tensor.size() * bits(tensor.dtype()) % 8;
  const auto unused_bits = static_cast<std::byte>(0xff << used);
  if (used != 0 && (bytes.back() & unused_bits) != std::byte{0}) tensor.mutable_bytes().back() &= ~unused_bits;
}

Tensor read_raw(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                const Source& source, const std::string& what) {
  try {
    const bool copy = !owner;
    Tensor tensor = Tensor::borrow(dtype, std::move(dims), bytes, std::move(owner), source.spill);
    if (copy) tensor.mutable_bytes();
    return tensor;
  } catch (const Error& error) {
    fail(error.code, source, what, error.what());
  }
}

}  // namespace

std::span<const std::byte> Source::raw_data(const TensorProto& proto) const {
  std::uint64_t index = 0;
  std::memcpy(&index, proto.raw_data().data(), std::min(sizeof index, proto.raw_data().size()));
  return thin->raw_data.at(static_cast<std::size_t>(index));
}

std::optional<DType> dtype_of_onnx(std::int32_t data_type) {
  if (data_type <= 0) return std::nullopt;
  return static_cast<std::size_t>(data_type) < kDTypes.size() ? kDTypes[static_cast<std::size_t>(data_type)] : DType::opaque;
}

std::int32_t onnx_of_dtype(DType dtype) {
  if (dtype == DType::opaque) return 0;
  return static_cast<std::int32_t>(std::find(kDTypes.begin(), kDTypes.end(), dtype) - kDTypes.begin());
}

std::string extra_of(const ::google::protobuf::MessageLite& message) { return message.SerializeAsString(); }

std::string checked_name(std::string&& text, const Source& source, const char* what) {
  if (!valid_utf8(text))
    throw Error(ErrorCode::kBadModel, source.where, fmt::format("{} {} is not UTF-8", what, in_quotes(text)));
  return std::move(text);
}

Tensor read_tensor(TensorProto& proto, Source& source, const std::string& what) {
  const std::optional<DType> dtype = dtype_of_onnx(proto.data_type());
  if (!dtype) fail(ErrorCode::kBadModel, source, what, fmt::format("the element type {} does not exist", proto.data_type()));
  Dims dims = read_dims(proto.dims(), source, what);
  if (proto.has_segment()) fail(ErrorCode::kUnsupported, source, what, "is a segment of a tensor");
  const bool typed_data = proto.float_data_size() || proto.int32_data_size() || proto.int64_data_size() ||
                          proto.double_data_size() || proto.uint64_data_size() || proto.string_data_size();
  const bool external = proto.data_location() == TensorProto::EXTERNAL;
  if (int{typed_data} + int{proto.has_raw_data()} + int{external} > 1)
    fail(ErrorCode::kBadModel, source, what, "has data in more than one place");

  Tensor tensor;
  if (*dtype == DType::opaque) {
    if (external)
      fail(ErrorCode::kUnsupported, source, what, fmt::format("external data of the element type {}", proto.data_type()));
    if (proto.data_type() == kString && proto.string_data_size() != element_count(dims))
      fail(ErrorCode::kBadShape, source, what, fmt::format("{} strings for {}", proto.string_data_size(), to_string(dims)));
    TensorProto whole;
    whole.set_data_type(proto.data_type());
    whole.mutable_string_data()->Swap(proto.mutable_string_data());
    whole.mutable_float_data()->Swap(proto.mutable_float_data());
    whole.mutable_int32_data()->Swap(proto.mutable_int32_data());
    whole.mutable_int64_data()->Swap(proto.mutable_int64_data());
    whole.mutable_double_data()->Swap(proto.mutable_double_data());
    whole.mutable_uint64_data()->Swap(proto.mutable_uint64_data());
    if (proto.has_raw_data()) {
      const auto raw = source.raw_data(proto);
      whole.set_raw_data(raw.data(), raw.size());
    }
    tensor = Tensor::opaque(std::move(dims), kDense + whole.SerializeAsString());
  } else if (external) {
    ExternalBytes data = external_bytes(proto, source, what);
    tensor = read_raw(*dtype, std::move(dims), data.bytes, std::move(data.owner), source, what);
  } else if (proto.has_raw_data()) {
    tensor = read_raw(*dtype, std::move(dims), source.raw_data(proto), source.owner, source, what);
  } else {
    tensor = read_typed(*dtype, std::move(dims), proto, source, what);
  }
  normalize(tensor);
  proto.clear_dims();
  proto.clear_data_type();
  proto.clear_raw_data();
  proto.clear_float_data();
  proto.clear_int32_data();
  proto.clear_int64_data();
  proto.clear_double_data();
  proto.clear_uint64_data();
  proto.clear_string_data();
  proto.clear_external_data();
  proto.clear_data_location();
  return tensor;
}

Tensor read_sparse_tensor(SparseTensorProto& proto, const Source& source, const std::string& what) {
  Dims dims = read_dims(proto.dims(), source, what);
  proto.mutable_values()->clear_name();
  return Tensor::opaque(std::move(dims), kSparse + proto.SerializeAsString());
}

bool is_sparse(const Tensor& tensor) {
  return tensor.dtype() == DType::opaque && !tensor.bytes().empty() && static_cast<char>(tensor.bytes()[0]) == kSparse;
}

SparseTensorProto write_sparse_tensor(const Tensor& tensor) {
  const auto bytes = tensor.bytes().subspan(1);
  return parse_extra<SparseTensorProto>({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void write_tensor(const Tensor& tensor, TensorProto& proto, bool with_data) {
  const auto bytes = tensor.unaligned_bytes();
  if (tensor.dtype() == DType::opaque) {
    const auto whole = bytes.subspan(std::min<std::size_t>(1, bytes.size()));
    proto.MergeFrom(parse_extra<TensorProto>({reinterpret_cast<const char*>(whole.data()), whole.size()}));
  } else {
    proto.set_data_type(onnx_of_dtype(tensor.dtype()));
    if (with_data) proto.set_raw_data(bytes.data(), bytes.size());
  }
  proto.mutable_dims()->Add(tensor.dims().begin(), tensor.dims().end());
}

ValueInfo read_value_info(::onnx::ValueInfoProto& proto, const Source& source) {
  ValueInfo info;
  info.name = checked_name(std::move(*proto.mutable_name()), source, "the name of a value");
  proto.clear_name();
  if (proto.type().has_tensor_type()) {
    ::onnx::TypeProto& type = *proto.mutable_type();
    ::onnx::TypeProto::Tensor& tensor = *type.mutable_tensor_type();
    info.type.dtype = dtype_of_onnx(tensor.elem_type()).value_or(DType::undefined);
    if (info.type.dtype != DType::opaque) tensor.clear_elem_type();
    if (tensor.has_shape()) {
      Shape& shape = info.type.shape.emplace();
      bool left = tensor.shape().unknown_fields().size() > 0;
      for (auto& dim : *tensor.mutable_shape()->mutable_dim()) {
        // Negative numbers are an old way to say "unknown": they stay in the extra.
        if (dim.has_dim_value() && dim.dim_value() >= 0) {
          shape.emplace_back(dim.dim_value());
          dim.clear_dim_value();
        } else if (dim.has_dim_param()) {
          // "?" is how Paddle's exporter says "unknown": two of them need not be equal. A name stands in the type of every
          // value that has the dimension: one that is long (exporters write whole expressions) is left out likewise.
          constexpr std::size_t kLongest = 1024;
          if (dim.dim_param() == "?" || dim.dim_param().size() > kLongest) {
            shape.emplace_back();
          } else {
            shape.emplace_back(checked_name(std::move(*dim.mutable_dim_param()), source, "the name of a dimension"));
            dim.clear_dim_param();
          }
        } else {
          shape.emplace_back();
        }
        left |= dim.ByteSizeLong() > 0;
      }
      if (!left) tensor.clear_shape();
    }
    if (tensor.ByteSizeLong() == 0) type.clear_tensor_type();
    if (type.ByteSizeLong() == 0) proto.clear_type();
  }
  info.extra = extra_of(proto);
  return info;
}

::onnx::ValueInfoProto write_value_info(const std::string& value, const TensorType& type, const std::string& extra) {
  auto proto = parse_extra<::onnx::ValueInfoProto>(extra);
  proto.set_name(value);
  if (type.dtype == DType::undefined && !type.shape) return proto;
  ::onnx::TypeProto::Tensor& tensor = *proto.mutable_type()->mutable_tensor_type();
  if (type.dtype != DType::opaque) tensor.set_elem_type(onnx_of_dtype(type.dtype));
  if (!type.shape) {
    tensor.clear_shape();
    return proto;
  }
  ::onnx::TensorShapeProto& shape = *tensor.mutable_shape();
  if (static_cast<std::size_t>(shape.dim_size()) != type.shape->size()) {
    shape.clear_dim();
    for (std::size_t i = 0; i < type.shape->size(); ++i) shape.add_dim();
  }
  for (int i = 0; const Dim& dim : *type.shape) {
    auto& out = *shape.mutable_dim(i++);
    if (dim.fixed()) {
      out.set_dim_value(dim.value);
    } else if (!dim.symbol.empty()) {
      out.set_dim_param(dim.symbol);
    }
  }
  return proto;
}

}  // namespace zeropoint::onnx_file
