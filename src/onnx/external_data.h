// Weights kept in a file beside the model (ONNX external data).
#pragma once

#include <cstddef>
#include <span>

#include "onnx/tensor.h"

namespace zeropoint::onnx_file {

struct ExternalBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};
// The bytes that `proto` points at; `what` names the tensor. The location must be a plain file within the model's folder: an
// absolute path, "..", or a link anywhere on the way is refused (kUnsupported), as a model must not reach other files.
ExternalBytes external_bytes(const ::onnx::TensorProto& proto, Source& source, const std::string& what);

}  // namespace zeropoint::onnx_file
