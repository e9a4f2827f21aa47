// Our quantized convolutions and products beside oneDNN's, layer by layer, both held to one instruction set, on one core:
//   onednn_int8 --max-isa avx512vnni [--only NETWORK] [--json]        (bench/onednn.py runs all and writes the tables)
//
// Both compute u8 x s8 -> u8 with a scale for each output channel, a bias, and a zero point of the output where no ReLU
// follows, from the same buffers, channel-last, weights packed beforehand in the order of the kernel's choice. oneDNN has no
// zero points of the input to take care of. They take turns in blocks, the calibration loop of kernels/ceiling between them; a
// time is that of the fastest call. Weights stay in caches from call to call, for both. The results are compared: up to one
// step of difference is rounding (oneDNN adds the bias as a float), more is counted as wrong. Under AVX2 oneDNN adds pairs of
// products in 16 bits, which may saturate; ours are exact under every instruction set.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <unordered_map>

#include "kernels/ceiling/ceiling.h"
#include "kernels/conv_q8/conv_q8.h"
#include "kernels/conv_q8/conv_q8_layers.h"

extern "C" void omp_set_num_threads(int threads);  // of the OpenMP runtime that oneDNN brings

namespace zeropoint::kernels {
namespace {

using Clock = std::chrono::steady_clock;
using dnnl::memory;

constexpr int kRounds = 8;
constexpr double kBlockSeconds = 0.012, kCeilingSeconds = 0.002;

std::optional<dnnl::cpu_isa> onednn_isa(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return dnnl::cpu_isa::avx2;
    case Isa::avx2vnni:
      return dnnl::cpu_isa::avx2_vnni;
    case Isa::avx512vnni:
      return dnnl::cpu_isa::avx512_core_vnni;
    case Isa::amxint8:
      return dnnl::cpu_isa::avx512_core_amx;
    default:
      return std::nullopt;
  }
}

template <class T>
T* as(const AlignedBuffer& buffer) {
  return reinterpret_cast<T*>(buffer.get());
}

// What both are given.
struct Problem {
  explicit Problem(const ConvShape& s) : shape(s) {
    std::mt19937_64 random(1);
    const std::size_t inputs = src_bytes(s);
    outputs = static_cast<std::size_t>(s.n * s.oh * s.ow * s.o);
    depth = s.c / s.groups * s.kh * s.kw;
    src = allocate_aligned(inputs + 2 * kSlackBytes);
    for (std::size_t i = 0; i < inputs + 2 * kSlackBytes; ++i)
      as<std::uint8_t>(src)[i] = random_input(random, ConvOptions::Values::bell);
    dst = allocate_aligned(outputs + kSlackBytes);
    weights.resize(static_cast<std::size_t>(s.o * depth));
    for (auto& w : weights) w = random_weight(random, ConvOptions::Values::bell);
    const double spread = 2500 * std::sqrt(static_cast<double>(depth));
    for (std::int64_t o = 0; o < s.o; ++o) {
      scale.push_back(static_cast<float>(uniform(random, 20, 100) / spread));
      comp.push_back(uniform(random, -5000, 5000));
      bias.push_back(static_cast<float>(comp.back()) * scale.back());
    }
    zero_point = s.groups > 1 || s.o >= s.c ? 0 : 128;
  }
  const std::uint8_t* input() const { return as<std::uint8_t>(src) + kSlackBytes; }
  double operations() const { return 2.0 * static_cast<double>(outputs) * static_cast<double>(depth); }

