// fmod(x, y), exact: x - trunc(x / y) y in one step while the quotient has few enough bits, and a
// call of libm's for the others.

#include "codegen/math/vector_math.h"
#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_rare.h"

namespace coregrad {

llvm::Value* emit_fmod(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y) {
  using namespace vector_math;
  llvm::Type* const type = x->getType();
  llvm::Type* wide_type = builder.getDoubleTy();
  uint64_t lanes = 1;
  if (const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type)) {
    lanes = vector->getNumElements();
    wide_type = llvm::FixedVectorType::get(wide_type, vector->getNumElements());
  }
  const bool is_f32 = type->getScalarType()->isFloatTy();
  Math m(builder, wide_type);
  Value* const a = m.abs(is_f32 ? builder.CreateFPExt(x, wide_type) : x);
  Value* const d = m.abs(is_f32 ? builder.CreateFPExt(y, wide_type) : y);
  // Of floats, a quotient below 2^28 truncates right in double and its product is exact. Of
  // doubles, below 2^52 it is at most one too large and fma makes the remainder exact; without FMA
  // only |x| < |y| is left to do here.
  Value* const quotient = m.div(a, d);
  Value* const whole = m.trunc(quotient);
  Value* remainder = m.fma(m.neg(whole), d, a);
  if (!is_f32) remainder = m.select(m.lt(remainder, m.c(0)), m.add(remainder, d), remainder);
  remainder = m.select(m.lt(a, d), a, remainder);
  const double limit = is_f32 ? 0x1p28 : m.fused ? 0x1p52 : 1.0;
  Value* const easy = builder.CreateOr(m.lt(a, d), m.lt(quotient, m.c(limit)));
  Value* const is_hard = any_lane(builder, builder.CreateNot(easy));
  Value* results[] = {remainder};
  emit_unlikely(builder, is_hard, results, [&] {
    Value* const dividend = entry_alloca(builder, wide_type);
    Value* const divisor = entry_alloca(builder, wide_type);
    Value* const result = entry_alloca(builder, wide_type);
    builder.CreateStore(a, dividend);
    builder.CreateStore(d, divisor);
    emit_rare_call(builder, kFmodExact, {dividend, divisor, result, builder.getInt64(lanes)});
    results[0] = builder.CreateLoad(wide_type, result);
  });
  Value* const narrow = is_f32 ? builder.CreateFPTrunc(results[0], type) : results[0];
  return builder.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, narrow, x);
}

}  // namespace coregrad
