// fmod(x, y), exact: x - trunc(x / y) y in one step while the quotient has few enough bits, and
// division of the mantissas as integers, out of line, for the others.

#include "codegen/vector_math.h"
#include "codegen/vector_math_internal.h"

#include <llvm/IR/Module.h>

namespace coregrad::vector_math {
namespace {

/// Mantissa as an integer below 2^53 and exponent (0 for denormals' scale), of a double >= 0.
struct Parts {
  Value* mantissa;
  Value* exponent;
};

Parts split(llvm::IRBuilder<>& b, Value* word) {
  Value* const field = b.CreateLShr(word, 52);
  Value* const fraction = b.CreateAnd(word, (uint64_t{1} << 52) - 1);
  Value* const denormal = b.CreateICmpEQ(field, b.getInt64(0));
  return {b.CreateSelect(denormal, fraction, b.CreateOr(fraction, uint64_t{1} << 52)),
          b.CreateSelect(denormal, b.getInt64(0), b.CreateSub(field, b.getInt64(1)))};
}

/// void(const double* x, const double* y, double* result, i64 lanes): fmod of |x| and |y|.
llvm::Function* long_division(llvm::Module& module) {
  constexpr const char* kName = "coregrad.fmod";
  if (llvm::Function* const existing = module.getFunction(kName)) return existing;
  llvm::LLVMContext& context = module.getContext();
  llvm::IRBuilder<> b(context);
  llvm::Type* const i64 = b.getInt64Ty();
  llvm::Type* const f64 = b.getDoubleTy();
  auto* const signature = llvm::FunctionType::get(
      b.getVoidTy(), {b.getPtrTy(), b.getPtrTy(), b.getPtrTy(), i64}, false);
  llvm::Function* const function =
      llvm::Function::Create(signature, llvm::Function::InternalLinkage, kName, module);
  function->addFnAttr(llvm::Attribute::NoInline);
  function->addFnAttr(llvm::Attribute::Cold);
  const auto block = [&](const char* name) {
    return llvm::BasicBlock::Create(context, name, function);
  };
  llvm::BasicBlock* const entry = block("entry");
  llvm::BasicBlock* const lanes = block("lanes");
  llvm::BasicBlock* const divide = block("divide");
  llvm::BasicBlock* const step = block("step");
  llvm::BasicBlock* const divided = block("divided");
  llvm::BasicBlock* const store = block("store");
  llvm::BasicBlock* const done = block("done");

  b.SetInsertPoint(entry);
  b.CreateBr(lanes);

  b.SetInsertPoint(lanes);
  llvm::PHINode* const lane = b.CreatePHI(i64, 2);
  lane->addIncoming(b.getInt64(0), entry);
  const auto magnitude = [&](unsigned argument) {
    Value* const word = b.CreateLoad(i64, b.CreateGEP(i64, function->getArg(argument), lane));
    return b.CreateAnd(word, ~(uint64_t{1} << 63));
  };
  Value* const x_word = magnitude(0);
  Value* const y_word = magnitude(1);
  Value* const x = b.CreateBitCast(x_word, f64);
  Value* const y = b.CreateBitCast(y_word, f64);
  llvm::Constant* const infinity = llvm::ConstantFP::getInfinity(f64);
  // No remainder exists for infinite x or y = 0; with |x| < |y|, x is its own.
  Value* const invalid =
      b.CreateOr(b.CreateFCmpUNO(x, y),
                 b.CreateOr(b.CreateFCmpOEQ(x, infinity), b.CreateICmpEQ(y_word, b.getInt64(0))));
  Value* const trivial = b.CreateFCmpOLT(x, y);
  Value* const easy = b.CreateSelect(invalid, llvm::ConstantFP::getNaN(f64), x);
  b.CreateCondBr(b.CreateOr(invalid, trivial), store, divide);

  // mx 2^ex mod my 2^ey: at most 11 of the ex - ey binary places of the quotient at a time.
  b.SetInsertPoint(divide);
  const Parts px = split(b, x_word);
  const Parts py = split(b, y_word);
  Value* const start = b.CreateURem(px.mantissa, py.mantissa);
  Value* const places = b.CreateSub(px.exponent, py.exponent);
  b.CreateCondBr(b.CreateICmpSGT(places, b.getInt64(0)), step, divided);

  b.SetInsertPoint(step);
  llvm::PHINode* const left = b.CreatePHI(i64, 2);
  llvm::PHINode* const partial = b.CreatePHI(i64, 2);
  left->addIncoming(places, divide);
  partial->addIncoming(start, divide);
  Value* const now = b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, left, b.getInt64(11));
  Value* const next = b.CreateURem(b.CreateShl(partial, now), py.mantissa);
  Value* const still = b.CreateSub(left, now);
  left->addIncoming(still, step);
  partial->addIncoming(next, step);
  b.CreateCondBr(b.CreateICmpSGT(still, b.getInt64(0)), step, divided);

  // remainder * 2^ey as a double: normalised by its leading zeros, at most down to exponent 0.
  b.SetInsertPoint(divided);
  llvm::PHINode* const remainder = b.CreatePHI(i64, 2);
  remainder->addIncoming(start, divide);
  remainder->addIncoming(next, step);
  Value* const zeros = b.CreateIntrinsic(llvm::Intrinsic::ctlz, {i64}, {remainder, b.getFalse()});
  Value* const wanted = b.CreateSub(zeros, b.getInt64(11));
  Value* const shift = b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, wanted, py.exponent);
  Value* const mantissa = b.CreateShl(remainder, b.CreateAnd(shift, 63));
  // Adding the exponent to the implicit bit gives the field exponent + 1; a denormal has neither.
  Value* const scaled = b.CreateShl(b.CreateSub(py.exponent, shift), 52);
  Value* const word = b.CreateSelect(b.CreateICmpEQ(remainder, b.getInt64(0)), b.getInt64(0),
                                     b.CreateAdd(mantissa, scaled));
  Value* const hard = b.CreateBitCast(word, f64);
  b.CreateBr(store);

  b.SetInsertPoint(store);
  llvm::PHINode* const result = b.CreatePHI(f64, 2);
  result->addIncoming(easy, lanes);
  result->addIncoming(hard, divided);
  b.CreateStore(result, b.CreateGEP(f64, function->getArg(2), lane));
  Value* const next_lane = b.CreateAdd(lane, b.getInt64(1));
  lane->addIncoming(next_lane, store);
  b.CreateCondBr(b.CreateICmpULT(next_lane, function->getArg(3)), lanes, done);
  b.SetInsertPoint(done);
  b.CreateRetVoid();
  return function;
}

}  // namespace
}  // namespace coregrad::vector_math

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
    llvm::Module& module = *builder.GetInsertBlock()->getModule();
    Value* const dividend = entry_alloca(builder, wide_type);
    Value* const divisor = entry_alloca(builder, wide_type);
    Value* const result = entry_alloca(builder, wide_type);
    builder.CreateStore(a, dividend);
    builder.CreateStore(d, divisor);
    builder.CreateCall(long_division(module), {dividend, divisor, result, builder.getInt64(lanes)});
    results[0] = builder.CreateLoad(wide_type, result);
  });
  Value* const narrow = is_f32 ? builder.CreateFPTrunc(results[0], type) : results[0];
  return builder.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, narrow, x);
}

}  // namespace coregrad
