// Writes each malformed model as DIR/NAME.onnx and prints one line a model: NAME, error code.
#include <cstdio>

#include "base/file.h"
#include "hostile_models.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_hostile_models DIR\n");
    return 2;
  }
  for (const zeropoint::HostileModel& model : zeropoint::hostile_models()) {
    zeropoint::write_file(std::filesystem::path(argv[1]) / (model.name + ".onnx"), model.bytes);
    std::printf("%s %s\n", model.name.c_str(), std::string(zeropoint::name(model.code)).c_str());
  }
}
