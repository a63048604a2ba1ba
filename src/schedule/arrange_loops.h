#pragma once
// The shape of a LoopKernel: merged axes, lane axis, blocks, chunks, kept rows, streaming stores.

#include "kernel/loop_kernel.h"
#include "kernel/target.h"

namespace coregrad {

/// Estimates for one thread.
struct LoopCost {
  SymInt bytes = 0;  ///< moved
  double ns = 0;
  SymInt elements = 1;  ///< what it grows with
};

/// Rewrites the kernel's axes and fills in what it says of how it runs. Whether results bypass the
/// caches is left open where symbols decide how much is moved.
LoopCost arrange_loops(LoopKernel& kernel, const Target& target);

}  // namespace coregrad
