#pragma once
// LoopKernel to one LLVM function with the step signature.

#include "kernel/loop_kernel.h"
#include "kernel/target.h"

#include <cstdint>
#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace coregrad {

/// Adds `symbol`, a StepFunction (runtime/plan.h), to the module; gives its StepArgs::params.
std::vector<SymInt> emit_loop_kernel(llvm::Module& module, const std::string& symbol,
                                     const LoopKernel& kernel, const Target& target);

/// Bytes of scratch a worker needs for the kernel's kept rows and accumulators.
SymInt scratch_bytes(const LoopKernel& kernel, const Target& target);

}  // namespace coregrad
