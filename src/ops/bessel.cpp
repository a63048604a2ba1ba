// Bessel functions of the orders 0 and 1, in float64: rational functions and Chebyshev series after
// the Cephes library (S. Moshier).

#include "ops/bessel_tables.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace coregrad::ops {
namespace {

using std::numbers::pi;
using Coefficients = std::span<const double>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Clenshaw's sum of a Chebyshev series in x / 2, highest term first.
Expr chebyshev_series(Expr x, Coefficients coefficients) {
  Expr before = Expr(0).beside(x), last = before, value = Expr(coefficients[0]).beside(x);
  for (const double c : coefficients.subspan(1)) {
    before = last;
    last = value;
    value = x * last - before + c;
  }
  return (value - before) * 0.5;
}

// Modified, of the first kind

// exp(-x) I(x) for x up to 8 (the first order's without a factor x), and beyond.
Expr near_i(Expr x, Coefficients table) { return chebyshev_series(at_most(x, 8) * 0.5 - 2, table); }
Expr far_i(Expr x, Coefficients table) {
  x = at_least(x, 8);
  return chebyshev_series(32 / x - 2, table) / sqrt(x);
}

Expr i0e(Expr x) {
  const Expr size = abs(x);
  return where(size <= 8, near_i(size, kI0A), far_i(size, kI0B));
}
Expr i1e(Expr x) {
  const Expr size = smooth_abs(x);
  return with_sign_of(x, where(size <= 8, near_i(size, kI1A) * size, far_i(size, kI1B)));
}
Expr i0(Expr x) { return exp(abs(x)) * i0e(x); }
Expr i1(Expr x) { return exp(abs(x)) * i1e(x); }

// Modified, of the second kind

// From K(x) for x up to 2 and exp(x) K(x) beyond.
Expr second_modified(Expr x, Expr near, Expr far, bool scaled) {
  const Expr value =
      scaled ? where(x <= 2, near * exp(at_most(x, 2)), far) : where(x <= 2, near, exp(-x) * far);
  return where(x == 0, kInfinity, where(x < 0, kNaN, value));
}

Expr far_k(Expr x, Coefficients table) {
  x = at_least(x, 2);
  return chebyshev_series(8 / x - 2, table) / sqrt(x);
}

Expr k0(Expr x, bool scaled) {
  const Expr small = at_most(x, 2);
  const Expr near = chebyshev_series(small * small - 2, kK0A) - log(small * 0.5) * i0(small);
  return second_modified(x, near, far_k(x, kK0B), scaled);
}

Expr k1(Expr x, bool scaled) {
  const Expr small = at_most(x, 2);
  const Expr near =
      log(small * 0.5) * i1(small) + chebyshev_series(small * small - 2, kK1A) / small;
  return second_modified(x, near, far_k(x, kK1B), scaled);
}

// Of both kinds, for x > 5: amplitude and phase

struct Waves {
  Expr p, q, phase, scale;
};

Waves waves(Expr x, int order) {
  x = at_least(x, 5);
  const Expr square = 25 / (x * x);
  const Expr p = order == 0 ? quotient(square, kJ0PP, kJ0PQ) : quotient(square, kJ1PP, kJ1PQ);
  const Expr q = order == 0 ? quotient(square, kJ0QP, kJ0QQ) : quotient(square, kJ1QP, kJ1QQ);
  return {p, 5 / x * q, x - (0.25 + 0.5 * order) * pi, std::sqrt(2 / pi) / sqrt(x)};
}

Expr far_first(Expr x, int order) {
  const auto [p, q, phase, scale] = waves(x, order);
  return (p * cos(phase) - q * sin(phase)) * scale;
}

Expr far_second(Expr x, int order) {
  const auto [p, q, phase, scale] = waves(x, order);
  return (p * sin(phase) + q * cos(phase)) * scale;
}

// With the first two zeros of each as factors.
Expr j0(Expr x) {
  x = abs(x);
  const Expr small = at_most(x, 5), square = small * small;
  const Expr near = (square - 5.78318596294678452118) * (square - 30.4712623436620863991) *
                    quotient(square, kJ0RP, kJ0RQ);
  return where(x <= 5, where(x < 0.00001, 1 - square / 4, near), far_first(x, 0));
}

Expr j1(Expr x) {
  const Expr size = smooth_abs(x), small = at_most(size, 5), square = small * small;
  const Expr near = quotient(square, kJ1RP, kJ1RQ) * small * (square - 14.6819706421238932572) *
                    (square - 49.2184563216946036703);
  return with_sign_of(x, where(size <= 5, near, far_first(size, 1)));
}

Expr second(Expr x, Expr near, int order) {
  const Expr value = where(x <= 5, near, far_second(x, order));
  return where(x == 0, -kInfinity, where(x < 0, kNaN, value));
}

Expr y0(Expr x) {
  const Expr small = at_most(x, 5);
  return second(x, quotient(small * small, kY0YP, kY0YQ) + 2 / pi * log(small) * j0(small), 0);
}

Expr y1(Expr x) {
  const Expr small = at_most(x, 5), rest = j1(small) * log(small) - reciprocal(small);
  return second(x, small * quotient(small * small, kY1YP, kY1YQ) + 2 / pi * rest, 1);
}

Expr spherical_j0(Expr x) {
  // Of sin(x) / x, in x^2.
  static constexpr double kTaylor[] = {1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040,
                                       1.0 / 120,        -1.0 / 6,        1.0};
  const Expr is_small = abs(x) < 0.5, is_infinite = abs(x) == kInfinity;
  const Expr small = where(is_small, x, 0), large = where(is_small | is_infinite, 1, x);
  const Expr value = where(is_small, polynomial(small * small, kTaylor), sin(large) / large);
  return where(is_infinite, 0, value);
}

}  // namespace

NodeId i0(Graph& g, NodeId x) { return in_double(g, i0, x); }
NodeId i0e(Graph& g, NodeId x) { return in_double(g, i0e, x); }
NodeId i1(Graph& g, NodeId x) { return in_double(g, i1, x); }
NodeId i1e(Graph& g, NodeId x) { return in_double(g, i1e, x); }
NodeId modified_bessel_k0(Graph& g, NodeId x) {
  return in_double(g, [](Expr e) { return k0(e, false); }, x);
}
NodeId modified_bessel_k1(Graph& g, NodeId x) {
  return in_double(g, [](Expr e) { return k1(e, false); }, x);
}
NodeId scaled_modified_bessel_k0(Graph& g, NodeId x) {
  return in_double(g, [](Expr e) { return k0(e, true); }, x);
}
NodeId scaled_modified_bessel_k1(Graph& g, NodeId x) {
  return in_double(g, [](Expr e) { return k1(e, true); }, x);
}
NodeId bessel_j0(Graph& g, NodeId x) { return in_double(g, j0, x); }
NodeId bessel_j1(Graph& g, NodeId x) { return in_double(g, j1, x); }
NodeId bessel_y0(Graph& g, NodeId x) { return in_double(g, y0, x); }
NodeId bessel_y1(Graph& g, NodeId x) { return in_double(g, y1, x); }
NodeId spherical_bessel_j0(Graph& g, NodeId x) { return in_double(g, spherical_j0, x); }

}  // namespace coregrad::ops
