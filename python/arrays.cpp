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

struct TypeName {
  DType dtype;
  std::string_view numpy;
  char format;  // of Python's buffer protocol; 0: a type of ml_dtypes, which has none
};
constexpr std::array kTypeNames = std::to_array<TypeName>({{DType::b8, "bool", '?'},
                                                           {DType::f16, "float16", 'e'},
                                                           {DType::bf16, "bfloat16", 0},
                                                           {DType::f32, "float32", 'f'},
                                                           {DType::f64, "float64", 'd'},
                                                           {DType::s64, "int64", 'q'},
                                                           {DType::u64, "uint64", 'Q'},
                                                           {DType::s32, "int32", 'i'},
                                                           {DType::u32, "uint32", 'I'},
                                                           {DType::s16, "int16", 'h'},
                                                           {DType::u16, "uint16", 'H'},
                                                           {DType::s8, "int8", 'b'},
                                                           {DType::u8, "uint8", 'B'},
                                                           {DType::s4, "int4", 0},
                                                           {DType::u4, "uint4", 0},
                                                           {DType::s2, "int2", 0},
                                                           {DType::u2, "uint2", 0},
                                                           {DType::f8e4m3fn, "float8_e4m3fn", 0},
                                                           {DType::f8e4m3fnuz, "float8_e4m3fnuz", 0},
                                                           {DType::f8e5m2, "float8_e5m2", 0},
                                                           {DType::f8e5m2fnuz, "float8_e5m2fnuz", 0},
                                                           {DType::f8e8m0, "float8_e8m0fnu", 0},
                                                           {DType::f4e2m1, "float4_e2m1fn", 0}});

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

// Of the elements' memory: what NumPy itself does not have is bytes or pairs of bytes.
nb::dlpack::dtype dlpack_type(DType dtype) {
  using nb::dlpack::dtype_code;
  const bool stored = stored_type(numpy_name(dtype)) != DType::undefined;
  const dtype_code code = stored               ? dtype_code::UInt
                          : dtype == DType::b8 ? dtype_code::Bool
                          : is_float(dtype)    ? dtype_code::Float
                          : lowest(dtype) < 0  ? dtype_code::Int
                                               : dtype_code::UInt;
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(std::max(8, bits(dtype))), 1};
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

template <class... Options>
nb::object export_array(Tensor tensor) {
  const DType dtype = tensor.dtype();
  if (dtype == DType::undefined || bits(dtype) == 0)
    throw Error(ErrorCode::kUnsupported, "", "NumPy has no arrays of " + numpy_name(dtype));
  if (bits(dtype) < 8) tensor = byte_each(tensor);
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  const std::vector<std::size_t> shape(owned->dims().begin(), owned->dims().end());
  void* data = const_cast<std::byte*>(owned->bytes().data());
  static std::byte nothing;
  if (data == nullptr) data = &nothing;  // of an array without elements
  nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  owned.release();
  nb::ndarray<nb::numpy, Options...> array(data, shape.size(), shape.data(), owner, nullptr, dlpack_type(dtype));
  nb::object object = nb::cast(array);
  const std::string type = numpy_name(dtype);
  if (stored_type(type) == DType::undefined) return object;
  return object.attr("view")(nb::module_::import_("ml_dtypes").attr(type.c_str()));
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
  nb::object array = nb::module_::import_("numpy").attr("asarray")(source, nb::arg("order") = "C");
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
  if (dtype == DType::undefined || (wanted && *wanted != dtype)) {
    std::string message = what + " is " + type;
    if (wanted)
      message += ", wanted is " + numpy_name(*wanted) + ": convert it with .astype(\"" + numpy_name(*wanted) + "\")";
    else
      message += ", which tensors don't have";
    throw nb::type_error(message.c_str());
  }
  const Py_buffer& view = buffer->view();
  const std::span bytes{static_cast<const std::byte*>(view.buf), static_cast<std::size_t>(view.len)};
  Dims dims(view.shape, view.shape + view.ndim);
  if (bits(dtype) < 8) return packed_from(dtype, std::move(dims), bytes);
  return Tensor::borrow(dtype, std::move(dims), bytes, buffer);
}

nb::object to_array(Tensor tensor) {
  tensor.mutable_bytes();  // its own from here on
  return export_array<>(std::move(tensor));
}

nb::object to_view(Tensor tensor) { return export_array<nb::ro>(std::move(tensor)); }

nb::object to_scalar_or_array(Tensor tensor) {
  const bool scalar = tensor.rank() == 0;
  nb::object array = to_array(std::move(tensor));
  return scalar ? array[nb::tuple()] : array;
}

}  // namespace zeropoint::python
