// Runs folders of cases (model.onnx, test_data_set_N/input_I.pb, output_I.pb) through load, infer_shapes and evaluate: those of
// the onnx package and those that ONNX Runtime computed. Prints how many passed, were refused (an operator, type or mode that
// is not there) and were wrong. None may be wrong. Those that tools/make_operator_cases.py lists in counted.txt, the onnx
// package's tests of the 131 operators on plain tensors in opsets 7 to 26, are counted by themselves.
//
//   operator_cases_test [FOLDER...]     only these folders of cases, each refusal with its reason
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/float8.h"
#include "numerics/float16.h"
#include "onnx/tensor.h"
#include "ops/operator.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// input_0.pb, input_1.pb, ...
std::vector<NamedTensor> read_tensors(const fs::path& folder, const std::string& kind) {
  std::vector<NamedTensor> result;
  for (int i = 0;; ++i) {
    const fs::path path = folder / fmt::format("{}_{}.pb", kind, i);
    if (!fs::exists(path)) return result;
    ::onnx::TensorProto proto;
    if (!proto.ParseFromString(read_text(path))) throw Error(ErrorCode::kUnsupported, "", "a value that is not a tensor");
    // The reader finds the bytes of a tensor by their number in a thin model: here there is one.
    const std::string raw = proto.raw_data();
    onnx_file::ThinModel thin;
    thin.raw_data.push_back(std::as_bytes(std::span(raw)));
    if (proto.has_raw_data()) proto.set_raw_data(std::string(8, '\0'));
    onnx_file::Source source{.where = path.string(), .thin = &thin};
    std::string name = proto.name();
    result.push_back({std::move(name), onnx_file::read_tensor(proto, source, kind)});
  }
}

std::vector<double> numbers(const Tensor& tensor) {
  std::vector<double> result(static_cast<std::size_t>(tensor.size()));
  const auto fill = [&]<class T>(T) {
    const auto src = tensor.values<T>();
    for (std::size_t i = 0; i < src.size(); ++i) result[i] = static_cast<double>(src[i]);
  };
  const auto* halves = reinterpret_cast<const std::uint16_t*>(tensor.bytes().data());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(tensor.bytes().data());
  switch (tensor.dtype()) {
    case DType::b8:
      fill(bool{});
      break;
    case DType::f32:
      fill(float{});
      break;
    case DType::f64:
      fill(double{});
      break;
    case DType::s64:
      fill(std::int64_t{});
      break;
    case DType::u64:
      fill(std::uint64_t{});
      break;
    case DType::s32:
      fill(std::int32_t{});
      break;
    case DType::u32:
      fill(std::uint32_t{});
      break;
    case DType::s16:
      fill(std::int16_t{});
      break;
    case DType::u16:
      fill(std::uint16_t{});
      break;
    case DType::s8:
      fill(std::int8_t{});
      break;
    case DType::u8:
      fill(std::uint8_t{});
      break;
    case DType::f16:
      for (std::size_t i = 0; i < result.size(); ++i) result[i] = numerics::from_f16(halves[i]);
      break;
    case DType::bf16:
      for (std::size_t i = 0; i < result.size(); ++i) result[i] = numerics::from_bf16(halves[i]);
      break;
    case DType::s4:
    case DType::u4:
      for (std::size_t i = 0; i < result.size(); ++i) {
        const int value = (bytes[i / 2] >> (i % 2 * 4)) & 15;
        result[i] = tensor.dtype() == DType::s4 && value > 7 ? value - 16 : value;
      }
      break;
    case DType::s2:
    case DType::u2:
      for (std::size_t i = 0; i < result.size(); ++i) {
        const int value = (bytes[i / 4] >> (i % 4 * 2)) & 3;
        result[i] = tensor.dtype() == DType::s2 && value > 1 ? value - 4 : value;
      }
      break;
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
      for (std::size_t i = 0; i < result.size(); ++i) result[i] = decode_float8(tensor.dtype(), bytes[i]);
      break;
    case DType::f4e2m1:
      for (std::size_t i = 0; i < result.size(); ++i)
        result[i] = decode_float8(tensor.dtype(), (bytes[i / 2] >> (i % 2 * 4)) & 15);
      break;
    default:
      throw Error(ErrorCode::kUnsupported, "", "a type that is not read");
  }
  return result;
}