  ConvShape shape;
  std::size_t outputs;
  std::int64_t depth;
  AlignedBuffer src, dst;
  std::vector<std::int8_t> weights;
  std::vector<float> scale, bias;
  std::vector<std::int32_t> comp;
  std::int32_t zero_point;
};

class Ours {
 public:
  Ours(const Problem& problem, IsaSet isas) : shape_(problem.shape), kernel_(*select_conv_q8(problem.shape, isas)) {
    packed_ = allocate_aligned(kernel_.packed_bytes(shape_));
    kernel_.pack(shape_, problem.weights.data(), nullptr, packed_.get());
    workspace_ = allocate_aligned(kernel_.workspace_bytes(shape_, 1) + 1);
    args_ = {.src = problem.input(),
             .packed = packed_.get(),
             .dst = problem.dst.get(),
             .workspace = workspace_.get(),
             .comp = problem.comp.data(),
             .scale = problem.scale.data()};
    args_.low = static_cast<float>(-problem.zero_point), args_.high = static_cast<float>(255 - problem.zero_point);
    args_.dst_zero_point = problem.zero_point;
  }
  std::string name() const { return std::string(kernel_.name); }
  void run() { kernel_.run(shape_, args_, 0, 1); }

 private:
  ConvShape shape_;
  const ConvKernel& kernel_;
  ConvArgs args_;
  AlignedBuffer packed_, workspace_;
};

class OneDnn {
 public:
  // As a product of matrices, or null where the shape is none; else as a convolution.
  static std::unique_ptr<OneDnn> create(const Problem& problem, bool product) {
    const ConvShape& s = problem.shape;
    if (product && (s.kh != 1 || s.h != 1 || s.n != 1)) return nullptr;
    try {
      return std::unique_ptr<OneDnn>(product ? as_product(problem) : as_convolution(problem));
    } catch (const dnnl::error&) {
      return nullptr;  // nothing for this shape
    }
  }
  const std::string& name() const { return name_; }
  void run() { dnnl_primitive_execute(primitive_.get(), stream_.get(), static_cast<int>(handles_.size()), handles_.data()); }

 private:
  static dnnl::primitive_attr attributes(const Problem& problem, int channel_mask) {
    dnnl::primitive_attr attr;
    attr.set_scales_mask(DNNL_ARG_WEIGHTS, channel_mask);
    if (problem.zero_point != 0) attr.set_zero_points_mask(DNNL_ARG_DST, 0);
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
  }

  static OneDnn* as_convolution(const Problem& problem) {
    const ConvShape& s = problem.shape;
    using tag = memory::format_tag;
    const memory::dims dims =
        s.groups == 1 ? memory::dims{s.o, s.c, s.kh, s.kw} : memory::dims{s.groups, s.o / s.groups, s.c / s.groups, s.kh, s.kw};
    const memory::desc src({s.n, s.c, s.h, s.w}, memory::data_type::u8, tag::nhwc),
        dst({s.n, s.o, s.oh, s.ow}, memory::data_type::u8, tag::nhwc), any(dims, memory::data_type::s8, tag::any),
        plain(dims, memory::data_type::s8, s.groups == 1 ? tag::oihw : tag::goihw), bias({s.o}, memory::data_type::f32, tag::x);
    const auto far = [](std::int64_t out, std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t near) {
      return (out - 1) * stride + kernel - in - near;
    };
    const dnnl::convolution_forward::primitive_desc desc(
        engine(), dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, any, bias, dst,
        {s.stride_h, s.stride_w}, {s.pad_top, s.pad_left},
        {far(s.oh, s.h, s.kh, s.stride_h, s.pad_top), far(s.ow, s.w, s.kw, s.stride_w, s.pad_left)},
        attributes(problem, s.groups == 1 ? 1 : 3));
    return new OneDnn(problem, desc, dnnl::convolution_forward(desc), src, plain, bias, dst);
  }

  static OneDnn* as_product(const Problem& problem) {
    const ConvShape& s = problem.shape;
    using tag = memory::format_tag;
    const memory::desc src({s.w, s.c}, memory::data_type::u8, tag::ab), dst({s.w, s.o}, memory::data_type::u8, tag::ab),
        any({s.c, s.o}, memory::data_type::s8, tag::any), plain({s.c, s.o}, memory::data_type::s8, tag::ba),
        bias({1, s.o}, memory::data_type::f32, tag::ab);
    const dnnl::matmul::primitive_desc desc(engine(), src, any, bias, dst, attributes(problem, 2));
    return new OneDnn(problem, desc, dnnl::matmul(desc), src, plain, bias, dst);
  }

