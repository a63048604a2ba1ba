// Logarithms: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then a polynomial in m - 1.
//
// Each base has its own polynomial S with log_b(1 + f) = f (A + S(f)), A a power of two, so that
// the last addition carries nearly the whole value. e log_b(2) is added in two parts, the first
// exact.

#include "codegen/math/vector_math_internal.h"
#include "codegen/math/vector_math_tables.h"

namespace coregrad::vector_math {
namespace {

struct Split {
  Value* mantissa;
  Value* exponent;  ///< as a float
  Value* biased;    ///< exponent + bias as an integer
};

/// x = mantissa * 2^exponent for positive normal x.
Split split(Math& m, Value* x) {
  const uint64_t one = m.is_f32 ? 0x3f800000 : 0x3ff0000000000000;
  const uint64_t root = m.is_f32 ? 0x3f3504f3 : 0x3fe6a09e667f3bcd;  // sqrt(1/2)
  Value* const moved = m.b.CreateAdd(m.to_int(x), m.ci(one - root));
  Value* const biased = m.b.CreateLShr(moved, m.mantissa_bits);
  Value* const field = m.b.CreateAnd(moved, m.ci((uint64_t{1} << m.mantissa_bits) - 1));
  Value* const mantissa = m.from_int(m.b.CreateAdd(field, m.ci(root)));
  // With the exponent of 2^mantissa_bits above it, the number stands in the low bits of a float.
  const uint64_t frame = static_cast<uint64_t>(m.bias + m.mantissa_bits) << m.mantissa_bits;
  Value* const framed = m.from_int(m.b.CreateOr(biased, m.ci(frame)));
  Value* const exponent = m.sub(framed, m.c(m.pick(0x1p23 + 127, 0x1p52 + 1023)));
  return {mantissa, exponent, biased};
}

/// The base: log_b(1 + f) = leading * f + f * S(f), and log_b(2) = high + low.
struct Base {
  std::span<const double> f32, f64;
  double leading;
  bool natural;  ///< S(f) = f * polynomial
  double high_f32, low_f32, high_f64, low_f64;
};

const Base kNatural = {
    tables::kLogF32,  tables::kLogF64,      1.0, true, 0x1.62e8p-1, -0x1.e8082ep-16,
    0x1.62e42fefap-1, 0x1.cf79abc9e3b3ap-40};
const Base kTwo = {tables::kLog2F32, tables::kLog2F64, 1.0, false, 1.0, 0.0, 1.0, 0.0};
const Base kTen = {tables::kLog10F32, tables::kLog10F64,     0.5, false, 0x1.344p-2, 0x1.3509f8p-18,
                   0x1.34413509f8p-2, -0x1.80433b83b532ap-44};

/// log_b((1 + f) 2^e).
Value* combine(Math& m, Value* f, Value* e, const Base& base) {
  Value* s = m.poly(f, m.pick(base.f32, base.f64));
  if (base.natural) s = m.mul(s, f);
  const double low = m.pick(base.low_f32, base.low_f64);
  Value* const minor = low == 0.0 ? m.mul(f, s) : m.fma(f, s, m.mul(e, m.c(low)));
  Value* const lead = base.leading == 1.0 ? m.add(f, minor) : m.fma(f, m.c(base.leading), minor);
  const double high = m.pick(base.high_f32, base.high_f64);
  return high == 1.0 ? m.add(e, lead) : m.fma(e, m.c(high), lead);
}

/// `result`, but what the standard says for x outside (0, infinity), where `zero` is -0 or -1 + x.
Value* with_specials(Math& m, Value* result, Value* x, Value* one_plus) {
  Value* const passes = m.b.CreateFCmpUGE(x, m.infinity());
  result = m.select(passes, x, result);
  result = m.select(m.eq(one_plus, m.c(0)), m.neg(m.infinity()), result);
  return m.select(m.lt(one_plus, m.c(0)), m.nan(), result);
}

Value* emit_log_base(Math& m, Value* x, const Base& base) {
  Value* const denormal = m.lt(x, m.c(m.pick(0x1p-126, 0x1p-1022)));
  Value* const scaled = m.select(denormal, m.mul(x, m.c(m.pick(0x1p24, 0x1p54))), x);
  const Split parts = split(m, scaled);
  Value* const e = m.sub(parts.exponent, m.select(denormal, m.c(m.pick(24, 54)), m.c(0)));
  Value* const f = m.sub(parts.mantissa, m.c(1));
  return with_specials(m, combine(m, f, e, base), x, x);
}

}  // namespace

template <>
Value* emit_math<Op::Log>(Math& m, Value* x) {
  return emit_log_base(m, x, kNatural);
}
template <>
Value* emit_math<Op::Log2>(Math& m, Value* x) {
  return emit_log_base(m, x, kTwo);
}
template <>
Value* emit_math<Op::Log10>(Math& m, Value* x) {
  return emit_log_base(m, x, kTen);
}

template <>
Value* emit_math<Op::Log1p>(Math& m, Value* x) {
  // The exponent comes from the rounded sum, the mantissa from x itself: (1 + x) 2^-e - 1 as
  // x 2^-e + (2^-e - 1), whose parts are exact.
  Value* const u = m.add(x, m.c(1));
  const Split parts = split(m, u);
  Value* const inverse = m.from_int(m.b.CreateShl(
      m.b.CreateSub(m.ci(static_cast<uint64_t>(2 * m.bias)), parts.biased), m.mantissa_bits));
  Value* const from_x = m.fma(x, inverse, m.sub(inverse, m.c(1)));
  // From here on the 1 has no weight, and 2^-e may underflow.
  Value* const large = m.gt(x, m.c(m.pick(0x1p60, 0x1p120)));
  Value* const f = m.select(large, m.sub(parts.mantissa, m.c(1)), from_x);
  Value* result = combine(m, f, parts.exponent, kNatural);
  result = m.select(m.eq(x, m.c(0)), x, result);  // keeps -0
  return with_specials(m, result, x, u);
}

// max(x, 0) + log1p(exp(-|x|)): nothing overflows.
template <>
Value* emit_math<Op::Log1pExp>(Math& m, Value* x) {
  Value* const tail = emit_math<Op::Log1p>(m, emit_math<Op::Exp>(m, m.neg(m.abs(x))));
  return m.add(m.at_least(x, 0), tail);
}

}  // namespace coregrad::vector_math
