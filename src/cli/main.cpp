// The coregrad program: trains and reports without Python.

#include "base/error.h"
#include "cli/checkpoint.h"
#include "cli/train.h"
#include "runtime/thread_team.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr const char* kVersion = "0.1.0";

int print_info(bool json) {
  nlohmann::json facts = {
      {"version", kVersion},
      {"threads", coregrad::ThreadTeam::global().num_threads()},
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  facts["avx2"] = __builtin_cpu_supports("avx2") != 0;
  facts["fma"] = __builtin_cpu_supports("fma") != 0;
  facts["avx512f"] = __builtin_cpu_supports("avx512f") != 0;
#endif
  if (json) {
    fmt::print("{}\n", facts.dump());
    return 0;
  }
  for (const auto& [name, value] : facts.items()) fmt::print("{:<10}{}\n", name, value.dump());
  return 0;
}

/// `coregrad ckpt` and what it does; the function is called once the arguments are parsed.
std::function<int()> add_checkpoint_commands(CLI::App& app) {
  struct Options {
    std::vector<std::string> files;
    std::string from, to;
    double tolerance = 0;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* const ckpt = app.add_subcommand("ckpt", "Look at checkpoints and safetensors files.");
  ckpt->require_subcommand(1);
  ckpt->footer(
      "Examples:\n  coregrad ckpt inspect model.rtch\n  coregrad ckpt diff a.rtch b.rtch "
      "--tolerance "
      "1e-6\n  coregrad ckpt convert model.safetensors model.rtch");
  const auto two_files = [&](CLI::App* command, const char* first, const char* second) {
    command->add_option("first", options->from, first)->required();
    command->add_option("second", options->to, second)->required();
  };
  CLI::App* const inspect = ckpt->add_subcommand("inspect", "Print what is in a file.");
  inspect->add_option("file", options->from, "The file")->required();
  inspect->add_flag("--json", options->json, "Print one JSON object");
  CLI::App* const verify = ckpt->add_subcommand("verify", "Print whether files are whole.");
  verify->add_option("files", options->files, "The files")->required();
  CLI::App* const diff = ckpt->add_subcommand("diff", "Print where two files differ.");
  two_files(diff, "A file", "Another file");
  diff->add_option("--tolerance", options->tolerance, "By which values may differ")
      ->check(CLI::NonNegativeNumber);
  diff->add_flag("--json", options->json, "Print one JSON object");
  CLI::App* const convert =
      ckpt->add_subcommand("convert", "Write a file in the format that another name says.");
  two_files(convert, "The file that is there", "The file to write; .safetensors, or a checkpoint");
  return [=] {
    using namespace coregrad::cli;
    if (inspect->parsed()) return inspect_checkpoint(options->from, options->json);
    if (verify->parsed()) return verify_checkpoints(options->files);
    if (diff->parsed())
      return diff_checkpoints(options->from, options->to, options->tolerance, options->json);
    return convert_checkpoint(options->from, options->to);
  };
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("CoreGrad: a graph compiler and autograd engine for tensor programs on CPUs.");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n  coregrad train --epochs 20 --lr 0.05\n  coregrad train --json > result.json\n"
      "  coregrad ckpt inspect model.rtch\n  coregrad info");

  coregrad::cli::TrainOptions options;
  CLI::App* train = app.add_subcommand("train", "Train a two-layer network on IDX files.");
  train->add_option("--images", options.images, "IDX file of images")->capture_default_str();
  train->add_option("--labels", options.labels, "IDX file of labels")->capture_default_str();
  train->add_option("--epochs", options.epochs, "Passes over the data")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  train->add_option("--batch-size", options.batch_size, "Samples per step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--hidden", options.hidden, "Units between the layers")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--lr", options.learning_rate, "Learning rate")->capture_default_str();
  train->add_option("--momentum", options.momentum, "Momentum")->capture_default_str();
  train->add_option("--seed", options.seed, "Seed of everything random")->capture_default_str();
  train->add_flag("--json", options.json, "Print one JSON object");

  bool info_json = false;
  CLI::App* info = app.add_subcommand("info", "Show version, threads and vector instructions.");
  info->add_flag("--json", info_json, "Print one JSON object");

  const std::function<int()> run_ckpt = add_checkpoint_commands(app);

  CLI11_PARSE(app, argc, argv);
  try {
    if (app.get_subcommand("ckpt")->parsed()) return run_ckpt();
    return info->parsed() ? print_info(info_json) : coregrad::cli::train(options);
  } catch (const coregrad::Error& error) {
    fmt::print(stderr, "coregrad: {}\n", error.what());
    return 1;
  }
}
