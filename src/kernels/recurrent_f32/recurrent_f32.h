// LSTM, GRU and RNN over time. See recurrent_f32_functions.h for the contract.
#pragma once

#include <span>

#include "kernels/recurrent_f32/recurrent_f32_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct RecurrentF32Kernels {
  const char* name;
  Isa needs;
  const RecurrentF32Functions* functions;
};
std::span<const RecurrentF32Kernels> recurrent_f32_kernels();  // best first, reference last
const RecurrentF32Kernels& select_recurrent_f32(IsaSet isas);

}  // namespace zeropoint::kernels
