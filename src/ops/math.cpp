#include "ops/math.h"

#include "base/error.h"

#include <limits>

namespace coregrad::ops {
namespace {

NodeId less(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Lt, a, b); }

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
