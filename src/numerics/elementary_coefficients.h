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
// erf(c + d) = erf(c) + d P(d) in 16 parts of [0, 3.875], part i within 1/8 of i / 4; in part 0 it is d + d P(d). Rows: c,
// erf(c), coefficients. c is such that erf(c) is almost an fp32 number. Beyond, erf rounds to 1.
constexpr int kErfParts = 16, kErfDegree = 4;
constexpr float kErfPartsPerOne = 4.0F, kErfFirstFloat = 0.125F, kErfEndFloat = 3.87499976F;
alignas(64) constexpr float kErfFloat[kErfDegree + 3][kErfParts] = {
    {0.0F, 0.24632645F, 0.5029564F, 0.75011444F, 1.0031471F, 1.2486877F, 1.4968948F, 1.7485504F, 1.9990425F, 2.2514763F,
     2.5036316F, 2.7513428F, 3.0028572F, 3.2524414F, 3.5038872F, 3.8749998F},
    {0.0F, 0.2724288F, 0.52309406F, 0.7112292F, 0.8440031F, 0.92258924F, 0.9657341F, 0.986595F, 0.99530244F, 0.9985478F,
     0.9996009F, 0.99990016F, 0.9999783F, 0.99999577F, 0.9999993F, 1.0F},
    {0.12837917F, 1.0619487F, 0.8761809F, 0.6428207F, 0.41249883F, 0.23729794F, 0.12004221F, 0.05304332F, 0.02074627F,
     0.007095013F, 0.0021390622F, 0.00058196316F, 0.00013688569F, 2.8729535e-05F, 5.2545047e-06F, 8.749526e-06F},
    {0.0F, -0.26158175F, -0.44067574F, -0.4821863F, -0.4137975F, -0.29631323F, -0.17969257F, -0.09274987F, -0.041472733F,
     -0.01597395F, -0.005355129F, -0.0016010043F, -0.00041096957F, -9.3412884e-05F, -1.8402854e-05F, 0.00026709563F},
    {-0.3761227F, -0.3110326F, -0.14434157F, 0.026852706F, 0.13923062F, 0.16756395F, 0.13930053F, 0.09043678F, 0.048355836F,
     0.021611903F, 0.008224622F, 0.0027425766F, 0.00077696156F, 0.00019292909F, 4.12133e-05F, 0.0030059076F},
    {0.0F, 0.124625556F, 0.1821245F, 0.15007322F, 0.06820078F, -0.0053892955F, -0.043946173F, -0.04795371F, -0.034496732F,
     -0.019067656F, -0.008571855F, -0.0032755805F, -0.0010458333F, -0.0002884463F, -6.779576e-05F, 0.013711392F},
    {0.112210386F, 0.080756724F, 0.008943689F, -0.05269F, -0.068731695F, -0.047071252F, -0.015008087F, 0.0064424365F,
     0.012988096F, 0.01063725F, 0.006133536F, 0.0027752286F, 0.0010283306F, 0.00031893872F, 8.3881714e-05F, 0.021950217F}};

}  // namespace zeropoint::numerics
