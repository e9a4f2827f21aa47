// zeropoint VERB: quantizes neural networks and runs them.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/nearest.h"
#include "command.h"
#include "write_report.h"
#include "zeropoint/error.h"

namespace {

int complain(const std::string& message) {
  std::fputs(("zeropoint: error: " + message + "\n").c_str(), stderr);
  return zeropoint::cli::kBadInput;
}

// What to say when the first word is no verb; empty when it is one or a flag.
std::string unknown_verb(const CLI::App& program, const std::string& word) {
  if (word.empty() || word[0] == '-') return "";
  std::string list;
  std::vector<std::string> names;
  for (const CLI::App* verb : program.get_subcommands(nullptr)) {
    if (verb->get_name() == word) return "";
    names.push_back(verb->get_name());
    list += " " + verb->get_name();
  }
  const std::string meant = zeropoint::nearest(word, names);
  return "there is no verb '" + word + "'" + (meant.empty() ? "" : "; did you mean '" + meant + "'?") + " Verbs:" + list;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace zeropoint::cli;
  CLI::App program(
      "Makes trained networks small and fast: reads a float ONNX model, calibrates it on samples, quantizes it, runs it, and\n"
      "tells what that cost.",
      "zeropoint");
  program.set_version_flag("--version", "zeropoint " ZEROPOINT_VERSION);
  program.require_subcommand(1);
  program.footer(
      "Exit codes: 0 good, 1 accuracy was missed or the model is poor, 2 bad input or usage, 130 interrupted.\n"
      "zeropoint VERB --help tells a verb's flags.");
  int exit_code = kGood;
  remember_command(argc, argv);
  for (const AddVerb add :
       {add_inspect, add_quantize, add_calibrate, add_merge, add_run, add_compare, add_sensitivity, add_evaluate, add_bench, add_report})
    add(program, &exit_code);
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return program.exit(success);
  } catch (const CLI::ParseError& error) {
    if (const std::string message = argc > 1 ? unknown_verb(program, argv[1]) : ""; !message.empty())
      return complain(message + " (see zeropoint --help)");
    const auto& verbs = program.get_subcommands();
    return complain(std::string(error.what()) + " (see zeropoint " + (verbs.empty() ? "" : verbs.front()->get_name() + " ") +
                    "--help)");
  } catch (const zeropoint::Error& error) {
    complain(error.what());
    return error.code == zeropoint::ErrorCode::kInterrupted ? kInterrupted : kBadInput;
  } catch (const std::bad_alloc&) {
    return complain("out of memory");
  } catch (const std::exception& error) {
    return complain(std::string("internal: ") + error.what());
  }
  return exit_code;
}
