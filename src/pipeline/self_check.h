// Runs a quantized model beside its float form, finds what breaks it and repairs it (docs/diagnosis.md).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "zeropoint/quantize.h"

namespace zeropoint {

struct SelfCheckOptions {
  int threads = 0;
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;
  const std::atomic<bool>* interrupt = nullptr;
  double least_db = 20;          // from which on a model is sound, where its top classes
  double least_agreement = 0.8;  // agree with the float model's in this share of the rows
  double aim_db = 26;            // up to which a model that is not sound is repaired
  double good_db = 30;           // from which on nothing is looked for, and top classes that differ are ties
  double float_share = 0.1;  // of the multiply-accumulates, that repairs may take to float; more only where nothing else helps
};

// What the first and every later model are made by.
using Requantize = std::function<Quantized(const Recipe& recipe)>;

// Samples kept aside for the check: every n-th, at most kMostAside, where kLeastCalibrated are left to calibrate on; else none.
inline constexpr std::size_t kMostAside = 16, kLeastCalibrated = 32;
std::vector<std::size_t> samples_aside(std::size_t samples);

// `quantized` as it is where it is sound, else the best that repairs made of it; with self_check and repairs in its report, and
// the repairs as rules in the recipe that it was made by. `check`: samples to judge on, `learn`: to look for causes on.
Quantized check_and_repair(Quantized quantized, const Samples& check, const Samples& learn, const Requantize& requantize,
                           const SelfCheckOptions& options);

}  // namespace zeropoint
