#pragma once
// Contractions as machine code: packing, register-tile micro-kernel, blocking, fused epilogue. What
// is chosen stands in schedule/contract/plan.h.

#include "kernel/contract_kernel.h"
#include "kernel/target.h"

#include <cstdint>
#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace coregrad {

/// What the executor needs to know of the generated step.
struct ContractStep {
  int64_t range = 1, chunk = 1;
  int64_t scratch_bytes = 0;  ///< per worker
  double flops = 0;
  std::vector<SymInt> params;  ///< StepArgs::params
};

/// Adds `symbol`, a StepFunction, to the module.
ContractStep emit_contract_kernel(llvm::Module& module, const std::string& symbol,
                                  const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
