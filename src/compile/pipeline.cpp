#include "compile/pipeline.h"

#include "base/flags.h"
#include "base/log.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "runtime/profiler.h"

#include <algorithm>
#include <chrono>

namespace coregrad {
namespace {

constexpr Pass kPasses[] = {
    {"canonicalize", canonicalize, true},
    {"unroll_windows", unroll_windows, false},
    {"sum_taps", sum_taps, false},
    {"phase_rows", phase_rows, false},
    // From here on nodes are copied as they are: the constructors would undo these passes.
    {"split_reductions", split_reduction, false},
    {"dense_operands", dense_operands, true},
};

GraphWithOutputs rewrite(const Graph& from, std::span<const NodeId> outputs,
                         RewriteFunction function) {
  GraphWithOutputs result;
  result.graph.take_iterations(from);
  const std::vector<bool> live = mark_live(from, outputs);
  std::vector<NodeId> moved(from.size());
  std::vector<NodeId> operands;
  for (uint32_t i = 0; i < from.size(); ++i) {
    if (!live[i]) continue;
    operands.clear();
    for (NodeId o : from.operands({i})) operands.push_back(moved[o.value]);
    result.graph.set_origin(from.origin({i}));
    moved[i] = function(result.graph, from, {i}, operands);
  }
  for (NodeId o : outputs) result.outputs.push_back(moved[o.value]);
  return result;
}

bool is_disabled(std::string_view name) {
  const std::vector<std::string>& off = flags().disabled_passes;
  return std::find(off.begin(), off.end(), name) != off.end();
}

}  // namespace

std::span<const Pass> pipeline() { return kPasses; }

GraphWithOutputs run_passes(const Graph& graph, std::span<const NodeId> outputs, bool optimize) {
  GraphWithOutputs current;
  const int debug = flags().debug;
  for (const Pass& pass : kPasses) {
    if (!pass.required && (!optimize || is_disabled(pass.name))) continue;
    const bool first = &pass == kPasses;
    const TraceScope trace(pass.name);
    const auto start = std::chrono::steady_clock::now();
    const std::string before = debug >= 3 && !first ? to_text(current.graph, current.outputs) : "";
    current = first ? rewrite(graph, outputs, pass.rewrite)
                    : rewrite(current.graph, current.outputs, pass.rewrite);
    const double ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (debug >= 1)
      log().debug("pass {}: {:.2f} ms, {} nodes", pass.name, ms, current.graph.size());
    if (debug >= 3) {
      const std::string after = to_text(current.graph, current.outputs);
      if (after != before) log().debug("graph after {}:\n{}", pass.name, after);
    }
    verify(current.graph, current.outputs, pass.name);
  }
  return current;
}

}  // namespace coregrad
