// The arithmetic of ir/narrow_float.h as LLVM IR.
//
// bfloat16 is always rounded with integers: the machine's own instruction (VCVTNEPS2BF16) takes
// subnormals for zero. float16 has an exact instruction nearly everywhere (F16C, AArch64).

#include "codegen/values/narrow_float_emitter.h"

#include "base/error.h"
#include "codegen/ir/llvm_util.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

using llvm::Type;
using llvm::Value;
using Builder = llvm::IRBuilder<>;

Type* like(const Value* value, Type* element) {
  if (auto* vector = llvm::dyn_cast<llvm::VectorType>(value->getType()))
    return llvm::VectorType::get(element, vector->getElementCount());
  return element;
}

/// An i32 constant for each lane of `value`.
Value* number(Builder& b, const Value* value, uint32_t n) {
  return llvm::ConstantInt::get(like(value, b.getInt32Ty()), n);
}

bool has_instruction(const Builder& b) { return has_float16(*b.GetInsertBlock()->getModule()); }

Value* widen_float16(Builder& b, Value* bits) {
  Type* const real = like(bits, b.getFloatTy());
  if (has_instruction(b))
    return b.CreateFPExt(b.CreateBitCast(bits, like(bits, b.getHalfTy())), real);
  Value* const wide = b.CreateZExt(bits, like(bits, b.getInt32Ty()));
  const auto n = [&](uint32_t value) { return number(b, wide, value); };
  Value* const sign = b.CreateShl(b.CreateAnd(wide, n(0x8000)), n(16));
  Value* const size = b.CreateAnd(wide, n(0x7fff));
  Value* const shifted = b.CreateShl(size, n(13));
  Value* const quiet =
      b.CreateSelect(b.CreateICmpUGT(size, n(0x7c00)), n(0x7fc00000), n(0x7f800000));
  Value* const special = b.CreateOr(shifted, quiet);
  // Subnormals are multiples of 2^-24.
  Value* const small = b.CreateBitCast(
      b.CreateFMul(b.CreateSIToFP(size, real), llvm::ConstantFP::get(real, 0x1p-24)),
      wide->getType());
  Value* result = b.CreateAdd(shifted, n((127 - 15) << 23));
  result = b.CreateSelect(b.CreateICmpULT(size, n(0x0400)), small, result);
  result = b.CreateSelect(b.CreateICmpUGE(size, n(0x7c00)), special, result);
  return b.CreateBitCast(b.CreateOr(sign, result), real);
}

Value* narrow_float16(Builder& b, Value* value) {
  Type* const result_type = like(value, b.getInt16Ty());
  if (has_instruction(b))
    return b.CreateBitCast(b.CreateFPTrunc(value, like(value, b.getHalfTy())), result_type);
  Value* const bits = b.CreateBitCast(value, like(value, b.getInt32Ty()));
  const auto n = [&](uint32_t x) { return number(b, bits, x); };
  Value* const size = b.CreateAnd(bits, n(0x7fffffff));
  Value* const sign = b.CreateAnd(b.CreateLShr(bits, n(16)), n(0x8000));
  Value* const odd = b.CreateAnd(b.CreateLShr(size, n(13)), n(1));
  Value* const rounded =
      b.CreateAdd(b.CreateSub(size, n((127 - 15) << 23)), b.CreateAdd(odd, n(0xfff)));
  // Below 2^-14, adding 1/2 rounds to a multiple of 2^-24.
  Value* const half = llvm::ConstantFP::get(value->getType(), 0.5);
  Value* const small = b.CreateSub(
      b.CreateBitCast(b.CreateFAdd(b.CreateBitCast(size, value->getType()), half), bits->getType()),
      n(0x3f000000));
  Value* const nan = b.CreateOr(n(0x7e00), b.CreateAnd(b.CreateLShr(size, n(13)), n(0x1ff)));
  Value* result = b.CreateLShr(rounded, n(13));
  result = b.CreateSelect(b.CreateICmpULT(size, n(0x38800000)), small, result);
  result = b.CreateSelect(b.CreateICmpUGE(size, n(0x477ff000)), n(0x7c00), result);  // 65520
  result = b.CreateSelect(b.CreateICmpUGT(size, n(0x7f800000)), nan, result);
  return b.CreateTrunc(b.CreateOr(sign, result), result_type);
}

}  // namespace

Value* emit_widen(Builder& b, DType from, Value* bits) {
  COREGRAD_CHECK(is_narrow(from));
  if (from == DType::Float16) return widen_float16(b, bits);
  Value* const wide = b.CreateZExt(bits, like(bits, b.getInt32Ty()));
  return b.CreateBitCast(b.CreateShl(wide, number(b, wide, 16)), like(bits, b.getFloatTy()));
}

Value* emit_narrow(Builder& b, DType to, Value* value) {
  COREGRAD_CHECK(is_narrow(to));
  if (to == DType::Float16) return narrow_float16(b, value);
  Value* const bits = b.CreateBitCast(value, like(value, b.getInt32Ty()));
  const auto n = [&](uint32_t x) { return number(b, bits, x); };
  Value* const odd = b.CreateAnd(b.CreateLShr(bits, n(16)), n(1));
  Value* const rounded = b.CreateAdd(bits, b.CreateAdd(odd, n(0x7fff)));
  Value* const quiet = b.CreateOr(bits, n(0x400000));
  Value* const chosen = b.CreateSelect(b.CreateFCmpUNO(value, value), quiet, rounded);
  return b.CreateTrunc(b.CreateLShr(chosen, n(16)), like(value, b.getInt16Ty()));
}

}  // namespace coregrad
