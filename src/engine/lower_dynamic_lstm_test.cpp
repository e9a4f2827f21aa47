#include <gtest/gtest.h>

#include <random>

#include "ops/operator.h"
#include "zeropoint/cpu.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

struct Case {
  const char* direction = "forward";
  std::int64_t steps = 5, batch = 3, input = 7, hidden = 9;
  DType weights = DType::s8;
  bool per_column = true, zero_points = true, states = true, bias = true;
};

class DynamicLstm {
 public:
  DynamicLstm(const Case& c, unsigned seed) : random_(seed) {
    const std::int64_t D = std::string(c.direction) == "bidirectional" ? 2 : 1, columns = 4 * c.hidden;
    graph_.opsets = {{"", 17}, {"com.microsoft", 1}};
    graph_.ir_version = 8;
    Node lstm{.name = "lstm",
              .op_type = "DynamicQuantizeLSTM",
              .domain = "com.microsoft",
              .inputs = std::vector<std::string>(12),
              .outputs = {"y", "h", "c"},
              .attributes = {{"direction", std::string(c.direction)}, {"hidden_size", c.hidden}}};
    const auto feed = [&](std::size_t i, const std::string& value, const Dims& dims) {
      graph_.inputs.push_back({value, {DType::f32, to_shape(dims)}, {}});
      feeds_[value] = floats(dims);
      lstm.inputs[i] = value;
    };
    const auto constant = [&](std::size_t i, const std::string& value, Tensor tensor) {
      graph_.initializers[value] = std::move(tensor);
      lstm.inputs[i] = value;
    };
    feed(0, "x", {c.steps, c.batch, c.input});
    constant(1, "W", integers(c.weights, {D, c.input, columns}));
    constant(2, "R", integers(c.weights, {D, c.hidden, columns}));
    if (c.bias) constant(3, "B", floats({D, 2 * columns}));
    if (c.states) {
      feed(5, "h0", {D, c.batch, c.hidden});
      feed(6, "c0", {D, c.batch, c.hidden});
    }
    const Dims parameters = c.per_column ? Dims{D, columns} : Dims{D};
    for (const std::size_t i : {std::size_t{8}, std::size_t{10}}) {
      Tensor scale = floats(parameters);
      for (float& value : scale.mutable_values<float>()) value = 0.001F + std::abs(value) * 0.01F;
      constant(i, "scale" + std::to_string(i), std::move(scale));
      if (c.zero_points) constant(i + 1, "zero" + std::to_string(i), integers(c.weights, parameters));
    }
    graph_.nodes.push_back(std::move(lstm));
    for (const char* output : {"y", "h", "c"}) graph_.outputs.push_back({output, {DType::f32, std::nullopt}, {}});
    ops::infer_shapes(graph_);
  }

  void check() const {
    const std::vector<Tensor> expected = ops::evaluate(graph_, feeds_);
    for (const Isa isa : members(detected_isas())) {
      for (const int threads : {1, 2}) {
        Session session(graph_, {.threads = threads, .max_isa = isa});
        const std::vector<Tensor> actual = session.run(feeds_);
        ASSERT_EQ(session.steps().size(), 1U) << session.explain();
        ASSERT_TRUE(session.steps().front().integer) << session.explain();
        for (std::size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(actual[i], expected[i]) << graph_.outputs[i].name << " on " << name(isa) << ", " << threads << " threads";
      }
    }
  }

 private:
  Tensor floats(const Dims& dims) {
    Tensor tensor(DType::f32, dims);
    for (float& value : tensor.mutable_values<float>()) value = std::normal_distribution<float>()(random_);
    return tensor;
  }
  Tensor integers(DType dtype, const Dims& dims) {
    Tensor tensor(dtype, dims);
    for (std::byte& value : tensor.mutable_bytes()) value = static_cast<std::byte>(random_() & 0xFF);
    return tensor;
  }

  Graph graph_;
  Feeds feeds_;
  std::mt19937 random_;
};

TEST(LowerDynamicLstm, EqualsItsDefinition) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const Case cases[] = {{},
                        {.direction = "reverse"},
                        {.direction = "bidirectional", .hidden = 16},
                        {.direction = "bidirectional", .weights = DType::u8, .per_column = false},
                        {.weights = DType::u8, .zero_points = false, .states = false},
                        {.steps = 1, .batch = 1, .input = 64, .hidden = 33, .bias = false},
                        {.batch = 2, .input = 1, .hidden = 1, .per_column = false, .zero_points = false}};
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    DynamicLstm(cases[i], seed + static_cast<unsigned>(i)).check();
  }
}

}  // namespace
}  // namespace zeropoint
