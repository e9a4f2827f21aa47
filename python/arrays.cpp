#include "arrays.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "zeropoint/error.h"

namespace zeropoint::python {
namespace {

using nb::dlpack::dtype_code;

struct TypeName {
  DType dtype;
  std::string_view numpy;
  char format;      // of Python's buffer protocol; 0: a type of ml_dtypes, which has none
  dtype_code code;  // of DLPack
};
constexpr std::array kTypeNames =
    std::to_array<TypeName>({{DType::b8, "bool", '?', dtype_code::Bool},
                             {DType::f16, "float16", 'e', dtype_code::Float},
                             {DType::bf16, "bfloat16", 0, dtype_code::Bfloat},
                             {DType::f32, "float32", 'f', dtype_code::Float},
                             {DType::f64, "float64", 'd', dtype_code::Float},
                             {DType::s64, "int64", 'q', dtype_code::Int},
                             {DType::u64, "uint64", 'Q', dtype_code::UInt},
                             {DType::s32, "int32", 'i', dtype_code::Int},
                             {DType::u32, "uint32", 'I', dtype_code::UInt},
                             {DType::s16, "int16", 'h', dtype_code::Int},
                             {DType::u16, "uint16", 'H', dtype_code::UInt},
                             {DType::s8, "int8", 'b', dtype_code::Int},
                             {DType::u8, "uint8", 'B', dtype_code::UInt},
                             {DType::s4, "int4", 0, dtype_code::Int},
                             {DType::u4, "uint4", 0, dtype_code::UInt},
                             {DType::s2, "int2", 0, dtype_code::Int},
                             {DType::u2, "uint2", 0, dtype_code::UInt},
                             {DType::f8e4m3fn, "float8_e4m3fn", 0, dtype_code::Float8_E4M3FN},
                             {DType::f8e4m3fnuz, "float8_e4m3fnuz", 0, dtype_code::Float8_E4M3FNUZ},
                             {DType::f8e5m2, "float8_e5m2", 0, dtype_code::Float8_E5M2},
                             {DType::f8e5m2fnuz, "float8_e5m2fnuz", 0, dtype_code::Float8_E5M2FNUZ},
                             {DType::f8e8m0, "float8_e8m0fnu", 0, dtype_code::Float8_E8M0FNU},
                             {DType::f4e2m1, "float4_e2m1fn", 0, dtype_code::Float4_E2M1FN}});

// Of a type of ml_dtypes; undefined for all others.
DType stored_type(std::string_view numpy) {
  for (const TypeName& row : kTypeNames)
    if (row.numpy == numpy && row.format == 0) return row.dtype;
  return DType::undefined;
}

// Python's memory, held until the last tensor that points at it is gone. That may happen on any thread.
class Buffer {
 public:
  explicit Buffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) throw nb::python_error();
  }
  ~Buffer() {
    nb::gil_scoped_acquire gil;
    PyBuffer_Release(&view_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  const Py_buffer& view() const { return view_; }

 private:
  Py_buffer view_{};
};

DType dtype_of_format(const char* format) {
  std::string_view text = format == nullptr ? "B" : format;
  if (text.size() == 2 && (text[0] == '@' || text[0] == '=' || text[0] == '<')) text.remove_prefix(1);
  if (text.size() != 1) return DType::undefined;
  static_assert(sizeof(long) == 8, "format 'l' is a 64-bit integer");
  const char code = text[0] == 'l' ? 'q' : text[0] == 'L' ? 'Q' : text[0];
  for (const TypeName& row : kTypeNames)
    if (row.format == code) return row.dtype;
  return DType::undefined;
}

std::string dtype_text(nb::handle array) { return nb::cast<std::string>(nb::str(nb::handle(array.attr("dtype")))); }

nb::object view_as(nb::handle array, const char* dtype) { return array.attr("view")(dtype); }

dtype_code code_of(DType dtype) {
  for (const TypeName& row : kTypeNames)
    if (row.dtype == dtype) return row.code;
  return dtype_code::UInt;
}

// Of an element as it stands in a tensor of a byte or more each.
nb::dlpack::dtype dlpack_type(dtype_code code, DType dtype) {
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(std::max(8, bits(dtype))), 1};
}

DType dtype_of_dlpack(nb::dlpack::dtype type) {
  for (const TypeName& row : kTypeNames)
    if (bits(row.dtype) >= 8 && type == dlpack_type(row.code, row.dtype)) return row.dtype;
  return DType::undefined;
}

// ml_dtypes keeps types below a byte in a byte each, signed ones with their sign; ONNX packs them, the first in the low bits.
Tensor byte_each(const Tensor& packed) {
  const int width = bits(packed.dtype()), per_byte = 8 / width;
  const bool has_sign = is_integer(packed.dtype()) && lowest(packed.dtype()) < 0;
  Tensor result(DType::u8, packed.dims());
  auto to = result.mutable_values<std::uint8_t>();
  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto byte = static_cast<unsigned>(packed.bytes()[i / static_cast<std::size_t>(per_byte)]);
    unsigned value = byte >> (static_cast<int>(i % static_cast<std::size_t>(per_byte)) * width) & ((1U << width) - 1);
    if (has_sign && (value >> (width - 1)) != 0) value |= 0xFFU << width;
    to[i] = static_cast<std::uint8_t>(value);
  }
  return result;
}