// Relative, as ONNX's own runner; 16-bit floats by two units in the last place.
double tolerance(DType dtype) { return dtype == DType::bf16 ? 1.6e-2 : dtype == DType::f16 ? 2e-3 : 1e-3; }

// Empty when equal: integers exactly or within `steps`, floats within the tolerance and `absolute`, or exactly.
std::string difference(const Tensor& actual, const Tensor& expected, bool exact, double steps, double absolute) {
  if (actual.dtype() != expected.dtype() || actual.dims() != expected.dims())
    return fmt::format("is {}{}, must be {}{}", name(actual.dtype()), to_string(actual.dims()), name(expected.dtype()),
                       to_string(expected.dims()));
  const auto a = numbers(actual), b = numbers(expected);
  const bool floats = is_float(actual.dtype());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    const double allowed = floats && !exact ? absolute + tolerance(actual.dtype()) * std::fabs(b[i]) : steps;
    if (!(std::fabs(a[i] - b[i]) <= allowed)) return fmt::format("element {} of {} is {}, must be {}", i, a.size(), a[i], b[i]);
  }
  return "";
}

struct Tally {
  std::size_t passed = 0, refused = 0, wrong = 0;
  std::size_t counted_passed = 0, counted_refused = 0, counted_wrong = 0;  // of those in counted.txt
  std::map<std::string, std::size_t> reasons;
  std::size_t elements = 0, off_by_step = 0;
};

// Throws kUnsupported where the case cannot run; gives what is wrong otherwise.
std::string run_case(const fs::path& folder, Tally& tally) {
  const bool exact = fs::exists(folder / "tolerance.json");
  const double steps = exact && read_text(folder / "tolerance.json").find('1') != std::string::npos ? 1 : 0;
  const double absolute = fs::exists(folder / "absolute.txt") ? std::stod(read_text(folder / "absolute.txt")) : 1e-7;
  Graph graph = load(folder / "model.onnx");
  for (const Node& node : graph.nodes)
    if (ops::find(node) == nullptr)
      throw Error(ErrorCode::kUnsupported, "", "operator " + node.domain + (node.domain.empty() ? "" : ".") + node.op_type);
  for (int set = 0;; ++set) {
    const fs::path data = folder / fmt::format("test_data_set_{}", set);
    if (!fs::exists(data)) return "";
    const auto inputs = read_tensors(data, "input"), expected = read_tensors(data, "output");
    std::map<std::string, Tensor> feeds;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      std::string name = inputs[i].name;
      if (name.empty() && i < graph.inputs.size()) name = graph.inputs[i].name;
      if (!graph.constant(name)) feeds[name] = inputs[i].tensor;
    }
    for (const NamedTensor& output : expected) numbers(output.tensor);
    if (set == 0) ops::infer_shapes(graph);
    const std::vector<Tensor> actual = ops::evaluate(graph, feeds);
    if (actual.size() != expected.size()) return fmt::format("{} outputs, must be {}", actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (const std::string text = difference(actual[i], expected[i].tensor, exact, steps, absolute); !text.empty())
        return "output '" + graph.outputs[i].name + "' " + text;
      if (steps > 0) {
        const auto a = numbers(actual[i]), b = numbers(expected[i].tensor);
        tally.elements += a.size();
        for (std::size_t k = 0; k < a.size(); ++k) tally.off_by_step += a[k] != b[k] ? 1 : 0;
      }
      const TensorType inferred = graph.type_of(graph.outputs[i].name);
      bool fits = inferred.dtype == DType::undefined || inferred.dtype == actual[i].dtype();
      if (inferred.shape) {
        fits = fits && inferred.shape->size() == actual[i].rank();
        for (std::size_t k = 0; fits && k < inferred.shape->size(); ++k)
          fits = !(*inferred.shape)[k].fixed() || (*inferred.shape)[k].value == actual[i].dim(k);
      }
      if (!fits)
        return "output '" + graph.outputs[i].name + "' is inferred as " + to_string(inferred) + ", is " +
               to_string(actual[i].dims());
    }
  }
}

