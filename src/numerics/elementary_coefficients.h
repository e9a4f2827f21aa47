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

}  // namespace zeropoint::numerics
