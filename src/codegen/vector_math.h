#pragma once
// Elementary functions as inline vector code: range reduction and polynomials, no calls.
//
// Every function takes a scalar or vector of float or double and returns the same type. Error bounds
// (float: at most 2 ulp over all finite inputs; double: a few ulp) are stated per function in the .cpp
// with the source of the coefficients, and measured by the exhaustive test.

#include <llvm/IR/IRBuilder.h>

#include "ir/op.h"

namespace coregrad {

/// True for the Unary ops that emit_math_unary implements (Exp .. Erf; not Neg, Abs, Floor and such,
/// which are single instructions).
bool is_math_unary(Op op);
llvm::Value* emit_math_unary(llvm::IRBuilder<>& builder, Op op, llvm::Value* x);

/// Pow and Atan2 and floating Rem (fmod, exact).
llvm::Value* emit_pow(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y);
llvm::Value* emit_atan2(llvm::IRBuilder<>& builder, llvm::Value* y, llvm::Value* x);
llvm::Value* emit_fmod(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y);

/// Philox4x32-10 of counter (i64 vector or scalar) and key (seed i64, stream i64): 32 random bits per
/// element (the word number counter mod 4 of block counter / 4) as i32 of the counter's width.
llvm::Value* emit_philox_bits(llvm::IRBuilder<>& builder, llvm::Value* seed, int64_t stream,
                              llvm::Value* counter);

}  // namespace coregrad
