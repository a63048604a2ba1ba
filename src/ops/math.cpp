#include "ops/math.h"

#include "base/error.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace coregrad::ops {
namespace {

NodeId less(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Lt, a, b); }

NodeId is_not_negative(Graph& g, NodeId x) { return compare(g, Op::Le, number_like(g, x, 0), x); }

// |x| with derivative 1 at 0, for functions that are smooth there.
NodeId smooth_abs(Graph& g, NodeId x) { return select(g, is_not_negative(g, x), x, neg(g, x)); }

NodeId to_bool(Graph& g, NodeId x) { return cast(g, x, DType::Bool); }

// Whether a remainder towards zero has to move by one divisor to get the divisor's sign.
NodeId sign_differs(Graph& g, NodeId rest, NodeId divisor) {
  const NodeId opposite = binary(g, Op::Xor, less(g, rest, number_like(g, rest, 0)),
                                 less(g, divisor, number_like(g, divisor, 0)));
  return binary(g, Op::And, opposite, compare(g, Op::Ne, rest, number_like(g, rest, 0)));
}

void promote_both(Graph& g, NodeId& a, NodeId& b) {
  const DType dtype = result_type(g, a, b);
  a = cast(g, a, dtype);
  b = cast(g, b, dtype);
}

}  // namespace

NodeId number_like(Graph& g, NodeId x, double value) { return literal(g, g.dtype(x), value); }
NodeId scaled(Graph& g, NodeId x, double factor) { return mul(g, x, number_like(g, x, factor)); }
NodeId shifted(Graph& g, NodeId x, double offset) { return add(g, x, number_like(g, x, offset)); }

NodeId to_float(Graph& g, NodeId x) {
  return is_float(g.dtype(x)) ? x : cast(g, x, DType::Float32);
}

NodeId true_divide(Graph& g, NodeId a, NodeId b) {
  if (!is_float(g.dtype(a)) && !is_float(g.dtype(b)))
    return div(g, cast(g, a, DType::Float32), cast(g, b, DType::Float32));
  return div(g, a, b);
}

NodeId floor_divide(Graph& g, NodeId a, NodeId b) {
  promote_both(g, a, b);
  const NodeId rest = binary(g, Op::Rem, a, b);
  const NodeId adjust = cast(g, sign_differs(g, rest, b), g.dtype(rest));
  if (!is_float(g.dtype(a))) return sub(g, div(g, a, b), adjust);
  // a - rest is a multiple of b, so its quotient is whole up to rounding.
  const NodeId quotient = sub(g, div(g, sub(g, a, rest), b), adjust);
  const NodeId whole = unary(g, Op::Floor, quotient);
  const NodeId up = cast(g, less(g, number_like(g, a, 0.5), sub(g, quotient, whole)), g.dtype(a));
  return select(g, compare(g, Op::Eq, b, number_like(g, b, 0)), div(g, a, b), add(g, whole, up));
}

NodeId remainder(Graph& g, NodeId a, NodeId b) {
  promote_both(g, a, b);
  const NodeId rest = binary(g, Op::Rem, a, b);
  return select(g, sign_differs(g, rest, b), add(g, rest, b), rest);
}

NodeId fmod(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Rem, a, b); }

NodeId square(Graph& g, NodeId x) { return mul(g, x, x); }

NodeId lerp(Graph& g, NodeId start, NodeId end, NodeId weight) {
  const NodeId span = sub(g, end, start);
  const NodeId one = number_like(g, weight, 1);
  return select(g, less(g, unary(g, Op::Abs, weight), number_like(g, weight, 0.5)),
                add(g, start, mul(g, weight, span)),
                sub(g, end, mul(g, sub(g, one, weight), span)));
}

NodeId clamp(Graph& g, NodeId x, std::optional<NodeId> low, std::optional<NodeId> high) {
  if (!low && !high) raise<ValueError>("clamp: a lower or an upper bound must be given");
  // As in PyTorch the upper bound wins where it is below the lower one.
  if (low) x = select(g, less(g, x, *low), *low, x);
  if (high) x = select(g, less(g, *high, x), *high, x);
  return x;
}

