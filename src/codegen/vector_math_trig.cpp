// sin, cos and tan: |x| = q pi/2 + r with |r| <= pi/4 (a little more by rounding), then a
// polynomial.
//
// Up to a limit, q pi/2 is subtracted in three or four parts of pi/2, with the first subtraction
// exact. Beyond it, an out-of-line function multiplies by as many digits of 2/pi as matter (Payne
// and Hanek); lanes are looked at together, so that ordinary arguments cost one comparison.

#include "codegen/llvm_util.h"
#include "codegen/vector_math_internal.h"
#include "codegen/vector_math_tables.h"

#include <llvm/IR/Module.h>

namespace coregrad::vector_math {
namespace {

constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

struct Reduced {
  Value* r;
  Value* quadrant;  ///< integer; its two low bits count
};

/// A loop over `count` lanes in `function`; `body` gets the lane's number. Ends with a return.
template <class Body>
void emit_lane_loop(llvm::IRBuilder<>& b, llvm::Function* function, Value* count, Body&& body) {
  llvm::LLVMContext& context = function->getContext();
  auto* const entry = llvm::BasicBlock::Create(context, "entry", function);
  auto* const loop = llvm::BasicBlock::Create(context, "loop", function);
  auto* const done = llvm::BasicBlock::Create(context, "done", function);
  b.SetInsertPoint(entry);
  b.CreateBr(loop);
  b.SetInsertPoint(loop);
  llvm::PHINode* const lane = b.CreatePHI(b.getInt64Ty(), 2);
  lane->addIncoming(b.getInt64(0), entry);
  body(lane);
  Value* const next = b.CreateAdd(lane, b.getInt64(1));
  lane->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpULT(next, count), loop, done);
  b.SetInsertPoint(done);
  b.CreateRetVoid();
}

llvm::GlobalVariable* digits_of_two_over_pi(llvm::Module& module) {
  constexpr const char* kName = "coregrad.two_over_pi";
  if (llvm::GlobalVariable* const existing = module.getNamedGlobal(kName)) return existing;
  llvm::SmallVector<uint64_t, 24> words(std::begin(tables::kTwoOverPi),
                                        std::end(tables::kTwoOverPi));
  llvm::Constant* const table =
      llvm::ConstantDataArray::get(module.getContext(), llvm::ArrayRef<uint64_t>(words));
  return new llvm::GlobalVariable(module, table->getType(), /*isConstant=*/true,
                                  llvm::GlobalValue::InternalLinkage, table, kName);
}

/// r and quadrant of one double x >= 0.
Reduced emit_exact_reduction(llvm::IRBuilder<>& b, llvm::Module& module, Value* x) {
  llvm::Type* const i64 = b.getInt64Ty();
  llvm::Type* const i128 = b.getIntNTy(128);
  const auto wide = [&](Value* v) { return b.CreateZExt(v, i128); };
  const auto upper = [&](Value* v) { return b.CreateLShr(v, 64); };
  const auto lower = [&](Value* v) { return b.CreateTrunc(v, i64); };

  // x = mantissa * 2^E with E = field - 1075. Digit k of 2/pi weighs 2^(E - k); those above weight
  // 2 only add multiples of 4 quadrants. The first digit kept has k = E - 1, at bit E + 62 of a
  // table that starts with 64 zeros; a field below that of 1 is not used.
  Value* const word = b.CreateBitCast(x, i64);
  Value* const field = b.CreateLShr(word, 52);
  Value* const mantissa = b.CreateOr(b.CreateAnd(word, (uint64_t{1} << 52) - 1), uint64_t{1} << 52);
  Value* const ordinary = b.CreateICmpULT(field, b.getInt64(2047));
  Value* const usable = b.CreateAnd(ordinary, b.CreateICmpUGE(field, b.getInt64(1022)));
  Value* const position =
      b.CreateSelect(usable, b.CreateSub(field, b.getInt64(1075 - 62)), b.getInt64(64));
  Value* const first = b.CreateLShr(position, 6);
  Value* const shift = b.CreateAnd(position, 63);
  llvm::GlobalVariable* const table = digits_of_two_over_pi(module);
  Value* words[4];
  for (unsigned k = 0; k < 4; ++k)
    words[k] = b.CreateLoad(i64, b.CreateGEP(i64, table, b.CreateAdd(first, b.getInt64(k))));
  Value* digits[3];
  for (unsigned k = 0; k < 3; ++k)
    digits[k] = b.CreateIntrinsic(llvm::Intrinsic::fshl, {i64}, {words[k], words[k + 1], shift});

  // The product modulo 4 as a 192-bit fixed-point number: two bits of quadrant, 190 of fraction.
  Value* const low = b.CreateMul(wide(mantissa), wide(digits[2]));
  Value* const middle = b.CreateAdd(b.CreateMul(wide(mantissa), wide(digits[1])), upper(low));
  Value* const top = b.CreateAdd(b.CreateMul(mantissa, digits[0]), lower(upper(middle)));
  const auto shifted = [&](Value* high, Value* next) {
    return b.CreateIntrinsic(llvm::Intrinsic::fshl, {i64}, {high, next, b.getInt64(2)});
  };
  Value* const fraction = b.CreateOr(b.CreateShl(wide(shifted(top, lower(middle))), 64),
                                     wide(shifted(lower(middle), lower(low))));
  // A fraction of at least one half counts as negative in the next quadrant: two's complement.
  Value* const negative = b.CreateICmpSLT(fraction, llvm::ConstantInt::get(i128, 0));
  Value* const quadrant = b.CreateAdd(b.CreateLShr(top, 62), b.CreateZExt(negative, i64));
  Value* const magnitude = b.CreateSelect(negative, b.CreateNeg(fraction), fraction);
  Value* const zeros = b.CreateIntrinsic(llvm::Intrinsic::ctlz, {i128}, {magnitude, b.getFalse()});
  Value* const normalized = b.CreateShl(magnitude, b.CreateAnd(zeros, 127));
  // The leading 64 bits as an exact sum of two doubles, times pi/2 likewise, times 2^(-64 - zeros).
  constexpr uint64_t kRest = 0x7ff;
  Value* const leading = lower(upper(normalized));
  Value* const head = b.CreateUIToFP(b.CreateAnd(leading, ~kRest), b.getDoubleTy());
  Value* const rest = b.CreateUIToFP(b.CreateAnd(leading, kRest), b.getDoubleTy());
  const auto number = [&](double v) { return llvm::ConstantFP::get(b.getDoubleTy(), v); };
  llvm::Constant* const half_pi = number(0x1.921fb54442d18p+0);
  Value* const minor =
      emit_fma(b, head, number(0x1.1a62633145c07p-54), b.CreateFMul(rest, half_pi));
  Value* const power = b.CreateBitCast(
      b.CreateShl(b.CreateSub(b.getInt64(1023 - 64), lower(zeros)), 52), b.getDoubleTy());
  Value* const turned = b.CreateFMul(emit_fma(b, head, half_pi, minor), power);
  Value* const exact = b.CreateSelect(negative, b.CreateFNeg(turned), turned);

  Value* const small = b.CreateFCmpOLE(x, number(0.785));
  Value* const invalid = b.CreateFSub(x, x);  // NaN for infinity and NaN
  Value* const r = b.CreateSelect(small, x, b.CreateSelect(ordinary, exact, invalid));
  return {r, b.CreateSelect(small, b.getInt64(0), quadrant)};
}

/// void(const T* x, T* r, int* quadrant, i64 lanes), made once a module.
llvm::Function* huge_reduction(llvm::Module& module, bool is_f32) {
  const char* const name = is_f32 ? "coregrad.reduce_f32" : "coregrad.reduce_f64";
  if (llvm::Function* const existing = module.getFunction(name)) return existing;
  llvm::IRBuilder<> b(module.getContext());
  auto* const signature = llvm::FunctionType::get(
      b.getVoidTy(), {b.getPtrTy(), b.getPtrTy(), b.getPtrTy(), b.getInt64Ty()}, false);
  llvm::Function* const function =
      llvm::Function::Create(signature, llvm::Function::InternalLinkage, name, module);
  function->addFnAttr(llvm::Attribute::NoInline);
  function->addFnAttr(llvm::Attribute::Cold);
  llvm::Type* const element = is_f32 ? b.getFloatTy() : b.getDoubleTy();
  llvm::Type* const integer = is_f32 ? b.getInt32Ty() : b.getInt64Ty();
  emit_lane_loop(b, function, function->getArg(3), [&](Value* lane) {
    const auto place = [&](unsigned argument, llvm::Type* type) {
      return b.CreateGEP(type, function->getArg(argument), lane);
    };
    Value* const x = b.CreateFPCast(b.CreateLoad(element, place(0, element)), b.getDoubleTy());
    const Reduced reduced = emit_exact_reduction(b, module, x);
    b.CreateStore(b.CreateFPCast(reduced.r, element), place(1, element));
    b.CreateStore(b.CreateTrunc(reduced.quadrant, integer), place(2, integer));
  });
  return function;
}

/// Reduces a = |x|. May leave the builder in a new block.
Reduced reduce(Math& m, Value* a) {
  const Math::Rounded n = m.round(a, kTwoOverPi);
  Value* const q = m.neg(n.value);
  Value* r = a;
  if (m.is_f32) {
    for (const double part : {0x1.921fb6p+0, -0x1.777a5cp-25, -0x1.ee59dap-50})
      r = m.fma(q, m.c(part), r);
  } else if (m.fused) {
    for (const double part : {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54, -0x1.f1976b7ed8fbcp-110})
      r = m.fma(q, m.c(part), r);
  } else {
    // Parts of 30 bits: their products with q are exact without FMA.
    for (const double part :
         {0x1.921fb548p+0, -0x1.de973dc8p-31, -0x1.9d9cceb8p-62, -0x1.1fc8f8cbb5bf7p-93})
      r = m.fma(q, m.c(part), r);
  }
  Value* const is_huge = any_lane(m.b, m.gt(a, m.c(m.pick(0x1p17, 0x1p22))));
  Value* results[] = {r, n.low_bits};
  emit_unlikely(m.b, is_huge, results, [&] {
    llvm::Module& module = *m.b.GetInsertBlock()->getModule();
    const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(m.type);
    const uint64_t lanes = vector ? vector->getNumElements() : 1;
    Value* const input = entry_alloca(m.b, m.type);
    Value* const remainder = entry_alloca(m.b, m.type);
    Value* const quadrant = entry_alloca(m.b, m.int_type);
    m.b.CreateStore(a, input);
    m.b.CreateCall(huge_reduction(module, m.is_f32),
                   {input, remainder, quadrant, m.b.getInt64(lanes)});
    results[0] = m.b.CreateLoad(m.type, remainder);
    results[1] = m.b.CreateLoad(m.int_type, quadrant);
  });
  return {results[0], results[1]};
}

Value* sin_core(Math& m, Value* r, Value* z) {
  return m.fma(m.mul(r, z), m.poly(z, m.pick(tables::kSinF32, tables::kSinF64)), r);
}

Value* cos_core(Math& m, Value* z) {
  return m.fma(m.mul(z, z), m.poly(z, m.pick(tables::kCosF32, tables::kCosF64)),
               m.fma(z, m.c(-0.5), m.c(1)));
}

/// An odd quadrant exchanges sine and cosine.
Value* is_odd(Math& m, Value* quadrant) {
  return m.b.CreateICmpNE(m.b.CreateAnd(quadrant, m.ci(1)), m.ci(0));
}

/// Bit 1 of the quadrant, moved to the sign.
Value* half_turn_sign(Math& m, Value* quadrant) {
  return m.b.CreateShl(m.b.CreateLShr(quadrant, 1), static_cast<uint64_t>(m.bits - 1));
}

Value* sign_of(Math& m, Value* x) {
  return m.b.CreateAnd(m.to_int(x), m.ci(uint64_t{1} << (m.bits - 1)));
}

}  // namespace

