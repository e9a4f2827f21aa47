#include "analyze/related.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <vector>

namespace zeropoint::analyze {
namespace {

constexpr std::int64_t kLarge = 256;    // elements: smaller constants are alike in many models
constexpr double kLeastInCommon = 0.1;  // share of the elements

std::string why_edges_differ(const std::vector<ValueInfo>& a, const std::vector<ValueInfo>& b, const char* what) {
  const auto names = [](const std::vector<ValueInfo>& infos) {
    std::vector<std::string> result;
    for (const ValueInfo& info : infos) result.push_back(info.name);
    return result;
  };
  if (names(a) != names(b)) return fmt::format("their {} have different names", what);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const TensorType &x = a[i].type, &y = b[i].type;
    bool fits = x.dtype == y.dtype || x.dtype == DType::undefined || y.dtype == DType::undefined;
    if (x.shape && y.shape) {
      fits = fits && x.shape->size() == y.shape->size();
      for (std::size_t axis = 0; fits && axis < x.shape->size(); ++axis) {
        const Dim &m = (*x.shape)[axis], &n = (*y.shape)[axis];
        fits = !m.fixed() || !n.fixed() || m.value == n.value;
      }
    }
    if (!fits)
      return fmt::format("'{}' of their {} is {} in one and {} in the other", a[i].name, what, to_string(x), to_string(y));
  }
  return "";
}

// How many constants of each number of elements there are.
std::map<std::int64_t, std::int64_t> large_constants(const Graph& graph) {
  std::map<std::int64_t, std::int64_t> counts;
  const auto add = [&](const Tensor& tensor) {
    if (tensor.size() >= kLarge) ++counts[tensor.size()];
  };
  for (const auto& [name, tensor] : graph.initializers) add(tensor);
  for (const Node& node : graph.nodes)
    for (const auto& [key, attribute] : node.attributes)
      if (const auto* tensor = std::get_if<Tensor>(&attribute)) add(*tensor);
  return counts;
}

}  // namespace

bool holds_quantized_operators(const Graph& graph) {
  static const std::set<std::string, std::less<>> types = {"QuantizeLinear",
                                                           "DequantizeLinear",
                                                           "DynamicQuantizeLinear",
                                                           "QLinearConv",
                                                           "QLinearMatMul",
                                                           "ConvInteger",
                                                           "MatMulInteger",
                                                           "QLinearAdd",
                                                           "QGemm",
                                                           "MatMulNBits",
                                                           "QAttention",
                                                           "DynamicQuantizeLSTM",
                                                           "MatMulIntegerToFloat",
                                                           "DynamicQuantizeMatMul",
                                                           "GatherBlockQuantized"};
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return types.contains(node.op_type); });
}

std::string why_unrelated(const Graph& float_graph, const Graph& quantized) {
  if (holds_quantized_operators(float_graph) && !holds_quantized_operators(quantized))
    return "they seem to be swapped: the first is quantized, the second is not; give the float model first";
  for (const auto& [a, b, what] : {std::tuple(&float_graph.inputs, &quantized.inputs, "inputs"),
                                   std::tuple(&float_graph.outputs, &quantized.outputs, "outputs")})
    if (std::string why = why_edges_differ(*a, *b, what); !why.empty()) return why;
  // A quantized weight has as many elements as the float one, or a half or a quarter of it as bytes that hold several.
  std::map<std::int64_t, std::int64_t> theirs = large_constants(float_graph);
  const std::map<std::int64_t, std::int64_t> ours = large_constants(quantized);
  std::int64_t all = 0, common = 0;
  for (const auto& [size, count] : ours) {
    all += size * count;
    for (const std::int64_t packed : {1, 2, 4}) {
      const auto found = theirs.find(size * packed);
      if (found == theirs.end()) continue;
      common += size * std::min(count, found->second);
      break;
    }
  }
  if (!theirs.empty() && all > 0 && static_cast<double>(common) < kLeastInCommon * static_cast<double>(all))
    return "hardly any weight of the second has the size of one of the first: they come from different networks";
  return "";
}

}  // namespace zeropoint::analyze
