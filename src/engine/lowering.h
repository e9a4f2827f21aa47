// The state of one lowering, shared by the files lower_*.cpp. Private to src/engine.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/lower.h"
#include "kernels/conv_q8/conv_q8.h"
#include "kernels/recurrent_f32/recurrent_f32.h"
#include "numerics/quantize.h"
#include "ops/operator.h"

namespace zeropoint::engine {

// A per-tensor 8-bit quantizer as the engine sees it: s8 is held as u8 with zero point + 128.
struct Quantizer {
  float scale = 1;
  std::int32_t zero_point = 0;      // 0 ... 255, of the u8 form
  DType dtype = DType::u8;          // u8 or s8, what the graph says; of u4 and s4, whose limits are narrower, held as they
  numerics::Limits limits{0, 255};  // of the u8 form
  friend bool operator==(const Quantizer& a, const Quantizer& b) {
    return a.scale == b.scale && a.zero_point == b.zero_point && a.dtype == b.dtype && a.limits.low == b.limits.low &&
           a.limits.high == b.limits.high;
  }
};

// A float value that exists only as "table[q] of an 8-bit value". After DequantizeLinear the table is affine; unary functions
// only change the table. Exact: each entry is computed by the operators' references.
struct Lazy {
  std::string quantized;            // name of the 8-bit value
  DType dtype = DType::u8;          // of that value
  std::optional<Quantizer> affine;  // set while the table is (q - zero_point) * scale
  std::array<float, 256> table{};   // by the u8 form of q
};

// A value that exists only as a way to walk another's memory: what Transpose, Slice, Split, Expand make. Who can walk strides
// takes it as it is; for everybody else `fetch` makes one copy. Strides in elements; 0 repeats.
struct View {
  ValueId base = kNoValue;  // no alias
  std::int64_t offset = 0;
  Dims dims, strides;
};

// Constant weights that reached DequantizeLinear.
struct QuantizedConstant {
  Tensor values;                         // s8, u8, s16, u16 or s32
  std::vector<float> scale;              // one, or one a channel
  std::vector<std::int32_t> zero_point;  // as many
  std::int64_t axis = 0;                 // of the channels; 0 when there is one scale
  std::string name;                      // of the initializer
  std::optional<Tensor> floats;          // where they are not what the DequantizeLinear at hand says
};

// What follows a convolution and runs in its epilogue.
struct Tail {
  std::string value;  // the last value that the epilogue makes
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  std::optional<Quantizer> quantizer;  // of a QuantizeLinear at the end
  std::vector<std::string> same;       // further QuantizeLinear outputs with the same parameters
  std::string operators;               // "+Relu+QuantizeLinear"
  std::vector<std::size_t> nodes;      // what to mark as done
};

// Weights of a convolution-like node in the order that kernels take.
struct IntegerWeights {
  std::vector<std::int8_t> values;       // [o, c/groups, kh, kw]
  std::vector<float> scale;              // [o]
  std::vector<std::int32_t> zero_point;  // [o], of the s8 form; empty when all are 0
  std::string key;                       // for the pack cache
};

class Lowering {
 public:
  Lowering(const Graph& graph, const LowerOptions& options, PackCache& cache);
  Plan run();

 private:
  using Handler = bool (Lowering::*)(const Node&);  // false: not this way, use the reference
  static const std::map<std::string, Handler, std::less<>>& handlers();

