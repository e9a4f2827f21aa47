// Writes each malformed model as DIR/NAME.onnx and prints one line a model: NAME, "refuse" or "either".
#include <cstdio>

#include "base/file.h"
#include "hostile_models.h"

int main(int argc, char** argv) {
  using namespace zeropoint;
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_hostile_models DIR\n");
    return 2;
  }
  write_external_files(argv[1]);
  for (auto* make : {hostile_models, hostile_operators, hostile_external, hostile_mutations})
    for (const HostileModel& model : make()) {
      write_file(std::filesystem::path(argv[1]) / (model.name + ".onnx"), model.bytes);
      std::printf("%s %s\n", model.name.c_str(), model.stage == HostileModel::Stage::kEither ? "either" : "refuse");
    }
}
