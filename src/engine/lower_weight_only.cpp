// Products of f32 activations with weights that only their storage makes integers: DequantizeLinear of a constant, per channel
// or in blocks, and com.microsoft's MatMulNBits. The integers stay integers in memory and become real in registers.
#include <fmt/format.h>

#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/content_hash.h"
#include "engine/lowering.h"
#include "kernels/matmul_wq/matmul_wq.h"

namespace zeropoint::engine {
namespace {

struct PackedWeights {
  std::shared_ptr<std::byte> q, scale, zero;
};

class WeightOnlyStep : public Step {
 public:
  WeightOnlyStep(const kernels::MatmulWqKernels& kernels, const kernels::WqShape& shape, std::int64_t rows,
                 std::shared_ptr<const PackedWeights> packed, std::vector<float> bias, float low, float high)
      : functions_(kernels.functions), shape_(shape), packed_(std::move(packed)), bias_(std::move(bias)) {
    args_.m = rows;
    args_.q = reinterpret_cast<const std::uint8_t*>(packed_->q.get());
    args_.scale = reinterpret_cast<const float*>(packed_->scale.get());
    args_.zero = reinterpret_cast<const float*>(packed_->zero.get());
    args_.bias = bias_.empty() ? nullptr : bias_.data();
    args_.low = low;
    args_.high = high;
    info.kernel = kernels.name;
  }
  std::size_t scratch_bytes(int workers) const override {
    return static_cast<std::size_t>(kernels::wq_scratch_bytes(shape_, args_.m, workers));
  }
  void run(const RunContext& context) const override {
    kernels::WqArgs args = args_;
    args.x = reinterpret_cast<const float*>(context.values[inputs[0]]);
    args.y = reinterpret_cast<float*>(context.values[outputs[0]]);
    args.scratch = reinterpret_cast<float*>(context.scratch);
    functions_->run(shape_, args, context.worker, context.workers);
  }

