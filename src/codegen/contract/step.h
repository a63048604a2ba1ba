#pragma once
// Contractions as machine code: packing, register-tile micro-kernel, blocking, fused epilogue. What
// is chosen stands in schedule/contract/plan.h.

#include "codegen/contract/step_context.h"
#include "kernel/contract_kernel.h"
#include "kernel/target.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace coregrad {

/// A step of symbols when they have values: what is planned again then.
class SymbolicContract {
 public:
  /// One plan a phase.
  SymbolicContract(std::vector<ContractPlan> plans, Target target, ContractParams params);

  struct Bound {
    int64_t range = 1, chunk = 1, scratch_bytes = 0;
    std::vector<int64_t> params;
  };
  /// The sizes that bind() takes the values of.
  const std::vector<SymInt>& sizes() const { return sizes_; }
  /// None where there are fewer rows than its code multiplies at once.
  std::optional<Bound> bind(std::span<const int64_t> values) const;
  /// Where rows or lanes are few: ContractKernel::assumed of a kernel that is better, or, of less
  /// than `kFew` rows, needed; else empty.
  std::vector<AssumedExtent> few(std::span<const int64_t> values) const;

 private:
  std::vector<ContractPlan> plans_;
  Target target_;
  ContractParams params_;
  std::vector<SymInt> sizes_;
  std::vector<SymInt> labels_;  ///< their sizes: the first of sizes_
};

/// What the executor needs to know of the generated step.
struct ContractStep {
  int64_t range = 1, chunk = 1;
  int64_t scratch_bytes = 0;  ///< per worker
  double flops = 0;
  std::vector<SymInt> params;  ///< StepArgs::params
  /// Where there are symbols; what is above is for hints then.
  std::shared_ptr<const SymbolicContract> symbolic;
};

/// Adds `symbol`, a StepFunction, to the module, and what it calls to the shared functions.
ContractStep emit_contract_kernel(llvm::Module& module, SharedFunctions& shared,
                                  const std::string& symbol, const ContractKernel& kernel,
                                  const Target& target);

}  // namespace coregrad
