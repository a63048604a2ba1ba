#pragma once
// COREGRAD_DUMP: what was compiled, as files.

#include "compile/compiler.h"

#include <string>

namespace coregrad {

/// Writes `<number>_<name>` .graph.txt (`graph_text`, the optimised graph), .dot and .plan.txt into
/// `folder`, which is made if need be. Numbers count the process's compilations. Trouble with files
/// is a warning in the log: a dump must not stop a program.
void dump_compiled(const std::string& folder, const std::string& name,
                   const std::string& graph_text, const CompiledPlan& compiled);

}  // namespace coregrad
