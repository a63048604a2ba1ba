// exp and its relatives: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r times 2^n.
//
// ln 2 is subtracted in two parts (Cody and Waite), the first with so few bits that n times it is
// exact. Measured errors: docs/math_accuracy.md.

#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_tables.h"

namespace coregrad::vector_math {
namespace {

constexpr double kLog2E = 0x1.71547652b82fep+0;

struct Reduced {
  Value* r;
  Math::Rounded n;
};

Reduced reduce(Math& m, Value* x) {
  const Math::Rounded n = m.round(x, kLog2E);
  Value* r = m.fma(n.value, m.c(-m.pick(0x1.62e8p-1, 0x1.62e42fefap-1)), x);
  r = m.fma(n.value, m.c(-m.pick(-0x1.e8082ep-16, 0x1.cf79abc9e3b3ap-40)), r);
  return {r, n};
}

/// (exp(r) - 1 - r) / r^2.
Value* tail(Math& m, Value* r) { return m.poly(r, m.pick(tables::kExpF32, tables::kExpF64)); }

/// exp(r) for the reduced r.
Value* exp_reduced(Math& m, Value* r) { return m.fma(m.fma(tail(m, r), r, m.c(1)), r, m.c(1)); }

/// exp(x) for x so small in magnitude that the result is a normal number.
Value* exp_normal(Math& m, Value* x) {
  const Reduced reduced = reduce(m, x);
  return m.scale_normal(exp_reduced(m, reduced.r), reduced.n);
}

/// exp(x) / 2 for x >= 0, finite as long as the result is.
Value* half_exp(Math& m, Value* x) {
  Reduced reduced = reduce(m, m.at_most(x, m.pick(89.5, 710.5)));
  reduced.n.value = m.sub(reduced.n.value, m.c(1));
  reduced.n.low_bits = m.b.CreateSub(reduced.n.low_bits, m.ci(1));
  return m.scale(exp_reduced(m, reduced.r), reduced.n);
}

}  // namespace

template <>
Value* emit_math<Op::Exp>(Math& m, Value* x) {
  // Beyond these limits the result is infinite or zero; within them 2^n is in reach of scale().
  x = m.at_least(m.at_most(x, m.pick(88.73, 709.79)), m.pick(-104.0, -745.2));
  const Reduced reduced = reduce(m, x);
  return m.scale(exp_reduced(m, reduced.r), reduced.n);
}

template <>
Value* emit_math<Op::Exp2>(Math& m, Value* x) {
  x = m.at_least(m.at_most(x, m.pick(128, 1024)), m.pick(-150, -1075));
  const Math::Rounded n = m.round(x, 1.0);
  Value* const r = m.sub(x, n.value);
  Value* const p = m.fma(m.poly(r, m.pick(tables::kExp2F32, tables::kExp2F64)), r, m.c(1));
  return m.scale(p, n);
}

template <>
Value* emit_math<Op::Expm1>(Math& m, Value* x) {
  // 2^n (exp(r) - 1) + (2^n - 1), with 2^(n-1) in place of 2^n, which would overflow first.
  Value* const limited = m.at_least(m.at_most(x, m.pick(88.73, 709.79)), m.pick(-18.0, -38.0));
  const Reduced reduced = reduce(m, limited);
  Value* const r = reduced.r;
  Value* const p = m.fma(m.mul(r, r), tail(m, r), r);
  Value* const half = m.power_of_two(reduced.n, -1);
  Value* const result = m.mul(m.fma(half, p, m.sub(half, m.c(0.5))), m.c(2));
  // Halving would lose the last bit of a denormal, and the sum the sign of zero.
  return m.select(m.lt(m.abs(x), m.c(m.pick(0x1p-25, 0x1p-54))), x, result);
}

template <>
Value* emit_math<Op::Sinh>(Math& m, Value* x) {
  Value* const a = m.abs(x);
  Value* const z = m.mul(a, a);
  Value* const small = m.fma(m.mul(a, z), m.poly(z, m.pick(tables::kSinhF32, tables::kSinhF64)), a);
  Value* const half = half_exp(m, a);
  Value* const large = m.sub(half, m.div(m.c(0.25), half));
  return m.copysign(m.select(m.lt(a, m.c(1)), small, large), x);
}

template <>
Value* emit_math<Op::Cosh>(Math& m, Value* x) {
  Value* const half = half_exp(m, m.abs(x));
  return m.add(half, m.div(m.c(0.25), half));
}

template <>
Value* emit_math<Op::Tanh>(Math& m, Value* x) {
  // 1 - 2 / (exp(2|x|) + 1), and where that cancels a polynomial.
  Value* const a = m.abs(x);
  Value* const z = m.mul(a, a);
  Value* const small = m.fma(m.mul(a, z), m.poly(z, m.pick(tables::kTanhF32, tables::kTanhF64)), a);
  Value* const e = exp_normal(m, m.at_most(m.add(a, a), m.pick(20, 40)));
  Value* const large = m.sub(m.c(1), m.div(m.c(2), m.add(e, m.c(1))));
  return m.copysign(m.select(m.lt(a, m.c(0.625)), small, large), x);
}

template <>
Value* emit_math<Op::Erf>(Math& m, Value* x) {
  Value* const a = m.abs(x);
  Value* const z = m.mul(x, x);
  Value* const small = m.fma(m.poly(z, m.pick(tables::kErfF32, tables::kErfF64)), x, x);
  Value* large;
  if (m.is_f32) {
    Value* const t = m.sub(m.at_most(a, 4), m.c(2.5));
    // Where the tail is less than half a last place, the polynomial is not exact enough to vanish.
    large = m.select(m.gt(a, m.c(3.9192)), m.c(1), m.sub(m.c(1), m.poly(t, tables::kErfTailF32)));
  } else {
    // An error of exp(-x^2) counts for little beside the 1 it is subtracted from.
    Value* const limited = m.at_most(a, 6);
    Value* const t = m.div(m.c(1), m.add(limited, m.c(1)));
    Value* const e = exp_normal(m, m.neg(m.mul(limited, limited)));
    large = m.fma(m.neg(e), m.poly(t, tables::kErfTailF64), m.c(1));
  }
  return m.select(m.lt(a, m.c(1)), small, m.copysign(large, x));
}

template <>
Value* emit_math<Op::Sigmoid>(Math& m, Value* x) {
  return m.div(m.c(1), m.add(m.c(1), emit_math<Op::Exp>(m, m.neg(x))));
}

}  // namespace coregrad::vector_math