  template <class Desc>
  OneDnn(const Problem& problem, const Desc& desc, dnnl::primitive primitive, const memory::desc& src,
         const memory::desc& plain, const memory::desc& bias, const memory::desc& dst)
      : name_(desc.impl_info_str()),
        stream_(engine()),
        primitive_(std::move(primitive)),
        packed_(allocate_aligned(desc.weights_desc().get_size())),
        scratch_(allocate_aligned(desc.scratchpad_desc().get_size() + 1)),
        zero_point_(problem.zero_point) {
    const auto wrap = [](const memory::desc& what, const void* data) {
      return memory(what, engine(), const_cast<void*>(data));
    };
    memory given = wrap(plain, problem.weights.data()), packed = wrap(desc.weights_desc(), packed_.get());
    dnnl::reorder(given, packed).execute(stream_, given, packed);
    stream_.wait();
    const auto count = static_cast<memory::dim>(problem.scale.size());
    arguments_ = {{DNNL_ARG_SRC, wrap(src, problem.input())},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_BIAS, wrap(bias, problem.bias.data())},
                  {DNNL_ARG_DST, wrap(dst, problem.dst.get())},
                  {DNNL_ARG_SCRATCHPAD, wrap(desc.scratchpad_desc(), scratch_.get())},
                  {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS,
                   wrap({{count}, memory::data_type::f32, memory::format_tag::x}, problem.scale.data())}};
    if (zero_point_ != 0)
      arguments_[DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST] =
          wrap({{1}, memory::data_type::s32, memory::format_tag::x}, &zero_point_);
    for (const auto& [index, buffer] : arguments_) handles_.push_back({index, buffer.get()});
  }

  static dnnl::engine& engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
  }

  std::string name_;
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::unordered_map<int, memory> arguments_;
  std::vector<dnnl_exec_arg_t> handles_;  // of the arguments: making them takes as long as a small layer
  AlignedBuffer packed_, scratch_;
  std::int32_t zero_point_;
};

// Calls it for about so long and at least twice; the shortest time of a call so far.
template <class Call>
void time_block(double seconds, const Call& call, double& best) {
  int calls = 0;
  for (auto start = Clock::now(); seconds > 0 || calls < 2; ++calls) {
    call();
    const auto end = Clock::now();
    const double took = std::chrono::duration<double>(end - start).count();
    best = std::min(best, took);
    seconds -= took;
    start = end;
  }
}

nlohmann::json compare(const std::string& network, const Layer& layer, Isa isa) {
  const Problem problem(layer.shape);
  Ours ours(problem, implied_isas(isa));
  std::unique_ptr<OneDnn> theirs = OneDnn::create(problem, false);
  const double never = std::numeric_limits<double>::infinity();
  if (auto product = OneDnn::create(problem, true)) {  // the faster of the two forms
    double as_convolution = never, as_product = never;
    if (theirs) time_block(kBlockSeconds, [&] { theirs->run(); }, as_convolution);
    time_block(kBlockSeconds, [&] { product->run(); }, as_product);
    if (as_product < as_convolution) theirs = std::move(product);
  }
  if (!theirs) throw std::runtime_error("oneDNN has nothing for " + describe(layer.shape));

  const auto results = [&](auto& contender) {
    std::memset(problem.dst.get(), 0xA5, problem.outputs);
    contender.run();
    return std::vector<std::uint8_t>(as<std::uint8_t>(problem.dst), as<std::uint8_t>(problem.dst) + problem.outputs);
  };
  const auto our_results = results(ours), their_results = results(*theirs);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < our_results.size(); ++i) wrong += std::abs(our_results[i] - their_results[i]) > 1;

  double our_seconds = never, their_seconds = never;
  Ceiling ceiling(select_ceiling(Arithmetic::int8, implied_isas(isa)), 1);
  for (int round = 0; round < kRounds; ++round) {
    ceiling.measure(kCeilingSeconds);
    time_block(kBlockSeconds, [&] { ours.run(); }, our_seconds);
    time_block(kBlockSeconds, [&] { theirs->run(); }, their_seconds);
  }
  const ConvShape& s = layer.shape;
  return {{"network", network},
          {"layer", s.h == 1 ? fmt::format("{} x {} x {}", s.w, s.c, s.o)
                             : fmt::format("{}x{}x{} -> {}x{}x{}, {}x{}{}", s.h, s.w, s.c, s.oh, s.ow, s.o, s.kh, s.kw,
                                           s.groups > 1 ? " depthwise" : "")},
          {"times", layer.times},
          {"depth", problem.depth},
          {"depthwise", s.groups > 1},
          {"operations", problem.operations()},
          {"our_us", our_seconds * 1e6},
          {"their_us", their_seconds * 1e6},
          {"ceiling_gop_per_s", ceiling.operations_per_second() * 1e-9},
          {"kernel", ours.name()},
          {"their_kernel", theirs->name()},
          {"their_wrong_percent", 100.0 * static_cast<double>(wrong) / static_cast<double>(our_results.size())}};
}

