#pragma once
// Small helpers for everything that writes LLVM IR.

#include "kernel/target.h"

#include <llvm/IR/IRBuilder.h>

#include <string>

namespace coregrad {

/// Records in the module what generators may ask about the target; compile_module does so before it
/// calls the builder.
void describe_target(llvm::Module& module, const Target& target);
/// The module as LLVM writes it.
std::string text_of(const llvm::Module& module);
/// Whether code of this module may count on a fused multiply-add instruction.
bool has_fma(const llvm::Module& module);
/// Whether code of this module may use AVX-512 intrinsics.
bool has_avx512(const llvm::Module& module);
/// Whether float16 converts from and to float32 in one instruction.
bool has_float16(const llvm::Module& module);

/// a * b + c: one rounding where the target has FMA, two where it has not.
llvm::Value* emit_fma(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b, llvm::Value* c);

}  // namespace coregrad
