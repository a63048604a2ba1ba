#pragma once
// Functions that copy a block of an operand into scratch in the order the micro-kernel reads it.
//
// Padding, dilation and stride of windows are resolved here: a place outside the operand is packed
// as zero, so a convolution is multiplied like a matrix.

#include "codegen/contract/step_context.h"

#include <llvm/IR/IRBuilder.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace coregrad {

/// A function that copies, and the operand it copies from.
class Pack {
 public:
  /// write(function) fills a function void (ptr source, i64 p, i64 r0, i64 r1, i64 c0, i64 c1, ptr
  /// target, ptr parameters, and `more` numbers).
  Pack(StepContext& step, const AffineOperand& operand,
       const std::function<void(llvm::Function*)>& write, size_t more = 0);

  /// Calls it for the operand at `source`, in group `p`.
  void call(llvm::Value* source, llvm::Value* p, std::initializer_list<llvm::Value*> corners,
            llvm::Value* target, std::initializer_list<llvm::Value*> more = {});

 private:
  StepContext& step_;
  AffineOperand operand_;
  SharedPart part_;
};

/// Where the function's elements at row and column 0 lie: its own p counts only where the operand
/// has checks. Otherwise the caller adds what p contributes, and the function serves others too.
PartialAddress emit_pack_base(llvm::IRBuilder<>& b, ContractParams& params,
                              const ContractPlan& plan, const AffineOperand& operand,
                              llvm::Function* function);

/// Packs target[(r - r0) * stride + (c - c0)] = element at (p, r, c) for packed rows r and columns
/// c, run by run along the columns. May write up to 2 * width - 1 elements behind each row. A plan
/// whose dtype is narrow packs memory as it is.
Pack pack_runs(StepContext& step, const ContractPlan& plan, const WindowPacking& packing,
               NumberOfPlan stride);

/// The same for a panel of lanes (rows = k, columns = n) where memory is contiguous along k:
/// 16-byte pieces of a vector of lanes are transposed in registers. May write a piece's steps of k
/// too many, and lanes in front of the first column (ContractPlan::lane_pack_offset).
Pack pack_transposed(StepContext& step);

/// Within each 16-byte block, element (row i, place j) of the given vectors goes to (row j, place
/// i). Vectors hold as many rows as a block has elements: four or two.
void transpose_blocks(llvm::IRBuilder<>& b, std::vector<llvm::Value*>& rows, int64_t width);

/// Where a flat position lies in runs of one length.
struct RunStart {
  llvm::Value *number = nullptr, *place = nullptr;
};
RunStart emit_run_start(llvm::IRBuilder<>& b, llvm::Value* position, llvm::Value* run_length);

/// Positions begin .. end, run by run: body(position, number of the run, place in it) returns how
/// many positions it takes. At least one run is met, unless `condition` is given and false.
void emit_runs(llvm::IRBuilder<>& b, RunStart start, llvm::Value* begin, llvm::Value* end,
               llvm::Value* condition,
               const std::function<llvm::Value*(llvm::Value*, llvm::Value*, llvm::Value*)>& body);

}  // namespace coregrad