  // lower.cpp: values
  void lower_node(std::size_t index);
  bool worth_sharing(const Step& step) const;
  static bool worth_sharing(std::int64_t macs, bool integer, double bytes);  // that are read and written
  void explain_floats(const Node& node, std::size_t first_step);
  void bind_inputs();
  void bind_outputs();
  void materialize_tap(const std::string& value);
  const Dims& dims_of(const std::string& value);
  DType dtype_of_value(const std::string& value) const;
  ValueId add_value(const std::string& value, DType dtype, Dims dims, Layout layout, bool flipped = false);
  // `dims` by itself: those of a value would move with the values.
  ValueId define(const std::string& value, DType dtype, Dims dims, Layout layout, bool flipped = false);
  // The id of a value in this form, making a conversion step when it is held in another.
  ValueId fetch(const std::string& value, Layout layout, bool flipped = false);
  ValueId fetch_float(const std::string& value, Layout layout);
  Layout layout_held(const std::string& value) const;  // in which it exists already; row_major when in none
  bool exists(const std::string& value) const { return held_.contains(value) || views_.contains(value); }
  void set_alias(const std::string& value, const std::string& of);
  PlanValue& value(ValueId id) { return plan_.values[static_cast<std::size_t>(id)]; }
  template <class S>
  S& emit(std::unique_ptr<S> step, std::string op, std::vector<ValueId> inputs, std::vector<ValueId> outputs);
  bool single_use(const std::string& value) const;  // one consumer, no output, no tap
  bool tapped(const std::string& value) const { return taps_.contains(value); }
  bool prefers_channel_last(const std::string& value) const { return channel_last_.contains(value); }
  void find_layout_preferences();
  const Tensor* constant_of(const std::string& value) const;
  std::optional<float> scalar_of(const std::string& value) const;
  std::string fresh(const std::string& base);
  // Of Q or DQ with constant per-tensor parameters of at most 8 bits.
  std::optional<Quantizer> quantizer_of(const Node& node) const;
  bool read_as_bytes(const Node& quantize) const;  // its integers, narrower than a byte, have no reader but DequantizeLinear
  // `wide`: the quantizer may have 16 bits.
  Tail absorb_tail(const std::string& value, bool quantizer = true, bool wide = false) const;
  void finish_tail(const Tail& tail);
  // One step by the operator's reference; `quantized` is the type of all outputs where the graph does not know them.
  void reference(const Node& node, std::optional<DType> quantized = std::nullopt);

  // lower_quantized.cpp
  bool quantize_linear(const Node& node);
  bool dequantize_linear(const Node& node);
  bool quantized_operator(const Node& node);  // QLinearConv, QLinearMatMul, QGemm, QLinearAdd, ...
  bool lazy_unary(const Node& node);
  bool qlinear_function(const Node& node, const Quantizer& x, const Quantizer& y);  // QLinearSigmoid, QLinearLeakyRelu
  bool qlinear_scalar(const Node& node, const Quantizer& a, const Quantizer& b, const Quantizer& y);  // one operand is a number
  bool qlinear_concat(const Node& node);
  bool dequantize_constant(const Node& node, const Tensor& constant);
  bool fold_constants_behind(const Node& node);  // what follows dequantized weights and depends on constants alone
  void set_folded(const std::string& value, Tensor tensor, const std::string& why_float);
  void emit_lookup(const std::array<std::uint8_t, 256>& table, const std::string& op, ValueId from, ValueId to);
  void set_lazy_affine(const std::string& value, const std::string& quantized, const Quantizer& quantizer);
  std::string quantize_table(const Lazy& lazy, const Quantizer& quantizer, const std::string& output);

