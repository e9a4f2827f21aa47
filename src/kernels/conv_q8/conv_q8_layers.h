// The layers of bench/shapes_conv.txt, for benches.
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/conv_q8/conv_q8_testing.h"

namespace zeropoint::kernels {

struct Layer {
  ConvShape shape;
  int times;  // how often the network has it
};

inline std::map<std::string, std::vector<Layer>> read_layers(const std::string& path) {
  std::map<std::string, std::vector<Layer>> networks;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string network;
    ConvSize z;
    Layer layer{};
    fields >> network >> z.h >> z.w >> z.c >> z.o >> z.kh >> z.stride_h >> z.pad_top >> z.pad_bottom >> z.groups >> layer.times;
    z.kw = z.kh, z.stride_w = z.stride_h, z.pad_left = z.pad_top, z.pad_right = z.pad_bottom;
    layer.shape = make_shape(z);
    networks[network].push_back(layer);
  }
  return networks;
}

}  // namespace zeropoint::kernels
