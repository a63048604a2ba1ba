// One elementwise operation as LLVM IR. One function per family and kind of dtype; nothing traps.

#include "codegen/values/elementwise_emitter.h"

#include "base/error.h"
#include "codegen/math/vector_math.h"
#include "codegen/values/narrow_float_emitter.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Type;
using llvm::Value;
using Builder = llvm::IRBuilder<>;

[[noreturn]] void not_defined(Op op, DType dtype) {
  raise<InternalError>("code generation: {} is not defined for {}", name_of(op), name_of(dtype));
}

/// The type with another element and the same number of lanes.
Type* with_element(Type* type, Type* element) {
  if (auto* vector = llvm::dyn_cast<llvm::VectorType>(type))
    return llvm::VectorType::get(element, vector->getElementCount());
  return element;
}

/// A constant that is certainly not NaN, so that a comparison with it orders everything else.
bool is_number(const Value* v) {
  const auto* constant = llvm::dyn_cast<llvm::Constant>(v);
  if (!constant) return false;
  if (constant->getType()->isVectorTy()) constant = constant->getSplatValue();
  const auto* number = llvm::dyn_cast_or_null<ConstantFP>(constant);
  return number && !number->isNaN();
}

/// x > y ? x : y (or <), which is one instruction, mended where only the first operand is NaN.
Value* float_extremum(Builder& b, Value* x, Value* y, bool greatest) {
  if (is_number(y)) std::swap(x, y);
  Value* const first = greatest ? b.CreateFCmpOGT(x, y) : b.CreateFCmpOLT(x, y);
  Value* const best = b.CreateSelect(first, x, y);
  return is_number(x) ? best : b.CreateSelect(b.CreateFCmpUNO(x, x), x, best);
}

Value* float_unary(Builder& b, Op op, DType dtype, Value* x) {
  if (is_math_unary(op)) return emit_math_unary(b, op, x);
  Type* const type = x->getType();
  Value* const one = ConstantFP::get(type, 1.0);
  if (op == Op::Detach) return x;
  if (op == Op::Neg) return b.CreateFNeg(x);
  if (op == Op::Abs) return b.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x);
  if (op == Op::Sign) {  // NaN gives 0
    Value* const zero = ConstantFP::get(type, 0.0);
    Value* const minus =
        b.CreateSelect(b.CreateFCmpOLT(x, zero), ConstantFP::get(type, -1.0), zero);
    return b.CreateSelect(b.CreateFCmpOGT(x, zero), one, minus);
  }
  if (op == Op::Sqrt) return b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x);
  if (op == Op::Rsqrt) return b.CreateFDiv(one, b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x));
  if (op == Op::Reciprocal) return b.CreateFDiv(one, x);
  if (op == Op::Floor) return b.CreateUnaryIntrinsic(llvm::Intrinsic::floor, x);
  if (op == Op::Ceil) return b.CreateUnaryIntrinsic(llvm::Intrinsic::ceil, x);
  if (op == Op::Round) return b.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, x);
  if (op == Op::Trunc) return b.CreateUnaryIntrinsic(llvm::Intrinsic::trunc, x);
  not_defined(op, dtype);
}

Value* integer_unary(Builder& b, Op op, DType dtype, Value* x) {
  if (op == Op::Neg) return b.CreateNeg(x);
  if (op == Op::Abs) return b.CreateBinaryIntrinsic(llvm::Intrinsic::abs, x, b.getFalse());
  if (op == Op::Sign) {
    Type* const type = x->getType();
    Value* const zero = ConstantInt::get(type, 0);
    return b.CreateSub(b.CreateZExt(b.CreateICmpSGT(x, zero), type),
                       b.CreateZExt(b.CreateICmpSLT(x, zero), type));
  }
  if (op == Op::Not) return b.CreateNot(x);
  if (op == Op::Floor || op == Op::Ceil || op == Op::Round || op == Op::Trunc) return x;
  not_defined(op, dtype);
}

Value* bool_unary(Builder& b, Op op, Value* x) {
  if (op == Op::Not) return b.CreateNot(x);
  if (op == Op::Abs || op == Op::Sign) return x;
  not_defined(op, DType::Bool);
}

