#include "hostile_models.h"

#include <functional>
#include <ostream>

#include "onnx/test_models.h"

namespace zeropoint {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::TensorProto;

// The small model (x -> Relu -> y), changed.
std::string changed(const std::function<void(ModelProto&)>& change) {
  ModelProto model = small_model();
  change(model);
  return model.SerializeAsString();
}
std::string changed_graph(const std::function<void(GraphProto&)>& change) {
  return changed([&](ModelProto& model) { change(*model.mutable_graph()); });
}
std::string with_tensor(const std::function<void(TensorProto&)>& change) {
  return changed_graph([&](GraphProto& graph) {
    TensorProto& tensor = *graph.add_initializer() = f32_tensor("w", {2, 3});
    change(tensor);
  });
}
std::string with_attribute(const std::function<void(AttributeProto&)>& change) {
  return changed_graph([&](GraphProto& graph) {
    AttributeProto& attribute = *graph.mutable_node(0)->add_attribute();
    attribute.set_name("a");
    change(attribute);
  });
}

std::string nested_ifs(int depth) {
  ModelProto model = small_model();
  GraphProto* graph = model.mutable_graph();
  for (int i = 0; i < depth; ++i) {
    auto& attribute = *graph->mutable_node(0)->add_attribute();
    attribute.set_name("then_branch");
    attribute.set_type(AttributeProto::GRAPH);
    graph = attribute.mutable_g();
    add_node(*graph, "If", {"x"}, {"z" + std::to_string(i)});
  }
  return model.SerializeAsString();
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

// A graph of `count` empty messages of field `field`.
std::string empty_messages(std::uint64_t field, std::size_t count) {
  std::string graph;
  for (std::size_t i = 0; i < count; ++i) graph += varint(field << 3 | 2) + '\0';
  return "\x08\x08\x3a" + varint(graph.size()) + graph;
}

// 2^30 nodes from 30 functions. The innermost has `unused` inputs more, which no call gives.
std::string doubling_functions(int unused = 0) {
  ModelProto model = small_model();
  auto& import = *model.add_opset_import();
  import.set_domain("my");
  import.set_version(1);
  for (int i = 0; i < 30; ++i) {
    auto& function = *model.add_functions();
    function.set_name("F" + std::to_string(i));
    function.set_domain("my");
    function.add_input("a");
    function.add_output("b");
    function.add_opset_import()->set_version(17);
    *function.add_opset_import() = import;
    for (const auto& [from, to] : {std::pair("a", "t"), std::pair("t", "b")}) {
      auto& node = *function.add_node();
      node.set_op_type(i < 29 ? "F" + std::to_string(i + 1) : "Relu");
      node.set_domain(i < 29 ? "my" : "");
      node.add_input(from);
      node.add_output(to);
    }
    for (int k = 0; i == 29 && k < unused; ++k) function.add_input("p" + std::to_string(k));
  }
  model.mutable_graph()->mutable_node(0)->set_op_type("F0");
  model.mutable_graph()->mutable_node(0)->set_domain("my");
  return model.SerializeAsString();
}

std::string function_that(const std::function<void(ModelProto&, ::onnx::FunctionProto&)>& change) {
  ModelProto model = small_model();
  auto& import = *model.add_opset_import();
  import.set_domain("my");
  import.set_version(1);
  auto& function = *model.add_functions();
  function.set_name("F");
  function.set_domain("my");
  function.add_input("a");
  function.add_output("b");
  function.add_opset_import()->set_version(17);
  *function.add_opset_import() = import;
  auto& node = *function.add_node();
  node.set_op_type("Relu");
  node.add_input("a");
  node.add_output("b");
  model.mutable_graph()->mutable_node(0)->set_op_type("F");
  model.mutable_graph()->mutable_node(0)->set_domain("my");
  change(model, function);
  return model.SerializeAsString();
}

}  // namespace

void PrintTo(const HostileModel& model, std::ostream* out) { *out << model.name; }

std::vector<HostileModel> hostile_models() {
  const std::string small = small_model().SerializeAsString(), rich = rich_model().SerializeAsString();
  using enum ErrorCode;
  std::vector<HostileModel> models = {
      // Not the format.
      {"empty", "", kBadFile, "is empty"},
      {"text", "This is no model.\n", kBadFile, "not an ONNX model"},
      {"picture", std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), kBadFile, "not an ONNX model"},
      {"zeros", std::string(100, '\0'), kBadFile, "field number 0"},
      {"truncated_half", rich.substr(0, rich.size() / 2), kBadFile, "are left at byte"},
      {"truncated_one_byte", small.substr(0, small.size() - 1), kBadFile, "not an ONNX model"},
      {"truncated_number", small + "\x08\xff", kBadFile, "ends in the middle of a number"},
      {"endless_number", small + "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", kBadFile, "more than ten bytes"},
      {"length_of_2_gigabytes", small + "\x12\xff\xff\xff\xff\x07" + "a", kBadFile, "2147483647 bytes"},
      {"length_of_2_to_64", small + "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "a", kBadFile,
       "18446744073709551615 bytes"},
      {"wire_type_7", small + "\x0f\x01", kBadFile, "wire type 7"},
      {"group_without_begin", small + "\x0c", kBadFile, "group that never began"},
      {"group_without_end", small + "\x0b\x08\x01", kBadFile, "not an ONNX model"},

      // More than a model may ask for.
      {"deep", nested_ifs(40), kLimit, "nest deeper"},
      {"empty_nodes", empty_messages(1, 4'500'000), kLimit, "MB of memory"},
      {"empty_dimensions",
       "\x08\x08" + std::string("\x3a") +
           [] {
             std::string shape, wrapped;
             for (int i = 0; i < 8'000'000; ++i) shape += std::string("\x0a\0", 2);
             for (const char* tag : {"\x12", "\x0a", "\x12", "\x5a"}) {  // shape, tensor_type, type, input
               wrapped = tag + varint(shape.size()) + shape;
               shape = wrapped;
             }
             return varint(shape.size()) + shape;
           }(),
       kLimit, "MB of memory"},
      {"too_many_elements",
       with_tensor([](TensorProto& t) { t.set_dims(0, std::int64_t{1} << 40), t.set_dims(1, std::int64_t{1} << 40); }), kLimit,
       "too many elements"},
      {"too_many_bytes", with_tensor([](TensorProto& t) {
         t.set_dims(0, std::int64_t{1} << 31), t.set_dims(1, std::int64_t{1} << 30), t.clear_raw_data();
       }),
       kBadShape, "0 numbers for f32"},
      {"size_that_wraps", with_tensor([](TensorProto& t) {
         t.set_dims(0, std::int64_t{1} << 31), t.set_dims(1, std::int64_t{1} << 31), t.set_raw_data("");
       }),
       kLimit, "too large"},

      // Not a model.
      {"no_graph", changed([](ModelProto& m) { m.clear_graph(); }), kBadModel, "holds no graph"},
      {"no_ir_version", changed([](ModelProto& m) { m.clear_ir_version(); }), kBadModel, "ir_version"},
      {"ir_version_0", changed([](ModelProto& m) { m.set_ir_version(0); }), kBadModel, "format version 0"},
      {"no_opset", changed([](ModelProto& m) { m.clear_opset_import(); }), kBadModel, "no opset_import"},
      {"opset_0", changed([](ModelProto& m) { m.mutable_opset_import(0)->set_version(0); }), kBadModel, "opset 0"},
      {"two_opsets", changed([](ModelProto& m) { m.add_opset_import()->set_version(12); }), kBadModel, "opsets 17 and 12"},

      // Names and edges.
      {"no_outputs", changed_graph([](GraphProto& g) { g.clear_output(); }), kBadModel, "has no outputs"},
      {"output_without_producer", changed_graph([](GraphProto& g) { g.mutable_output(0)->set_name("z"); }), kBadModel,
       "nothing produces the output 'z'"},
      {"output_without_name", changed_graph([](GraphProto& g) { g.mutable_output(0)->clear_name(); }), kBadModel,
       "output 0 has no name"},
      {"two_outputs_of_one_name", changed_graph([](GraphProto& g) { *g.add_output() = g.output(0); }), kBadModel,
       "two outputs are called 'y'"},
      {"input_without_name", changed_graph([](GraphProto& g) { g.add_input(); }), kBadModel, "input 1 has no name"},
      {"two_inputs_of_one_name", changed_graph([](GraphProto& g) { *g.add_input() = g.input(0); }), kBadModel,
       "two inputs are called 'x'"},
      {"dangling_input", changed_graph([](GraphProto& g) { g.mutable_node(0)->set_input(0, "nobody"); }), kBadModel,
       "node 'relu' (Relu): its input 'nobody' is defined nowhere"},
      {"cycle", changed_graph([](GraphProto& g) {
         g.mutable_node(0)->set_input(0, "b");
         add_node(g, "Neg", {"y"}, {"a"});
         add_node(g, "Neg", {"a"}, {"b"});
       }),
       kBadModel, "node 'relu' (Relu): needs its own output: the graph has a cycle"},
      {"node_that_reads_itself", changed_graph([](GraphProto& g) { g.mutable_node(0)->set_input(0, "y"); }), kBadModel,
       "cycle"},
      {"value_made_twice", changed_graph([](GraphProto& g) { add_node(g, "Neg", {"x"}, {"y"}); }), kBadModel,
       "its output 'y' is defined a second time"},
      {"node_that_makes_an_input", changed_graph([](GraphProto& g) { add_node(g, "Neg", {"x"}, {"x"}); }), kBadModel,
       "its output 'x' is defined a second time"},
      {"node_without_operator", changed_graph([](GraphProto& g) { g.mutable_node(0)->clear_op_type(); }), kBadModel,
       "names no operator"},
      {"name_not_utf8", changed_graph([](GraphProto& g) { g.mutable_node(0)->set_output(0, "y\xff"); }), kBadModel,
       "an output \"y\\xff\" is not UTF-8"},
      {"dangling_input_in_subgraph", changed_graph([](GraphProto& g) {
         auto& attribute = *g.mutable_node(0)->add_attribute();
         attribute.set_name("then_branch");
         attribute.set_type(AttributeProto::GRAPH);
         add_node(*attribute.mutable_g(), "Neg", {"nobody"}, {"inner"});
       }),
       kBadModel, "'nobody'"},
      {"cycle_in_subgraph", changed_graph([](GraphProto& g) {
         auto& attribute = *g.mutable_node(0)->add_attribute();
         attribute.set_name("body");
         attribute.set_type(AttributeProto::GRAPH);
         add_node(*attribute.mutable_g(), "Neg", {"b"}, {"a"});
         add_node(*attribute.mutable_g(), "Neg", {"a"}, {"b"});
       }),
       kBadModel, "cycle"},
      {"dimension_with_a_long_name", changed_graph([](GraphProto& g) {
         auto& shape = *g.mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
         shape.add_dim()->set_dim_param(std::string(100'000, 'N'));
       }),
       kOk, "", HostileModel::Stage::kEither},  // an unknown dimension
      {"declarations_disagree", changed_graph([](GraphProto& g) { set_tensor(*g.add_value_info(), "y", 7, {4}); }), kBadModel,
       "its declarations disagree"},

      // Tensors.
      {"tensor_too_short", with_tensor([](TensorProto& t) { t.set_raw_data(t.raw_data().substr(0, 23)); }), kBadShape,
       "initializer 'w': 23 bytes for f32[2,3], which takes 24"},
      {"tensor_too_long", with_tensor([](TensorProto& t) { t.set_raw_data(t.raw_data() + "a"); }), kBadShape, "25 bytes"},
      {"tensor_without_data", with_tensor([](TensorProto& t) { t.clear_raw_data(); }), kBadShape, "0 numbers for f32[2,3]"},
      {"too_few_numbers", with_tensor([](TensorProto& t) { t.clear_raw_data(), t.add_float_data(1), t.add_float_data(1); }),
       kBadShape, "2 numbers for f32[2,3], which takes 6"},
      {"numbers_of_another_type", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         for (int i = 0; i < 6; ++i) t.add_int64_data(1);
       }),
       kBadShape, "0 numbers for f32[2,3]"},
      {"too_few_strings", with_tensor([](TensorProto& t) { t.clear_raw_data(), t.set_data_type(8), t.add_string_data("a"); }),
       kBadShape, "1 strings for [2,3]"},
      {"number_out_of_range", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_type(3);
         for (int i = 0; i < 6; ++i) t.add_int32_data(100 * i);
       }),
       kBadModel, "the number 200 is outside of its type, -128 to 127"},
      {"data_in_two_places", with_tensor([](TensorProto& t) { t.add_float_data(1); }), kBadModel, "in more than one place"},
      {"negative_dimension", with_tensor([](TensorProto& t) { t.set_dims(0, -2), t.set_dims(1, -3); }), kBadModel,
       "a dimension is negative: [-2,-3]"},
      {"element_type_0", with_tensor([](TensorProto& t) { t.set_data_type(0); }), kBadModel,
       "the element type 0 does not exist"},
      {"element_type_negative", with_tensor([](TensorProto& t) { t.set_data_type(-1); }), kBadModel, "the element type -1"},
      {"initializer_without_name", with_tensor([](TensorProto& t) { t.clear_name(); }), kBadModel,
       "an initializer has no name"},
      {"two_initializers_of_one_name", changed_graph([](GraphProto& g) {
         *g.add_initializer() = f32_tensor("w", {2});
         *g.add_initializer() = f32_tensor("w", {2});
       }),
       kBadModel, "two initializers are called 'w'"},
      {"initializer_unlike_its_input", changed_graph([](GraphProto& g) {
         *g.add_initializer() = f32_tensor("w", {2});
         set_tensor(*g.add_input(), "w", 1, {3});
       }),
       kBadModel, "value 'w': as input and as initializer, it has the shape [3] here and [2] there"},
      {"initializer_that_a_node_makes", changed_graph([](GraphProto& g) { *g.add_initializer() = f32_tensor("y", {2}); }),
       kBadModel, "its output 'y' is defined a second time"},
      {"segment", with_tensor([](TensorProto& t) { t.mutable_segment()->set_begin(0); }), kUnsupported, "segment"},
      {"external_data_outside", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_location(TensorProto::EXTERNAL);
         add_entry(t.mutable_external_data(), "location", "../../etc/passwd");
       }),
       kUnsupported, "initializer 'w': its external data \"../../etc/passwd\" lies outside"},
      {"external_data_missing", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_location(TensorProto::EXTERNAL);
         add_entry(t.mutable_external_data(), "location", "missing.bin");
       }),
       kIo, "is missing"},
      {"external_offset_no_number", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_location(TensorProto::EXTERNAL);
         add_entry(t.mutable_external_data(), "location", "missing.bin");
         add_entry(t.mutable_external_data(), "offset", "-1");
       }),
       kBadModel, "the offset \"-1\" of its external data is not a number"},

      // Attributes.
      {"attribute_without_type", with_attribute([](AttributeProto&) {}), kBadAttribute,
       "node 'relu' (Relu), attribute 'a': has neither type nor value"},
      {"attribute_with_two_values",
       with_attribute([](AttributeProto& a) { a.set_type(AttributeProto::INT), a.set_i(1), a.set_f(1); }), kBadAttribute,
       "more than one value"},
      {"attribute_of_another_type", with_attribute([](AttributeProto& a) { a.set_type(AttributeProto::INT), a.set_f(1); }),
       kBadAttribute, "not of the type"},
      {"attribute_without_tensor", with_attribute([](AttributeProto& a) { a.set_type(AttributeProto::TENSOR); }), kBadAttribute,
       "has no value"},
      {"attribute_without_name", with_attribute([](AttributeProto& a) { a.clear_name(), a.set_i(1); }), kBadAttribute,
       "an attribute has no name"},
      {"attribute_twice", changed_graph([](GraphProto& g) {
         for (int i = 0; i < 2; ++i) {
           auto& attribute = *g.mutable_node(0)->add_attribute();
           attribute.set_name("a");
           attribute.set_i(i);
         }
       }),
       kBadAttribute, "the attribute 'a' appears twice"},
      {"tensor_attribute_too_short", with_attribute([](AttributeProto& a) {
         *a.mutable_t() = f32_tensor("", {4});
         a.mutable_t()->mutable_raw_data()->pop_back();
       }),
       kBadShape, "node 'relu' (Relu), attribute 'a': 15 bytes for f32[4]"},

      // Functions.
      {"functions_that_double", doubling_functions(), kLimit, "would become more than"},
      {"functions_that_double_with_inputs", doubling_functions(20'000), kLimit, "would become more than"},
      {"function_calls_itself", function_that([](ModelProto&, auto& f) {
         f.mutable_node(0)->set_op_type("F");
         f.mutable_node(0)->set_domain("my");
       }),
       kBadModel, "calls itself"},
      {"function_twice", function_that([](ModelProto& m, auto& f) {
         const auto copy = f;
         *m.add_functions() = copy;
       }),
       kBadModel, "defined a second time"},
      {"function_without_outputs", function_that([](ModelProto&, auto& f) { f.clear_output(); }), kBadModel, "has no outputs"},
      {"function_without_inputs", function_that([](ModelProto&, auto& f) { f.clear_input(); }), kBadModel,
       "is defined nowhere"},
      {"function_with_dangling_input", function_that([](ModelProto&, auto& f) { f.mutable_node(0)->set_input(0, "x"); }),
       kBadModel, "'x' is defined nowhere"},
      {"function_with_dangling_output", function_that([](ModelProto&, auto& f) { f.set_output(0, "c"); }), kBadModel,
       "nothing produces the output 'c'"},
      {"function_with_one_name_twice", function_that([](ModelProto&, auto& f) { f.add_input("a"); }), kBadModel,
       "two inputs are called 'a'"},
      {"function_with_cycle", function_that([](ModelProto&, auto& f) { f.mutable_node(0)->set_input(0, "b"); }), kBadModel,
       "cycle"},
      {"function_called_with_too_much",
       function_that([](ModelProto& m, auto&) { m.mutable_graph()->mutable_node(0)->add_input("x"); }), kBadModel,
       "has 2 inputs and 1 outputs, but its function 1 and 1"},
      {"function_of_opset_99", function_that([](ModelProto&, auto& f) { f.mutable_opset_import(0)->set_version(99); }),
       kUnsupported, "opset 17 to 99"},
      {"function_of_opset_0", function_that([](ModelProto&, auto& f) { f.mutable_opset_import(0)->set_version(0); }), kBadModel,
       "opset 0"},
      {"function_with_short_tensor", function_that([](ModelProto&, auto& f) {
         auto& attribute = *f.mutable_node(0)->add_attribute();
         attribute.set_name("t");
         attribute.set_type(AttributeProto::TENSOR);
         *attribute.mutable_t() = f32_tensor("", {4});
         attribute.mutable_t()->mutable_raw_data()->pop_back();
       }),
       kBadShape, "15 bytes for f32[4]"},
      {"function_not_utf8", function_that([](ModelProto&, auto& f) { f.set_name("\xff"); }), kBadModel, "is not UTF-8"},

      // More of tensors.
      {"control_characters_in_a_name", changed_graph([](GraphProto& g) { g.mutable_node(0)->set_input(0, "\x1b[31m\n"); }),
       kBadModel, "'\\x1b[31m\\n' is defined nowhere"},
      {"half_numbers_out_of_range", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_type(10);
         for (int i = 0; i < 6; ++i) t.add_int32_data(70000);
       }),
       kBadModel, "the number 70000"},
      {"u32_out_of_range", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_type(12);
         for (int i = 0; i < 6; ++i) t.add_uint64_data(std::uint64_t{1} << 40);
       }),
       kBadModel, "is outside of its type"},
      {"int4_too_short", with_tensor([](TensorProto& t) { t.set_data_type(22), t.set_raw_data("ab"); }), kBadShape,
       "2 bytes for s4[2,3], which takes 3"},
      {"int4_unpacked", with_tensor([](TensorProto& t) {
         t.clear_raw_data();
         t.set_data_type(22);
         for (int i = 0; i < 6; ++i) t.add_int32_data(1);
       }),
       kBadShape, "6 numbers for s4[2,3], which takes 3"},
  };
  return models;
}

}  // namespace zeropoint
