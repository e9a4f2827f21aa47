#include "arrays.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "zeropoint/error.h"

namespace zeropoint::python {
namespace {

struct TypeName {
  DType dtype;
  std::string_view numpy;
  char format;  // of Python's buffer protocol; 0 where it has none
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

// Types that NumPy has by way of ml_dtypes: read and given as the integers of their width.
const char* ml_dtype(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16"
         : is_float8(dtype) && bits(dtype) == 8
             ? std::find_if(kTypeNames.begin(), kTypeNames.end(), [&](const TypeName& row) { return row.dtype == dtype; })
                   ->numpy.data()
             : nullptr;
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

nb::dlpack::dtype dlpack_type(DType dtype) {
  using nb::dlpack::dtype_code;
  const dtype_code code = dtype == DType::b8     ? dtype_code::Bool
                          : dtype == DType::bf16 ? dtype_code::UInt  // NumPy itself has no such type
                          : is_float(dtype)      ? dtype_code::Float
                          : lowest(dtype) < 0    ? dtype_code::Int
                                                 : dtype_code::UInt;
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits(dtype)), 1};
}

template <class... Options>
nb::object export_array(Tensor tensor) {
  const DType dtype = tensor.dtype();
  if (dtype == DType::undefined || bits(dtype) < 8)
    throw Error(ErrorCode::kUnsupported, "", "NumPy has no arrays of " + numpy_name(dtype));
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  const std::vector<std::size_t> shape(owned->dims().begin(), owned->dims().end());
  void* data = const_cast<std::byte*>(owned->bytes().data());
  static std::byte nothing;
  if (data == nullptr) data = &nothing;  // of an array without elements
  nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  owned.release();
  nb::ndarray<nb::numpy, Options...> array(data, shape.size(), shape.data(), owner, nullptr, dlpack_type(dtype));
  nb::object object = nb::cast(array);
  if (ml_dtype(dtype) == nullptr) return object;
  return object.attr("view")(nb::module_::import_("ml_dtypes").attr(ml_dtype(dtype)));
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
  DType dtype = DType::undefined, special = DType::undefined;
  for (const TypeName& row : kTypeNames)
    if (row.numpy == type && ml_dtype(row.dtype) != nullptr) special = row.dtype;
  std::shared_ptr<const Buffer> buffer;
  if (type != "object") {
    try {
      buffer = std::make_shared<const Buffer>(
          special == DType::undefined ? array : view_as(array, bits(special) == 16 ? "uint16" : "uint8"));
      dtype = special != DType::undefined ? special : dtype_of_format(buffer->view().format);
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
  return Tensor::borrow(dtype, Dims(view.shape, view.shape + view.ndim),
                        {static_cast<const std::byte*>(view.buf), static_cast<std::size_t>(view.len)}, buffer);
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
