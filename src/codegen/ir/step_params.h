#pragma once
// Numbers that machine code reads when a step runs, in place of having them in its instructions:
// what differs between the sizes of one kernel, so that several sizes share their code.

#include "base/sym_int.h"

#include <llvm/IR/IRBuilder.h>

#include <utility>
#include <vector>

namespace coregrad {

/// Parameters of one step, numbered in the order in which its code asks for them.
class StepParams {
 public:
  /// What follows is for another function. `args` is its pointer to the StepArgs; parameters are
  /// loaded at the start of its entry block.
  void start(llvm::Argument* args) {
    args_ = args;
    last_ = nullptr;
    known_.clear();
  }

  /// The size: a constant where it is a number, else a parameter. i64, good everywhere.
  llvm::Value* size(SymInt x);
  /// The size as a parameter of its own, even a number.
  llvm::Value* add(SymInt x);
  const std::vector<SymInt>& values() const { return values_; }

 private:
  llvm::Argument* args_ = nullptr;
  llvm::Instruction* last_ = nullptr;  ///< of the loads, which stand one behind the other
  llvm::Value* table_ = nullptr;
  std::vector<SymInt> values_;
  std::vector<std::pair<SymInt, llvm::Value*>> known_;
};

}  // namespace coregrad
