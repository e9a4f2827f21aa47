#include "data/npz.h"

#include <fmt/format.h>

#include <algorithm>

namespace zeropoint::data {
namespace {

std::string member_name(const std::string& array) { return array + ".npy"; }

bool is_input(const std::vector<ValueInfo>& inputs, const std::string& array) {
  return std::any_of(inputs.begin(), inputs.end(), [&](const ValueInfo& input) { return input.name == array; });
}

NpyHeader read_header(ZipStream& stream, const ZipMember& member, const std::string& where) {
  std::vector<std::byte> bytes(std::min<std::uint64_t>(kNpyPrefixBytes, member.size));
  stream.read(bytes);
  const std::size_t whole = npy_header_bytes(bytes, where), got = bytes.size();
  if (whole < got || whole > member.size) throw Error(ErrorCode::kBadFile, where, "truncated: it ends in its header");
  if (whole > got) {
    bytes.resize(whole);
    stream.read(std::span(bytes).subspan(got));
  }
  NpyHeader header = parse_npy_header(bytes, where);
  if (header.data_bytes != member.size - header.data_offset)
    throw Error(ErrorCode::kBadFile, where,
                fmt::format("{} bytes of data where {} {} needs {}", member.size - header.data_offset, name(header.dtype),
                            to_string(header.dims), header.data_bytes));
  return header;
}

}  // namespace

NpyHeader read_member_header(ZipFile& file, const ZipMember& member) {
  ZipStream stream(file, member);
  return read_header(stream, member, file.where(member));
}

Tensor read_member(ZipFile& file, const ZipMember& member, std::uint64_t max_bytes) {
  ZipStream stream(file, member);
  const NpyHeader header = read_header(stream, member, file.where(member));
  if (header.data_bytes > max_bytes)
    throw Error(ErrorCode::kLimit, file.where(member), fmt::format("{} bytes; the limit is {}", header.data_bytes, max_bytes));
  std::vector<std::byte> data(header.data_bytes);
  stream.read(data);
  stream.expect_end();
  return npy_tensor(header, data);
}

std::vector<ZipMember> find_inputs(const ZipFile& file, const std::vector<ValueInfo>& inputs, const std::string& where) {
  std::string held;
  for (const ZipMember& member : file.members()) {
    if (!member.name.ends_with(".npy"))
      throw Error(ErrorCode::kBadSample, where, fmt::format("holds '{}', which is no array", member.name));
    held += (held.empty() ? "'" : ", '") + member.name.substr(0, member.name.size() - 4) + "'";
  }
  std::vector<ZipMember> found;
  for (const ValueInfo& input : inputs) {
    const ZipMember* member = file.find(member_name(input.name));
    if (member == nullptr)
      throw Error(ErrorCode::kBadSample, where,
                  fmt::format("no array for input '{}'; it holds {}", input.name, held.empty() ? "nothing" : held));
    found.push_back(*member);
  }
  for (const ZipMember& member : file.members()) {
    const std::string array = member.name.substr(0, member.name.size() - 4);
    if (!is_input(inputs, array) && array != "labels" && array != "label" && array != "names")
      throw Error(ErrorCode::kBadSample, where, fmt::format("the array '{}' is no input of the model", array));
  }
  return found;
}

std::optional<std::vector<std::int64_t>> read_labels(ZipFile& file, const std::vector<ValueInfo>& inputs,
                                                     std::uint64_t max_bytes) {
  for (const char* array : {"labels", "label"}) {
    const ZipMember* member = file.find(member_name(array));
    if (member == nullptr || is_input(inputs, array)) continue;
    const Tensor labels = read_member(file, *member, max_bytes);
    const ValueInfo numbers{array, {DType::s64, std::nullopt}, {}};
    const Tensor cast = fit_input(labels, numbers, file.where(*member));
    const auto values = cast.values<std::int64_t>();
    return std::vector<std::int64_t>(values.begin(), values.end());
  }
  return std::nullopt;
}

}  // namespace zeropoint::data
