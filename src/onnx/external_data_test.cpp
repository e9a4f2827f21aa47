#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <numeric>
#include <random>

#include "base/file.h"
#include "onnx/temporary_folder.h"
#include "onnx/test_models.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Pair;

Graph parse_bytes(const std::string& bytes) { return parse(std::as_bytes(std::span(bytes))); }

::onnx::ModelProto with_external(const std::string& location) {
  auto proto = small_model();
  auto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("w");
  tensor.set_data_type(::onnx::TensorProto::FLOAT);
  tensor.add_dims(4);
  tensor.set_data_location(::onnx::TensorProto::EXTERNAL);
  add_entry(tensor.mutable_external_data(), "location", location);
  add_entry(tensor.mutable_external_data(), "offset", "8");
  add_entry(tensor.mutable_external_data(), "length", "16");
  return proto;
}

TEST(ExternalData, AreReadFromTheModelsFolder) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "weights");
  write_file(folder.path() / "weights" / "data.bin", f32_tensor("", {6}).raw_data());
  write_file(folder.path() / "model.onnx", with_external("weights/data.bin").SerializeAsString());
  const Graph graph = load(folder.path() / "model.onnx");
  EXPECT_THAT(graph.initializers.at("w").values<float>(), testing::ElementsAre(1.0F, 1.5F, 2.0F, 2.5F));
  EXPECT_TRUE(parse_bytes(serialize(graph)) == graph);
}

TEST(ExternalData, AreRefusedElsewhere) {
  const TemporaryFolder folder;
  const fs::path inside = folder.path() / "inside";
  fs::create_directory(inside);
  write_file(folder.path() / "data.bin", std::string(24, '\0'));
  write_file(inside / "short.bin", std::string(23, '\0'));
  fs::create_symlink("../data.bin", inside / "link.bin");
  fs::create_symlink("..", inside / "up");
  const auto error = [&](const std::string& location) {
    write_file(inside / "model.onnx", with_external(location).SerializeAsString());
    try {
      load(inside / "model.onnx");
    } catch (const Error& caught) {
      EXPECT_THAT(caught.what(), testing::HasSubstr("model.onnx, initializer 'w'"));
      return std::pair(caught.code, std::string(caught.what()));
    }
    return std::pair(ErrorCode::kOk, std::string());
  };
  EXPECT_THAT(error("../data.bin"), Pair(ErrorCode::kUnsupported, HasSubstr("outside the model's folder")));
  EXPECT_THAT(error((folder.path() / "data.bin").string()), Pair(ErrorCode::kUnsupported, HasSubstr("relative")));
  EXPECT_THAT(error("link.bin"), Pair(ErrorCode::kUnsupported, HasSubstr("link")));
  EXPECT_THAT(error("up/data.bin"), Pair(ErrorCode::kUnsupported, HasSubstr("link")));
  EXPECT_THAT(error(""), Pair(ErrorCode::kUnsupported, HasSubstr("relative")));
  EXPECT_THAT(error("."), Pair(ErrorCode::kUnsupported, HasSubstr("not a regular file")));
  EXPECT_THAT(error("missing.bin"), Pair(ErrorCode::kIo, HasSubstr("is missing")));
  EXPECT_THAT(error("short.bin"), Pair(ErrorCode::kBadFile, HasSubstr("16 bytes from byte 8 on")));
  EXPECT_THROW(parse_bytes(with_external("data.bin").SerializeAsString()), Error);
}

std::pair<ErrorCode, std::string> error_of(const fs::path& path) {
  try {
    load(path);
  } catch (const Error& error) {
    return {error.code, error.what()};
  }
  return {ErrorCode::kOk, ""};
}

TEST(ExternalData, AFifoDoesNotBlock) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  write_file(folder.path() / "model.onnx", with_external("pipe").SerializeAsString());
  EXPECT_THAT(error_of(folder.path() / "model.onnx"), Pair(ErrorCode::kUnsupported, HasSubstr("not a regular file")));
  EXPECT_THAT(error_of(folder.path() / "pipe"), Pair(ErrorCode::kIo, HasSubstr("not a regular file")));
}