Tensor packed_from(DType dtype, Dims dims, std::span<const std::byte> byte_each) {
  const int width = bits(dtype), per_byte = 8 / width;
  Tensor result(dtype, std::move(dims));
  const auto to = result.mutable_bytes();
  for (std::size_t i = 0; i < byte_each.size(); ++i)
    to[i / static_cast<std::size_t>(per_byte)] |= (byte_each[i] & static_cast<std::byte>((1U << width) - 1))
                                                  << (static_cast<int>(i % static_cast<std::size_t>(per_byte)) * width);
  return result;
}

// An array of a framework of nanobind's around the tensor, which it keeps.
template <class... Options>
nb::object wrap(Tensor tensor, dtype_code code) {
  if (bits(tensor.dtype()) < 8) tensor = byte_each(tensor);
  const nb::dlpack::dtype type = dlpack_type(code, tensor.dtype());
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  const std::vector<std::size_t> shape(owned->dims().begin(), owned->dims().end());
  void* data = const_cast<std::byte*>(owned->bytes().data());
  static std::byte nothing;
  if (data == nullptr) data = &nothing;  // of an array without elements
  nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  owned.release();
  return nb::cast(nb::ndarray<Options...>(data, shape.size(), shape.data(), owner, nullptr, type));
}

void check_exportable(DType dtype) {
  if (dtype == DType::undefined || bits(dtype) == 0)
    throw Error(ErrorCode::kUnsupported, "", "NumPy has no arrays of " + numpy_name(dtype));
}

template <class... Options>
nb::object numpy_array(Tensor tensor) {
  const DType dtype = tensor.dtype();
  check_exportable(dtype);
  const std::string type = numpy_name(dtype);
  if (stored_type(type) == DType::undefined) return wrap<nb::numpy, Options...>(std::move(tensor), code_of(dtype));
  // What NumPy itself does not have it sees as bytes or pairs of bytes first.
  const nb::object bytes = wrap<nb::numpy, Options...>(std::move(tensor), dtype_code::UInt);
  return bytes.attr("view")(nb::module_::import_("ml_dtypes").attr(type.c_str()));
}

bool is_numpy_array(nb::handle object) {
  static PyObject* type = nullptr;  // numpy.ndarray, found once and kept; the GIL guards it
  if (type == nullptr) type = nb::object(nb::module_::import_("numpy").attr("ndarray")).release().ptr();
  return object.type().is(type);
}

// DLPack's memory, held until the last tensor that points at it is gone. That may happen on any thread.
class Capsule {
 public:
  using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
  explicit Capsule(Array array) : array_(std::move(array)) {}
  ~Capsule() {
    nb::gil_scoped_acquire gil;
    array_ = Array();
  }
  Capsule(const Capsule&) = delete;
  Capsule& operator=(const Capsule&) = delete;

 private:
  Array array_;
};

[[noreturn]] void refuse(const std::string& what, const std::string& type, std::optional<DType> wanted) {
  std::string message = what + " is " + type;
  if (wanted)
    message += ", wanted is " + numpy_name(*wanted) + ": convert it with .astype(\"" + numpy_name(*wanted) + "\")";
  else
    message += ", which tensors don't have";
  throw nb::type_error(message.c_str());
}

