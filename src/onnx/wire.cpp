#include "onnx/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "zeropoint/error.h"

namespace zeropoint::onnx_file {
namespace {

// The messages of onnx-ml.proto that hold further messages. kLeaf: any other message, string or packed list.
enum class Kind : std::uint8_t {
  kLeaf,
  kModel,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparseTensor,
  kValueInfo,
  kType,
  kTensorType,
  kSequenceType,
  kMapType,
  kShape,
  kTraining,
  kFunction,
  kAnnotation,
  kEntry,
  kDevice,
  kSharding
};

struct Field {
  Kind message;
  std::uint32_t number;
  Kind child;
};
constexpr Field kFields[] = {{Kind::kModel, 7, Kind::kGraph},
                             {Kind::kModel, 8, Kind::kEntry},
                             {Kind::kModel, 14, Kind::kEntry},
                             {Kind::kModel, 20, Kind::kTraining},
                             {Kind::kModel, 25, Kind::kFunction},
                             {Kind::kModel, 26, Kind::kEntry},
                             {Kind::kGraph, 1, Kind::kNode},
                             {Kind::kGraph, 5, Kind::kTensor},
                             {Kind::kGraph, 11, Kind::kValueInfo},
                             {Kind::kGraph, 12, Kind::kValueInfo},
                             {Kind::kGraph, 13, Kind::kValueInfo},
                             {Kind::kGraph, 14, Kind::kAnnotation},
                             {Kind::kGraph, 15, Kind::kSparseTensor},
                             {Kind::kGraph, 16, Kind::kEntry},
                             {Kind::kNode, 5, Kind::kAttribute},
                             {Kind::kNode, 9, Kind::kEntry},
                             {Kind::kNode, 10, Kind::kDevice},
                             {Kind::kDevice, 2, Kind::kSharding},
                             {Kind::kSharding, 3, Kind::kEntry},
                             {Kind::kSharding, 4, Kind::kAnnotation},
                             {Kind::kAttribute, 5, Kind::kTensor},
                             {Kind::kAttribute, 6, Kind::kGraph},
                             {Kind::kAttribute, 10, Kind::kTensor},
                             {Kind::kAttribute, 11, Kind::kGraph},
                             {Kind::kAttribute, 14, Kind::kType},
                             {Kind::kAttribute, 15, Kind::kType},
                             {Kind::kAttribute, 22, Kind::kSparseTensor},
                             {Kind::kAttribute, 23, Kind::kSparseTensor},
                             {Kind::kTensor, 13, Kind::kEntry},
                             {Kind::kTensor, 16, Kind::kEntry},
                             {Kind::kSparseTensor, 1, Kind::kTensor},
                             {Kind::kSparseTensor, 2, Kind::kTensor},
                             {Kind::kValueInfo, 2, Kind::kType},
                             {Kind::kValueInfo, 4, Kind::kEntry},
                             {Kind::kType, 1, Kind::kTensorType},
                             {Kind::kType, 4, Kind::kSequenceType},
                             {Kind::kType, 5, Kind::kMapType},
                             {Kind::kType, 8, Kind::kTensorType},
                             {Kind::kType, 9, Kind::kSequenceType},
                             {Kind::kTensorType, 2, Kind::kShape},
                             {Kind::kSequenceType, 1, Kind::kType},
                             {Kind::kMapType, 2, Kind::kType},
                             {Kind::kShape, 1, Kind::kEntry},
                             {Kind::kTraining, 1, Kind::kGraph},
                             {Kind::kTraining, 2, Kind::kGraph},
                             {Kind::kTraining, 3, Kind::kEntry},
                             {Kind::kTraining, 4, Kind::kEntry},
                             {Kind::kFunction, 7, Kind::kNode},
                             {Kind::kFunction, 9, Kind::kEntry},
                             {Kind::kFunction, 11, Kind::kAttribute},
                             {Kind::kFunction, 12, Kind::kValueInfo},
                             {Kind::kFunction, 14, Kind::kEntry},
                             {Kind::kAnnotation, 2, Kind::kEntry}};

constexpr std::size_t kKinds = static_cast<std::size_t>(Kind::kSharding) + 1;
constexpr std::uint32_t kMostFields = 32;
constexpr auto kChildren = [] {
  std::array<std::array<Kind, kMostFields>, kKinds> table{};
  for (const Field& field : kFields) table[static_cast<std::size_t>(field.message)][field.number] = field.child;
  return table;
}();
Kind child_of(Kind message, std::uint32_t field) {
  return field < kMostFields ? kChildren[static_cast<std::size_t>(message)][field] : Kind::kLeaf;
}

// About what protobuf and our graph allocate for one message, its strings and lists apart.
std::size_t cost(Kind kind) {
  switch (kind) {
    case Kind::kLeaf:
      return 48;  // a string
    case Kind::kNode:
      return 224;
    case Kind::kAttribute:
    case Kind::kTensor:
    case Kind::kGraph:
    case Kind::kFunction:
      return 336;
    default:
      return 128;
  }
}

constexpr std::uint32_t kRawData = 9;  // of TensorProto

class Walk {
 public:
  Walk(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {
    constexpr std::size_t kMiB = std::size_t{1} << 20;
    budget_ = std::min(4096 * kMiB, 256 * kMiB + 32 * file.size());
    thin_.bytes.reserve(std::min<std::size_t>(file.size(), kMiB));
  }

  ThinModel run() {
    message(Kind::kModel, 0, file_.size(), 0, true);
    return std::move(thin_);
  }

 private:
  [[noreturn]] void bad(std::size_t position, const std::string& what) const {
    throw Error(ErrorCode::kBadFile, where_, fmt::format("not an ONNX model, or damaged: {} at byte {}", what, position));
  }

  std::uint64_t varint(std::size_t& position, std::size_t end) const {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (position >= end) bad(position, "it ends in the middle of a number");
      const auto byte = std::to_integer<std::uint64_t>(file_[position++]);
      value |= shift < 64 ? (byte & 0x7f) << shift : 0;
      if (byte < 0x80) return value;
    }
    bad(position, "a number of more than ten bytes");
  }