  // lower_conv.cpp
  bool convolution(const Node& node);
  bool matmul(const Node& node);  // MatMul and Gemm
  struct Linear {                 // a convolution or product on its way into a step
    std::string name, op;
    kernels::ConvShape shape;
    Dims out_dims;
    Layout out_layout = Layout::channel_last;
    std::int64_t macs = 0;
  };
  bool conv_shape(const Node& node, const Dims& weights, Linear& linear);
  bool matmul_shape(const std::string& x, const Dims& weights, bool transposed, const std::string& output, Linear& linear);
  bool integer_linear(const Linear& linear, const std::string& x, const Quantizer& x_quantizer, const IntegerWeights& weights,
                      const std::vector<std::int64_t>& bias, const Tail& tail, DType output_dtype, std::string& why_not);
  const kernels::ConvKernel& conv_kernel(const kernels::ConvShape& shape, const std::string& step) const;
  static std::string pack_key(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape, const std::string& weights);
  std::shared_ptr<const void> packed_weights(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape,
                                             const IntegerWeights& weights);
  bool float_linear(Linear linear, const std::string& x, const Tensor& weights, std::vector<float> bias,
                    const std::string& output);
  bool dies_here(const std::string& value, ValueId id, std::size_t reader);
  const Tensor* float_constant(const std::string& value);  // of an initializer or dequantized weights; null when not constant
  std::optional<IntegerWeights> integer_weights(const QuantizedConstant& constant, std::int64_t channels,
                                                std::int64_t channel_axis, bool transpose, std::string& why_not) const;
  // Whole multiples of x_scale * w_scale[c]; nothing when it is not constant or not one number a channel.
  std::optional<std::vector<std::int64_t>> integer_bias(const std::string& name, float x_scale,
                                                        const std::vector<float>& w_scale) const;

  // lower_dynamic.cpp
  // The nodes that quantize sets of numbers by themselves. Rows lie along the last axis, columns along the one before it;
  // shares are rows of numbers that are not negative.
  struct RowQuantizer {
    enum class Sets : std::uint8_t { rows, columns, shares };
    std::string x, q, scale;
    Sets sets = Sets::rows;
    std::vector<std::size_t> nodes;
  };
  struct Rescale {  // what turns integer sums into real numbers
    std::string value, x_scale;
    std::vector<float> w_scale, bias;  // [channels]; bias may be empty
    bool rows = false;                 // x_scale has one for each row
    std::string operators;
    std::vector<std::size_t> nodes;
  };
  struct DynamicProduct {  // MatMulInteger or ConvInteger with constant weights, and what stands behind it
    const Node* node = nullptr;
    Linear linear;
    IntegerWeights weights;
    std::vector<std::int32_t> w_sums;  // [o], of (w - its zero point)
    std::int32_t zero_point = 0;       // of the inputs, where it is constant
    bool dynamic_zero = false;
    DType x_dtype = DType::u8;
    std::optional<Rescale> rescale;
  };
  void find_row_quantizers();
  bool row_quantize(std::size_t index);
  void emit_row_quantizer(const RowQuantizer& rows);
  // `elsewhere`: it is another function's.
  std::optional<DynamicProduct> dynamic_product(const Node& node, bool& elsewhere);
  bool dynamic_quantize(const Node& node);
  bool dynamic_linear(const Node& node);
  std::optional<Rescale> find_rescale(const Node& product, std::int64_t channels, std::size_t spatial) const;
  const Node* maker_of(const std::string& value) const;
  const Node* only_reader(const std::string& value, std::string_view op_type) const;
  std::size_t index_of(const Node& node) const;
  ValueId any_id(const std::string& value) const;   // in whatever form it is held; kNoValue when in none
  Dims dims_known(const std::string& value) const;  // as the graph has them; empty when it doesn't

  // lower_fused_products.cpp: kernels of matmul_q8, which do what stands around a product too
  bool fused_products(const Node& node);
  // What the epilogue does behind `value`: ReLU or Clip, GELU, the sum with another value of the same shape.
  struct FloatTail {
    Tail tail;
    bool gelu = false;
    std::string residual;  // empty: none
  };
  FloatTail absorb_float_tail(const std::string& value);
  // The nodes of a GELU written as a chain that starts at `value`, and what they make.
  struct GeluChain {
    std::vector<std::size_t> nodes;
    std::string output;
  };
  std::optional<GeluChain> find_gelu(const std::string& value) const;

  // lower_attention.cpp: both products of an attention and the softmax between them as one step
  struct Attention {
    std::string q, k, v, mask, output;  // k as [.., depth, columns]; mask may be empty
    std::string factor_op;              // Mul or Div by `factor`; empty: none
    float factor = 1;
    std::vector<std::size_t> nodes;  // in order; the step stands at the last
  };
  void find_attentions();
  std::optional<Attention> attention_behind(const Node& values) const;
  void lower_attention(const Attention& attention);
  bool fused_attention(const Attention& attention);

