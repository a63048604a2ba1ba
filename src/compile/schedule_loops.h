#pragma once
// How a LoopKernel runs: merged axes, lane axis, blocks, chunks, kept rows, streaming stores.

#include "codegen/target.h"

namespace coregrad {

struct LoweredLoops;

/// Rewrites the kernel's axes and fills in its schedule fields and the cost estimates.
void schedule_loops(LoweredLoops& lowered, const Target& target);

}  // namespace coregrad