// As in the cache of Hugging Face: snapshots/1/model.onnx -> ../../blobs/a, and its data beside it -> ../../blobs/b.
TEST(ExternalData, LinksLeadWhereTheModelsOwnLinkLeads) {
  const TemporaryFolder folder;
  const fs::path blobs = folder.path() / "blobs", snapshot = folder.path() / "snapshots" / "1";
  fs::create_directories(blobs);
  fs::create_directories(snapshot / "onnx");
  write_file(folder.path() / "secret", std::string(24, 's'));
  write_file(blobs / "b", f32_tensor("", {6}).raw_data());
  write_file(blobs / "a", with_external("data.bin").SerializeAsString());
  fs::create_symlink("../../blobs/a", snapshot / "model.onnx");
  fs::create_symlink("../../blobs/b", snapshot / "data.bin");
  const Graph graph = load(snapshot / "model.onnx");
  EXPECT_THAT(graph.initializers.at("w").values<float>(), testing::ElementsAre(1.0F, 1.5F, 2.0F, 2.5F));

  fs::remove(snapshot / "data.bin");  // a link to anywhere else
  fs::create_symlink("../../secret", snapshot / "data.bin");
  EXPECT_THAT(error_of(snapshot / "model.onnx"),
              Pair(ErrorCode::kUnsupported, HasSubstr("reached through a link; put a copy")));

  fs::remove(snapshot / "model.onnx");  // a model that is no link itself
  fs::copy_file(blobs / "a", snapshot / "model.onnx");
  fs::remove(snapshot / "data.bin");
  fs::create_symlink("../../blobs/b", snapshot / "data.bin");
  EXPECT_THAT(error_of(snapshot / "model.onnx"), Pair(ErrorCode::kUnsupported, HasSubstr("reached through a link")));
}

// Tensors of many sizes and types, the odd ones first, so that offsets in a file without alignment would be odd.
Graph many_tensors() {
  Graph graph = parse_bytes(small_model().SerializeAsString());
  std::mt19937 random(3);
  for (const std::int64_t size : {1, 3, 255, 1023, 1024, 5000, 65535, 65536, 300001})
    for (const DType dtype : {DType::s8, DType::f32, DType::s4, DType::f64}) {
      Tensor tensor(dtype, {size});
      for (std::byte& byte : tensor.mutable_bytes()) byte = static_cast<std::byte>(random());
      if (dtype == DType::s4 && size % 2 == 1) tensor.mutable_bytes().back() &= std::byte{0x0f};
      graph.initializers["w" + std::to_string(size) + std::string(name(dtype))] = tensor;
    }
  return graph;
}

TEST(ExternalData, AreSavedAlignedAndReadBack) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.onnx";
  const Graph graph = many_tensors();
  save(graph, path, {.external_data = true});
  EXPECT_LT(fs::file_size(path), 50'000U);
  EXPECT_TRUE(load(path) == graph);
  ::onnx::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(read_file(path)));
  std::size_t external = 0;
  for (const auto& tensor : proto.graph().initializer()) {
    const std::uint64_t size = graph.initializers.at(tensor.name()).bytes().size();
    EXPECT_EQ(tensor.data_location() == ::onnx::TensorProto::EXTERNAL, size >= 1024) << tensor.name();
    if (tensor.data_location() != ::onnx::TensorProto::EXTERNAL) continue;
    ++external;
    EXPECT_FALSE(tensor.has_raw_data());
    for (const auto& entry : tensor.external_data()) {
      if (entry.key() == "location") {
        EXPECT_EQ(entry.value(), "model.onnx.data");
      } else if (entry.key() == "offset") {
        EXPECT_EQ(std::stoull(entry.value()) % (size >= 65536 ? 4096 : 64), 0U) << tensor.name();
      }
    }
  }
  EXPECT_GT(external, 15U);

  // Onto itself, while both files are mapped; then into one file again.
  const Graph loaded = load(path);
  save(loaded, path, {.external_data = true});
  EXPECT_TRUE(load(path) == graph);
  EXPECT_TRUE(loaded == graph);
  save(loaded, folder.path() / "whole.onnx");
  EXPECT_TRUE(load(folder.path() / "whole.onnx") == graph);
  EXPECT_FALSE(fs::exists(folder.path() / "whole.onnx.data"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 3) << "no temporary file is left";
}

