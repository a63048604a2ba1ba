#pragma once
// Micro-kernels: one tile of results, kept in registers over a range of k. A file each:
// outer_tile.cpp, dot_tile.cpp, matrix_tile.cpp.

#include "codegen/contract/step_context.h"

#include <llvm/IR/IRBuilder.h>

#include <string>

namespace coregrad {

/// Rows and lanes of a tile.
struct TileSize {
  int64_t rows = 1, lanes = 1;
  /// So many of the lanes are there, in the last panel of a plan with symbols.
  bool is_cut = false;
};

/// A function (ptr row source, ptr lane source, ptr result tile, i64 k count, i1 accumulate, ptr
/// parameters), which share no memory, for `rows` x `lanes` results of the plan's kind of tile:
/// result[r][c] = sum over k of row element times lane element, plus the old value if `accumulate`.
/// Operands are read where the plan says: packed, or in place. Result rows lie result_stride apart
/// and are written in whole vectors, unless the tile is the step's result.
SharedPart emit_micro_kernel(llvm::Module& module, SharedFunctions& shared,
                             const ContractPlan& plan, const TileSize& size, const Target& target,
                             ContractParams& params);

// Fill the function with the code of one kind; tile registers take multiples of 16 rows and lanes.
void emit_outer_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                     const Target& target, ContractParams& params);
void emit_dot_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                   ContractParams& params);
void emit_matrix_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size);

/// Between these two, tile registers may be used. Nothing else uses them, and no other function
/// changes them.
void emit_matrix_begin(llvm::IRBuilder<>& builder);
void emit_matrix_end(llvm::IRBuilder<>& builder);

}  // namespace coregrad
