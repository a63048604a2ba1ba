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
  void start(llvm::Argument* args) { start(args, false, 0); }
  /// The same for a shared function: `table` is its pointer to the first of its parameters, which
  /// the caller has from address(). With `general`, numbers are parameters too, so that it is equal
  /// for more callers.
  void start_shared(llvm::Argument* table, bool general) {
    start(table, general, values_.size());
    table_ = table;
  }
  /// How many parameters there are: the number of the next one.
  size_t count() const { return values_.size(); }
  /// Where the parameter with this number lies.
  llvm::Value* address(size_t number);

  /// Whether size() is a constant.
  bool is_constant(SymInt x) const {
    return x.is_number() && (!general_ || (x.number() >= -1 && x.number() <= 1));
  }
  /// The size: a constant where it is a number, else a parameter. i64, good everywhere.
  llvm::Value* size(SymInt x);
  /// The size as a parameter of its own, even a number.
  llvm::Value* add(SymInt x);
  const std::vector<SymInt>& values() const { return values_; }
  /// Room for parameters that are not loaded here: the first of them.
  size_t reserve(size_t count) {
    values_.resize(values_.size() + count);
    return values_.size() - count;
  }

 private:
  void start(llvm::Argument* args, bool general, size_t first) {
    args_ = args;
    general_ = general;
    first_ = first;
    last_ = nullptr;
    table_ = nullptr;
    known_.clear();
  }
  /// At the start of the entry block, behind what was put there before.
  llvm::IRBuilder<> entry();
  llvm::Value* load(llvm::IRBuilder<>& builder, llvm::Type* type, llvm::Value* from);
  llvm::Value* place(llvm::IRBuilder<>& builder, size_t number);

  llvm::Argument* args_ = nullptr;
  bool general_ = false;
  size_t first_ = 0;                   ///< the parameter at table_
  llvm::Instruction* last_ = nullptr;  ///< of the loads, which stand one behind the other
  llvm::Value* table_ = nullptr;
  std::vector<SymInt> values_;
  std::vector<std::pair<SymInt, llvm::Value*>> known_;
};

}  // namespace coregrad
