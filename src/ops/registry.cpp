#include <map>
#include <string>
#include <utility>

#include "ops/families.h"

namespace zeropoint::ops {
namespace {

constexpr std::vector<Operator> (*kFamilies[])() = {
    arithmetic_operators,
    attention_operators,
    attention_microsoft_operators,
    batch_normalization_operators,
    cast_operators,
    concat_operators,
    constant_operators,
    control_flow_operators,
    convolution_operators,
    cumulative_operators,
    depth_to_space_operators,
    einsum_operators,
    expand_operators,
    fused_operators,
    gather_operators,
    grid_sample_operators,
    layer_normalization_operators,
    matmul_operators,
    non_max_suppression_operators,
    normalization_operators,
    pad_operators,
    patch_operators,
    pool_operators,
    qlinear_convolution_operators,
    qlinear_elementwise_operators,
    qlinear_matmul_operators,
    quantize_linear_operators,
    quantized_product_operators,
    recurrent_operators,
    reduce_operators,
    reshape_operators,
    resize_operators,
    scatter_operators,
    selection_operators,
    slice_operators,
    softmax_operators,
    top_k_operators,
    transpose_operators,
    unary_operators,
};

struct Registry {
  std::vector<Operator> operators;
  std::map<std::pair<std::string_view, std::string_view>, const Operator*> index;

  Registry() {
    for (const auto family : kFamilies)
      for (const Operator& entry : family()) operators.push_back(entry);
    for (const Operator& entry : operators) index.emplace(std::pair(entry.domain, entry.op_type), &entry);
  }
};

const Registry& registry() {
  static const Registry instance;
  return instance;
}

}  // namespace

const Operator* find(std::string_view domain, std::string_view op_type) {
  if (domain == "ai.onnx") domain = "";
  const auto found = registry().index.find({domain, op_type});
  return found == registry().index.end() ? nullptr : found->second;
}

std::span<const Operator> all() { return registry().operators; }

}  // namespace zeropoint::ops