Value* float_binary(Builder& b, Op op, DType dtype, Value* x, Value* y) {
  if (op == Op::Add) return b.CreateFAdd(x, y);
  if (op == Op::Sub) return b.CreateFSub(x, y);
  if (op == Op::Mul) return b.CreateFMul(x, y);
  if (op == Op::Div) return b.CreateFDiv(x, y);
  if (op == Op::Rem) return emit_fmod(b, x, y);
  if (op == Op::Pow) return emit_pow(b, x, y);
  if (op == Op::Atan2) return emit_atan2(b, x, y);
  if (op == Op::Max) return float_extremum(b, x, y, true);
  if (op == Op::Min) return float_extremum(b, x, y, false);
  not_defined(op, dtype);
}

/// Quotient towards zero for a divisor that is neither 0 nor the partner of an overflow.
Value* safe_quotient(Builder& b, Value* x, Value* y) {
  const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(x->getType());
  const auto* const constant = llvm::dyn_cast<llvm::Constant>(y);
  if (!vector || (constant && constant->getSplatValue())) return b.CreateSDiv(x, y);
  // Vectors of 32-bit integers divide exactly through float64; a division a lane would be slower.
  if (vector->getScalarSizeInBits() == 32) {
    Type* const wide = with_element(x->getType(), b.getDoubleTy());
    return b.CreateFPToSI(b.CreateFDiv(b.CreateSIToFP(x, wide), b.CreateSIToFP(y, wide)),
                          x->getType());
  }
  // Lane by lane, as processors do it. A vector's division is undefined as a whole where one lane
  // is, and LLVM 19 leaves it out where lanes that nobody stores have a divisor it knows nothing
  // of.
  Value* quotient = llvm::PoisonValue::get(x->getType());
  for (unsigned lane = 0; lane < vector->getNumElements(); ++lane)
    quotient = b.CreateInsertElement(
        quotient, b.CreateSDiv(b.CreateExtractElement(x, lane), b.CreateExtractElement(y, lane)),
        lane);
  return quotient;
}

Value* integer_division(Builder& b, Op op, Value* x, Value* y) {
  Type* const type = x->getType();
  const unsigned bits = type->getScalarSizeInBits();
  Value* const zero = ConstantInt::get(type, 0);
  Value* const by_zero = b.CreateICmpEQ(y, zero);
  Value* const lowest = ConstantInt::get(type, llvm::APInt::getSignedMinValue(bits));
  Value* const overflows = b.CreateAnd(b.CreateICmpEQ(x, lowest),
                                       b.CreateICmpEQ(y, llvm::Constant::getAllOnesValue(type)));
  // Dividing by 1 instead gives the wrapped quotient and the remainder 0 of lowest / -1.
  Value* const divisor =
      b.CreateSelect(b.CreateOr(by_zero, overflows), ConstantInt::get(type, 1), y);
  Value* const quotient = safe_quotient(b, x, divisor);
  if (op == Op::Div) return b.CreateSelect(by_zero, zero, quotient);
  return b.CreateSub(x, b.CreateMul(quotient, divisor));  // 0 where the divisor was 0
}

