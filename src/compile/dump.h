#pragma once
// COREGRAD_DUMP: what was compiled, as files.

#include "compile/compiler.h"
#include "compile/fusion.h"

#include <string>

namespace coregrad {

/// The graph as DOT, each kernel's nodes in a box.
std::string kernels_to_dot(const Graph& graph, std::span<const NodeId> outputs,
                           const FusionPlan& fusion);

/// Writes `<number>_<name>` .graph.txt (`graph_text`, the optimised graph), .dot and .plan.txt into
/// `folder`, which is made if need be. Numbers count the process's compilations. Trouble with files
/// is a warning in the log: a dump must not stop a program.
void dump_compiled(const std::string& folder, const std::string& name,
                   const std::string& graph_text, const CompiledPlan& compiled);

}  // namespace coregrad