 private:
  const kernels::MatmulWqFunctions* functions_;
  kernels::WqShape shape_;
  std::shared_ptr<const PackedWeights> packed_;
  std::vector<float> bias_;
  kernels::WqArgs args_;
};

// Integers of 4 or 8 bits, signed ones shifted to 0 ... 15 or 0 ... 255.
std::vector<std::uint8_t> unsigned_values(const Tensor& tensor) {
  const std::span<const std::byte> bytes = tensor.bytes();
  std::vector<std::uint8_t> values(static_cast<std::size_t>(tensor.size()));
  if (bits(tensor.dtype()) == 8) {
    const unsigned flip = tensor.dtype() == DType::s8 ? 0x80U : 0U;
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<std::uint8_t>(std::to_integer<unsigned>(bytes[i]) ^ flip);
    return values;
  }
  const unsigned flip = tensor.dtype() == DType::s4 ? 8U : 0U;
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<std::uint8_t>((std::to_integer<unsigned>(bytes[i / 2]) >> (i % 2 * 4) & 15U) ^ flip);
  return values;
}

bool is_4_or_8_bits(DType dtype) {
  return dtype == DType::s8 || dtype == DType::u8 || dtype == DType::s4 || dtype == DType::u4;
}

}  // namespace

bool Lowering::dequantized_constant(const Node& node) {
  for (std::size_t i = 0; i < 3; ++i)
    if (!node.input(i).empty() && constant_of(node.input(i)) == nullptr) return false;
  const Tensor *q = constant_of(node.input(0)), *scale = constant_of(node.input(1));
  if (q == nullptr || scale == nullptr || scale->dtype() != DType::f32 || node.get_int("output_dtype", 0) > 1) return false;
  deferred_constants_[node.outputs[0]] = &node;
  return true;
}

// The weights of `w` [K, N] (or [N, K]), when a DequantizeLinear of constants makes them in a form that the kernels take.
std::optional<Lowering::StoredWeights> Lowering::stored_weights(const std::string& w, bool transposed) const {
  const Node* node = maker_of(w);
  if (node == nullptr || node->op_type != "DequantizeLinear" || (!deferred_constants_.contains(w) && !constants_.contains(w)))
    return std::nullopt;
  const Tensor &q = *constant_of(node->input(0)), &scale = *constant_of(node->input(1));
  const Tensor* zero = node->input(2).empty() ? nullptr : constant_of(node->input(2));
  if (!is_4_or_8_bits(q.dtype()) || q.rank() != 2 || q.size() == 0 || scale.dtype() != DType::f32) return std::nullopt;
  if (zero != nullptr && (zero->dtype() != q.dtype() || zero->size() != scale.size())) return std::nullopt;
  const std::size_t k_axis = transposed ? 1 : 0, n_axis = 1 - k_axis;
  StoredWeights result;
  result.k = q.dim(k_axis);
  result.n = q.dim(n_axis);
  result.block = result.k;
  result.bits = bits(q.dtype());
  std::int64_t axis = node->get_int("axis", 1);
  if (axis < 0) axis += 2;
  const std::int64_t block = node->get_int("block_size", 0);
  std::int64_t blocks = 1;
  bool per_column = true;
  if (block > 0) {
    if (scale.rank() != 2 || axis != static_cast<std::int64_t>(k_axis)) return std::nullopt;
    result.block = std::min(block, result.k);
    blocks = (result.k + block - 1) / block;
    if (scale.dim(k_axis) != blocks || scale.dim(n_axis) != result.n) return std::nullopt;
  } else if (scale.size() == 1) {
    per_column = false;
  } else if (axis != static_cast<std::int64_t>(n_axis) || scale.size() != result.n) {
    return std::nullopt;
  }
  if (result.bits == 4 && result.block % 2 != 0 && result.block < result.k) return std::nullopt;
  result.values = unsigned_values(q);
  result.k_step = transposed ? 1 : result.n;
  result.n_step = transposed ? result.k : 1;
  result.scale.resize(static_cast<std::size_t>(blocks * result.n));
  result.zero.resize(result.scale.size());
  const std::vector<std::uint8_t> zeros = zero == nullptr ? std::vector<std::uint8_t>() : unsigned_values(*zero);
  const float middle = q.dtype() == DType::s8 ? 128.0F : q.dtype() == DType::s4 ? 8.0F : 0.0F;
  for (std::int64_t b = 0; b < blocks; ++b)
    for (std::int64_t n = 0; n < result.n; ++n) {
      const auto to = static_cast<std::size_t>(b * result.n + n);
      const auto from = static_cast<std::size_t>(!per_column  ? 0
                                                 : block == 0 ? n
                                                 : transposed ? n * blocks + b
                                                              : b * result.n + n);
      result.scale[to] = scale.values<float>()[from];
      result.zero[to] = zeros.empty() ? middle : static_cast<float>(zeros[from]);
    }
  return result;
}

bool Lowering::weight_only_product(const Node& node) {
  const bool gemm = node.is("Gemm"), transposed = gemm && node.get_int("transB", 0) != 0;
  if (gemm && (node.get_int("transA", 0) != 0 || node.get_float("alpha", 1) != 1 || node.get_float("beta", 1) != 1))
    return false;
  const std::string& x = node.input(0);
  if (const auto lazy = lazy_.find(x); lazy != lazy_.end() && lazy->second.affine && constants_.contains(node.input(1)))
    return false;  // integers on both sides
  if (dtype_of_value(x) != DType::f32) return false;
  const Node* maker = maker_of(node.input(1));
  if (maker == nullptr || maker->op_type != "DequantizeLinear" || constant_of(maker->input(0)) == nullptr) return false;
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
  if (!matmul_shape(x, constant_of(maker->input(0))->dims(), !transposed, node.outputs[0], linear)) return false;
  std::vector<float> bias;
  if (gemm && !node.input(2).empty()) {
    const Tensor* row = constant_of(node.input(2));
    if (row == nullptr || row->dtype() != DType::f32 || row->size() != linear.shape.o || row->dims().back() != linear.shape.o)
      return false;
    bias.assign(row->values<float>().begin(), row->values<float>().end());
  }
  const std::optional<StoredWeights> weights = stored_weights(node.input(1), transposed);
  if (!weights) return false;
  emit_weight_only(linear, x, *weights, std::move(bias), node.outputs[0]);
  return true;
}

void Lowering::emit_weight_only(Linear linear, const std::string& x, const StoredWeights& weights, std::vector<float> bias,
                                const std::string& output) {
  const kernels::WqShape shape{.k = weights.k, .n = weights.n, .block = weights.block, .bits = weights.bits};
  const auto bytes_of = [](const auto& vector) { return content_hash(std::as_bytes(std::span(vector))); };
  const auto packed =
      cache_.get(fmt::format("wq {} {} {} {} {} {} {} {}", shape.k, shape.n, shape.block, shape.bits, weights.k_step,
                             bytes_of(weights.values), bytes_of(weights.scale), bytes_of(weights.zero)),
                 [&] {
                   auto made = std::make_shared<PackedWeights>();
                   const auto parameters = static_cast<std::size_t>(kernels::packed_wq_parameters(shape)) * 4;
                   made->q = cache_.allocate(static_cast<std::size_t>(kernels::packed_wq_bytes(shape)));
                   made->scale = cache_.allocate(parameters);
                   made->zero = cache_.allocate(parameters);
                   kernels::pack_wq(
                       shape,
                       [&](std::int64_t k, std::int64_t n) {
                         return weights.values[static_cast<std::size_t>(k * weights.k_step + n * weights.n_step)];
                       },
                       reinterpret_cast<std::uint8_t*>(made->q.get()));
                   const auto parameter = [&](const std::vector<float>& from) {
                     return [&](std::int64_t b, std::int64_t n) { return from[static_cast<std::size_t>(b * weights.n + n)]; };
                   };
                   kernels::pack_wq_parameters(shape, parameter(weights.scale), reinterpret_cast<float*>(made->scale.get()));
                   kernels::pack_wq_parameters(shape, parameter(weights.zero), reinterpret_cast<float*>(made->zero.get()));
                   return std::shared_ptr<const void>(made);
                 });
  std::string made = output;
  std::vector<std::size_t> absorbed;
  if (const Node* add = bias.empty() ? only_reader(made, "Add") : nullptr; add != nullptr && add->input(0) != add->input(1)) {
    const Tensor* row = constant_of(add->input(add->input(0) == made ? 1 : 0));
    if (row != nullptr && row->dtype() == DType::f32 && row->size() == weights.n && row->rank() >= 1 &&
        row->dims().back() == weights.n && row->rank() <= linear.out_dims.size()) {
      bias.assign(row->values<float>().begin(), row->values<float>().end());
      made = add->outputs[0];
      absorbed.push_back(index_of(*add));
      linear.op += "+Add";
    }
  }
  if (!bias.empty()) bias.resize(static_cast<std::size_t>(shape.panels() * kernels::kWqPanel));
  Tail tail = absorb_tail(made, false);
  tail.nodes.insert(tail.nodes.end(), absorbed.begin(), absorbed.end());
  const ValueId in = fetch_float(x, Layout::row_major);
  const ValueId out = define(tail.value, DType::f32, linear.out_dims, Layout::row_major);
  auto step = std::make_unique<WeightOnlyStep>(kernels::select_matmul_wq(options_.isas), shape, linear.shape.w,
                                               std::static_pointer_cast<const PackedWeights>(packed), std::move(bias), tail.low,
                                               tail.high);
  step->info.macs = linear.macs;
  step->info.name = linear.name;
  step->info.reason = fmt::format("weights of {} bits, activations in float", weights.bits);
  emit(std::move(step), linear.op + tail.operators, {in}, {out});
  finish_tail(tail);
}

// com.microsoft MatMulNBits(A, B, scales, zero_points, g_idx, bias): B [N, blocks, bytes of a block], two 4-bit values a byte,
// the lower first; scales [N, blocks]; zero points packed along the blocks of a row, or of A's type; without them the middle.
bool Lowering::matmul_n_bits(const Node& node) {
  const std::string& x = node.input(0);
  const Tensor *b = constant_of(node.input(1)), *scales = constant_of(node.input(2));
  const Tensor* zeros = node.input(3).empty() ? nullptr : constant_of(node.input(3));
  const Tensor* row = node.input(5).empty() ? nullptr : constant_of(node.input(5));
  StoredWeights weights;
  weights.k = node.get_int("K", 0);
  weights.n = node.get_int("N", 0);
  weights.bits = static_cast<int>(node.get_int("bits", 4));
  const std::int64_t block = node.get_int("block_size", 0);
  if (b == nullptr || scales == nullptr || (!node.input(3).empty() && zeros == nullptr) || !node.input(4).empty() ||
      (!node.input(5).empty() && row == nullptr) || (weights.bits != 4 && weights.bits != 8) || block < 16 || weights.k < 1 ||
      weights.n < 1 || dtype_of_value(x) != DType::f32 || scales->dtype() != DType::f32) {
    reason_ = "not constant weights of 4 or 8 bits without g_idx";
    return false;
  }
  const std::int64_t blocks = (weights.k + block - 1) / block, per_byte = 8 / weights.bits,
                     row_bytes = blocks * block / per_byte;
  const std::int64_t zero_bytes = (blocks + per_byte - 1) / per_byte;
  const bool packed_zeros = zeros != nullptr && zeros->dtype() == DType::u8;
  if (b->dtype() != DType::u8 || b->size() != weights.n * row_bytes || scales->size() != weights.n * blocks ||
      (packed_zeros && zeros->size() != weights.n * zero_bytes) ||
      (zeros != nullptr && !packed_zeros && (zeros->dtype() != DType::f32 || zeros->size() != weights.n * blocks)) ||
      (row != nullptr && (row->dtype() != DType::f32 || row->size() != weights.n))) {
    reason_ = "sizes of its weights, scales and zero points don't fit";
    return false;
  }
  weights.block = std::min(block, weights.k);
  weights.k_step = 1;
  weights.n_step = weights.k;
  weights.values.resize(static_cast<std::size_t>(weights.k * weights.n));
  weights.scale.resize(static_cast<std::size_t>(blocks * weights.n));
  weights.zero.resize(weights.scale.size());
  const auto nibble = [&](const Tensor& tensor, std::int64_t first_byte, std::int64_t i) {
    const auto byte = std::to_integer<unsigned>(tensor.bytes()[static_cast<std::size_t>(first_byte + i / per_byte)]);
    return weights.bits == 8 ? byte : byte >> (i % 2 * 4) & 15U;
  };
  for (std::int64_t n = 0; n < weights.n; ++n) {
    for (std::int64_t k = 0; k < weights.k; ++k)
      weights.values[static_cast<std::size_t>(n * weights.k + k)] = static_cast<std::uint8_t>(nibble(*b, n * row_bytes, k));
    for (std::int64_t i = 0; i < blocks; ++i) {
      const auto to = static_cast<std::size_t>(i * weights.n + n), from = static_cast<std::size_t>(n * blocks + i);
      weights.scale[to] = scales->values<float>()[from];
      weights.zero[to] = zeros == nullptr ? static_cast<float>(1 << (weights.bits - 1))
                         : packed_zeros   ? static_cast<float>(nibble(*zeros, n * zero_bytes, i))
                                          : zeros->values<float>()[from];
    }
  }
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = node.op_type};
  if (!matmul_shape(x, {weights.n, weights.k}, false, node.outputs[0], linear)) return false;
  std::vector<float> bias;
  if (row != nullptr) bias.assign(row->values<float>().begin(), row->values<float>().end());
  emit_weight_only(linear, x, weights, std::move(bias), node.outputs[0]);
  return true;
}

}  // namespace zeropoint::engine
