// Inverse trigonometric functions: polynomials on a core interval, identities elsewhere.

#include "codegen/math/vector_math.h"
#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_tables.h"

#include <utility>

namespace coregrad::vector_math {
namespace {

/// pi/2 in two parts.
Value* half_pi(Math& m) { return m.c(m.pick(0x1.921fb6p+0, 0x1.921fb54442d18p+0)); }
Value* half_pi_low(Math& m) { return m.c(m.pick(-0x1.777a5cp-25, 0x1.1a62633145c07p-54)); }

/// asin(s) for 0 <= s with s^2 = z <= 0.5625^2.
Value* asin_core(Math& m, Value* s, Value* z) {
  return m.fma(m.mul(s, z), m.poly(z, m.pick(tables::kAsinF32, tables::kAsinF64)), s);
}

/// The argument of asin_core: |x| itself, or above 9/16 its half-angle partner sqrt((1 - |x|) / 2).
/// That is NaN for |x| > 1. From 9/16 on, the partner's asin is below 1/2, so that pi/2 less twice
/// that has an error of few units in its own last place.
struct ArcArgument {
  Value* is_large;
  Value* s;
  Value* z;
};

ArcArgument arc_argument(Math& m, Value* a) {
  Value* const is_large = m.gt(a, m.c(0.5625));
  Value* const half = m.fma(a, m.c(-0.5), m.c(0.5));
  Value* const z = m.select(is_large, half, m.mul(a, a));
  Value* const s = m.select(is_large, m.sqrt(half), a);
  return {is_large, s, z};
}

/// atan(numerator / denominator) for 0 <= numerator <= denominator != 0 whose sum does not
/// overflow.
Value* atan_ratio(Math& m, Value* numerator, Value* denominator) {
  if (m.is_f32) {
    Value* const t = m.div(numerator, denominator);
    Value* const z = m.mul(t, t);
    return m.fma(m.mul(t, z), m.poly(z, tables::kAtanF32), t);
  }
  // Above tan(pi/8): atan(n/d) = pi/4 + atan((n - d) / (n + d)), with the one division for both.
  Value* const upper = m.gt(numerator, m.mul(denominator, m.c(0x1.a827999fcef32p-2)));
  Value* const t = m.div(m.select(upper, m.sub(numerator, denominator), numerator),
                         m.select(upper, m.add(numerator, denominator), denominator));
  Value* const z = m.mul(t, t);
  Value* const core = m.fma(m.mul(t, z), m.poly(z, tables::kAtanF64), t);
  Value* const base = m.select(upper, m.c(0x1.921fb54442d18p-1), m.c(0));
  Value* const base_low = m.select(upper, m.c(0x1.1a62633145c07p-55), m.c(0));
  return m.select(upper, m.add(base, m.add(core, base_low)), core);
}

}  // namespace

template <>
Value* emit_math<Op::Asin>(Math& m, Value* x) {
  const ArcArgument p = arc_argument(m, m.abs(x));
  Value* const core = asin_core(m, p.s, p.z);
  Value* const large = m.add(half_pi(m), m.fma(core, m.c(-2), half_pi_low(m)));
  return m.copysign(m.select(p.is_large, large, core), x);
}

template <>
Value* emit_math<Op::Acos>(Math& m, Value* x) {
  const ArcArgument p = arc_argument(m, m.abs(x));
  Value* const core = asin_core(m, p.s, p.z);
  Value* const negative = m.lt(x, m.c(0));
  // pi/2 - asin(x); 2 asin(s); pi - 2 asin(s).
  Value* const small = m.add(half_pi(m), m.add(m.neg(m.copysign(core, x)), half_pi_low(m)));
  Value* const twice = m.add(core, core);
  Value* const obtuse =
      m.add(m.mul(half_pi(m), m.c(2)), m.sub(m.mul(half_pi_low(m), m.c(2)), twice));
  return m.select(p.is_large, m.select(negative, obtuse, twice), small);
}

template <>
Value* emit_math<Op::Atan>(Math& m, Value* x) {
  // The polynomial of float alone reaches 2.24 ulp just above 1.
  if (m.is_f32) return through_double(m, x, emit_math<Op::Atan>);
  Value* const a = m.abs(x);
  Value* const steep = m.gt(a, m.c(1));
  Value* const core = atan_ratio(m, m.select(steep, m.c(1), a), m.select(steep, a, m.c(1)));
  Value* const complement = m.add(half_pi(m), m.sub(half_pi_low(m), core));
  return m.copysign(m.select(steep, complement, core), x);
}

namespace {

Value* atan2_of(Math& m, Value* y, Value* x) {
  Value* const ax = m.abs(x);
  Value* const ay = m.abs(y);
  Value* const steep = m.gt(ay, ax);
  Value* numerator = m.select(steep, ax, ay);
  Value* denominator = m.select(steep, ay, ax);
  // 0/0 counts as 0 and inf/inf as 1, which gives the standard's multiples of pi/4.
  denominator = m.select(m.eq(denominator, m.c(0)), m.c(1), denominator);
  Value* const both_infinite = m.eq(numerator, m.infinity());
  numerator = m.select(both_infinite, m.c(1), numerator);
  denominator = m.select(both_infinite, m.c(1), denominator);
  if (!m.is_f32) {
    // Keeps atan_ratio's sum finite; a numerator that loses bits here is far too small to matter.
    Value* const factor = m.select(m.gt(denominator, m.c(0x1p1020)), m.c(0.25), m.c(1));
    numerator = m.mul(numerator, factor);
    denominator = m.mul(denominator, factor);
  }
  Value* const core = atan_ratio(m, numerator, denominator);
  // The first quadrant's angle, then its mirror image left of the y axis.
  Value* const complement = m.add(half_pi(m), m.sub(half_pi_low(m), core));
  Value* const right = m.select(steep, complement, core);
  Value* const left_steep = m.add(half_pi(m), m.add(half_pi_low(m), core));
  Value* const left_flat =
      m.add(m.mul(half_pi(m), m.c(2)), m.sub(m.mul(half_pi_low(m), m.c(2)), core));
  Value* const is_left = m.b.CreateICmpSLT(m.to_int(x), m.ci(0));  // -0 too
  Value* const angle = m.select(is_left, m.select(steep, left_steep, left_flat), right);
  Value* const result = m.copysign(angle, y);
  return m.select(m.b.CreateFCmpUNO(x, y), m.add(x, y), result);
}

}  // namespace
}  // namespace coregrad::vector_math

namespace coregrad {

llvm::Value* emit_atan2(llvm::IRBuilder<>& builder, llvm::Value* y, llvm::Value* x) {
  using namespace vector_math;
  Math m(builder, x->getType());
  if (!m.is_f32) return atan2_of(m, y, x);
  Math wide(builder, m.double_type);
  return builder.CreateFPTrunc(
      atan2_of(wide, builder.CreateFPExt(y, m.double_type), builder.CreateFPExt(x, m.double_type)),
      m.type);
}

}  // namespace coregrad
