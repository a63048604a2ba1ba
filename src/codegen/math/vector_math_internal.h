#pragma once
// What the vector_math_*.cpp files share: arithmetic on one element type, and the functions by
// family.

#include "ir/op.h"

#include <llvm/IR/IRBuilder.h>

#include <span>

namespace coregrad::vector_math {

using llvm::Value;

/// Expressions over scalars or vectors of one floating type `type` and integers as wide as its
/// elements. Clears the builder's fast-math flags while it lives: range reductions rely on the
/// rounding of every step.
class Math {
 public:
  Math(llvm::IRBuilder<>& builder, llvm::Type* type);

  llvm::IRBuilder<>& b;
  llvm::Type* const type;
  llvm::Type* const int_type;
  llvm::Type* const double_type;  ///< `type` with double elements
  const bool is_f32;
  const bool fused;         ///< the target has FMA
  const int bits;           ///< of an element: 32 or 64
  const int mantissa_bits;  ///< explicit ones: 23 or 52
  const int bias;           ///< of the exponent: 127 or 1023

  Value* c(double value) const;     ///< floating constant
  Value* ci(uint64_t value) const;  ///< integer constant
  double pick(double f32, double f64) const { return is_f32 ? f32 : f64; }
  std::span<const double> pick(std::span<const double> f32, std::span<const double> f64) const {
    return is_f32 ? f32 : f64;
  }

  Value* add(Value* x, Value* y) const { return b.CreateFAdd(x, y); }
  Value* sub(Value* x, Value* y) const { return b.CreateFSub(x, y); }
  Value* mul(Value* x, Value* y) const { return b.CreateFMul(x, y); }
  Value* div(Value* x, Value* y) const { return b.CreateFDiv(x, y); }
  Value* fma(Value* x, Value* y, Value* z) const;  ///< x * y + z
  Value* neg(Value* x) const { return b.CreateFNeg(x); }
  Value* abs(Value* x) const;
  Value* sqrt(Value* x) const;
  Value* trunc(Value* x) const;
  Value* copysign(Value* magnitude, Value* sign) const;
  Value* flip_sign(Value* x, Value* sign_bits) const;  ///< x with its sign bit xor-ed
  Value* to_int(Value* x) const { return b.CreateBitCast(x, int_type); }
  Value* from_int(Value* x) const { return b.CreateBitCast(x, type); }

  Value* lt(Value* x, Value* y) const { return b.CreateFCmpOLT(x, y); }
  Value* gt(Value* x, Value* y) const { return b.CreateFCmpOGT(x, y); }
  Value* eq(Value* x, Value* y) const { return b.CreateFCmpOEQ(x, y); }
  Value* select(Value* condition, Value* yes, Value* no) const {
    return b.CreateSelect(condition, yes, no);
  }
  /// min and max with a constant that let a NaN in x through; one instruction on x86.
  Value* at_most(Value* x, double limit) const { return select(gt(x, c(limit)), c(limit), x); }
  Value* at_least(Value* x, double limit) const { return select(lt(x, c(limit)), c(limit), x); }

  /// sum of coefficients[k] x^k.
  Value* poly(Value* x, std::span<const double> coefficients) const;

  /// Nearest whole number of x * factor, as a float and, modulo 2^(mantissa_bits - 1), in the low
  /// bits of an integer. |x * factor| < 2^(mantissa_bits - 2); NaN stays NaN.
  struct Rounded {
    Value* value;
    Value* low_bits;
  };
  Rounded round(Value* x, double factor) const;

  /// p * 2^n with one rounding, over- and underflow included; p in [1/2, 2), n >= -1100 (-180 for
  /// float) and n <= 1100 (180).
  Value* scale(Value* p, const Rounded& n) const;
  /// The same where 2^n * p is a normal number.
  Value* scale_normal(Value* p, const Rounded& n) const;
  /// 2^(n + offset), a normal number.
  Value* power_of_two(const Rounded& n, int offset) const;

  Value* infinity() const;
  Value* nan() const;

  /// Both parts of x * y: hi + lo exactly (unless it over- or underflows).
  struct Pair {
    Value* hi;
    Value* lo;
  };
  Pair two_product(Value* x, Value* y) const;
  Pair two_sum(Value* x, Value* y) const;
  /// two_sum when |x| >= |y| or x is 0.
  Pair fast_two_sum(Value* x, Value* y) const;

 private:
  llvm::IRBuilder<>::FastMathFlagGuard guard_;
};

/// True if any lane of a condition (i1 or vector of i1) holds.
Value* any_lane(llvm::IRBuilder<>& builder, Value* condition);

/// f(x) by way of double, for float x: where float's own rounding would add up too far.
Value* through_double(Math& m, Value* x, Value* (*emit)(Math&, Value*));

/// Emits `if (condition) { values = otherwise() }` with the branch marked unlikely. Leaves the
/// builder in a new block. `values` are replaced by phis.
template <class Emit>
void emit_unlikely(llvm::IRBuilder<>& builder, Value* condition, std::span<Value*> values,
                   Emit&& otherwise);

/// A stack slot of the enclosing function.
llvm::AllocaInst* entry_alloca(llvm::IRBuilder<>& builder, llvm::Type* type);

/// Calls one of the functions of vector_math_rare.h.
void emit_rare_call(llvm::IRBuilder<>& builder, const char* name, llvm::ArrayRef<Value*> arguments);

/// The unary primitives of floats that take a series of instructions; each is defined with its
/// family.
template <Op op>
Value* emit_math(Math& m, Value* x);
#define COREGRAD_OP(Name, Family, text, arity, cost) \
  template <>                                        \
  Value* emit_math<Op::Name>(Math & m, Value * x);
#include "ir/ops.def"
#undef COREGRAD_OP

// ---------------------------------------------------------------------------------------------------

/// The blocks of an unlikely branch; see emit_unlikely.
struct UnlikelyBranch {
  llvm::BasicBlock* from;
  llvm::BasicBlock* rare;
  llvm::BasicBlock* joined;
};
UnlikelyBranch begin_unlikely(llvm::IRBuilder<>& builder, Value* condition);

template <class Emit>
void emit_unlikely(llvm::IRBuilder<>& builder, Value* condition, std::span<Value*> values,
                   Emit&& otherwise) {
  const UnlikelyBranch branch = begin_unlikely(builder, condition);
  llvm::SmallVector<Value*, 2> usual(values.begin(), values.end());
  otherwise();
  llvm::BasicBlock* const rare_end = builder.GetInsertBlock();
  builder.CreateBr(branch.joined);
  builder.SetInsertPoint(branch.joined, branch.joined->begin());
  for (size_t i = 0; i < values.size(); ++i) {
    llvm::PHINode* const phi = builder.CreatePHI(usual[i]->getType(), 2);
    phi->addIncoming(usual[i], branch.from);
    phi->addIncoming(values[i], rare_end);
    values[i] = phi;
  }
}

}  // namespace coregrad::vector_math
