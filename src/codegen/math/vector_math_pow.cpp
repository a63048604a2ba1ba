// pow(x, y) = 2^(y log2 |x|), with the logarithm precise enough that y does not magnify its error.
//
// log2 comes from atanh: with s = (m - 1) / (m + 1), ln m = 2 (s + s^3/3 + s^5 P(s^2)). For float
// all of it is done in double. For double, sums and products carry a second double with what the
// first one rounds away (about 2^-64 relative), as y log2|x| can reach 1075.

#include "codegen/math/vector_math.h"
#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_tables.h"

#include <llvm/IR/Module.h>

namespace coregrad::vector_math {
namespace {

/// m in [sqrt(1/2), sqrt(2)) and e, as floats, with x = m 2^e; x > 0 and normal.
struct Split {
  Value* mantissa;
  Value* exponent;
};

Split split(Math& m, Value* x) {
  constexpr uint64_t kOne = 0x3ff0000000000000, kRoot = 0x3fe6a09e667f3bcd;
  Value* const moved = m.b.CreateAdd(m.to_int(x), m.ci(kOne - kRoot));
  Value* const field = m.b.CreateAnd(moved, m.ci((uint64_t{1} << 52) - 1));
  Value* const framed = m.b.CreateOr(m.b.CreateLShr(moved, 52), m.ci(uint64_t{1023 + 52} << 52));
  return {m.from_int(m.b.CreateAdd(field, m.ci(kRoot))),
          m.sub(m.from_int(framed), m.c(0x1p52 + 1023))};
}

/// 2^(y log2 a) for float results, in double; a > 0, not denormal.
Value* power_in_double(Math& m, Value* a, Value* y) {
  const Split parts = split(m, a);
  Value* const s = m.div(m.sub(parts.mantissa, m.c(1)), m.add(parts.mantissa, m.c(1)));
  Value* const log2 = m.fma(s, m.poly(m.mul(s, s), tables::kPowLog2F64), parts.exponent);
  Value* const product = m.at_least(m.at_most(m.mul(y, log2), 200), -200);
  const Math::Rounded n = m.round(product, 1.0);
  return m.scale_normal(m.poly(m.sub(product, n.value), tables::kPowExp2F64), n);
}

/// log2(a) as an unevaluated sum; a > 0.
Math::Pair precise_log2(Math& m, Value* a) {
  Value* const denormal = m.lt(a, m.c(0x1p-1022));
  const Split parts = split(m, m.select(denormal, m.mul(a, m.c(0x1p54)), a));
  Value* const e = m.sub(parts.exponent, m.select(denormal, m.c(54), m.c(0)));
  // s = f / d with what is left over divided again.
  Value* const f = m.sub(parts.mantissa, m.c(1));
  const Math::Pair d = m.two_sum(parts.mantissa, m.c(1));
  Value* const inverse = m.div(m.c(1), d.hi);
  Value* const s = m.mul(f, inverse);
  const Math::Pair back = m.two_product(s, d.hi);
  Value* const left = m.sub(m.sub(m.sub(f, back.hi), back.lo), m.mul(s, d.lo));
  Value* const s_low = m.mul(left, inverse);
  // w = s^2/3 + s^4 P(s^2)
  const Math::Pair z = m.two_product(s, s);
  Value* const z_low = m.fma(m.add(s, s), s_low, z.lo);
  Value* const rest = m.fma(z.hi, m.poly(z.hi, tables::kPowTailF64), m.c(0x1.5555555555555p-56));
  const Math::Pair third = m.fast_two_sum(m.c(0x1.5555555555555p-2), rest);
  const Math::Pair w = m.two_product(third.hi, z.hi);
  Value* const w_low = m.fma(third.hi, z_low, m.fma(third.lo, z.hi, w.lo));
  // v = s + s w
  const Math::Pair sw = m.two_product(s, w.hi);
  const Math::Pair v = m.fast_two_sum(s, sw.hi);
  Value* const v_low = m.add(v.lo, m.add(s_low, m.fma(s, w_low, m.fma(s_low, w.hi, sw.lo))));
  // 2 v / ln 2 + e
  const Math::Pair g = m.two_product(v.hi, m.c(0x1.71547652b82fep+1));
  Value* const g_low =
      m.fma(v.hi, m.c(0x1.777d0ffda0d24p-55), m.fma(v_low, m.c(0x1.71547652b82fep+1), g.lo));
  const Math::Pair sum = m.fast_two_sum(e, g.hi);
  return m.fast_two_sum(sum.hi, m.add(sum.lo, g_low));
}

Value* power_double(Math& m, Value* a, Value* y) {
  const Math::Pair log2 = precise_log2(m, a);
  const Math::Pair product = m.two_product(y, log2.hi);
  Value* const low = m.fma(y, log2.lo, product.lo);
  // Beyond these limits the result is 0 or infinite, and the low part is no longer small.
  Value* const beyond = m.gt(m.abs(product.hi), m.c(1080));
  Value* const high = m.at_least(m.at_most(product.hi, 1080), -1080);
  const Math::Rounded n = m.round(high, 1.0);
  Value* const r = m.add(m.sub(high, n.value), m.select(beyond, m.c(0), low));
  return m.scale(m.fma(m.poly(r, tables::kExp2F64), r, m.c(1)), n);
}

Value* magnitude(Math& m, Value* a, Value* y) {
  // A y so large decides the result unless a is 1; smaller, it cannot overflow a product.
  Value* const limit_y = m.at_least(m.at_most(y, 0x1p66), -0x1p66);
  if (!m.is_f32) return power_double(m, a, limit_y);
  Math wide(m.b, m.double_type);
  return m.b.CreateFPTrunc(power_in_double(wide, m.b.CreateFPExt(a, m.double_type),
                                           m.b.CreateFPExt(limit_y, m.double_type)),
                           m.type);
}

}  // namespace
}  // namespace coregrad::vector_math

namespace coregrad {

llvm::Value* emit_pow(llvm::IRBuilder<>& builder, llvm::Value* x, llvm::Value* y) {
  using namespace vector_math;
  Math m(builder, x->getType());
  llvm::IRBuilder<>& b = m.b;
  Value* const a = m.abs(x);
  Value* result = magnitude(m, a, y);
  // 0 and infinity have no logarithm: 0 or infinity comes out.
  Value* const is_zero = m.eq(a, m.c(0));
  Value* const to_infinity = b.CreateXor(is_zero, m.gt(y, m.c(0)));
  Value* const no_log = b.CreateOr(is_zero, m.eq(a, m.infinity()));
  result = m.select(no_log, m.select(to_infinity, m.infinity(), m.c(0)), result);
  // A negative base: the sign of an odd whole y, NaN for a fraction (infinite bases excepted).
  Value* const half = m.mul(y, m.c(0.5));
  Value* const is_whole = m.eq(m.trunc(y), y);
  Value* const is_odd = b.CreateAnd(is_whole, b.CreateFCmpUNE(m.trunc(half), half));
  result = m.select(is_odd, m.copysign(result, x), result);
  Value* const undefined =
      b.CreateAnd(b.CreateAnd(m.lt(x, m.c(0)), m.lt(a, m.infinity())), b.CreateNot(is_whole));
  result = m.select(b.CreateOr(undefined, b.CreateFCmpUNO(x, y)), m.nan(), result);
  Value* const always_one = b.CreateOr(m.eq(x, m.c(1)), m.eq(y, m.c(0)));
  return m.select(always_one, m.c(1), result);
}

}  // namespace coregrad
