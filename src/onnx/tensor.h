// Tensors and types of ONNX files as ours, and back.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/spill.h"
#include "onnx-ml.pb.h"
#include "onnx/wire.h"
#include "zeropoint/graph.h"

namespace zeropoint::onnx_file {

// Where the bytes of tensors come from.
struct Source {
  std::string where;                                      // the file, for messages
  const ThinModel* thin = nullptr;                        // what a tensor's raw_data stands for
  std::shared_ptr<const void> owner;                      // keeps the model's bytes alive; null: tensors copy them
  std::optional<std::filesystem::path> folder;            // of external data; none: refused
  std::optional<std::filesystem::path> link_folder = {};  // where a link to the model leads; none: the model is no link
  std::string data_id = {};                               // what external data written by save() must say
  std::map<std::string, std::shared_ptr<const void>> opened = {};  // external files by location (MappedFile)
  std::shared_ptr<Spill> spill = std::make_shared<Spill>();        // of large tensors that are not aligned

  std::span<const std::byte> raw_data(const ::onnx::TensorProto& proto) const;
};

std::optional<DType> dtype_of_onnx(std::int32_t data_type);  // opaque for types that are not read; nullopt for no type at all
std::int32_t onnx_of_dtype(DType dtype);                     // 0 for undefined and opaque

// `what` names the tensor for messages: "initializer 'w'". Understood fields are cleared; what is left belongs into an extra.
// Throws kBadShape when data and dimensions don't fit, kBadModel for other contradictions, kUnsupported and kIo for external
// data that cannot be had.
Tensor read_tensor(::onnx::TensorProto& proto, Source& source, const std::string& what);
Tensor read_sparse_tensor(::onnx::SparseTensorProto& proto, const Source& source, const std::string& what);
// Fills in dimensions, type and data, everything else stays. `with_data` false: without raw_data (opaque ones are whole).
void write_tensor(const Tensor& tensor, ::onnx::TensorProto& proto, bool with_data = true);
bool is_sparse(const Tensor& tensor);
::onnx::SparseTensorProto write_sparse_tensor(const Tensor& tensor);

// Understood fields are cleared; what is left (documentation, types other than tensors, ...) belongs into an extra.
ValueInfo read_value_info(::onnx::ValueInfoProto& proto, const Source& source);
::onnx::ValueInfoProto write_value_info(const std::string& name, const TensorType& type, const std::string& extra);

// Whether files of this version list every initializer of the main graph among its inputs.
inline bool lists_initializers(std::int64_t ir_version) { return ir_version < 4; }

// The name when it is UTF-8; throws kBadModel otherwise.
std::string checked_name(std::string&& text, const Source& source, const char* what);

// Serialized, or "" when the message holds nothing.
std::string extra_of(const ::google::protobuf::MessageLite& message);
template <class Proto>
Proto parse_extra(const std::string& extra) {
  Proto proto;
  if (!proto.ParseFromString(extra)) throw Error(ErrorCode::kInternal, "", "an extra of src/onnx is damaged");
  return proto;
}

}  // namespace zeropoint::onnx_file
