// The entry points of vector_math.h and the arithmetic that the function families share.

#include "codegen/math/vector_math.h"

#include "base/error.h"
#include "codegen/ir/llvm_util.h"
#include "codegen/math/vector_math_internal.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <array>

namespace coregrad {
namespace vector_math {
namespace {

/// `element`, as often as `type` has lanes.
llvm::Type* with_element(llvm::Type* type, llvm::Type* element) {
  if (const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type))
    return llvm::FixedVectorType::get(element, vector->getNumElements());
  return element;
}

unsigned lanes_of(llvm::Type* type) {
  const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return vector ? vector->getNumElements() : 1;
}

/// AVX-512's p * 2^floor(n) for the register widths; null for other types.
Value* emit_scalef(llvm::IRBuilder<>& b, Value* p, Value* n) {
  llvm::Type* const type = p->getType();
  const unsigned total = lanes_of(type) * type->getScalarSizeInBits();
  const bool is_f32 = type->getScalarSizeInBits() == 32;
  if (lanes_of(type) == 1 || (total != 128 && total != 256 && total != 512)) return nullptr;
  using namespace llvm::Intrinsic;
  const ID id =
      total == 128   ? (is_f32 ? x86_avx512_mask_scalef_ps_128 : x86_avx512_mask_scalef_pd_128)
      : total == 256 ? (is_f32 ? x86_avx512_mask_scalef_ps_256 : x86_avx512_mask_scalef_pd_256)
                     : (is_f32 ? x86_avx512_mask_scalef_ps_512 : x86_avx512_mask_scalef_pd_512);
  Value* const all = llvm::ConstantInt::getAllOnesValue(b.getIntNTy(std::max(8u, lanes_of(type))));
  llvm::SmallVector<Value*, 5> arguments = {p, n, llvm::PoisonValue::get(type), all};
  constexpr unsigned kCurrentRounding = 4;
  if (total == 512) arguments.push_back(b.getInt32(kCurrentRounding));
  return b.CreateIntrinsic(id, {}, arguments);
}

}  // namespace

Math::Math(llvm::IRBuilder<>& builder, llvm::Type* value_type)
    : b(builder),
      type(value_type),
      int_type(with_element(value_type, builder.getIntNTy(value_type->getScalarSizeInBits()))),
      double_type(with_element(value_type, builder.getDoubleTy())),
      is_f32(value_type->getScalarType()->isFloatTy()),
      fused(has_fma(*builder.GetInsertBlock()->getModule())),
      bits(is_f32 ? 32 : 64),
      mantissa_bits(is_f32 ? 23 : 52),
      bias(is_f32 ? 127 : 1023),
      guard_(builder) {
  COREGRAD_CHECK(value_type->getScalarType()->isFloatTy() ||
                 value_type->getScalarType()->isDoubleTy());
  b.clearFastMathFlags();
}

Value* Math::c(double value) const { return llvm::ConstantFP::get(type, value); }
Value* Math::ci(uint64_t value) const { return llvm::ConstantInt::get(int_type, value); }
Value* Math::infinity() const { return llvm::ConstantFP::getInfinity(type); }
Value* Math::nan() const { return llvm::ConstantFP::getNaN(type); }

Value* Math::fma(Value* x, Value* y, Value* z) const {
  if (fused) return b.CreateIntrinsic(llvm::Intrinsic::fma, {type}, {x, y, z});
  return add(mul(x, y), z);
}

Value* Math::abs(Value* x) const { return b.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x); }
Value* Math::sqrt(Value* x) const { return b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x); }
Value* Math::trunc(Value* x) const { return b.CreateUnaryIntrinsic(llvm::Intrinsic::trunc, x); }

Value* Math::copysign(Value* magnitude, Value* sign) const {
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, magnitude, sign);
}

Value* Math::flip_sign(Value* x, Value* sign_bits) const {
  return from_int(b.CreateXor(to_int(x), sign_bits));
}

Value* Math::poly(Value* x, std::span<const double> coefficients) const {
  const size_t n = coefficients.size();
  // Long chains wait for each fma's latency: even and odd powers go side by side.
  if (n >= 8) {
    Value* const square = mul(x, x);
    const size_t top = n - 1;
    Value* chains[2] = {c(coefficients[top]), c(coefficients[top - 1])};
    for (size_t k = top - 1; k-- > 0;)
      chains[(top - k) % 2] = fma(chains[(top - k) % 2], square, c(coefficients[k]));
    Value* const odd = chains[(top - 1) % 2];
    Value* const even = chains[top % 2];
    return fma(odd, x, even);
  }
  Value* sum = c(coefficients[n - 1]);
  for (size_t k = n - 1; k-- > 0;) sum = fma(sum, x, c(coefficients[k]));
  return sum;
}

Math::Rounded Math::round(Value* x, double factor) const {
  // Adding 1.5 * 2^mantissa_bits leaves no bits after the point, and the number in the low bits.
  const double magic = pick(0x1.8p23, 0x1.8p52);
  Value* const shifted = factor == 1.0 ? add(x, c(magic)) : fma(x, c(factor), c(magic));
  return {sub(shifted, c(magic)), to_int(shifted)};
}

Value* Math::scale_normal(Value* p, const Rounded& n) const { return mul(p, power_of_two(n, 0)); }

