// Truncations, wrong lengths and bit flips of good models, and external data that is not what it should be. All from fixed
// seeds.
#include <sys/stat.h>

#include <filesystem>
#include <random>

#include "base/file.h"
#include "hostile_models.h"
#include "onnx/test_models.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using ::onnx::TensorProto;

std::string tested(const std::string& name) {
  return read_file(fs::path(ZEROPOINT_SOURCE_DIR) / "tests" / "data" / (name + ".onnx"));
}

// A small network whose every byte means something.
std::string network() {
  ::onnx::ModelProto model = small_model();
  auto& graph = *model.mutable_graph();
  graph.clear_node();
  *graph.add_initializer() = f32_tensor("w", {3, 3});
  *graph.add_initializer() = f32_tensor("b", {3});
  add_node(graph, "Gemm", {"x", "w", "b"}, {"g"}).set_name("gemm");
  auto& softmax = add_node(graph, "Softmax", {"g"}, {"s"});
  auto& axis = *softmax.add_attribute();
  axis.set_name("axis");
  axis.set_type(::onnx::AttributeProto::INT);
  axis.set_i(-1);
  add_node(graph, "Mul", {"s", "x"}, {"y"});
  return model.SerializeAsString();
}

// Positions of the length bytes of the graph's inner messages, found by a walk over two levels.
std::vector<std::size_t> lengths(const std::string& bytes) {
  std::vector<std::size_t> found;
  const auto varint = [&](std::size_t& at) {
    std::uint64_t value = 0;
    for (int shift = 0; at < bytes.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  const auto walk = [&](const auto& self, std::size_t at, std::size_t end, int depth) -> void {
    while (at < end) {
      const std::uint64_t tag = varint(at);
      if ((tag & 7) == 0) {
        varint(at);
      } else if ((tag & 7) == 5) {
        at += 4;
      } else {
        found.push_back(at);
        const std::uint64_t length = varint(at);
        if (depth < 2 && (depth > 0 || tag >> 3 == 7)) self(self, at, at + length, depth + 1);
        at += length;
      }
    }
  };
  walk(walk, 0, bytes.size(), 0);
  return found;
}

}  // namespace

std::vector<HostileModel> hostile_mutations() {
  using Stage = HostileModel::Stage;
  std::vector<HostileModel> models;
  const auto add = [&](const std::string& name, std::string bytes, Stage stage, ErrorCode code = ErrorCode::kOk) {
    models.push_back({name, std::move(bytes), code, "", stage});
  };
  const std::string small = small_model().SerializeAsString(), net = network();
  const std::vector<std::pair<std::string, std::string>> bases = {{"small", small},
                                                                  {"network", net},
                                                                  {"dscnn", tested("fmnist_dscnn")},
                                                                  {"lstm", tested("fmnist_lstm")},
                                                                  {"vit", tested("fmnist_vit")}};

  // Every cut of a small file; cuts spread over the larger ones.
  for (std::size_t i = 1; i + 4 < small.size(); i += 2)  // the last four bytes are the opset
    add("cut_small_" + std::to_string(i), small.substr(0, i), Stage::kReading);
  for (std::size_t i = 1; i + 4 < net.size(); i += 5)
    add("cut_network_" + std::to_string(i), net.substr(0, i), Stage::kReading);
  for (const auto& [name, bytes] : bases)
    if (bytes.size() > 1000)
      for (std::size_t i = 1; i <= 20; ++i)
        add(name + "_cut_" + std::to_string(i), bytes.substr(0, bytes.size() * i / 21), Stage::kReading);

  // Lengths that reach beyond their message, or are too short.
  for (const auto& [name, bytes] : {std::pair<std::string, std::string>("small", small), {"network", net}})
    for (const std::size_t at : lengths(bytes)) {
      std::string huge = bytes, longer = bytes, shorter = bytes, zero = bytes;
      huge.replace(at, 1, "\xff\xff\xff\xff\x07");
      add(name + "_length_huge_" + std::to_string(at), huge, Stage::kReading, ErrorCode::kBadFile);
      ++longer[at];
      add(name + "_length_longer_" + std::to_string(at), longer, Stage::kEither);
      --shorter[at];
      add(name + "_length_shorter_" + std::to_string(at), shorter, Stage::kEither);
      zero[at] = 0;
      add(name + "_length_0_" + std::to_string(at), zero, Stage::kEither);
    }

  std::mt19937_64 random(7);
  for (const auto& [name, bytes] : bases)
    for (int i = 0; i < 60; ++i) {
      std::string flipped = bytes;
      for (auto flips = random() % 3; flips < 3; ++flips) {
        const auto at = random() % std::min<std::size_t>(bytes.size(), i % 2 ? 3000 : bytes.size());
        flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
      }
      add(name + "_flip_" + std::to_string(i), flipped, Stage::kEither);
    }
  return models;
}

// The model's tensor w takes 16 bytes; data.bin has 24.
std::vector<HostileModel> hostile_external() {
  using enum ErrorCode;
  struct Case {
    const char* name;
    std::vector<std::pair<std::string, std::string>> entries;
    ErrorCode code;
    const char* cause;
  };
  const std::vector<Case> cases = {
      {"parent", {{"location", "../data.bin"}}, kUnsupported, "outside the model's folder"},
      {"parent_within", {{"location", "folder/../data.bin"}}, kUnsupported, "outside the model's folder"},
      {"absolute", {{"location", "/etc/passwd"}}, kUnsupported, "not a file relative"},
      {"device", {{"location", "/dev/zero"}}, kUnsupported, "not a file relative"},
      {"empty", {{"location", ""}}, kUnsupported, "not a file relative"},
      {"no_location", {{"offset", "0"}}, kUnsupported, "not a file relative"},
      {"nul", {{"location", std::string("data.bin\0.txt", 13)}}, kUnsupported, "not a file relative"},
      {"here", {{"location", "."}}, kUnsupported, "not a regular file"},
      {"folder", {{"location", "folder"}}, kUnsupported, "not a regular file"},
      {"fifo", {{"location", "fifo"}}, kUnsupported, "not a regular file"},
      {"link", {{"location", "link.bin"}}, kUnsupported, "reached through a link"},
      {"link_to_itself", {{"location", "loop.bin"}}, kUnsupported, "reached through a link"},
      {"link_to_nothing", {{"location", "dangling.bin"}}, kUnsupported, "reached through a link"},
      {"link_to_device", {{"location", "zero.bin"}}, kUnsupported, "reached through a link"},
      {"link_folder", {{"location", "up/data.bin"}}, kUnsupported, "reached through a link"},
      {"missing", {{"location", "missing.bin"}}, kIo, "is missing"},
      {"in_a_file", {{"location", "data.bin/data.bin"}}, kIo, "is missing"},
      {"control_characters", {{"location", "\x1b[2J\nno"}}, kIo, "\\x1b[2J\\nno"},
      {"not_utf8", {{"location", "\xff\xfe"}}, kIo, "\\xff\\xfe"},
      {"very_long", {{"location", std::string(100'000, 'a')}}, kUnsupported, "not a regular file"},
      {"offset_beyond", {{"location", "data.bin"}, {"offset", "25"}}, kBadFile, "from byte 25"},
      {"offset_short", {{"location", "data.bin"}, {"offset", "9"}, {"length", "16"}}, kBadFile, "16 bytes from byte 9"},
      {"offset_negative", {{"location", "data.bin"}, {"offset", "-8"}}, kBadModel, "is not a number"},
      {"offset_text", {{"location", "data.bin"}, {"offset", "eight"}}, kBadModel, "is not a number"},
      {"offset_hexadecimal", {{"location", "data.bin"}, {"offset", "0x8"}}, kBadModel, "is not a number"},
      {"offset_too_large", {{"location", "data.bin"}, {"offset", "99999999999999999999"}}, kBadModel, "is not a number"},
      {"offset_wraps",
       {{"location", "data.bin"}, {"offset", "18446744073709551600"}, {"length", "32"}},
       kBadFile,
       "are not in"},
      {"length_wraps", {{"location", "data.bin"}, {"offset", "8"}, {"length", "18446744073709551615"}}, kBadFile, "are not in"},
      {"length_short", {{"location", "data.bin"}, {"length", "15"}}, kBadShape, "15 bytes for f32[4], which takes 16"},
      {"length_long", {{"location", "data.bin"}, {"length", "17"}}, kBadShape, "17 bytes"},
      {"length_missing", {{"location", "data.bin"}}, kBadShape, "24 bytes"},
      {"length_text", {{"location", "data.bin"}, {"length", "16 "}}, kBadModel, "is not a number"},
      {"empty_file", {{"location", "empty.bin"}}, kBadShape, "0 bytes"},
      {"another_models", {{"location", "other.data"}, {"length", "16"}}, kMismatch, "another model"},
  };
  std::vector<HostileModel> models;
  for (const Case& each : cases) {
    auto model = small_model();
    auto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name("w");
    tensor.set_data_type(TensorProto::FLOAT);
    tensor.add_dims(4);
    tensor.set_data_location(TensorProto::EXTERNAL);
    for (const auto& [key, value] : each.entries) add_entry(tensor.mutable_external_data(), key, value);
    models.push_back({"external_" + std::string(each.name), model.SerializeAsString(), each.code, each.cause});
  }
  return models;
}

void write_external_files(const std::string& name) {
  const fs::path folder(name);
  write_file(folder / "data.bin", std::string(24, '\0'));
  write_file(folder / "empty.bin", std::string());
  write_file(folder / "other.data", "zeropoint external data 0123\n" + std::string(5000, '\0'));
  fs::create_directory(folder / "folder");
  fs::create_symlink("data.bin", folder / "link.bin");
  fs::create_symlink("loop.bin", folder / "loop.bin");
  fs::create_symlink("nowhere", folder / "dangling.bin");
  fs::create_symlink("/dev/zero", folder / "zero.bin");
  fs::create_symlink("..", folder / "up");
  if (::mkfifo((folder / "fifo").c_str(), 0600) != 0) throw Error(ErrorCode::kIo, name, "no FIFO can be made");
}

}  // namespace zeropoint
