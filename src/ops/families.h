// Each file of operators gives its rows of the registry; registry.cpp joins them.
#pragma once

#include <string_view>
#include <vector>

#include "ops/operator.h"

namespace zeropoint::ops {

// A row of ONNX Runtime's own domain.
inline Operator microsoft(std::string_view type, std::size_t least_inputs, std::size_t most_inputs, ShapeRule shape,
                          Reference reference, CountMacs macs = nullptr) {
  return {.domain = "com.microsoft",
          .op_type = type,
          .min_inputs = least_inputs,
          .max_inputs = most_inputs,
          .shape = shape,
          .reference = reference,
          .macs = macs};
}

std::vector<Operator> arithmetic_operators();
std::vector<Operator> attention_microsoft_operators();
std::vector<Operator> attention_operators();
std::vector<Operator> batch_normalization_operators();
std::vector<Operator> cast_operators();
std::vector<Operator> concat_operators();
std::vector<Operator> constant_operators();
std::vector<Operator> control_flow_operators();
std::vector<Operator> convolution_operators();
std::vector<Operator> cumulative_operators();
std::vector<Operator> depth_to_space_operators();
std::vector<Operator> einsum_operators();
std::vector<Operator> expand_operators();
std::vector<Operator> fused_operators();
std::vector<Operator> gather_operators();
std::vector<Operator> grid_sample_operators();
std::vector<Operator> layer_normalization_operators();
std::vector<Operator> matmul_operators();
std::vector<Operator> non_max_suppression_operators();
std::vector<Operator> normalization_operators();
std::vector<Operator> pad_operators();
std::vector<Operator> patch_operators();
std::vector<Operator> pool_operators();
std::vector<Operator> qlinear_convolution_operators();
std::vector<Operator> qlinear_elementwise_operators();
std::vector<Operator> qlinear_matmul_operators();
std::vector<Operator> quantize_linear_operators();
std::vector<Operator> quantized_product_operators();
std::vector<Operator> recurrent_operators();
std::vector<Operator> reduce_operators();
std::vector<Operator> reshape_operators();
std::vector<Operator> resize_operators();
std::vector<Operator> scatter_operators();
std::vector<Operator> selection_operators();
std::vector<Operator> slice_operators();
std::vector<Operator> softmax_operators();
std::vector<Operator> top_k_operators();
std::vector<Operator> transpose_operators();
std::vector<Operator> unary_operators();

}  // namespace zeropoint::ops