NodeId clamp(Graph& g, NodeId x, double low, double high) {
  return clamp(g, x, number_like(g, x, low), number_like(g, x, high));
}

NodeId where(Graph& g, NodeId condition, NodeId a, NodeId b) {
  return select(g, to_bool(g, condition), a, b);
}

NodeId greater(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Lt, b, a); }
NodeId greater_equal(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Le, b, a); }

NodeId isnan(Graph& g, NodeId x) { return compare(g, Op::Ne, x, x); }

NodeId isinf(Graph& g, NodeId x) {
  if (!is_float(g.dtype(x))) return full(g, g.shape(x), Scalar::of_int(DType::Bool, 0));
  const double infinity = std::numeric_limits<double>::infinity();
  return compare(g, Op::Eq, unary(g, Op::Abs, x), number_like(g, x, infinity));
}

NodeId isfinite(Graph& g, NodeId x) {
  if (!is_float(g.dtype(x))) return full(g, g.shape(x), Scalar::of_int(DType::Bool, 1));
  return less(g, unary(g, Op::Abs, x), number_like(g, x, std::numeric_limits<double>::infinity()));
}

NodeId logical_not(Graph& g, NodeId x) { return unary(g, Op::Not, to_bool(g, x)); }
NodeId logical_and(Graph& g, NodeId a, NodeId b) {
  return binary(g, Op::And, to_bool(g, a), to_bool(g, b));
}
NodeId logical_or(Graph& g, NodeId a, NodeId b) {
  return binary(g, Op::Or, to_bool(g, a), to_bool(g, b));
}
NodeId logical_xor(Graph& g, NodeId a, NodeId b) {
  return binary(g, Op::Xor, to_bool(g, a), to_bool(g, b));
}

NodeId logaddexp(Graph& g, NodeId a, NodeId b) {
  a = to_float(g, a);
  b = to_float(g, b);
  const NodeId a_leads = compare(g, Op::Le, b, a);
  const NodeId big = select(g, a_leads, a, b), small = select(g, a_leads, b, a);
  // The difference of equal infinities would be NaN.
  const NodeId equal_infinities = binary(g, Op::And, compare(g, Op::Eq, a, b), isinf(g, a));
  const NodeId difference = select(g, equal_infinities, number_like(g, big, 0), sub(g, small, big));
  return add(g, big, unary(g, Op::Log1p, exp(g, difference)));
}

NodeId xlogy(Graph& g, NodeId x, NodeId y) {
  x = to_float(g, x);
  y = to_float(g, y);
  const NodeId is_zero = compare(g, Op::Eq, x, number_like(g, x, 0));
  const NodeId safe = select(g, binary(g, Op::And, is_zero, unary(g, Op::Not, isnan(g, y))),
                             number_like(g, y, 1), y);
  return mul(g, x, log(g, safe));
}

NodeId logit(Graph& g, NodeId x) { return log(g, div(g, x, sub(g, number_like(g, x, 1), x))); }

NodeId asinh(Graph& g, NodeId x) {
  const NodeId a = smooth_abs(g, x), one = number_like(g, x, 1);
  // Beyond the bound 1 is nothing beside a^2, which may overflow.
  const NodeId is_large = less(g, number_like(g, x, g.dtype(x) == DType::Float32 ? 1e9 : 1e18), a);
  const NodeId safe = select(g, is_large, one, a);
  const NodeId squared = square(g, safe);
  const NodeId root = sqrt(g, add(g, squared, one));
  const NodeId near = unary(g, Op::Log1p, add(g, safe, div(g, squared, add(g, root, one))));
  const NodeId far = shifted(g, log(g, select(g, is_large, a, one)), std::numbers::ln2);
  const NodeId magnitude = select(g, is_large, far, near);
  return select(g, is_not_negative(g, x), magnitude, neg(g, magnitude));
}

