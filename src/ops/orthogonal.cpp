// Orthogonal polynomials, in float64: Chebyshev's in closed form, others by their recurrences.
//
// With x = cos(t): T_n = cos(n t), U_n = sin((n + 1) t) / sin(t), V_n = cos((n + 1/2) t) / cos(t /
// 2), W_n = sin((n + 1/2) t) / sin(t / 2). Beyond 1 the same with hyperbolic functions, and below 0
// T_n(-x) = (-1)^n T_n(x), U_n likewise, V_n(-x) = (-1)^n W_n(x).

#include "base/error.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>

namespace coregrad::ops {
namespace {

enum class Kind : uint8_t { T, U, V, W };
using Function = Expr (*)(Expr);

Expr of_angle(Kind kind, Expr n, Expr angle, Function sine, Function cosine) {
  if (kind == Kind::T) return cosine(n * angle);
  if (kind == Kind::U) return sine((n + 1) * angle) / sine(angle);
  const Function function = kind == Kind::V ? cosine : sine;
  return function((n + 0.5) * angle) / function(angle * 0.5);
}

// The tangent at 1.
Expr at_one(Kind kind, Expr n, Expr x) {
  const Expr product = n * (n + 1);
  if (kind == Kind::T) return n * n * (x - 1) + 1;
  if (kind == Kind::U) return product * (n + 2) / 3 * (x - 1) + (n + 1);
  if (kind == Kind::V) return product * (x - 1) + 1;
  return product * (n * 2 + 1) / 3 * (x - 1) + (n * 2 + 1);
}

// For x >= 0.
Expr on_the_right(Kind kind, Expr n, Expr x) {
  const Expr inside = where(x >= 1, 0, x), outside = where(x <= 1, 2, x);
  const Expr angle = acos(inside), likewise(*x.graph, acosh(*x.graph, outside.node));
  const Expr value =
      where(x < 1, of_angle(kind, n, angle, sin, cos), of_angle(kind, n, likewise, sinh, cosh));
  return where(x == 1, at_one(kind, n, x), value);
}

// Degrees are cut to whole numbers; PyTorch takes NaN for the least there is.
Expr whole_degree(Expr n) { return where(n == n, trunc(n), -1); }

Expr chebyshev(Kind kind, Expr x, Expr n) {
  const Expr size = smooth_abs(x), negative = x < 0;
  Expr value = on_the_right(kind, n, size), first = x;
  if (kind == Kind::V) value = where(negative, on_the_right(Kind::W, n, size), value);
  if (kind == Kind::W) value = where(negative, on_the_right(Kind::V, n, size), value);
  value = where(negative & (fmod(n, 2) != 0), -value, value);
  if (kind != Kind::T) first = x * 2;
  if (kind == Kind::V) first = first - 1;
  if (kind == Kind::W) first = first + 1;
  return where(n == 0, 1, where(n < 0, 0, where(n == 1, first, value)));
}

NodeId chebyshev(Graph& g, Kind kind, NodeId x, NodeId n) {
  return in_double(g, [=](Expr a, Expr b) { return chebyshev(kind, a, whole_degree(b)); }, x, n);
}

// On [0, 1] in place of [-1, 1].
NodeId shifted_chebyshev(Graph& g, Kind kind, NodeId x, NodeId n) {
  return in_double(
      g, [=](Expr a, Expr b) { return chebyshev(kind, a * 2 - 1, whole_degree(b)); }, x, n);
}

// The polynomial of degree 1, and that of degree k from those below it.
struct Recurrence {
  Expr (*first)(Expr x);
  Expr (*next)(Expr x, double k, Expr below, Expr second_below);
};

constexpr Recurrence kHermiteH = {
    [](Expr x) { return x * 2; },
    [](Expr x, double k, Expr p, Expr q) { return x * 2 * p - q * (2 * (k - 1)); }};
constexpr Recurrence kHermiteHe = {
    [](Expr x) { return x; }, [](Expr x, double k, Expr p, Expr q) { return x * p - q * (k - 1); }};
constexpr Recurrence kLaguerre = {
    [](Expr x) { return 1 - x; },
    [](Expr x, double k, Expr p, Expr q) { return ((2 * k - 1 - x) * p - q * (k - 1)) / k; }};
constexpr Recurrence kLegendre = {
    [](Expr x) { return x; },
    [](Expr x, double k, Expr p, Expr q) { return (x * (2 * k - 1) * p - q * (k - 1)) / k; }};

constexpr int kHighestDegree = 128;  // PyTorch's limit for Hermite's in float32

// The recurrence up to a degree, or to the limit, from which each degree takes its own.
NodeId recurred(Graph& g, const Recurrence& recurrence, NodeId x, NodeId n,
                std::string_view operation) {
  const std::optional<Scalar> constant = constant_value(g, n);
  const double last = constant ? std::trunc(constant->as_double()) : kHighestDegree;
  if (last > kHighestDegree)
    raise<ValueError>("{}: the degree must not exceed {}: got {}", operation, kHighestDegree, last);
  const auto formula = [&](Expr e, Expr degree) {
    degree = whole_degree(degree);
    Expr before = Expr(1).beside(e), current = recurrence.first(e);
    Expr value = where(degree <= 0, where(degree < 0, 0, before), current);
    for (int k = 2; k <= last; ++k) {
      const Expr next = recurrence.next(e, k, current, before);
      before = current;
      current = next;
      value = where(degree >= k, current, value);
    }
    return where(degree > kHighestDegree, std::numeric_limits<double>::quiet_NaN(), value);
  };
  const std::vector<SymInt> shape = broadcast_shapes(g.shape(x), g.shape(n), operation);
  return broadcast_to(g, in_double(g, formula, x, n), shape);
}

}  // namespace

#define CHEBYSHEV(kind, letter)                                                \
  NodeId chebyshev_polynomial_##letter(Graph& g, NodeId x, NodeId n) {         \
    return chebyshev(g, Kind::kind, x, n);                                     \
  }                                                                            \
  NodeId shifted_chebyshev_polynomial_##letter(Graph& g, NodeId x, NodeId n) { \
    return shifted_chebyshev(g, Kind::kind, x, n);                             \
  }
CHEBYSHEV(T, t)
CHEBYSHEV(U, u)
CHEBYSHEV(V, v)
CHEBYSHEV(W, w)
#undef CHEBYSHEV

NodeId hermite_polynomial_h(Graph& g, NodeId x, NodeId n) {
  return recurred(g, kHermiteH, x, n, "hermite_polynomial_h");
}
NodeId hermite_polynomial_he(Graph& g, NodeId x, NodeId n) {
  return recurred(g, kHermiteHe, x, n, "hermite_polynomial_he");
}
NodeId laguerre_polynomial_l(Graph& g, NodeId x, NodeId n) {
  return recurred(g, kLaguerre, x, n, "laguerre_polynomial_l");
}
NodeId legendre_polynomial_p(Graph& g, NodeId x, NodeId n) {
  return recurred(g, kLegendre, x, n, "legendre_polynomial_p");
}

}  // namespace coregrad::ops