// What an interrupted save() leaves: the data of the new model beside the old one.
TEST(ExternalData, OfAnotherModelAreNoticed) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.onnx", data = folder.path() / "model.onnx.data";
  save(many_tensors(), path, {.external_data = true});
  const std::string old = read_file(path);
  Graph other = many_tensors();
  other.initializers["w5000f32"].mutable_bytes()[7] ^= std::byte{1};
  save(other, path, {.external_data = true});
  write_file(path, old);
  EXPECT_THAT(error_of(path), Pair(ErrorCode::kMismatch, HasSubstr("written with another model")));

  // Data that another program wrote, at the same place, are its business.
  std::string foreign = read_file(data);
  std::fill(foreign.begin(), foreign.begin() + 4096, '\0');
  write_file(data, foreign);
  EXPECT_EQ(error_of(path).first, ErrorCode::kOk);
}

TEST(ExternalData, SavingThatFailsLeavesTheOldPair) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.onnx";
  const Graph graph = many_tensors();
  save(graph, path, {.external_data = true});
  fs::create_directory(folder.path() / "b.onnx.data");  // in the way
  write_file(folder.path() / "b.onnx", "old");
  EXPECT_THROW(save(graph, folder.path() / "b.onnx", {.external_data = true}), Error);
  EXPECT_EQ(read_file(folder.path() / "b.onnx"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 4);
}

// Offsets that no type likes: small tensors are copied, large ones when they are first read.
TEST(ExternalData, AtOddOffsets) {
  const TemporaryFolder folder;
  auto proto = small_model();
  const Graph graph = many_tensors();
  std::string data = "x";
  for (const auto& [name, tensor] : graph.initializers) {
    auto& out = *proto.mutable_graph()->add_initializer();
    out.set_name(name);
    out.set_data_type(tensor.dtype() == DType::s8    ? 3
                      : tensor.dtype() == DType::f32 ? 1
                      : tensor.dtype() == DType::s4  ? 22
                                                     : 11);
    out.add_dims(tensor.dim(0));
    out.set_data_location(::onnx::TensorProto::EXTERNAL);
    add_entry(out.mutable_external_data(), "location", "data.bin");
    add_entry(out.mutable_external_data(), "offset", std::to_string(data.size()));
    add_entry(out.mutable_external_data(), "length", std::to_string(tensor.bytes().size()));
    data.append(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
    if (data.size() % 2 == 0) data += 'x';
  }
  write_file(folder.path() / "data.bin", data);
  write_file(folder.path() / "model.onnx", proto.SerializeAsString());
  const Graph read = load(folder.path() / "model.onnx");
  EXPECT_TRUE(read == graph);
  EXPECT_EQ(graph_hash(read), graph_hash(graph));
  save(read, folder.path() / "saved.onnx", {.external_data = true});
  for (const auto& [name, tensor] : read.initializers) {
    const Tensor& same = graph.initializers.at(name);
    const auto bytes = tensor.bytes();
    const std::uintptr_t alignment = static_cast<std::uintptr_t>(std::max(1, bits(tensor.dtype()) / 8));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment, 0U) << name;
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), same.bytes().begin())) << name;
    Tensor changed = tensor;
    changed.mutable_bytes()[0] ^= std::byte{1};
    EXPECT_FALSE(changed == same);
    EXPECT_TRUE(tensor == same);
  }
  EXPECT_TRUE(load(folder.path() / "saved.onnx") == graph);
}

}  // namespace
}  // namespace zeropoint
