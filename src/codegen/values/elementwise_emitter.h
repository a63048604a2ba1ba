#pragma once
// One elementwise operation as LLVM IR, on scalars or vectors alike.

#include "coregrad/dtype.h"
#include "ir/op.h"

#include <llvm/IR/IRBuilder.h>

#include <span>

namespace coregrad {

/// LLVM type of one element (i1 for bool in registers; memory holds bool as one byte, 0 or 1).
llvm::Type* element_type(llvm::LLVMContext& context, DType dtype);
/// A scalar constant of the dtype's register type.
llvm::Constant* constant_of(llvm::LLVMContext& context, DType dtype, Scalar value);

/// `op` (unary, binary, compare, select or cast; semantics in ir/ops.def) of operands that are all
/// scalars or all vectors of one width. `from` is the dtype of the last operand, `to` the result's.
/// InternalError for an operation that the dtype does not have.
llvm::Value* emit_elementwise(llvm::IRBuilder<>& builder, Op op, DType from, DType to,
                              std::span<llvm::Value* const> operands);

}  // namespace coregrad
