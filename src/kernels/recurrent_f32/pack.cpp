#include <algorithm>

#include "kernels/recurrent_f32/recurrent_f32_functions.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

// Gates first ... first + count - 1.
float* pack(int64_t first, int64_t count, int64_t hidden, int64_t lanes, const float* r, float* packed) {
  for (int64_t block = 0; block < hidden; block += lanes)
    for (int64_t k = 0; k < hidden; ++k)
      for (int64_t gate = first; gate < first + count; ++gate)
        for (int64_t lane = 0; lane < lanes; ++lane)
          *packed++ = block + lane < hidden ? r[(gate * hidden + block + lane) * hidden + k] : 0.0F;
  return packed;
}

}  // namespace

void pack_recurrent_f32(RecurrentKind kind, int64_t hidden, int lanes, const float* r, float* packed) {
  if (kind == RecurrentKind::gru)
    pack(2, 1, hidden, lanes, r, pack(0, 2, hidden, lanes, r, packed));
  else
    pack(0, recurrent_gates(kind), hidden, lanes, r, packed);
}

}  // namespace zeropoint::kernels
