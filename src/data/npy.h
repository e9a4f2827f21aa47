// The header of an .npy file, apart from its data: for reading members of archives piece by piece.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "zeropoint/tensor.h"

namespace zeropoint::data {

struct NpyHeader {
  DType dtype = DType::undefined;
  bool fortran_order = false;
  Dims dims;
  std::size_t data_offset = 0;  // from the start of the file
  std::size_t data_bytes = 0;
};

inline constexpr std::size_t kNpyPrefixBytes = 12;         // enough to know the header's length
inline constexpr std::size_t kNpyMostHeaderBytes = 65536;  // a real one has about 128

// Bytes of the whole header, known from its first kNpyPrefixBytes. Throws Error kBadFile.
std::size_t npy_header_bytes(std::span<const std::byte> prefix, const std::string& where);
// `bytes` holds the header at least. Throws Error kBadFile.
NpyHeader parse_npy_header(std::span<const std::byte> bytes, const std::string& where);
// The tensor of a header and its data (data_bytes long).
Tensor npy_tensor(const NpyHeader& header, std::span<const std::byte> data);
// The same, read(target) filling the bytes in place.
template <class Read>
Tensor read_npy_tensor(const NpyHeader& header, const Read& read) {
  Tensor tensor(header.dtype, header.dims);
  read(tensor.mutable_bytes());
  if (header.dtype != DType::b8 && (!header.fortran_order || header.dims.size() < 2)) return tensor;
  return npy_tensor(header, tensor.bytes());
}

}  // namespace zeropoint::data
