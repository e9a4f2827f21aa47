// exp, log, pow, erf, sigmoid, trigonometric and hyperbolic functions without the C library, whose results differ between processors and architectures.
//
// + - * / fma and bit operations only, each rounded once as IEEE says, so every machine gives the same bytes. The double forms
// are within 4 units in the last place for |x| in the range of fp32 results (erf: 1e-11 absolute beyond 1). The fp32 forms of
// log and pow round those once at the end; exp, tanh, erf and sigmoid compute in fp32, as networks spend time there, and are
// within 1, 1.3, 1.25 and 2.3 units. NaN gives NaN; infinities give the limits.
#pragma once

namespace zeropoint::numerics {

double exp(double x);
double log(double x);            // x < 0 gives NaN, 0 gives -inf
double pow(double x, double y);  // the special cases of IEC 60559
double tanh(double x);
double erf(double x);
double sigmoid(double x);  // 1 / (1 + exp(-x))
double sin(double x);      // of radians, any size; infinities give NaN
double cos(double x);
double tan(double x);
double asin(double x);  // |x| > 1 gives NaN
double acos(double x);
double atan(double x);
double sinh(double x);
double cosh(double x);
double asinh(double x);
double acosh(double x);  // x < 1 gives NaN
double atanh(double x);  // |x| > 1 gives NaN

float exp(float x);
inline float log(float x) { return static_cast<float>(log(static_cast<double>(x))); }
inline float pow(float x, float y) { return static_cast<float>(pow(static_cast<double>(x), static_cast<double>(y))); }
float tanh(float x);
float erf(float x);
float sigmoid(float x);

}  // namespace zeropoint::numerics
