#pragma once
// Machine code by kernel structure: equal kernels of any graph compile once per process.
//
// A kernel that was not met before is first written as LLVM IR, which takes a small part of the
// time that machine code takes: where the IR is that of another kernel (of other sizes, most
// often), its machine code is the same too, and only the step's parameters differ. Micro-kernels
// and functions that pack are shared in the same way by kernels that differ
// (codegen/ir/shared_functions.h).

#include "codegen/jit/jit.h"
#include "kernel/contract_kernel.h"
#include "kernel/loop_kernel.h"
#include "runtime/plan.h"

#include <climits>

#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace coregrad {

class SymbolicContract;  // codegen/contract/step.h

/// A kernel ready to become a step.
struct CompiledKernel {
  CodeHandle code;
  StepFunction function = nullptr;
  SymInt range = 1, chunk = 1;
  SymInt scratch_bytes = 0;
  std::vector<SymInt> params;  ///< StepArgs::params
  /// Of a contraction with symbols, in place of the sizes above.
  std::shared_ptr<const SymbolicContract> symbolic = nullptr;
};

using KernelSource = std::variant<LoopKernel, ContractKernel>;

struct KernelCacheStats {
  int64_t hits = 0, misses = 0;  ///< misses: kernels whose machine code was made
};

/// Code for each source, in order. Missing kernels are compiled by as many threads as the machine
/// has, up to `max_threads`; thread-safe. `stats` (optional) is increased by what this call did.
std::vector<std::shared_ptr<const CompiledKernel>> compile_kernels(
    const std::vector<KernelSource>& sources, const Target& target,
    KernelCacheStats* stats = nullptr, int max_threads = INT_MAX);

/// Forgets all cached code (plans that use it keep it alive).
void clear_kernel_cache();

}  // namespace coregrad
