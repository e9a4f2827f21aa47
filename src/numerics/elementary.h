// exp, log, pow, tanh, erf, sigmoid without the C library, whose results differ between processors and architectures.
//
// Doubles with + - * / and bit operations only, so every machine gives the same bytes; the fp32 forms round once at the end.
// Accuracy: double forms within 4 units in the last place for |x| in the range of fp32 results (erf: 1e-11 absolute beyond 1);
// fp32 forms within 1, and correctly rounded but for one in some million. NaN gives NaN; infinities give the limits.
#pragma once

namespace zeropoint::numerics {

double exp(double x);
double log(double x);            // x < 0 gives NaN, 0 gives -inf
double pow(double x, double y);  // the special cases of IEC 60559
double tanh(double x);
double erf(double x);
double sigmoid(double x);  // 1 / (1 + exp(-x))

inline float exp(float x) { return static_cast<float>(exp(static_cast<double>(x))); }
inline float log(float x) { return static_cast<float>(log(static_cast<double>(x))); }
inline float pow(float x, float y) { return static_cast<float>(pow(static_cast<double>(x), static_cast<double>(y))); }
inline float tanh(float x) { return static_cast<float>(tanh(static_cast<double>(x))); }
inline float erf(float x) { return static_cast<float>(erf(static_cast<double>(x))); }
inline float sigmoid(float x) { return static_cast<float>(sigmoid(static_cast<double>(x))); }

}  // namespace zeropoint::numerics
