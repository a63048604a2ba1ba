// sin, cos and tan: |x| = q pi/2 + r with |r| <= pi/4 (a little more by rounding), then a
// polynomial.
//
// Up to a limit, q pi/2 is subtracted in three or four parts of pi/2, with the first subtraction
// exact. Beyond it, vector_math_rare.cpp multiplies by as many digits of 2/pi as matter; lanes are
// looked at together, so that ordinary arguments cost one comparison.

#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_rare.h"
#include "codegen/math/vector_math_tables.h"

namespace coregrad::vector_math {
namespace {

constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

struct Reduced {
  Value* r;
  Value* quadrant;  ///< integer; its two low bits count
};

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
    const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(m.type);
    const uint64_t lanes = vector ? vector->getNumElements() : 1;
    Value* const input = entry_alloca(m.b, m.type);
    Value* const remainder = entry_alloca(m.b, m.type);
    Value* const quadrant = entry_alloca(m.b, m.int_type);
    m.b.CreateStore(a, input);
    emit_rare_call(m.b, m.is_f32 ? kReduceHugeF32 : kReduceHugeF64,
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

template <>
Value* emit_math<Op::Sin>(Math& m, Value* x) {
  // Without FMA the three-part subtraction in float is not exact: double has bits to spare.
  if (m.is_f32 && !m.fused) return through_double(m, x, emit_math<Op::Sin>);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const value = m.select(is_odd(m, p.quadrant), cos_core(m, z), sin_core(m, p.r, z));
  return m.flip_sign(value, m.b.CreateXor(half_turn_sign(m, p.quadrant), sign_of(m, x)));
}

template <>
Value* emit_math<Op::Cos>(Math& m, Value* x) {
  if (m.is_f32 && !m.fused) return through_double(m, x, emit_math<Op::Cos>);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const value = m.select(is_odd(m, p.quadrant), sin_core(m, p.r, z), cos_core(m, z));
  // cos(q pi/2 + r): signs + - - + for q = 0 .. 3.
  return m.flip_sign(value, half_turn_sign(m, m.b.CreateAdd(p.quadrant, m.ci(1))));
}

template <>
Value* emit_math<Op::Tan>(Math& m, Value* x) {
  // The quotient adds up three roundings: too many for float, none visible from double.
  if (m.is_f32) return through_double(m, x, emit_math<Op::Tan>);
  const Reduced p = reduce(m, m.abs(x));
  Value* const z = m.mul(p.r, p.r);
  Value* const sine = sin_core(m, p.r, z);
  Value* const cosine = cos_core(m, z);
  Value* const odd = is_odd(m, p.quadrant);
  Value* const quotient = m.div(m.select(odd, m.neg(cosine), sine), m.select(odd, sine, cosine));
  return m.flip_sign(quotient, sign_of(m, x));
}

}  // namespace coregrad::vector_math