Value* emit_sin(Math& m, Value* x) {
  // Without FMA the three-part subtraction in float is not exact: double has bits to spare.
  if (m.is_f32 && !m.fused) return through_double(m, x, emit_sin);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const value = m.select(is_odd(m, p.quadrant), cos_core(m, z), sin_core(m, p.r, z));
  return m.flip_sign(value, m.b.CreateXor(half_turn_sign(m, p.quadrant), sign_of(m, x)));
}

Value* emit_cos(Math& m, Value* x) {
  if (m.is_f32 && !m.fused) return through_double(m, x, emit_cos);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const value = m.select(is_odd(m, p.quadrant), sin_core(m, p.r, z), cos_core(m, z));
  // cos(q pi/2 + r): signs + - - + for q = 0 .. 3.
  return m.flip_sign(value, half_turn_sign(m, m.b.CreateAdd(p.quadrant, m.ci(1))));
}

Value* emit_tan(Math& m, Value* x) {
  // The quotient adds up three roundings: too many for float, none visible from double.
  if (m.is_f32) return through_double(m, x, emit_tan);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const sine = sin_core(m, p.r, z);
  Value* const cosine = cos_core(m, z);
  Value* const odd = is_odd(m, p.quadrant);
  Value* const quotient = m.div(m.select(odd, m.neg(cosine), sine), m.select(odd, sine, cosine));
  return m.flip_sign(quotient, sign_of(m, x));
}

}  // namespace coregrad::vector_math