// Lines of counted.txt: "simple/test_strnorm_model", the last two folders of a case's path.
std::set<std::string> read_counted() {
  std::set<std::string> names;
  std::ifstream file(fs::path(ZEROPOINT_OPERATOR_CASES) / "counted.txt");
  for (std::string line; std::getline(file, line);) names.insert(line);
  return names;
}

Tally run_folder(const fs::path& folder, const std::set<std::string>& counted, bool verbose) {
  Tally tally;
  std::vector<fs::path> cases;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fs::exists(entry.path() / "model.onnx")) cases.push_back(entry.path());
  std::sort(cases.begin(), cases.end());
  for (const fs::path& path : cases) {
    const std::string name = path.filename().string();
    const bool counts = counted.contains(path.parent_path().filename().string() + "/" + name);
    try {
      const std::string text = run_case(path, tally);
      ++(text.empty() ? tally.passed : tally.wrong);
      if (counts) ++(text.empty() ? tally.counted_passed : tally.counted_wrong);
      EXPECT_EQ(text, "") << name;
    } catch (const Error& error) {
      if (error.code == ErrorCode::kUnsupported) {
        ++tally.refused;
        if (counts) ++tally.counted_refused;
        ++tally.reasons[error.where.empty() ? error.what() : std::string(error.what()).substr(error.where.size() + 2)];
        if (verbose) fmt::print("refused {}{}: {}\n", counts ? "(counted) " : "", name, error.what());
      } else {
        ++tally.wrong;
        if (counts) ++tally.counted_wrong;
        ADD_FAILURE() << name << ": " << error.what();
      }
    }
  }
  fmt::print("{}: {} passed, {} refused, {} wrong\n", folder.string(), tally.passed, tally.refused, tally.wrong);
  if (tally.elements > 0)
    fmt::print("  one step apart from ONNX Runtime: {} of {} elements\n", tally.off_by_step, tally.elements);
  return tally;
}

std::vector<std::string> folders_of_the_command_line;

TEST(OperatorCases, NoneIsWrong) {
  std::vector<std::string> folders = folders_of_the_command_line;
  const bool verbose = !folders.empty();
  if (folders.empty()) {
    for (const char* part : {"/onnx", "/onnxruntime", "/opsets"})
      folders.push_back(ZEROPOINT_OPERATOR_CASES + std::string(part));
    for (const char* part : {"/pytorch-converted", "/pytorch-operator", "/simple"})
      folders.push_back(ZEROPOINT_ONNX_BACKEND_DATA + std::string(part));
  }
  const std::set<std::string> counted = read_counted();
  Tally all;
  for (const std::string& folder : folders) {
    if (!fs::exists(folder)) {
      fmt::print("{}: not there\n", folder);
      continue;
    }
    const Tally tally = run_folder(folder, counted, verbose);
    all.passed += tally.passed;
    all.refused += tally.refused;
    all.wrong += tally.wrong;
    all.counted_passed += tally.counted_passed;
    all.counted_refused += tally.counted_refused;
    all.counted_wrong += tally.counted_wrong;
  }
  fmt::print("all: {} passed, {} refused, {} wrong\n", all.passed, all.refused, all.wrong);
  fmt::print("131 operators on plain tensors, opsets 7-26: {} pass, {} refused, {} wrong of {}\n", all.counted_passed,
             all.counted_refused, all.counted_wrong, counted.size());
  if (!verbose) {
    EXPECT_GE(all.passed, 1000U) << "too few cases ran";
    EXPECT_GE(all.counted_passed, 1180U) << "of the 131 operators";
    EXPECT_EQ(all.counted_passed + all.counted_refused + all.counted_wrong, counted.size())
        << "cases of counted.txt are not there";
  }
}

}  // namespace
}  // namespace zeropoint

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  zeropoint::folders_of_the_command_line.assign(argv + 1, argv + argc);
  return RUN_ALL_TESTS();
}
