#include "ops/math.h"

#include "base/error.h"

#include <limits>

namespace coregrad::ops {
namespace {

NodeId to_bool(Graph& g, NodeId x) { return cast(g, x, DType::Bool); }

NodeId less(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Lt, a, b); }

// Whether a remainder towards zero has to move by one divisor to get the divisor's sign.
NodeId sign_differs(Graph& g, NodeId rest, NodeId divisor) {
  const NodeId zero = number_like(g, rest, 0);
  const NodeId opposite = binary(g, Op::Xor, less(g, rest, zero), less(g, divisor, zero));
  return binary(g, Op::And, opposite, compare(g, Op::Ne, rest, zero));
}

}  // namespace

NodeId number_like(Graph& g, NodeId x, double value) { return literal(g, g.dtype(x), value); }
NodeId size_like(Graph& g, NodeId x, SymInt n) {
  if (n.is_number()) return number_like(g, x, static_cast<double>(n.number()));
  return cast(g, size(g, n), g.dtype(x));
}
NodeId scaled(Graph& g, NodeId x, double factor) { return mul(g, x, number_like(g, x, factor)); }
NodeId shifted(Graph& g, NodeId x, double offset) { return add(g, x, number_like(g, x, offset)); }

NodeId to_float(Graph& g, NodeId x) {
  return is_float(g.dtype(x)) ? x : cast(g, x, DType::Float32);
}

NodeId div(Graph& g, NodeId a, NodeId b, std::optional<std::string_view> rounding_mode) {
  if (rounding_mode == "floor") return floor_divide(g, a, b);
  if (rounding_mode && rounding_mode != "trunc")
    raise<ValueError>("div: the rounding mode must be 'trunc' or 'floor', got '{}'",
                      *rounding_mode);
  if (!rounding_mode) {
    a = to_float(g, a);
    b = to_float(g, b);
  }
  const NodeId quotient = binary(g, Op::Div, a, b);
  return rounding_mode ? unary(g, Op::Trunc, quotient) : quotient;
}

NodeId floor_divide(Graph& g, NodeId a, NodeId b) {
  // Steps have no slope.
  a = detach(g, a);
  b = detach(g, b);
  const NodeId zero = number_like(g, a, 0);
  if (!is_float(g.dtype(a))) {
    const NodeId quotient = binary(g, Op::Div, a, b);
    const NodeId is_inexact = compare(g, Op::Ne, mul(g, quotient, b), a);
    const NodeId opposite = binary(g, Op::Xor, less(g, a, zero), less(g, b, zero));
    return sub(g, quotient, cast(g, binary(g, Op::And, is_inexact, opposite), g.dtype(a)));
  }
  // a - rest is a multiple of b, so its quotient is whole up to rounding; a / b may round up.
  const NodeId rest = binary(g, Op::Rem, a, b), ratio = div(g, a, b);
  const NodeId adjust = cast(g, sign_differs(g, rest, b), g.dtype(a));
  const NodeId quotient = sub(g, div(g, sub(g, a, rest), b), adjust);
  const NodeId whole = select(g, compare(g, Op::Eq, quotient, zero), mul(g, ratio, zero),
                              unary(g, Op::Round, quotient));
  return select(g, compare(g, Op::Eq, b, zero), ratio, whole);
}

NodeId remainder(Graph& g, NodeId a, NodeId b) {
  const NodeId rest = binary(g, Op::Rem, a, b);
  return select(g, sign_differs(g, rest, b), add(g, rest, b), rest);
}

NodeId bitwise_not(Graph& g, NodeId x) { return unary(g, Op::Not, x); }

NodeId addcmul(Graph& g, NodeId x, NodeId a, NodeId b, double value) {
  return add(g, x, scaled(g, mul(g, a, b), value));
}
NodeId addcdiv(Graph& g, NodeId x, NodeId a, NodeId b, double value) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("addcdiv: the operands must be floating: got {}", describe(g, x));
  return add(g, x, scaled(g, div(g, a, b), value));
}

NodeId square(Graph& g, NodeId x) { return mul(g, x, x); }

NodeId lerp(Graph& g, NodeId start, NodeId end, NodeId weight) {
  if (!is_float(g.dtype(start)))
    raise<DTypeError>("lerp: the input must be floating: got {}", describe(g, start));
  // Each form is exact at one end.
  const NodeId span = sub(g, end, start);
  const NodeId one = number_like(g, weight, 1);
  return select(g, less(g, unary(g, Op::Abs, weight), number_like(g, weight, 0.5)),
                add(g, start, mul(g, weight, span)),
                sub(g, end, mul(g, span, sub(g, one, weight))));
}

NodeId clamp(Graph& g, NodeId x, std::optional<NodeId> low, std::optional<NodeId> high) {
  if (!low && !high) raise<ValueError>("clamp: a lower or an upper bound must be given");
  // As in PyTorch the upper bound wins where it is below the lower one, and NaN everywhere.
  const auto limit = [&](NodeId bound, bool is_low) {
    const NodeId beyond = is_low ? less(g, x, bound) : less(g, bound, x);
    x = select(g, binary(g, Op::Or, beyond, isnan(g, bound)), bound, x);
  };
  if (low) limit(*low, true);
  if (high) limit(*high, false);
  return x;
}

NodeId clamp(Graph& g, NodeId x, double low, double high) {
  return clamp(g, x, number_like(g, x, low), number_like(g, x, high));
}

NodeId where(Graph& g, NodeId condition, NodeId a, NodeId b) {
  return select(g, to_bool(g, condition), a, b);
}

NodeId masked_fill(Graph& g, NodeId x, NodeId mask, NodeId value) {
  if (g.dtype(mask) != DType::Bool)
    raise<DTypeError>("masked_fill: the mask must be bool: got {}", describe(g, mask));
  if (category_of(g.dtype(value)) > category_of(g.dtype(x)))
    raise<DTypeError>("masked_fill: the value must be of the input's category: got {} for {}",
                      describe(g, value), describe(g, x));
  return select(g, mask, cast(g, value, g.dtype(x)), x);
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
  // Where x is 0, what has no finite logarithm counts as 1; the slope there is log(y) otherwise.
  const NodeId zero = number_like(g, x, 0);
  const NodeId infinity = number_like(g, y, std::numeric_limits<double>::infinity());
  const NodeId has_none =
      binary(g, Op::Or, compare(g, Op::Le, y, zero), compare(g, Op::Eq, y, infinity));
  const NodeId ignored = binary(g, Op::And, compare(g, Op::Eq, x, zero), has_none);
  return mul(g, x, log(g, select(g, ignored, number_like(g, y, 1), y)));
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
