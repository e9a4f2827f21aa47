// Made by bench/costs.py; never edited by hand. Microseconds on one core, in float and in integers, of
// Intel(R) Xeon(R) Processor (amxint8).
// clang-format off
#pragma once

#include "quant/costs.h"

namespace zeropoint::quant {

inline constexpr double kMatricesMeasured = 4;  // in one entry of kMatrixByMatrix

inline constexpr double kMatrixByWeightsM[] = {1, 4, 16, 64, 256, 1024};
inline constexpr double kMatrixByWeightsN[] = {8, 32, 128, 512};
inline constexpr double kMatrixByWeightsK[] = {8, 32, 128, 512};
inline constexpr Cost kMatrixByWeightsCosts[] = {
    {0.91, 0.305}, {0.931, 0.285}, {1.02, 0.353}, {1.56, 0.5},
    {0.989, 0.31}, {0.941, 0.318}, {1.08, 0.366}, {1.5, 0.492},
    {1.25, 0.372}, {1.32, 0.372}, {1.75, 0.462}, {3.59, 0.822},
    {1.83, 0.599}, {2.14, 0.662}, {3.65, 0.914}, {11.7, 2.28},
    {0.972, 0.33}, {0.98, 0.34}, {1.11, 0.371}, {1.62, 0.549},
    {1.01, 0.352}, {1.08, 0.381}, {1.22, 0.429}, {1.91, 0.65},
    {1.25, 0.466}, {1.48, 0.546}, {2.16, 0.705}, {4.9, 1.35},
    {1.95, 0.906}, {2.74, 1.05}, {5.16, 1.78}, {20.5, 4.35},
    {1.13, 0.938}, {0.876, 0.732}, {1.12, 0.741}, {2.15, 0.881},
    {0.749, 0.736}, {0.88, 0.739}, {1.44, 0.761}, {3.37, 1.09},
    {1.46, 1.33}, {1.98, 1.37}, {4.21, 1.45}, {13.9, 2.04},
    {2.82, 3.47}, {4.7, 3.36}, {13.8, 3.82}, {51.8, 5.58},
    {1.08, 0.996}, {1.41, 1.02}, {2.63, 1.05}, {7.6, 1.38},
    {1.25, 1.05}, {1.72, 1.07}, {3.93, 1.13}, {13.3, 1.57},
    {2.12, 2.36}, {4.13, 2.24}, {12.9, 2.6}, {49.2, 3.61},
    {4.72, 7.27}, {13.6, 7.28}, {53, 9.14}, {212, 12.6},
    {1.15, 1.65}, {2.37, 1.7}, {6.76, 2.03}, {24.1, 2.94},
    {1.6, 1.93}, {3.67, 2.27}, {13, 2.73}, {52.5, 3.56},
    {4.16, 5.78}, {12, 5.83}, {42.9, 6.55}, {168, 12.4},
    {16.6, 26.6}, {45.7, 27.1}, {172, 32.3}, {971, 50.9},
    {2.78, 4.82}, {7.48, 6.51}, {24.6, 4.99}, {104, 12},
    {4.3, 5.75}, {12.1, 5.69}, {43.1, 6.69}, {187, 17.3},
    {14.1, 20.7}, {45.8, 21.4}, {169, 33.2}, {1.19e+03, 69.8},
    {188, 188}, {283, 191}, {860, 273}, {7.99e+03, 245},
};
// [m, k] by constant [k, n]
inline constexpr CostGrid kMatrixByWeights{kMatrixByWeightsM, kMatrixByWeightsN, kMatrixByWeightsK, kMatrixByWeightsCosts};

inline constexpr double kMatrixByMatrixM[] = {16, 64, 256};
inline constexpr double kMatrixByMatrixN[] = {16, 64, 256};
inline constexpr double kMatrixByMatrixK[] = {16, 64, 256};
inline constexpr Cost kMatrixByMatrixCosts[] = {
    {0.663, 6.27}, {1.97, 14.5}, {5.11, 35.9}, {1.53, 17.6},
    {4.28, 45.6}, {16.8, 143}, {4.79, 43.2}, {15.5, 114},
    {76.2, 421}, {1.7, 9.6}, {4.53, 12.2}, {15.3, 39.3},
    {3.71, 23.1}, {12.9, 43.7}, {60.4, 130}, {14.9, 88.5},
    {52.3, 146}, {271, 642}, {5.19, 15.6}, {14.8, 19.7},
    {55.3, 46.2}, {12.2, 37.6}, {46.1, 53.3}, {183, 199},
    {57.9, 195}, {223, 304}, {1.03e+03, 873},
};
// 4 products [m, k] by [k, n] of two computed values
inline constexpr CostGrid kMatrixByMatrix{kMatrixByMatrixM, kMatrixByMatrixN, kMatrixByMatrixK, kMatrixByMatrixCosts};

inline constexpr double kPointwiseConvM[] = {16, 64, 256, 1024, 3136};
inline constexpr double kPointwiseConvN[] = {8, 32, 128, 512};
inline constexpr double kPointwiseConvK[] = {8, 32, 128, 512};
inline constexpr Cost kPointwiseConvCosts[] = {
    {1.02, 0.867}, {0.78, 0.985}, {1.42, 1.02}, {2.72, 0.985},
    {0.737, 0.866}, {0.868, 0.871}, {1.43, 0.884}, {3.45, 1.11},
    {1.09, 1.26}, {2.17, 1.27}, {4.56, 1.36}, {14.3, 2},
    {3.02, 2.3}, {5.03, 2.25}, {13, 2.54}, {46.1, 4.82},
    {1.24, 0.992}, {1.5, 0.974}, {2.27, 0.884}, {6.73, 1.09},
    {1.33, 1.02}, {1.85, 1.02}, {4.07, 1.07}, {13.5, 1.53},
    {2.08, 1.64}, {4.48, 1.9}, {13.7, 2.14}, {52.1, 3.77},
    {6.1, 4.72}, {15.1, 4.66}, {56.9, 5.36}, {197, 9.11},
    {1.21, 1.59}, {3.02, 1.57}, {8.18, 1.73}, {26.1, 3.12},
    {2.23, 1.7}, {4.37, 1.71}, {14.2, 2.05}, {59.2, 4.18},
    {4.88, 4.29}, {13.8, 4.48}, {49.7, 6.28}, {242, 13.2},
    {21.8, 14.7}, {46.7, 15.9}, {199, 22.7}, {997, 49.7},
    {3.5, 3.5}, {8.72, 3.71}, {34.3, 4.74}, {160, 11.5},
    {5.59, 5.09}, {16, 4.27}, {54.5, 6.79}, {283, 13},
    {15, 14}, {58.5, 20}, {229, 22.5}, {832, 55.2},
    {141, 62}, {274, 68.3}, {696, 76.5}, {7.85e+03, 197},
    {9.18, 7.9}, {20.8, 8.05}, {91.5, 12.3}, {545, 52.9},
    {12.5, 10.7}, {36.7, 11.3}, {164, 17.1}, {943, 84.9},
    {80.9, 49.7}, {198, 52.9}, {732, 67.6}, {3.34e+03, 210},
    {524, 232}, {914, 243}, {3.05e+03, 270}, {2.57e+04, 654},
};
// 1x1: m pixels, n output channels, k input channels
inline constexpr CostGrid kPointwiseConv{kPointwiseConvM, kPointwiseConvN, kPointwiseConvK, kPointwiseConvCosts};

inline constexpr double kSpatialConvM[] = {16, 64, 256, 1024, 3136};
inline constexpr double kSpatialConvN[] = {8, 32, 128};
inline constexpr double kSpatialConvK[] = {9, 36, 144, 576, 2304};
inline constexpr Cost kSpatialConvCosts[] = {
    {0.753, 1.09}, {0.652, 0.989}, {1.91, 1.04}, {3.29, 1.11}, {9.87, 1.44},
    {1.19, 0.999}, {0.784, 1.57}, {2.62, 1.06}, {4.97, 1.17}, {13.9, 2.06},
    {1.12, 1.22}, {1.71, 1.4}, {4.44, 1.53}, {12.6, 1.99}, {41.3, 5.62},
    {0.698, 1.33}, {0.971, 1.31}, {2.97, 1.32}, {7.58, 1.39}, {29, 2.66},
    {1.26, 1.58}, {1.8, 1.62}, {6.13, 1.65}, {16.2, 1.72}, {50.5, 4.79},
    {2.71, 2.46}, {4.11, 2.79}, {15.2, 2.69}, {53.9, 4.09}, {247, 16},
    {1.55, 2.59}, {2.65, 2.77}, {10.4, 2.43}, {26.5, 2.68}, {101, 8.66},
    {2.46, 2.85}, {4.48, 2.46}, {15.8, 2.69}, {55.8, 4.49}, {221, 13.3},
    {6.92, 5.65}, {15.9, 5.9}, {59.7, 7.39}, {243, 13.4}, {998, 52.1},
    {3.14, 5.45}, {7.81, 5.6}, {32.4, 5.4}, {135, 9.21}, {423, 37.9},
    {6.13, 6.74}, {15.6, 7.03}, {60.5, 7.43}, {243, 11}, {1.02e+03, 58.8},
    {26.6, 18.9}, {67.7, 18.4}, {254, 25.8}, {1.08e+03, 47.6}, {8.37e+03, 182},
    {8.77, 14.1}, {24, 14.2}, {102, 15.7}, {416, 30.1}, {1.79e+03, 124},
    {14.6, 18.2}, {46.2, 19.4}, {215, 24.4}, {681, 39.5}, {3.75e+03, 143},
    {126, 53.5}, {173, 64.8}, {810, 72.8}, {2.42e+03, 116}, {2.29e+04, 685},
};
// 3x3: m pixels, n output channels, sums of k products
inline constexpr CostGrid kSpatialConv{kSpatialConvM, kSpatialConvN, kSpatialConvK, kSpatialConvCosts};

inline constexpr double kDepthwiseConvM[] = {16, 64, 256, 1024, 3136};
inline constexpr double kDepthwiseConvN[] = {16, 64, 256, 1024};
inline constexpr double kDepthwiseConvK[] = {9};
inline constexpr Cost kDepthwiseConvCosts[] = {
    {0.946, 0.491}, {1.02, 0.522}, {1.82, 1.28}, {4.98, 3.68},
    {1.76, 1.01}, {2.22, 1.02}, {5.06, 2.74}, {19.4, 11.1},
    {2.5, 2.82}, {5.53, 2.84}, {18.5, 9.92}, {108, 32.3},
    {6.99, 9.28}, {14.6, 8.98}, {105, 39.2}, {470, 189},
    {15.6, 29.2}, {72.8, 28.7}, {380, 96.7}, {2.8e+03, 683},
};
// 3x3: m pixels, n channels
inline constexpr CostGrid kDepthwiseConv{kDepthwiseConvM, kDepthwiseConvN, kDepthwiseConvK, kDepthwiseConvCosts};

inline constexpr double kSumOfTwoM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kSumOfTwoN[] = {1};
inline constexpr double kSumOfTwoK[] = {1};
inline constexpr Cost kSumOfTwoCosts[] = {
    {0.304, 0.286}, {0.415, 0.372}, {1.51, 1.13}, {9.34, 6.97},
    {438, 157},
};
// m elements of the result
inline constexpr CostGrid kSumOfTwo{kSumOfTwoM, kSumOfTwoN, kSumOfTwoK, kSumOfTwoCosts};

inline constexpr double kAveragePoolM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kAveragePoolN[] = {1};
inline constexpr double kAveragePoolK[] = {1};
inline constexpr Cost kAveragePoolCosts[] = {
    {0.617, 0.336}, {0.626, 0.33}, {1.02, 0.623}, {4.45, 3.64},
    {345, 84.3},
};
// m elements of the input
inline constexpr CostGrid kAveragePool{kAveragePoolM, kAveragePoolN, kAveragePoolK, kAveragePoolCosts};

inline constexpr double kCheapFunctionM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kCheapFunctionN[] = {1};
inline constexpr double kCheapFunctionK[] = {1};
inline constexpr Cost kCheapFunctionCosts[] = {
    {0.302, 0.27}, {0.389, 0.3}, {1.14, 0.456}, {7.37, 2.06},
    {295, 76.8},
};
// m elements; HardSwish
inline constexpr CostGrid kCheapFunction{kCheapFunctionM, kCheapFunctionN, kCheapFunctionK, kCheapFunctionCosts};

inline constexpr double kExponentialM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kExponentialN[] = {1};
inline constexpr double kExponentialK[] = {1};
inline constexpr Cost kExponentialCosts[] = {
    {0.328, 0.268}, {0.683, 0.29}, {3.37, 0.458}, {25.3, 2.08},
    {340, 78.9},
};
// m elements; Gelu
inline constexpr CostGrid kExponential{kExponentialM, kExponentialN, kExponentialK, kExponentialCosts};

inline constexpr double kQuantizeM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kQuantizeN[] = {1};
inline constexpr double kQuantizeK[] = {1};
inline constexpr Cost kQuantizeCosts[] = {
    {0.299, 0.299}, {0.453, 0.453}, {1.53, 1.53}, {9.67, 9.67},
    {179, 179},
};
// m elements; one figure
inline constexpr CostGrid kQuantize{kQuantizeM, kQuantizeN, kQuantizeK, kQuantizeCosts};

inline constexpr double kDequantizeM[] = {64, 1024, 8192, 65536, 1048576};
inline constexpr double kDequantizeN[] = {1};
inline constexpr double kDequantizeK[] = {1};
inline constexpr Cost kDequantizeCosts[] = {
    {0.264, 0.264}, {0.319, 0.319}, {0.629, 0.629}, {5.41, 5.41},
    {208, 208},
};
// m elements; one figure
inline constexpr CostGrid kDequantize{kDequantizeM, kDequantizeN, kDequantizeK, kDequantizeCosts};

}  // namespace zeropoint::quant