  // lower_weight_only.cpp
  struct StoredWeights {  // a matrix of integers as the kernels of weight-only products take it
    std::int64_t k = 0, n = 0, block = 0, k_step = 0, n_step = 0;
    int bits = 8;
    std::vector<std::uint8_t> values;  // at k * k_step + n * n_step
    std::vector<float> scale, zero;    // [block][n]
  };
  bool dequantized_constant(const Node& node);
  std::optional<StoredWeights> stored_weights(const std::string& w, bool transposed) const;
  bool weight_only_product(const Node& node);
  void emit_weight_only(Linear linear, const std::string& x, const StoredWeights& weights, std::vector<float> bias,
                        const std::string& output);
  bool matmul_n_bits(const Node& node);

  // lower_integer.cpp
  bool conv_transpose(const Node& node);
  bool convolution_3d(const Node& node);
  bool channel_prelu(const Node& node);

  // lower_elementwise.cpp
  bool binary(const Node& node);
  bool binary_views(const Node& node);
  bool activation(const Node& node);  // Relu, Clip
  bool unary(const Node& node);
  bool power(const Node& node);  // Pow
  // Exporters write Gelu and Swish as several nodes; each starts at the first: one step with the same bytes.
  bool gelu_chain(const Node& node);   // x / sqrt(2) -> Erf -> + 1 -> * x -> * 0.5
  bool swish_chain(const Node& node);  // Sigmoid(x) -> * x
  // The one reader of a value, when it is such an operator that still waits; its index goes to `nodes`.
  const Node* next_only(const std::string& value, const char* op, std::vector<std::size_t>& nodes) const;
  bool integer_binary(const Node& node, const std::string& op, const std::string& a, const Quantizer& a_quantizer,
                      const std::string& b, const Quantizer& b_quantizer, const Tail& tail);
  bool add_to_convolution(const Node& node, const std::array<std::string, 2>& names, std::array<ValueId, 2> operands,
                          const kernels::BinaryQ8& params, const std::string& operators, ValueId out);

  // lower_pool.cpp
  bool pool(const Node& node);  // MaxPool, AveragePool, GlobalAveragePool, ReduceMean
  bool integer_average(const Node& node, bool global, const std::string& x, const Quantizer& x_quantizer, const Tail& tail);
  bool wide_average(const Node& node);                 // of 16 bits
  std::optional<bool> spatial_mean(const Node& node);  // ReduceMean over all axes but the first two; nothing: axes not constant

  // lower_movement.cpp
  bool reshape(const Node& node);  // Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout
  bool transpose(const Node& node);
  bool concat(const Node& node);
  bool movement(const Node& node);        // Slice, Split, Gather, Expand, Tile, Pad
  bool move_quantized(const Node& node);  // the same on the integers
  bool as_view(const Node& node);         // the first of them, by lower_view.cpp
  void set_lazy_moved(const std::string& value, Lazy source, const std::string& quantized);

  // lower_view.cpp
  bool viewable(const std::string& value) const;  // exists or is constant, in elements of whole bytes
  View view_of(const std::string& value);         // without a copy where the value is held in any form
  void set_view(const std::string& value, View view);
  void materialize(const std::string& value, Layout layout = Layout::row_major);  // of a view: a value of its own
  ValueId dense_copy(const std::string& name, const View& view, Layout layout = Layout::row_major);
  bool slice(const Node& node);
  bool split(const Node& node);
  bool expand(const Node& node);
  bool tile(const Node& node);
  bool gather(const Node& node);
  bool pad(const Node& node);

