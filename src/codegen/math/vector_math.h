#pragma once
// Elementary functions as inline vector code: range reduction and polynomials, no calls.
//
// Every function takes a scalar or vector of float or double and returns the same type. Error
// bounds (float: at most 2 ulp over all finite inputs; double: a few ulp) are stated per function
// in the .cpp with the source of the coefficients, and measured by the sweeps in the tests
// (docs/math_accuracy.md).
//
// Sin, Cos, Tan and fmod take a rare branch when any lane has a huge argument: they may leave the
// builder in a NEW BLOCK. Take the predecessor of a loop's phi from GetInsertBlock() after
// emitting.

#include "ir/op.h"

#include <llvm/IR/IRBuilder.h>

namespace coregrad {

/// Of an op for which is_math_unary() is true.
llvm::Value* emit_math_unary(llvm::IRBuilder<>& builder, Op op, llvm::Value* x);

/// Pow and Atan2 and floating Rem (fmod, exact).
llvm::Value* emit_pow(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y);
llvm::Value* emit_atan2(llvm::IRBuilder<>& builder, llvm::Value* y, llvm::Value* x);
llvm::Value* emit_fmod(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y);

/// The random bits of ir/philox.h for element numbers `counter` (i64 >= 0, scalar or vector), with
/// a scalar i64 seed: bits32 as i32 and bits64 as i64, one per counter.
llvm::Value* emit_philox_bits(llvm::IRBuilder<>& builder, llvm::Value* seed, int64_t stream,
                              llvm::Value* counter);
llvm::Value* emit_philox_bits64(llvm::IRBuilder<>& builder, llvm::Value* seed, int64_t stream,
                                llvm::Value* counter);

}  // namespace coregrad
