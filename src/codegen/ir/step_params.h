#pragma once
// Numbers that machine code reads when a step runs, in place of having them in its instructions:
// what differs between the sizes of one kernel, so that several sizes share their code.

#include <llvm/IR/IRBuilder.h>

#include <cstdint>
#include <vector>

namespace coregrad {

/// Parameters of one step, numbered in the order in which its code asks for them.
class StepParams {
 public:
  /// A load of StepArgs::params at the next free place, which will hold `value`.
  llvm::Value* add(llvm::IRBuilder<>& builder, llvm::Value* args, int64_t value);
  const std::vector<int64_t>& values() const { return values_; }

 private:
  std::vector<int64_t> values_;
};

}  // namespace coregrad