Value* Math::scale(Value* p, const Rounded& n) const {
  if (has_avx512(*b.GetInsertBlock()->getModule()))
    if (Value* const scaled = emit_scalef(b, p, n.value)) return scaled;
  // In two factors, as 2^n may be out of range. The first product is exact.
  Value* const negative = lt(n.value, c(0));
  const auto middle = [&](int towards) {
    return ci(static_cast<uint64_t>(bias + towards) << mantissa_bits);
  };
  Value* const near_one = b.CreateAdd(b.CreateShl(n.low_bits, mantissa_bits),
                                      select(negative, middle(64), middle(-64)));
  return mul(mul(p, from_int(near_one)), select(negative, c(0x1p-64), c(0x1p64)));
}

Value* Math::power_of_two(const Rounded& n, int offset) const {
  return from_int(b.CreateAdd(b.CreateShl(n.low_bits, mantissa_bits),
                              ci(static_cast<uint64_t>(bias + offset) << mantissa_bits)));
}

Math::Pair Math::two_product(Value* x, Value* y) const {
  Value* const hi = mul(x, y);
  if (fused) return {hi, fma(x, y, neg(hi))};
  // Veltkamp's splitting into halves whose products are exact.
  const auto split = [&](Value* v) -> Pair {
    Value* const t = mul(v, c(pick(0x1p12 + 1, 0x1p27 + 1)));
    Value* const head = sub(t, sub(t, v));
    return {head, sub(v, head)};
  };
  const Pair p = split(x), q = split(y);
  Value* const cross = add(add(sub(mul(p.hi, q.hi), hi), mul(p.hi, q.lo)), mul(p.lo, q.hi));
  return {hi, add(cross, mul(p.lo, q.lo))};
}

Math::Pair Math::two_sum(Value* x, Value* y) const {
  Value* const sum = add(x, y);
  Value* const part = sub(sum, x);
  return {sum, add(sub(x, sub(sum, part)), sub(y, part))};
}

Math::Pair Math::fast_two_sum(Value* x, Value* y) const {
  Value* const sum = add(x, y);
  return {sum, sub(y, sub(sum, x))};
}

Value* through_double(Math& m, Value* x, Value* (*emit)(Math&, Value*)) {
  Math wide(m.b, m.double_type);
  return m.b.CreateFPTrunc(emit(wide, m.b.CreateFPExt(x, m.double_type)), m.type);
}

Value* any_lane(llvm::IRBuilder<>& builder, Value* condition) {
  return condition->getType()->isVectorTy() ? builder.CreateOrReduce(condition) : condition;
}

llvm::AllocaInst* entry_alloca(llvm::IRBuilder<>& builder, llvm::Type* type) {
  llvm::BasicBlock& entry = builder.GetInsertBlock()->getParent()->getEntryBlock();
  // At the very front, an insertion point of the caller in this block stays where it is.
  llvm::IRBuilder<> front(&entry, entry.begin());
  return front.CreateAlloca(type);
}

void emit_rare_call(llvm::IRBuilder<>& builder, const char* name,
                    llvm::ArrayRef<Value*> arguments) {
  llvm::SmallVector<llvm::Type*, 4> types;
  for (const Value* argument : arguments) types.push_back(argument->getType());
  auto* const type = llvm::FunctionType::get(builder.getVoidTy(), types, false);
  llvm::CallInst* const call = builder.CreateCall(
      builder.GetInsertBlock()->getModule()->getOrInsertFunction(name, type), arguments);
  call->addFnAttr(llvm::Attribute::Cold);
  call->addFnAttr(llvm::Attribute::NoUnwind);
}

UnlikelyBranch begin_unlikely(llvm::IRBuilder<>& builder, Value* condition) {
  llvm::BasicBlock* const from = builder.GetInsertBlock();
  llvm::Function* const function = from->getParent();
  llvm::LLVMContext& context = function->getContext();
  UnlikelyBranch branch{from, nullptr, nullptr};
  if (builder.GetInsertPoint() == from->end()) {
    branch.joined = llvm::BasicBlock::Create(context, "joined", function, from->getNextNode());
  } else {
    branch.joined = from->splitBasicBlock(builder.GetInsertPoint(), "joined");
    from->getTerminator()->eraseFromParent();
  }
  branch.rare = llvm::BasicBlock::Create(context, "rare", function);
  builder.SetInsertPoint(from);
  builder.CreateCondBr(condition, branch.rare, branch.joined,
                       llvm::MDBuilder(context).createUnlikelyBranchWeights());
  builder.SetInsertPoint(branch.rare);
  return branch;
}

template <>
Value* emit_math<Op::Sqrt>(Math& m, Value* x) {
  return m.sqrt(x);
}

// The division and the root round once each: at most 1 ulp together.
template <>
Value* emit_math<Op::Rsqrt>(Math& m, Value* x) {
  return m.div(m.c(1), m.sqrt(x));
}

template <>
Value* emit_math<Op::Reciprocal>(Math& m, Value* x) {
  return m.div(m.c(1), x);
}

namespace {

using Emit = Value* (*)(Math&, Value*);

template <Op op>
constexpr Emit emit_of() {
  if constexpr (is_math_unary(op))
    return emit_math<op>;
  else
    return nullptr;
}

constexpr Emit kEmit[] = {
#define COREGRAD_OP(Name, Family, text, arity, cost) emit_of<Op::Name>(),
#include "ir/ops.def"
#undef COREGRAD_OP
};

}  // namespace
}  // namespace vector_math

llvm::Value* emit_math_unary(llvm::IRBuilder<>& builder, Op op, llvm::Value* x) {
  COREGRAD_CHECK(is_math_unary(op));
  vector_math::Math m(builder, x->getType());
  return vector_math::kEmit[static_cast<size_t>(op)](m, x);
}

}  // namespace coregrad