/// Square and multiply in a loop, in a function of its own: one for each type in a module.
llvm::Function* integer_power_function(llvm::Module& module, Type* type) {
  const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  const std::string name = fmt::format("coregrad.pow.v{}i{}", vector ? vector->getNumElements() : 1,
                                       type->getScalarSizeInBits());
  if (llvm::Function* const existing = module.getFunction(name)) return existing;
  auto* const function = llvm::Function::Create(llvm::FunctionType::get(type, {type, type}, false),
                                                llvm::Function::InternalLinkage, name, module);
  llvm::LLVMContext& context = module.getContext();
  auto* const entry = llvm::BasicBlock::Create(context, "entry", function);
  auto* const loop = llvm::BasicBlock::Create(context, "loop", function);
  auto* const done = llvm::BasicBlock::Create(context, "done", function);
  Builder b(entry);
  Value *const base = function->getArg(0), *const exponent = function->getArg(1);
  Value *const zero = ConstantInt::get(type, 0), *const one = ConstantInt::get(type, 1);
  Value* const minus_one = llvm::Constant::getAllOnesValue(type);
  b.CreateBr(loop);

  b.SetInsertPoint(loop);
  llvm::PHINode *const rest = b.CreatePHI(type, 2), *const square = b.CreatePHI(type, 2),
                       *const result = b.CreatePHI(type, 2);
  Value* const odd = b.CreateICmpNE(b.CreateAnd(rest, one), zero);
  Value* const next_result = b.CreateSelect(odd, b.CreateMul(result, square), result);
  Value* const next_square = b.CreateMul(square, square);
  Value* const next_rest = b.CreateLShr(rest, one);
  Value* more = b.CreateICmpNE(next_rest, zero);
  if (vector) more = b.CreateOrReduce(more);
  b.CreateCondBr(more, loop, done);
  rest->addIncoming(exponent, entry);
  rest->addIncoming(next_rest, loop);
  square->addIncoming(base, entry);
  square->addIncoming(next_square, loop);
  result->addIncoming(one, entry);
  result->addIncoming(next_result, loop);

  b.SetInsertPoint(done);
  // A negative exponent gives the power cut to an integer: 0 but for the bases 1 and -1.
  Value* const odd_exponent = b.CreateICmpNE(b.CreateAnd(exponent, one), zero);
  Value* const of_minus_one = b.CreateSelect(odd_exponent, minus_one, one);
  Value* negative = b.CreateSelect(b.CreateICmpEQ(base, minus_one), of_minus_one, zero);
  negative = b.CreateSelect(b.CreateICmpEQ(base, one), one, negative);
  b.CreateRet(b.CreateSelect(b.CreateICmpSLT(exponent, zero), negative, next_result));
  return function;
}

Value* integer_shift(Builder& b, Op op, Value* x, Value* count) {
  Type* const type = x->getType();
  const unsigned bits = type->getScalarSizeInBits();
  // Counts are read as unsigned, so that a negative one is as large as can be.
  Value* const largest = ConstantInt::get(type, bits - 1);
  Value* const clamped = b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, count, largest);
  if (op == Op::Shr) return b.CreateAShr(x, clamped);
  Value* const shifted = b.CreateShl(x, clamped);
  return b.CreateSelect(b.CreateICmpUGT(count, largest), ConstantInt::get(type, 0), shifted);
}

Value* integer_binary(Builder& b, Op op, DType dtype, Value* x, Value* y) {
  if (op == Op::Add) return b.CreateAdd(x, y);
  if (op == Op::Sub) return b.CreateSub(x, y);
  if (op == Op::Mul) return b.CreateMul(x, y);
  if (op == Op::Div || op == Op::Rem) return integer_division(b, op, x, y);
  if (op == Op::Pow) {
    llvm::Module& module = *b.GetInsertBlock()->getModule();
    return b.CreateCall(integer_power_function(module, x->getType()), {x, y});
  }
  if (op == Op::Max) return b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, x, y);
  if (op == Op::Min) return b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, x, y);
  if (op == Op::And) return b.CreateAnd(x, y);
  if (op == Op::Or) return b.CreateOr(x, y);
  if (op == Op::Xor) return b.CreateXor(x, y);
  if (op == Op::Shl || op == Op::Shr) return integer_shift(b, op, x, y);
  not_defined(op, dtype);
}

Value* bool_binary(Builder& b, Op op, Value* x, Value* y) {
  if (op == Op::Add || op == Op::Or || op == Op::Max) return b.CreateOr(x, y);
  if (op == Op::Mul || op == Op::And || op == Op::Min) return b.CreateAnd(x, y);
  if (op == Op::Xor) return b.CreateXor(x, y);
  not_defined(op, DType::Bool);
}