NodeId acosh(Graph& g, NodeId x) {
  const NodeId one = number_like(g, x, 1);
  const NodeId is_large = less(g, number_like(g, x, g.dtype(x) == DType::Float32 ? 1e9 : 1e18), x);
  const NodeId t = sub(g, select(g, is_large, one, x), one);
  const NodeId near = unary(g, Op::Log1p, add(g, t, sqrt(g, mul(g, t, shifted(g, t, 2)))));
  const NodeId far = shifted(g, log(g, select(g, is_large, x, one)), std::numbers::ln2);
  return select(g, is_large, far, near);
}

NodeId atanh(Graph& g, NodeId x) {
  return scaled(g, sub(g, unary(g, Op::Log1p, x), unary(g, Op::Log1p, neg(g, x))), 0.5);
}

NodeId erfc(Graph& g, NodeId x) {
  // log(erfc(z) / t) + z^2 as a Chebyshev series in 2t - 1, t = 2 / (2 + z), z >= 0. Truncation is
  // below 1e-16 with all terms and below 1e-9 with the first twelve.
  static constexpr double kSeries[] = {
      -1.3026537197817094,     0.64196979235649026,     0.019476473204185836,
      -0.0095615147868086316,  -0.00094659534448203687, 0.00036683949785276145,
      4.2523324806907772e-5,   -2.0278578112534243e-5,  -1.6242900046470255e-6,
      1.3036558355805232e-6,   1.5626441722066143e-8,   -8.5238095914926543e-8,
      6.5290544390988515e-9,   5.0593434955514689e-9,   -9.9136415649303309e-10,
      -2.2736512229318359e-10, 9.6467911020155268e-11,  2.3940380830391147e-12,
      -6.8860275264975534e-12, 8.9448792730907257e-13,  3.1309213993429581e-13,
      -1.1270822361367252e-13, 3.8109052551892321e-16,  7.106097613609237e-15,
      -1.5230282014571043e-15, -9.457494571291234e-17,  1.210237189224279e-16,
      -2.816663087747177e-17};
  const int terms = g.dtype(x) == DType::Float32 ? 12 : static_cast<int>(std::size(kSeries));
  const NodeId z = smooth_abs(g, x), two = number_like(g, x, 2);
  const NodeId t = div(g, two, add(g, two, z));
  const NodeId u = sub(g, mul(g, two, t), number_like(g, x, 1));
  const NodeId twice = mul(g, two, u);
  // Clenshaw's recurrence.
  NodeId next = number_like(g, x, kSeries[terms - 1]), after = number_like(g, x, 0);
  for (int k = terms - 2; k > 0; --k) {
    const NodeId here = shifted(g, sub(g, mul(g, twice, next), after), kSeries[k]);
    after = next;
    next = here;
  }
  const NodeId series = shifted(g, sub(g, mul(g, u, next), after), kSeries[0] / 2);
  const NodeId tail = mul(g, t, exp(g, sub(g, series, square(g, z))));
  return select(g, is_not_negative(g, x), tail, sub(g, two, tail));
}

NodeId nan_to_num(Graph& g, NodeId x, double nan, std::optional<double> positive,
                  std::optional<double> negative) {
  if (!is_float(g.dtype(x))) return x;
  const double infinity = std::numeric_limits<double>::infinity();
  const double largest = g.dtype(x) == DType::Float32
                             ? static_cast<double>(std::numeric_limits<float>::max())
                             : std::numeric_limits<double>::max();
  const auto replaced = [&](NodeId y, double from, double to) {
    return select(g, compare(g, Op::Eq, y, number_like(g, y, from)), number_like(g, y, to), y);
  };
  const NodeId no_nan = select(g, isnan(g, x), number_like(g, x, nan), x);
  const NodeId no_high = replaced(no_nan, infinity, positive.value_or(largest));
  return replaced(no_high, -infinity, negative.value_or(-largest));
}

}  // namespace coregrad::ops
