// Arrays of NumPy and of libraries that know DLPack <-> tensors.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "zeropoint/tensor.h"

namespace zeropoint::python {

namespace nb = nanobind;

// Types have NumPy's names in Python: "float32", "uint8", "bool".
std::string numpy_name(DType dtype);
DType parse_numpy_name(const std::string& text);  // throws Error kBadArgument listing the names

// The tensor points at the memory of an array of NumPy or of a library that knows DLPack (a CPU tensor of PyTorch) and keeps it
// alive; an array that is not C-contiguous, or no array at all (a list), is converted by numpy.asarray first. `what` starts the
// messages ("input 'x'"). Throws TypeError for element types that tensors don't have, and when `wanted` is another type:
// nothing is cast in silence.
Tensor to_tensor(nb::handle array, const std::string& what, std::optional<DType> wanted = std::nullopt);

// A new array that owns the tensor; its bytes are copied only when somebody else shares them.
nb::object to_array(Tensor tensor);
// The same as an object for any library's from_dlpack.
nb::object to_dlpack(Tensor tensor);
// A view that cannot be written to.
nb::object to_view(Tensor tensor);
// The array's only element as a NumPy scalar when it has no dimensions, else the array.
nb::object to_scalar_or_array(Tensor tensor);

}  // namespace zeropoint::python
