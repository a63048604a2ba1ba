#include "compile/dump.h"

#include "base/log.h"
#include "ir/print.h"

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

std::string kernels_to_dot(const Graph& graph, std::span<const NodeId> outputs,
                           const FusionPlan& fusion) {
  std::vector<int32_t> kernel_of(graph.size(), -1);
  for (size_t u = 0; u < fusion.units.size(); ++u) {
    const FusionUnit& unit = fusion.units[u];
    const auto number = static_cast<int32_t>(u);
    for (NodeId r : unit.results) kernel_of[r.value] = number;
    if (unit.kind != UnitKind::Loop) kernel_of[unit.node.value] = number;
    for (const FusionRoot& r : unit.roots) kernel_of[r.node.value] = number;
  }
  // A node between roots belongs to the first kernel that computes it.
  for (uint32_t i = graph.size(); i-- > 0;)
    if (kernel_of[i] >= 0)
      for (NodeId o : graph.operands({i}))
        if (kernel_of[o.value] < 0 && graph[o].op != Op::Input && !fusion.is_root[o])
          kernel_of[o.value] = kernel_of[i];
  return to_dot(graph, outputs, kernel_of);
}

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
  if (compiled.plan) write(directory / (stem + ".plan.txt"), to_text(*compiled.plan));
}

}  // namespace coregrad