  void advance(std::size_t& position, std::size_t end, std::uint64_t count) const {
    if (count > end - position) bad(position, fmt::format("a field of {} bytes where {} are left", count, end - position));
    position += static_cast<std::size_t>(count);
  }

  // Past the value of a field that is not length-delimited, or to the end of a group.
  void skip(std::size_t& position, std::size_t end, std::uint32_t wire_type) const {
    int groups = 0;
    do {
      switch (wire_type) {
        case 0:
          varint(position, end);
          break;
        case 1:
          advance(position, end, 8);
          break;
        case 2:
          advance(position, end, varint(position, end));
          break;
        case 3:
          ++groups;
          break;
        case 4:
          --groups;
          break;
        case 5:
          advance(position, end, 4);
          break;
        default:
          bad(position, fmt::format("the wire type {}", wire_type));
      }
      if (groups < 0) bad(position, "the end of a group that never began");
      if (groups > 0) wire_type = static_cast<std::uint32_t>(varint(position, end) & 7);
    } while (groups > 0);
  }

  void emit_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) thin_.bytes += static_cast<char>((value & 0x7f) | 0x80);
    thin_.bytes += static_cast<char>(value);
  }

  void emit(std::size_t begin, std::size_t end) {
    thin_.bytes.append(reinterpret_cast<const char*>(file_.data()) + begin, end - begin);
  }

  // Walks one message; copies it to thin_.bytes when `thin`.
  void message(Kind kind, std::size_t begin, std::size_t end, int depth, bool thin) {
    constexpr int kDeepest = 100;
    if (depth > kDeepest) throw Error(ErrorCode::kLimit, where_, "its messages (If and Loop bodies) nest deeper than 100");
    for (std::size_t position = begin; position < end;) {
      const std::size_t start = position;
      const std::uint64_t tag = varint(position, end);
      const std::uint64_t field = tag >> 3;
      if (field == 0 || tag > 0xffffffffU) bad(start, fmt::format("the field number {}", field));
      const auto number = static_cast<std::uint32_t>(field);
      if ((tag & 7) != 2) {
        skip(position, end, static_cast<std::uint32_t>(tag & 7));
        if (thin) emit(start, position);
        continue;
      }
      const std::uint64_t length = varint(position, end);
      const std::size_t value = position;
      advance(position, end, length);
      const Kind child = child_of(kind, number);
      budget(cost(child));
      if (thin && kind == Kind::kTensor && number == kRawData) {
        const std::uint64_t index = thin_.raw_data.size();
        thin_.raw_data.push_back(file_.subspan(value, position - value));
        emit_varint(tag);
        emit_varint(sizeof index);
        thin_.bytes.append(reinterpret_cast<const char*>(&index), sizeof index);
      } else if (thin && is_thin(kind, number)) {
        // The length is not known yet: room for five bytes, which protobuf reads like the shortest form.
        emit_varint(tag);
        const std::size_t hole = thin_.bytes.size();
        thin_.bytes.append(5, '\0');
        message(child, value, position, depth + 1, true);
        std::uint64_t size = thin_.bytes.size() - hole - 5;
        for (std::size_t i = 0; i < 5; ++i, size >>= 7)
          thin_.bytes[hole + i] = static_cast<char>((size & 0x7f) | (i < 4 ? 0x80 : 0));
      } else {
        if (child != Kind::kLeaf) message(child, value, position, depth + 1, false);
        if (thin) emit(start, position);
      }
    }
  }

  // Whether the reader looks into this field for tensors that may stay in the file.
  static bool is_thin(Kind message, std::uint32_t field) {
    switch (message) {
      case Kind::kModel:
        return field == 7 || field == 25;
      case Kind::kFunction:
        return field == 7 || field == 11;
      case Kind::kGraph:
        return field == 1 || field == 5;
      case Kind::kNode:
        return field == 5;
      case Kind::kAttribute:
        return field == 5 || field == 6 || field == 10;
      default:
        return false;
    }
  }

  void budget(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > budget_)
      throw Error(ErrorCode::kLimit, where_,
                  fmt::format("its messages would take more than {} MB of memory, although the file has {:.1f} MB",
                              budget_ >> 20, static_cast<double>(file_.size()) / 1e6));
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  std::size_t budget_ = 0, spent_ = 0;
  ThinModel thin_;
};

}  // namespace

ThinModel thin_copy(std::span<const std::byte> model, const std::string& where) {
  if (model.empty()) throw Error(ErrorCode::kBadFile, where, "is empty");
  if (model.size() >= 0x7fffffff)
    throw Error(ErrorCode::kLimit, where, "has 2 GiB or more: such a model must keep its weights in external data");
  return Walk(model, where).run();
}

}  // namespace zeropoint::onnx_file
