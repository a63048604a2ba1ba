// COREGRAD_DUMP.

#include "base/flags.h"
#include "compile/compiler.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace coregrad {
namespace {

/// Contents of a folder's files by what follows the number of the compilation.
std::map<std::string, std::string> files_in(const std::filesystem::path& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream stream(entry.path());
    found[entry.path().filename().string().substr(5)] = {std::istreambuf_iterator<char>(stream),
                                                         {}};
  }
  return found;
}

void compile_something() {
  Graph graph;
  const NodeId x = ops::input(graph, 0, DType::Float32, {{4}});
  const OutputSpec output{.node = ops::exp(graph, x), .strides = {}};
  compile(graph, {&output, 1}, 1, {.externals = {}, .name = "my/graph"});
}

TEST(Dump, WritesGraphAndPlanUnderASafeName) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "coregrad_dump_test" / "deeper";
  std::filesystem::remove_all(folder);
  Flags wanted = flags();
  wanted.dump_dir = folder.string();
  const Flags before = set_flags_for_test(wanted);
  compile_something();
  set_flags_for_test(before);
  std::map<std::string, std::string> files = files_in(folder);
  std::filesystem::remove_all(folder.parent_path());
  ASSERT_EQ(files.size(), 3u);
  EXPECT_NE(files["my_graph.graph.txt"].find("exp f32[4]"), std::string::npos);
  EXPECT_EQ(files["my_graph.dot"].find("digraph"), 0u);
  EXPECT_FALSE(files["my_graph.plan.txt"].empty());
}

TEST(Dump, TroubleWithFilesDoesNotStopTheProgram) {
  Flags wanted = flags();
  wanted.dump_dir = "/proc/no/such/folder";
  const Flags before = set_flags_for_test(wanted);
  EXPECT_NO_THROW(compile_something());
  set_flags_for_test(before);
}

}  // namespace
}  // namespace coregrad
