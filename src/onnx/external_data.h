// Weights kept in a file beside the model (ONNX external data).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "onnx/tensor.h"

namespace zeropoint::onnx_file {

struct ExternalBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};
// The bytes that `proto` points at; `what` names the tensor. The location must be a plain file within the model's folder: an
// absolute path, "..", a device or a FIFO is refused (kUnsupported), as a model must not reach other files. So is a link, but
// for one case: the model itself was given as a link (the cache of Hugging Face is full of them), and the data lie in the very
// folder where that link leads.
ExternalBytes external_bytes(const ::onnx::TensorProto& proto, Source& source, const std::string& what);

// save() begins a data file with a line that names it, and the model says the same in its metadata: a crash between the renames
// of the two files, or a copy of only one of them, is noticed instead of giving wrong weights. Other runtimes see padding.
inline constexpr std::string_view kDataIdKey = "zeropoint.data_id";
inline constexpr std::uint64_t kDataHeaderSize = 4096;
std::string data_header(std::string_view id);
// Throws kMismatch when the file was written by save(), but not with the model whose metadata has `id`.
void check_data_id(std::span<const std::byte> file, const std::string& id, const std::string& location,
                   const std::string& where);

}  // namespace zeropoint::onnx_file