int run(int count, char** words) {
  Isa isa = Isa::scalar;  // none that both have
  std::string only;
  bool as_json = false;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool more = i + 1 < count;
    if (word == "--max-isa" && more) {
      isa = parse_isa(words[++i]).value_or(Isa::scalar);
    } else if (word == "--only" && more) {
      only = words[++i];
    } else if (word == "--json") {
      as_json = true;
    } else {
      isa = Isa::scalar;
      break;
    }
  }
  if (!onednn_isa(isa)) {
    fmt::print(stderr, "usage: onednn_int8 --max-isa avx2|avx2vnni|avx512vnni|amxint8 [--only NETWORK] [--json]\n");
    return 2;
  }
  if (!detected_isas().contains(isa)) {
    fmt::print(stderr, "this machine has no {}\n", name(isa));
    return 1;
  }
  omp_set_num_threads(1);
  if (dnnl::set_max_cpu_isa(*onednn_isa(isa)) != dnnl::status::success) {
    fmt::print(stderr, "oneDNN does not take the instruction set\n");
    return 1;
  }
  nlohmann::json layers = nlohmann::json::array();
  double logarithms = 0;
  for (const auto& [network, all] : read_layers(ZEROPOINT_SOURCE_DIR "/bench/shapes_conv.txt")) {
    if (!only.empty() && network != only) continue;
    for (const Layer& layer : all) {
      const nlohmann::json& told = layers.emplace_back(compare(network, layer, isa));
      const double ours = told["our_us"], theirs = told["their_us"], ceiling = told["ceiling_gop_per_s"];
      logarithms += std::log(ours / theirs);
      if (as_json) continue;
      fmt::print("{:18} {:42} {:9.1f} us  oneDNN {:9.1f} us  {:5.2f}  {:5.1f} % of the ceiling  {:4.1f} % wrong  {} {}\n",
                 network, told["layer"].get<std::string>(), ours, theirs, ours / theirs,
                 told["operations"].get<double>() * 1e-3 / ours / ceiling * 100, told["their_wrong_percent"].get<double>(),
                 told["kernel"].get<std::string>(), told["their_kernel"].get<std::string>());
    }
  }
  const dnnl_version_t* version = dnnl_version();
  const std::string onednn = fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
  if (as_json)
    fmt::print("{}\n", nlohmann::json{{"isa", name(isa)}, {"onednn", onednn}, {"layers", layers}}.dump());
  else
    fmt::print("{} layers, ours / oneDNN {}: geometric mean {:.2f}\n", layers.size(), onednn,
               std::exp(logarithms / static_cast<double>(std::max<std::size_t>(layers.size(), 1))));
  return 0;
}

}  // namespace
}  // namespace zeropoint::kernels

int main(int count, char** words) {
  try {
    return zeropoint::kernels::run(count, words);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
