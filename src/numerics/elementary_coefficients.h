// The constants of numerics/elementary.cpp, which the vector kernels share: the same operations on them give the same bytes.
// Plain data, safe to include in files of any ISA.
#pragma once

namespace zeropoint::numerics {

// log(2) as a sum: the first part has 32 trailing zero bits, so that its products with exponents are exact.
constexpr double kLog2High = 6.93147180369123816490e-01, kLog2Low = 1.90821492927058770002e-10;
constexpr double kPerLog2 = 1.44269504088896340736;  // 1 / log(2)

// 1 / k!: the series of exp, below half a unit in the last place on |r| <= log(2) / 2.
constexpr double kExp[] = {1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,      1.0 / 720,
                           1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600};
// 2 / (2k + 1): log((1 + s) / (1 - s)) = s * sum of kLog[k] s^2k, |s| <= 3 - 2 sqrt(2).
constexpr double kLog[] = {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
// By tools/fit_erf.py: erf(x) = x P(x^2) on [0,1], erfc(2.5 + t) on [1,4].
constexpr double kErfSmall[] = {1.1283791670955121,    -0.376126389031744,      0.11283791670580423,    -0.026866170586496874,
                                0.005223977154105304,  -0.0008548304871782741,  0.00012054681918310599, -1.4913300906316395e-05,
                                1.631035651387174e-06, -1.5188281247335167e-07, 9.428596956834164e-09};
constexpr double kErfcLarge[] = {
    0.00040695202441569237, -0.0021782842320155304,  0.005445709956057651,    -0.008350089401688486,  0.008622384184301482,
    -0.006117350398351199,  0.0027984381949708362,   -0.00054239747950128,    -0.0002605193471565791, 0.00025024833341442075,
    -7.90532992500182e-05,  -5.0737377916318635e-06, 1.4336961143507515e-05,  -4.757625036477292e-06, -3.441233790237676e-07,
    6.857376319747032e-07,  -1.1665025419291392e-07, -3.6717274819590355e-08, 1.0407703128629227e-08, 3.0810879562231025e-10};

// The fp32 forms, by tools/fit_elementary.py. log(2) again as a sum: products of the first part with exponents are exact.
constexpr float kLog2HighFloat = 0.693145752F, kLog2LowFloat = 1.42860677e-6F, kPerLog2Float = 1.44269504F;
constexpr float kShiftFloat = 12582912.0F;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
// exp(r) = 1 + r + r^2 P(r), |r| <= log(2) / 2; arguments are cut at both ends, where the result is 0 or infinite.
constexpr float kExpFloat[] = {0.500000001F, 0.166666667F, 0.0416664642F, 0.00833331084F, 0.00139337307F, 0.000198910805F};
constexpr float kExpLowFloat = -104.0F, kExpHighFloat = 89.0F;
// tanh(x) = x + x^3 P(x^2), |x| < 0.625
constexpr float kTanhFloat[] = {-0.333333332F, 0.133333034F, -0.0539592286F, 0.0217686663F, -0.00834311964F, 0.00229180942F};
constexpr float kTanhSmallFloat = 0.625F;
// erf(x) = x + x P(x^2) on [0, 1], 1 - Q(x - 2.4375) on [1, 3.875]; beyond it rounds to 1.
constexpr float kErfSmallFloat[] = {0.128379166F,   -0.376126267F,    0.112835947F,  -0.026854212F,
                                    0.00518908742F, -0.000801686429F, 7.87587506e-5F};
constexpr float kErfcLargeFloat[] = {0.000566519045F, -0.00296574519F, 0.00723017324F,   -0.0107589954F,   0.0106934583F,
                                     -0.00720396742F, 0.00302768258F,  -0.000384251888F, -0.000450518226F, 0.000311503995F,
                                     -4.63788552e-5F, -2.76489463e-5F, 9.34909637e-6F,   -1.09376327e-8F};
constexpr float kErfMiddleFloat = 2.4375F, kErfEndFloat = 3.875F;

}  // namespace zeropoint::numerics
