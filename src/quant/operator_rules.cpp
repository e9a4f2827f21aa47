#include "quant/operator_rules.h"

#include <algorithm>
#include <array>

namespace zeropoint::quant {
namespace {

constexpr unsigned bit(Target target) { return 1U << static_cast<unsigned>(target); }
constexpr unsigned kNobody = 0, kOrt = bit(Target::onnxruntime), kOpenvino = bit(Target::openvino),
                   kZeropoint = bit(Target::zeropoint), kAll = kOrt | kOpenvino | kZeropoint;

constexpr std::string_view kNormalizes = "a normalization: means and deviations need float";
constexpr std::string_view kExponentials = "exponentials span too wide a range for 8 bits";
constexpr std::string_view kBetween = "a function that runtimes compute in float, if need be between quantizers";
constexpr std::string_view kNoFusion = "no runtime has an integer form of it";
constexpr std::string_view kMixes = "interpolates between values, in float";
constexpr std::string_view kSums = "sums of many values need float";
constexpr std::string_view kPicks = "picks by index; no runtime does so in 8 bits with quantizers around it";
constexpr std::string_view kState = "its state stays in float from step to step";

// Measured with ONNX Runtime 1.32 (operators of its optimized graph) and OpenVINO 2026.4 (runtime precision of each node); of
// zeropoint, what src/engine lowers to integers or moves as such.
constexpr OperatorRule kRules[] = {
    // exact integer sums
    {"Conv", Role::weighted, kAll, ""},
    {"ConvTranspose", Role::weighted, kZeropoint, ""},
    {"Gemm", Role::weighted, kAll, ""},
    {"MatMul", Role::weighted, kAll, ""},
    // weights as integers where the target takes them (OpenVINO refuses all but constants), arithmetic in float
    {"GRU", Role::recurrent, kOrt | kZeropoint, kState},
    {"LSTM", Role::recurrent, kOrt | kZeropoint, kState},
    {"RNN", Role::recurrent, kOrt | kZeropoint, kState},
    // two values
    {"Add", Role::elementwise, kAll, ""},
    {"Mul", Role::elementwise, kAll, ""},
    {"Div", Role::none, kNobody, kNoFusion},
    {"Max", Role::none, kNobody, kNoFusion},
    {"Mean", Role::none, kNobody, kNoFusion},
    {"Min", Role::none, kNobody, kNoFusion},
    {"Mod", Role::none, kNobody, kNoFusion},
    {"Pow", Role::none, kNobody, kExponentials},
    {"Sub", Role::none, kNobody, kNoFusion},
    {"Sum", Role::none, kNobody, kNoFusion},
    // averages
    {"AveragePool", Role::pool, kAll, ""},
    {"GlobalAveragePool", Role::pool, kAll, ""},
    {"ReduceMean", Role::pool, kAll, ""},
    // clamps
    {"Clip", Role::activation, kAll, ""},
    {"Relu", Role::activation, kAll, ""},
    // functions of one value
    {"Abs", Role::function, kZeropoint, kBetween},
    {"Celu", Role::function, kNobody, kBetween},
    {"Elu", Role::function, kZeropoint, kBetween},
    {"Erf", Role::function, kZeropoint, kBetween},
    {"Gelu", Role::function, kZeropoint, kBetween},
    {"HardSigmoid", Role::function, kZeropoint, kBetween},
    {"HardSwish", Role::function, kZeropoint, kBetween},
    {"LeakyRelu", Role::function, kOrt | kZeropoint, kBetween},
    {"Mish", Role::function, kZeropoint, kBetween},
    {"Neg", Role::function, kZeropoint, kBetween},
    {"PRelu", Role::function, kZeropoint, kBetween},
    {"Selu", Role::function, kZeropoint, kBetween},
    {"Sigmoid", Role::function, kOrt | kZeropoint, kBetween},
    {"Softplus", Role::function, kZeropoint, kBetween},
    {"Softsign", Role::function, kZeropoint, kBetween},
    {"Swish", Role::function, kZeropoint, kBetween},
    {"Tanh", Role::function, kZeropoint, kBetween},
    {"ThresholdedRelu", Role::function, kNobody, kBetween},
    // movement
    {"Concat", Role::concat, kAll, ""},
    {"DepthToSpace", Role::shared, kAll, ""},
    {"Expand", Role::shared, kAll, ""},
    {"Flatten", Role::shared, kAll, ""},
    {"Gather", Role::shared, kAll, ""},
    {"GatherElements", Role::shared, kOrt | kZeropoint, kPicks},
    {"GatherND", Role::shared, kZeropoint, kPicks},
    {"GlobalMaxPool", Role::shared, kOpenvino | kZeropoint, ""},
    {"Identity", Role::shared, kAll, ""},
    {"MaxPool", Role::shared, kAll, ""},
    {"Pad", Role::shared, kZeropoint, ""},
    {"ReduceMax", Role::shared, kAll, ""},
    {"ReduceMin", Role::shared, kAll, ""},
    {"Reshape", Role::shared, kAll, ""},
    {"Resize", Role::shared, kAll, kMixes},
    {"Slice", Role::shared, kAll, ""},
    {"SpaceToDepth", Role::shared, kZeropoint, ""},
    {"Split", Role::shared, kAll, ""},
    {"Squeeze", Role::shared, kAll, ""},
    {"Tile", Role::shared, kOrt | kZeropoint, ""},
    {"Transpose", Role::shared, kAll, ""},
    {"Unsqueeze", Role::shared, kAll, ""},
    // in float everywhere
    {"Attention", Role::none, kNobody, "softmax and its products work in float"},
    {"BatchNormalization", Role::none, kNobody, "a normalization that no convolution before it could take in"},
    {"Cast", Role::none, kNobody, "it changes the type of values, not their meaning"},
    {"CastLike", Role::none, kNobody, "it changes the type of values, not their meaning"},
    {"CumSum", Role::none, kNobody, kSums},
    {"Einsum", Role::none, kNobody, "no runtime has an integer form of it; write it as MatMul and Transpose to quantize it"},
    {"Exp", Role::none, kNobody, kExponentials},
    {"GlobalLpPool", Role::none, kNobody, kSums},
    {"GridSample", Role::none, kNobody, kMixes},
    {"GroupNormalization", Role::none, kNobody, kNormalizes},
    {"InstanceNormalization", Role::none, kNobody, kNormalizes},
    {"LRN", Role::none, kNobody, kNormalizes},
    {"LayerNormalization", Role::none, kNobody, kNormalizes},
    {"Log", Role::none, kNobody, kExponentials},
    {"LogSoftmax", Role::none, kNobody, kExponentials},
    {"LpNormalization", Role::none, kNobody, kNormalizes},
    {"MeanVarianceNormalization", Role::none, kNobody, kNormalizes},
    {"RMSNormalization", Role::none, kNobody, kNormalizes},
    {"Range", Role::none, kNobody, "it makes positions, not features"},
    {"Reciprocal", Role::none, kNobody, kExponentials},
    {"ReduceL1", Role::none, kNobody, kSums},
    {"ReduceL2", Role::none, kNobody, kSums},
    {"ReduceLogSum", Role::none, kNobody, kSums},
    {"ReduceLogSumExp", Role::none, kNobody, kSums},
    {"ReduceProd", Role::none, kNobody, kSums},
    {"ReduceSum", Role::none, kNobody, kSums},
    {"ReduceSumSquare", Role::none, kNobody, kSums},
    {"RotaryEmbedding", Role::none, kNobody, "rotations by sine and cosine work in float"},
    {"ScatterElements", Role::none, kNobody, kPicks},
    {"ScatterND", Role::none, kNobody, kPicks},
    {"Softmax", Role::none, kNobody, kExponentials},
    {"Sqrt", Role::none, kNobody, kExponentials},
    {"TopK", Role::none, kNobody, kPicks},
    {"Where", Role::none, kNobody, "masks hold values such as -inf or -1e9, which leave no steps for the others"},
    // control flow
    {"If", Role::none, kNobody, "control flow: bodies stay in float"},
    {"Loop", Role::none, kNobody, "control flow: bodies stay in float"},
    {"Scan", Role::none, kNobody, "control flow: bodies stay in float"},
};
constexpr OperatorRule kUnknown{"", Role::none, kNobody, "no integer form of this operator"};
constexpr OperatorRule kLookup{"Gather", Role::lookup, kAll, ""};
constexpr OperatorRule kPadsOther{"Pad", Role::none, kNobody, "it pads with another value than 0"};
constexpr OperatorRule kResizeMixes{"Resize", Role::none, kNobody, kMixes};
constexpr OperatorRule kComputedSlope{"PRelu", Role::none, kNobody, "its slope is computed, not constant"};

bool is_zero_scalar(const Graph& graph, const std::string& value) {
  const Tensor* constant = graph.constant(value);
  return constant != nullptr && constant->dtype() == DType::f32 && constant->size() == 1 && constant->values<float>()[0] == 0;
}

}  // namespace

std::string_view name(Role role) {
  constexpr std::array<std::string_view, 10> kNames = {"none", "weighted", "recurrent", "lookup", "elementwise",
                                                       "pool", "function", "shared",    "concat", "activation"};
  return kNames[static_cast<std::size_t>(role)];
}

std::span<const OperatorRule> operator_rules() { return kRules; }

const OperatorRule& rule_of_operator(const Graph& graph, const Node& node) {
  if (!node.domain.empty()) return kUnknown;
  if (node.is("Gather") && graph.constant(node.input(0)) != nullptr) return kLookup;
  if (node.is("PRelu") && graph.constant(node.input(1)) == nullptr) return kComputedSlope;
  if (node.is("Resize") && (node.get_string("mode", "nearest") != "nearest" ||
                            node.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"))
    return kResizeMixes;
  if (node.is("Pad") && node.get_string("mode", "constant") == "constant" &&
      (node.get_float("value", 0) != 0 || !(node.input(2).empty() || is_zero_scalar(graph, node.input(2)))))
    return kPadsOther;
  const auto found = std::find_if(std::begin(kRules), std::end(kRules),
                                  [&](const OperatorRule& rule) { return rule.op_type == node.op_type; });
  return found == std::end(kRules) ? kUnknown : *found;
}

bool takes(const OperatorRule& rule, Target target) { return (rule.integer_in & bit(target)) != 0; }

}  // namespace zeropoint::quant
