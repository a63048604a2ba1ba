#include "compile/dump.h"

#include "base/log.h"

#include <atomic>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace coregrad {
namespace {

/// The name with everything a file system may dislike replaced.
std::string file_name(std::string_view name) {
  std::string result;
  for (const char c : name)
    result += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' ? c : '_';
  return result;
}

void write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  if (!stream.flush()) log().warn("COREGRAD_DUMP: cannot write {}", path.string());
}

}  // namespace

void dump_compiled(const std::string& folder, const std::string& name,
                   const std::string& graph_text, const CompiledPlan& compiled) {
  static std::atomic<int64_t> count = 0;
  const std::filesystem::path directory(folder);
  std::error_code status;
  std::filesystem::create_directories(directory, status);
  if (status) {
    log().warn("COREGRAD_DUMP: cannot make {}: {}", folder, status.message());
    return;
  }
  const std::string stem = fmt::format("{:04}_{}", count++, file_name(name));
  write(directory / (stem + ".graph.txt"), graph_text);
  write(directory / (stem + ".dot"), compiled.graph_dot);
  write(directory / (stem + ".plan.txt"), to_text(*compiled.plan));
}

}  // namespace coregrad