  // lower_recurrent.cpp
  bool recurrent(const Node& node);  // LSTM, GRU, RNN
  // Whether the kernels have what the node asks for: functions, layout, whole sequences, no peepholes. `kind` may become relu.
  bool plain_recurrence(const Node& node, const Dims& x_dims, std::int64_t directions, kernels::RecurrentKind& kind);

  // lower_dynamic_lstm.cpp
  bool dynamic_lstm(const Node& node);

  // lower_typed.cpp
  bool prelu(const Node& node);
  bool typed_elementwise(const Node& node);  // integers, bools, Where, Cast, comparisons

  // lower_matmul.cpp: two operands that are made at run time
  bool matmul_activations(const Node& node);

  // lower_wide.cpp: activations or weights of 16 bits
  struct Operand {  // 8 bits in the u8 form, 16 bits with the graph's zero point
    std::string quantized;
    Quantizer quantizer;
  };
  struct BytePlane {
    std::int32_t zero_point = 0;
    ValueId bytes = kNoValue;
    int shift = 0;  // 8 of high bytes
  };
  struct Join {  // what the sums of planes become
    std::vector<std::int64_t> bias;
    std::vector<float> scale;
    float low = 0, high = 0;
    std::int32_t zero_point = 0;
    DType dtype = DType::f32;
  };
  std::optional<Quantizer> wide_quantizer_of(const Node& node) const;
  bool quantize_wide(const Node& node);
  bool dequantize_wide(const Node& node);
  void materialize_wide(const std::string& value);
  std::optional<Operand> operand_of(const std::string& value) const;  // of a dequantized one with one scale
  bool is_wide(const Node& node, const Tail& tail) const;             // an operand of `node` or its result has 16 bits
  // One for each byte of the weights, the low one first.
  std::vector<IntegerWeights> byte_weights(const QuantizedConstant& constant, std::int64_t channels, std::int64_t channel_axis,
                                           bool transpose);
  std::vector<BytePlane> byte_planes(const Operand& operand, Layout layout);
  std::optional<Join> join_of(const Tail& tail, float x_scale, const std::vector<float>& w_scale);
  bool wide_linear(const Node& node);   // Conv, MatMul, Gemm with constant weights
  bool wide_product(const Node& node);  // MatMul of two computed values
  bool wide_sums(const Linear& linear, const Operand& x, const std::vector<IntegerWeights>& weights,
                 std::vector<std::int64_t> bias, const Tail& tail);
  void emit_join(Join join, const std::string& op, std::vector<ValueId> sums, std::vector<int> shifts, const Dims& dims,
                 Layout layout, const Tail& tail);

  // lower_products.cpp: two quantized operands that are made at run time
  struct MatrixPairs {
    kernels::ConvShape shape;  // of one product
    std::vector<std::array<std::int64_t, 2>> offsets;
  };
  std::optional<MatrixPairs> matrix_pairs(const Dims& a, const Dims& b, const Dims& y);
  Step& emit_matrix_product(const MatrixPairs& pairs, std::array<ValueId, 2> operands, std::int32_t b_zero_point, float scale,
                            const kernels::ConvArgs& args, std::string op, ValueId out);
  bool integer_product(const Node& node);  // MatMul between Q/DQ
  bool integer_product(const Node& node, const std::string& a, const Quantizer& a_quantizer, const std::string& b,
                       const Quantizer& b_quantizer, const Tail& tail, DType output_dtype);

  // lower_rows.cpp
  bool softmax(const Node& node);
  bool normalization(const Node& node);  // LayerNormalization, RMSNormalization, ...
  bool reduction(const Node& node);
  std::string moved_last(const std::string& value, const std::vector<std::int64_t>& axes);  // a row-major copy, axes at the end

