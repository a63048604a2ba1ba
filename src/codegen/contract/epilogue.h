#pragma once
// What is done with the sums of a contraction: its epilogue as a function of the module, or, where
// sums are the result as they are, the place in the result that micro-kernels write them to.

#include "codegen/contract/step_context.h"
#include "codegen/values/value_emitter.h"
#include "kernel/contract_kernel.h"

#include <optional>
#include <string>

namespace coregrad {

/// Loads a pointer from a step's arguments, and the buffer of a number.
llvm::Value* load_argument(llvm::IRBuilder<>& b, llvm::Value* args, size_t offset);
llvm::Value* load_buffer(llvm::IRBuilder<>& b, llvm::Value* buffers, size_t number);

/// (args, p, m0, m1, n0, n1, result): the values and stores of the epilogue for rows m0 .. m1 and
/// lanes n0 .. n1, whose sums lie in `result`.
llvm::Function* emit_epilogue(llvm::Module& module, const std::string& name,
                              const ContractKernel& kernel, const ContractPlan& plan,
                              const Target& target, ContractParams& params);

/// The epilogue over the flat spaces p and m, and lanes as (run, place in the run).
struct FlatEpilogue {
  LoopKernel kernel;  ///< no index uses another axis than these four, which are the last
  int p = 0, m = 0, run = 0, lane = 0;
  SymInt run_extent = 1;
};

/// The epilogue where it stores the sums as they are and does nothing else, in rows of neighbouring
/// lanes: then the plan is changed so that micro-kernels write them there, which saves a pass over
/// the results. Where sums are made block by block of k, a tile stays in the caches.
std::optional<FlatEpilogue> write_result_directly(const ContractKernel& kernel, ContractPlan& plan);

/// The rows of the step's result, for that epilogue.
class DirectResult {
 public:
  DirectResult(StepContext& step, const FlatEpilogue& epilogue);
  llvm::Value* row(llvm::Value* p, llvm::Value* m);

 private:
  const FlatEpilogue& epilogue_;
  llvm::IRBuilder<>& b_;
  ValueEmitter values_;
};

}  // namespace coregrad
