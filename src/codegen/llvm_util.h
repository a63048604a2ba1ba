#pragma once
// Small helpers for everything that writes LLVM IR.

#include <llvm/IR/IRBuilder.h>

namespace coregrad {

/// Whether code of this module may count on a fused multiply-add instruction; compile_module
/// records Target::has_fma in the module before it is built.
bool has_fma(const llvm::Module& module);
void set_has_fma(llvm::Module& module, bool value);

/// a * b + c: one rounding where the target has FMA, two where it has not.
llvm::Value* emit_fma(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b, llvm::Value* c);

}  // namespace coregrad
