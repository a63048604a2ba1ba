#pragma once
// Micro-kernels: one tile of results, kept in registers over a range of k.

#include "schedule/contract/plan.h"

#include <string>

namespace llvm {
class Function;
class Module;
}  // namespace llvm

namespace coregrad {

/// void (ptr row source, ptr lane source, ptr result tile, i64 k count, i1 accumulate), which share
/// no memory: what every micro-kernel is called with.
llvm::Function* declare_micro_kernel(llvm::Module& module, const std::string& name);

/// A function (row source, lane source, result tile, k count, accumulate) for `rows` x `lanes`
/// results: result[r][c] = sum over k of row element times lane element, plus the old value if
/// `accumulate`. Operands are read where the plan says: packed, or in place. Result rows lie
/// result_stride apart and are written in whole vectors, unless the tile is the step's result.
llvm::Function* emit_micro_kernel(llvm::Module& module, const std::string& name,
                                  const ContractPlan& plan, int64_t rows, int64_t lanes,
                                  const Target& target);

}  // namespace coregrad