Tensor borrow(DType dtype, const std::shared_ptr<const Buffer>& buffer) {
  const Py_buffer& view = buffer->view();
  const std::span bytes{static_cast<const std::byte*>(view.buf), static_cast<std::size_t>(view.len)};
  Dims dims(view.shape, view.shape + view.ndim);
  if (bits(dtype) < 8) return packed_from(dtype, std::move(dims), bytes);
  return Tensor::borrow(dtype, std::move(dims), bytes, buffer);
}

// An array of NumPy's that can be read as it is; nothing for others, with no error left.
std::optional<Tensor> from_numpy(nb::handle source) {
  std::shared_ptr<const Buffer> buffer;
  try {
    buffer = std::make_shared<const Buffer>(source);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_BufferError)) throw;
    return std::nullopt;
  }
  const DType dtype = dtype_of_format(buffer->view().format);
  if (dtype == DType::undefined) return std::nullopt;
  return borrow(dtype, buffer);
}

// The same for any other library's array in this machine's memory.
std::optional<Tensor> from_dlpack(nb::handle source) {
  Capsule::Array array;
  if (!nb::hasattr(source, "__dlpack__") || !nb::try_cast(source, array, false)) return std::nullopt;
  const DType dtype = dtype_of_dlpack(array.dtype());
  if (dtype == DType::undefined) return std::nullopt;
  const std::span bytes{static_cast<const std::byte*>(array.data()), array.nbytes()};
  Dims dims(array.shape_ptr(), array.shape_ptr() + array.ndim());
  return Tensor::borrow(dtype, std::move(dims), bytes, std::make_shared<const Capsule>(std::move(array)));
}

}  // namespace

std::string numpy_name(DType dtype) {
  for (const TypeName& row : kTypeNames)
    if (row.dtype == dtype) return std::string(row.numpy);
  return std::string(name(dtype));
}

DType parse_numpy_name(const std::string& text) {
  std::string known;
  for (const TypeName& row : kTypeNames) {
    if (row.numpy == text) return row.dtype;
    known += (known.empty() ? "" : ", ") + std::string(row.numpy);
  }
  throw Error(ErrorCode::kBadArgument, "dtype", "'" + text + "' is not known; known are " + known);
}

Tensor to_tensor(nb::handle source, const std::string& what, std::optional<DType> wanted) {
  if (auto tensor = is_numpy_array(source) ? from_numpy(source) : from_dlpack(source)) {
    if (wanted && *wanted != tensor->dtype()) refuse(what, numpy_name(tensor->dtype()), wanted);
    return *std::move(tensor);
  }
  const nb::object array = nb::module_::import_("numpy").attr("asarray")(source, nb::arg("order") = "C");
  const std::string type = dtype_text(array);
  const DType stored = stored_type(type);
  DType dtype = DType::undefined;
  std::shared_ptr<const Buffer> buffer;
  if (type != "object") {
    try {
      const bool as_it_is = stored == DType::undefined;
      buffer = std::make_shared<const Buffer>(as_it_is ? array : view_as(array, bits(stored) == 16 ? "uint16" : "uint8"));
      dtype = as_it_is ? dtype_of_format(buffer->view().format) : stored;
    } catch (nb::python_error& error) {  // no buffer of this type: told below
      if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_TypeError) && !error.matches(PyExc_BufferError)) throw;
    }
  }
  if (dtype == DType::undefined || (wanted && *wanted != dtype)) refuse(what, type, wanted);
  return borrow(dtype, buffer);
}

nb::object to_array(Tensor tensor) {
  tensor.mutable_bytes();  // its own from here on
  return numpy_array<>(std::move(tensor));
}

nb::object to_dlpack(Tensor tensor) {
  check_exportable(tensor.dtype());
  tensor.mutable_bytes();
  const dtype_code code = code_of(tensor.dtype());
  return wrap<nb::array_api>(std::move(tensor), code);
}

nb::object to_view(Tensor tensor) { return numpy_array<nb::ro>(std::move(tensor)); }

nb::object to_scalar_or_array(Tensor tensor) {
  const bool scalar = tensor.rank() == 0;
  nb::object array = to_array(std::move(tensor));
  return scalar ? array[nb::tuple()] : array;
}

}  // namespace zeropoint::python