Value* compare(Builder& b, Op op, DType dtype, Value* x, Value* y) {
  if (is_float(dtype)) {
    if (op == Op::Eq) return b.CreateFCmpOEQ(x, y);
    if (op == Op::Ne) return b.CreateFCmpUNE(x, y);
    if (op == Op::Lt) return b.CreateFCmpOLT(x, y);
    if (op == Op::Le) return b.CreateFCmpOLE(x, y);
  } else {
    const bool is_signed = !is_unsigned(dtype);
    if (op == Op::Eq) return b.CreateICmpEQ(x, y);
    if (op == Op::Ne) return b.CreateICmpNE(x, y);
    if (op == Op::Lt) return is_signed ? b.CreateICmpSLT(x, y) : b.CreateICmpULT(x, y);
    if (op == Op::Le) return is_signed ? b.CreateICmpSLE(x, y) : b.CreateICmpULE(x, y);
  }
  not_defined(op, dtype);
}

Value* cast(Builder& b, DType from, DType to, Value* x) {
  if (from == to) return x;
  if (is_narrow(from) && to == DType::Float32) return emit_widen(b, from, x);
  if (is_narrow(to) && from == DType::Float32) return emit_narrow(b, to, x);
  COREGRAD_CHECK(!is_narrow(from) && !is_narrow(to));
  Type* const type = with_element(x->getType(), element_type(b.getContext(), to));
  if (to == DType::Bool) {
    llvm::Constant* const zero = llvm::Constant::getNullValue(x->getType());
    return is_float(from) ? b.CreateFCmpUNE(x, zero) : b.CreateICmpNE(x, zero);
  }
  if (is_unsigned(from))
    return is_float(to) ? b.CreateUIToFP(x, type) : b.CreateZExtOrTrunc(x, type);
  if (is_float(from) && is_float(to)) return b.CreateFPCast(x, type);
  if (is_float(from))  // saturates; NaN gives 0
    return b.CreateIntrinsic(llvm::Intrinsic::fptosi_sat, {type, x->getType()}, {x});
  return is_float(to) ? b.CreateSIToFP(x, type) : b.CreateSExtOrTrunc(x, type);
}

}  // namespace

Type* element_type(llvm::LLVMContext& context, DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return Type::getInt1Ty(context);
    case DType::Int32:
    case DType::UInt32:
      return Type::getInt32Ty(context);
    case DType::Int64:
      return Type::getInt64Ty(context);
    case DType::Int8:
    case DType::UInt8:
      return Type::getInt8Ty(context);
    case DType::Float16:
    case DType::BFloat16:
    case DType::Int16:
    case DType::UInt16:
      return Type::getInt16Ty(context);
    case DType::Float32:
      return Type::getFloatTy(context);
    case DType::Float64:
      return Type::getDoubleTy(context);
  }
  COREGRAD_UNREACHABLE("dtype");
}

llvm::Constant* constant_of(llvm::LLVMContext& context, DType dtype, Scalar value) {
  Type* const type = element_type(context, dtype);
  if (is_narrow(dtype))
    return ConstantInt::get(type, Scalar::of_float(dtype, value.as_double()).memory_bits());
  if (is_float(dtype)) return ConstantFP::get(type, value.as_double());
  COREGRAD_CHECK(!is_float(value.dtype));
  return ConstantInt::get(type, static_cast<uint64_t>(value.i), /*IsSigned=*/true);
}

Value* emit_elementwise(Builder& b, Op op, DType from, DType to, std::span<Value* const> operands) {
  Value* const x = operands[0];
  const Family family = family_of(op);
  if (family == Family::Unary) {
    if (from == DType::Bool) return bool_unary(b, op, x);
    return is_float(from) ? float_unary(b, op, from, x) : integer_unary(b, op, from, x);
  }
  if (family == Family::Binary) {
    if (from == DType::Bool) return bool_binary(b, op, x, operands[1]);
    return is_float(from) ? float_binary(b, op, from, x, operands[1])
                          : integer_binary(b, op, from, x, operands[1]);
  }
  if (family == Family::Compare) return compare(b, op, from, x, operands[1]);
  if (family == Family::Select) return b.CreateSelect(x, operands[1], operands[2]);
  if (family == Family::Cast) return cast(b, from, to, x);
  not_defined(op, from);
}

}  // namespace coregrad
