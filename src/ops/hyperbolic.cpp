// Inverse hyperbolic functions, in float64.

#include "ops/expression.h"

#include <numbers>

namespace coregrad::ops {
namespace {

using std::numbers::ln2;
constexpr double kLarge = 1e8;  // where x * x + 1 is x * x

Expr asinh(Expr x) {
  const Expr size = smooth_abs(x), small = at_most(size, kLarge), square = small * small;
  const Expr near = log1p(small + square / (1 + sqrt(square + 1)));
  return with_sign_of(x, where(size > kLarge, log(at_least(size, kLarge)) + ln2, near));
}

Expr acosh(Expr x) {
  // Of two roots the product's slope at 1 is infinite; of one root it would be NaN.
  const Expr t = at_most(x, kLarge) - 1, near = log1p(t + sqrt(t) * sqrt(t + 2));
  return where(x > kLarge, log(at_least(x, kLarge)) + ln2, near);
}

Expr atanh(Expr x) { return (log1p(x) - log1p(-x)) * 0.5; }

}  // namespace

NodeId asinh(Graph& g, NodeId x) { return in_double(g, asinh, x); }
NodeId acosh(Graph& g, NodeId x) { return in_double(g, acosh, x); }
NodeId atanh(Graph& g, NodeId x) { return in_double(g, atanh, x); }

}  // namespace coregrad::ops
