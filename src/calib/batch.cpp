#include "calib/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <string_view>

#include "calib/hash64.h"

namespace zeropoint::calib {
namespace {

bool names_a_sequence(std::string symbol) {
  for (char& c : symbol) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  constexpr std::array<std::string_view, 6> kWords = {"seq", "time", "len", "token", "frame", "step"};
  return symbol == "t" ||
         std::any_of(kWords.begin(), kWords.end(), [&](auto word) { return symbol.find(word) != symbol.npos; });
}

}  // namespace

bool has_open_batch(const Graph& graph) {
  for (const ValueInfo& input : graph.inputs) {
    const auto& shape = input.type.shape;
    if (!shape || shape->empty() || shape->front().fixed() || names_a_sequence(shape->front().symbol)) return false;
    if (shape->front().symbol != graph.inputs.front().type.shape->front().symbol) return false;
  }
  return !graph.inputs.empty();
}

std::vector<Feeds> split_batch(const Feeds& feeds, bool open_batch, const std::string& where) {
  if (!open_batch || feeds.empty()) return {feeds};
  const Tensor& first = feeds.begin()->second;
  const std::int64_t rows = first.rank() == 0 ? 1 : first.dim(0);
  for (const auto& [input, tensor] : feeds)
    if (tensor.rank() == 0 || tensor.dim(0) != rows)
      throw Error(ErrorCode::kBadSample, where,
                  fmt::format("input '{}' has shape {} and '{}' {}: their batches differ", feeds.begin()->first,
                              to_string(first.dims()), input, to_string(tensor.dims())));
  if (rows == 0) throw Error(ErrorCode::kBadSample, where, "an empty batch");
  if (rows == 1) return {feeds};
  std::vector<Feeds> split(static_cast<std::size_t>(rows));
  for (const auto& [input, tensor] : feeds) {
    Dims dims = tensor.dims();
    dims[0] = 1;
    const auto owner = std::make_shared<const Tensor>(tensor);
    const std::size_t bytes = tensor.bytes().size() / split.size();
    for (std::size_t row = 0; row < split.size(); ++row)
      split[row].emplace(input, Tensor::borrow(tensor.dtype(), dims, owner->bytes().subspan(row * bytes, bytes), owner));
  }
  return split;
}

std::uint64_t content_hash(const Feeds& feeds) {
  std::uint64_t hash = 0;
  for (const auto& [input, tensor] : feeds) {
    const std::string header = fmt::format("{}\n{}{}\n", input, name(tensor.dtype()), to_string(tensor.dims()));
    hash = hash64(std::as_bytes(std::span(header)), hash);
    hash = hash64(tensor.bytes(), hash);
  }
  return hash;
}

}  // namespace zeropoint::calib
