// A walk over the protobuf bytes of a model that parses nothing: it bounds what parsing will cost and leaves weights in place.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace zeropoint::onnx_file {

// A copy of the model without its weights: in the main graph, its subgraphs and the functions, the raw_data of each initializer
// and of each tensor attribute (fields t and tensors) is the index, as 8 little-endian bytes, of the real bytes in `raw_data`.
// Everything else is as in the file, training graphs with their weights included.
struct ThinModel {
  std::string bytes;
  std::vector<std::span<const std::byte>> raw_data;  // point into the file
};

// Throws Error, `where` naming the file: kBadFile when the bytes are no protobuf message (with the place), kLimit when the file
// has 2 GiB or more, when messages nest deeper than protobuf's limit of 100, or when its many small messages would take more
// than 256 MiB + 32 times the file's size, or 4 GiB, in memory: 9 MB of empty nodes would become 1 GB.
ThinModel thin_copy(std::span<const std::byte> model, const std::string& where);

}  // namespace zeropoint::onnx_file
