// Products of dynamically quantized rows with what stands around them in one step: quantization of the rows, rescaling, bias,
// ReLU, GELU, the sum with a residual. Products of one value (query, key and value of an attention) are one product. Where
// matmul_q8 has no fast kernel each operator stays a step of its own, with the same bytes.
#include <fmt/format.h>

#include <algorithm>

#include "engine/dynamic_product_step.h"
#include "engine/lowering.h"
#include "kernels/matmul_q8/matmul_q8.h"

namespace zeropoint::engine {
namespace {

constexpr std::int32_t kMiddle = 128;  // zero point of rows

// Inputs: rows, scale (of integers), zero point (where it is a value), residual.
class FusedProductStep : public DynamicProductStep<kernels::MatmulQ8Kernel, kernels::MatmulQ8Shape, kernels::MatmulQ8Args> {
 public:
  using DynamicProductStep::DynamicProductStep;
  bool overwrites(std::size_t input) const override { return input == 3; }
  void run(const RunContext& context) const override {
    kernels::MatmulQ8Args all = args(context);
    all.src = context.values[inputs[0]];
    all.dst = reinterpret_cast<float*>(context.values[outputs[0]]);
    if (inputs[3] != kNoValue) all.residual = reinterpret_cast<const float*>(context.values[inputs[3]]);
    run_kernel(all, context);
  }
};

}  // namespace

Lowering::FloatTail Lowering::absorb_float_tail(const std::string& value_name) {
  FloatTail result{.tail = absorb_tail(value_name, false)};
  Tail& tail = result.tail;
  const auto readers = uses_.consumers.find(tail.value);
  const auto chain = values_.is_output(tail.value) || tapped(tail.value) ? std::nullopt : find_gelu(tail.value);
  // The chain reads the value twice, at its first node and in a product.
  if (chain && readers->second.size() == 2) {
    result.gelu = true;
    tail.nodes.insert(tail.nodes.end(), chain->nodes.begin(), chain->nodes.end());
    tail.value = chain->output;
    tail.operators += "+Gelu";
  } else if (const Node* gelu = only_reader(tail.value, "Gelu");
             gelu != nullptr && gelu->get_string("approximate", "none") == "none") {
    result.gelu = true;
    tail.nodes.push_back(index_of(*gelu));
    tail.value = gelu->outputs[0];
    tail.operators += "+Gelu";
  }
  if (const Node* add = only_reader(tail.value, "Add"); add != nullptr && add->input(0) != add->input(1)) {
    const std::string& other = add->input(add->input(0) == tail.value ? 1 : 0);
    if (viewable(other) && constant_of(other) == nullptr && dtype_of_value(other) == DType::f32 &&
        dims_of(other) == dims_of(tail.value) && layout_held(other) == Layout::row_major) {
      result.residual = other;
      tail.nodes.push_back(index_of(*add));
      tail.value = add->outputs[0];
      tail.operators += "+Add";
    }
  }
  return result;
}

bool Lowering::fused_products(const Node& node) {
  const std::string& x = node.input(0);
  const auto rows = deferred_rows_.find(x);
  // All products of these integers, or this one.
  std::vector<DynamicProduct> products;
  const auto take = [&](const Node& each) {
    bool elsewhere = false;
    auto product = each.is("MatMulInteger") && each.input(0) == x ? dynamic_product(each, elsewhere) : std::nullopt;
    if (!product || !product->rescale || !product->weights.zero_point.empty() || product->x_dtype != DType::u8) return false;
    if (product->rescale->rows && product->dynamic_zero) return false;
    // The kernel quantizes deferred rows as their own nodes would.
    if (rows != deferred_rows_.end() && (product->dynamic_zero || product->zero_point != kMiddle || !product->rescale->rows ||
                                         product->rescale->x_scale != rows->second.scale))
      return false;
    if (!products.empty()) {
      const DynamicProduct& other = products.front();
      if (product->rescale->rows != other.rescale->rows || product->rescale->x_scale != other.rescale->x_scale ||
          product->zero_point != other.zero_point || product->dynamic_zero != other.dynamic_zero ||
          (other.dynamic_zero && each.input(2) != other.node->input(2)))
        return false;
    }
    products.push_back(std::move(*product));
    return true;
  };
  const std::vector<std::size_t>& readers = uses_.consumers.find(x)->second;
  const bool all = !values_.is_output(x) && std::all_of(readers.begin(), readers.end(), [&](std::size_t reader) {
    return (&graph_.nodes[reader] == &node || !done_[reader]) && take(graph_.nodes[reader]);
  });
  if (!all) {
    products.clear();
    if (rows != deferred_rows_.end() || !take(node)) return false;
  }
  const DynamicProduct& first = products.front();
  kernels::MatmulQ8Shape shape{.m = first.linear.shape.w, .k = first.linear.shape.c, .src_stride = first.linear.shape.c};
  DynamicChannels channels{.zero_point = first.zero_point, .row_scales = first.rescale->rows};
  std::string key;
  std::int64_t macs = 0;
  const bool biased =
      std::any_of(products.begin(), products.end(), [](const auto& each) { return !each.rescale->bias.empty(); });
  for (const DynamicProduct& each : products) {
    shape.n += each.linear.shape.o;
    macs += each.linear.macs;
    key += fmt::format(" {}x{} {}", each.linear.shape.o, each.linear.shape.c, each.weights.key);
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(channels.w_scale, each.rescale->w_scale);
    append(channels.w_sums, each.w_sums);
    if (!biased) continue;
    append(channels.bias, each.rescale->bias);
    channels.bias.resize(channels.w_sums.size(), -0.0F);  // adding -0 changes nothing
  }
  shape.dst_stride = shape.residual_stride = shape.n;
  shape.network_bytes = dynamic_weight_bytes_;
  const kernels::MatmulQ8Kernel* kernel = kernels::select_matmul_q8(shape, options_.isas);
  if (kernel == nullptr) return false;
  const auto packed = cache_.get(fmt::format("{}{}", kernel->name, key), [&] {
    std::vector<std::int8_t> weights;
    for (const DynamicProduct& each : products)
      weights.insert(weights.end(), each.weights.values.begin(), each.weights.values.end());
    std::shared_ptr<std::byte> made = cache_.allocate(kernel->packed_bytes(shape));
    kernel->pack(shape, weights.data(), made.get());
    return std::shared_ptr<const void>(made, made.get());
  });

  kernels::MatmulQ8Args args;
  FloatTail tail{.tail = {.value = first.rescale->value}};
  if (products.size() == 1) tail = absorb_float_tail(first.rescale->value);
  args.low = tail.tail.low;
  args.high = tail.tail.high;
  if (tail.gelu) args.function = kernels::MatmulQ8Function::gelu;
  std::string op = first.linear.op + first.rescale->operators + tail.tail.operators;
  ValueId in = kNoValue, scale = kNoValue, zero = kNoValue;
  if (rows != deferred_rows_.end()) {
    args.source = kernels::MatmulQ8Source::f32;
    channels.zero_point = kMiddle;
    in = fetch_float(rows->second.x, Layout::row_major);
    op = "quantize rows+" + op;
    deferred_rows_.erase(rows);
  } else {
    in = fetch(x, Layout::row_major);
    scale = fetch(first.rescale->x_scale, Layout::row_major);
    if (first.dynamic_zero) zero = fetch(node.input(2), Layout::row_major);
  }
  const ValueId residual = tail.residual.empty() ? kNoValue : fetch_float(tail.residual, Layout::row_major);
  Dims dims = first.linear.out_dims;
  ValueId out = kNoValue;
  if (products.size() == 1) {
    out = define(tail.tail.value, DType::f32, dims, Layout::row_major);
    done_[index_of(node)] = true;
  } else {
    op += fmt::format(" x{}", products.size());
    dims.back() = shape.n;
    out = define(fresh(first.rescale->value), DType::f32, dims, Layout::row_major);
  }
  auto step = std::make_unique<FusedProductStep>(*kernel, shape, packed, std::move(channels), args);
  step->info.macs = macs;
  step->info.name = first.linear.name;
  emit(std::move(step), op, {in, scale, zero, residual}, {out});
  std::int64_t column = 0;
  for (const DynamicProduct& each : products) {
    done_[index_of(*each.node)] = true;
    for (const std::size_t index : each.rescale->nodes) done_[index] = true;
    if (products.size() == 1) break;
    set_view(each.rescale->value,
             View{.base = out, .offset = column, .dims = each.linear.out_dims, .strides = dense_strides(dims)});
    column += each.linear.shape.o;
    materialize_tap(each.rescale->value);
  }
  finish_tail(tail.tail);
  return true;
}

}  // namespace zeropoint::engine