  const Graph& graph_;
  const ValueIndex values_;
  const LowerOptions& options_;
  PackCache& cache_;
  Plan plan_;
  Uses uses_;
  struct TapState {
    std::size_t index = 0;  // into LowerOptions::taps
    bool shown = false;
  };
  std::map<std::string, TapState, std::less<>> taps_;
  std::set<std::string> channel_last_;
  std::vector<bool> done_;
  const Node* current_ = nullptr;
  std::string reason_;  // why the node at hand went the slower way
  struct Held {
    std::array<std::array<ValueId, 2>, 2> ids{{{kNoValue, kNoValue}, {kNoValue, kNoValue}}};  // [layout][flipped]
  };
  std::map<std::string, Held, std::less<>> held_;
  std::map<std::string, View, std::less<>> views_;
  std::map<std::string, Lazy, std::less<>> lazy_;
  std::map<std::string, QuantizedConstant, std::less<>> constants_;
  struct Folded {
    Tensor tensor;
    std::string why_float;  // of dequantized weights that have no integer form
  };
  struct Wide {
    std::string quantized;  // name of the 16-bit value
    Quantizer quantizer;    // with the graph's zero point
  };
  std::map<std::string, Wide, std::less<>> wide_;  // like lazy_, for 16 bits
  bool quantized_file_ = false;
  std::map<std::string, Tensor, std::less<>> float_constants_;  // what float_constant made
  std::map<std::string, Folded, std::less<>> folded_;           // constants made when the plan is made
  std::map<std::string, Dims, std::less<>> dims_;
  std::map<std::string, const Node*, std::less<>> deferred_constants_;  // of a DequantizeLinear; real when somebody asks
  std::map<std::size_t, RowQuantizer> row_quantizers_;                  // of rows, by their first node
  std::map<std::string, RowQuantizer, std::less<>> set_quantizers_;     // of all kinds, by the name of the integers
  std::map<std::size_t, std::shared_ptr<const Attention>> attentions_;  // by each of their nodes
  std::int64_t dynamic_weight_bytes_ = 0;                               // of all MatMulInteger
  // Left to the products that read them: by the name of the integers.
  std::map<std::string, RowQuantizer, std::less<>> deferred_rows_;
  int fresh_ = 0;
};

inline const std::string& step_name(const Node& node) { return node.name.empty() ? node.outputs.front() : node.name; }

template <class S>
S& Lowering::emit(std::unique_ptr<S> step, std::string op, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  S& result = *step;
  result.info.op = std::move(op);
  if (result.info.name.empty() && current_ != nullptr) result.info.name = step_name(*current_);
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  plan_.steps.push_back(std::move(step));
  return result;
}

inline int element_bytes(DType dtype) { return bits(dtype) / 8; }

inline bool spatially_trivial(const Dims& dims) {
  for (std::size_t axis = 2; axis < dims.size(); ++axis)
    if (dims[axis] != 1) return false;
  return true;
}

// Strides of a row-major tensor, and whether a view walks its memory like one.
inline Dims dense_strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t axis = dims.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * dims[axis];
  return strides;
}
inline bool is_dense(const View& view) {
  const Dims strides = dense_strides(view.dims);
  for (std::size_t axis = 0; axis < view.dims.size(); ++axis)
    if (view.dims[axis] != 1 && view.strides[axis] != strides[axis]) return false;
  return true;
}

// Dimensions in the order of memory.
inline Dims memory_dims(const Dims& dims, Layout layout) {
  if (layout == Layout::row_major || dims.size() < 3) return dims;
  Dims result = {dims[0]};
  result.insert(result.end(), dims.begin() + 2, dims.end());
  result.push_back(dims[1]);
  return result;
}

// [N, C, ...] -> (N, C, product of the rest): how layout conversions see a value.
struct Planes {
  std::int64_t n = 1, c = 1, pixels = 1;
};
inline Planes planes(const Dims& dims) {
  Planes result;
  if (!dims.empty()) result.n = dims[0];
  if (dims.size() > 1) result.c = dims[1];
  for (std::size_t axis = 2; axis < dims.size(); ++axis) result.pixels *= dims[axis];
  return result;
}

}  // namespace zeropoint::engine
