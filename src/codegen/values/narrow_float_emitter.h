#pragma once
// bfloat16 and float16 (as i16) from and to float32, scalars and vectors alike.

#include "coregrad/dtype.h"

#include <llvm/IR/IRBuilder.h>

namespace coregrad {

/// The float32 of i16 bits; exact.
llvm::Value* emit_widen(llvm::IRBuilder<>& builder, DType from, llvm::Value* bits);
/// The i16 bits nearest to a float32, ties to even; the same on every machine.
llvm::Value* emit_narrow(llvm::IRBuilder<>& builder, DType to, llvm::Value* value);

}  // namespace coregrad
