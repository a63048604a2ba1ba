#pragma once
// The shape of a LoopKernel: merged axes, lane axis, blocks, chunks, kept rows, streaming stores.

#include "kernel/loop_kernel.h"
#include "kernel/target.h"

namespace coregrad {

/// Estimates for one thread.
struct LoopCost {
  double bytes = 0;  ///< moved, by the hints of sizes
  double ns = 0;
  SymInt elements = 1;  ///< what both grow with
};

/// Rewrites the kernel's axes and fills in what it says of how it runs.
LoopCost arrange_loops(LoopKernel& kernel, const Target& target);

}  // namespace coregrad
