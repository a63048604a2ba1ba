// The gamma function's logarithm and derivatives, and Hurwitz's zeta function, in float64. Shifts
// and series are those of PyTorch's own kernels where these are less exact than float64.

#include "base/error.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace coregrad::ops {
namespace {

using std::numbers::pi;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// x > 0 is raised by ones until the asymptotic series are exact.
constexpr int kRaised = 10;

// log(gamma(x)) for finite x > 0: Stirling's series, less the factors between.
Expr positive_lgamma(Expr x) {
  static constexpr double kStirling[] = {-691.0 / 360360, 1.0 / 1188, -1.0 / 1680,
                                         1.0 / 1260,      -1.0 / 360, 1.0 / 12};
  Expr product = 1;
  for (int i = 0; i < kRaised; ++i) {
    product = product * where(x < kRaised, x, 1);
    x = where(x < kRaised, x + 1, x);
  }
  const Expr inverse = reciprocal(x), logarithm = log(x);
  return x * (logarithm - 1) - logarithm * 0.5 + 0.5 * std::log(2 * pi) +
         polynomial(inverse * inverse, kStirling) * inverse - log(product);
}

Expr lgamma(Expr x) {
  // At 0 and infinity these have its value and its slope.
  const Expr is_zero = x == 0, at_zero = -log(x), is_infinite = x == kInfinity, at_end = x * x;
  x = where(is_zero | is_infinite, 1, x);
  const Expr reflected = x < 0;
  const Expr value = positive_lgamma(where(reflected, 1 - x, x));
  const Expr sine = abs(sin((x - round(x)) * pi));
  const Expr mirrored = std::log(pi) - log(where(reflected, sine, 1)) - value;
  const Expr left = where(x == floor(x), kInfinity, mirrored);  // poles, also -infinity
  return where(is_zero, at_zero, where(is_infinite, at_end, where(reflected, left, value)));
}

Expr digamma(Expr x) {
  static constexpr double kSeries[] = {
      1.0 / 12, -2.10927960927960927961e-2, 1.0 / 132, -1.0 / 240, 1.0 / 252, -1.0 / 120, 1.0 / 12};
  const Expr is_zero = x == 0, at_zero = -reciprocal(x);
  x = where(is_zero, 1, x);
  const Expr reflected = x < 0;
  Expr raised = where(reflected, 1 - x, x), total = 0;
  for (int i = 0; i < kRaised; ++i) {
    total = total - where(raised < kRaised, reciprocal(raised), 0);
    raised = where(raised < kRaised, raised + 1, raised);
  }
  const Expr inverse = reciprocal(raised), square = inverse * inverse;
  const Expr value = total + log(raised) - inverse * 0.5 - square * polynomial(square, kSeries);
  const Expr fraction = where(reflected, x - trunc(x), 0.25);
  const Expr both = value - where(reflected, pi / tan(fraction * pi), 0);
  return where(is_zero, at_zero, where(reflected & (x == trunc(x)), kNaN, both));
}

// With the six shifts and four terms of PyTorch's kernel, whose error this is too.
Expr trigamma(Expr x) {
  const Expr low = x < 0.5, sine = sin(at_most(x, 0.5) * pi);
  Expr total = where(low, -(pi * pi) / (sine * sine), 0);
  x = where(low, 1 - x, x);
  for (int i = 0; i < 6; ++i) {
    total = total + reciprocal(x * x);
    x = x + 1;
  }
  const Expr inverse = reciprocal(x * x);
  const Expr series = 1.0 / 6 - inverse * (1.0 / 30 - inverse * (1.0 / 42));
  total = total + (1 + 0.5 / x + inverse * series) / x;
  return where(low, -total, total);
}

// (2k)! / B_2k for k = 1, 2, ..
constexpr double kBernoulli[] = {12.0,
                                 -720.0,
                                 30240.0,
                                 -1209600.0,
                                 47900160.0,
                                 -1.8924375803183791606e9,
                                 7.47242496e10,
                                 -2.950130727918164224e12,
                                 1.1646782814350067249e14,
                                 -4.5979787224074726105e15,
                                 1.8152105401943546773e17,
                                 -7.1661652561756670113e18};

// The zeta function of s > 1 and q > 0, by Euler and Maclaurin's formula.
Expr positive_zeta(Expr s, Expr q) {
  Expr term = pow(q, -s), total = term;
  for (int i = 0; i < 9; ++i) {
    q = q + 1;
    term = pow(q, -s);
    total = total + term;
  }
  // Before large factors meet tiny powers.
  const Expr done = term < total * 0x1p-53, early = total;
  total = total + term * q / (s - 1) - term * 0.5;
  Expr factor = s;
  double k = 0;
  for (const double divisor : kBernoulli) {
    if (k > 0) factor = factor * (s + k);
    term = term / q;
    total = total + term * (factor / divisor);
    factor = factor * (s + (k + 1));
    term = term / q;
    k += 2;
  }
  return where(done, early, total);
}

Expr zeta(Expr s, Expr q) {
  const Expr below_one = s < 1, is_one = s == 1;
  s = where(s <= 1, 2, s);
  q = at_least(q, -0x1p53);  // beyond lie whole numbers only
  // At its poles it rises as this logarithm does.
  const Expr pole = (q <= 0) & (q == floor(q)), at_pole = -log(where(pole, q - floor(q), 1));
  q = where(pole, 0.5, q);
  // Left of zero: the sum over all integers from the fraction, on both sides of it.
  const Expr negative = q < 0, fraction = where(negative, q - floor(q), 0.5);
  const Expr right = positive_zeta(s, where(negative, 1 - q, q));
  const Expr rest = positive_zeta(s, 1 - fraction) - right;
  const Expr left = positive_zeta(s, fraction) + where(fmod(s, 2) != 0, -rest, rest);
  Expr value = where(negative, left, right);
  value = where(negative & (s != floor(s)), kNaN, value);
  value = where(pole, at_pole, value);
  return where(below_one, kNaN, where(is_one, kInfinity, value));
}

}  // namespace

NodeId lgamma(Graph& g, NodeId x) { return in_double(g, lgamma, x); }
NodeId digamma(Graph& g, NodeId x) { return in_double(g, digamma, x); }
NodeId zeta(Graph& g, NodeId s, NodeId q) {
  return in_double(g, [](Expr a, Expr b) { return zeta(a, b); }, s, q);
}

NodeId polygamma(Graph& g, NodeId x, int64_t n) {
  if (n < 0 || n > 20) raise<ValueError>("polygamma: the order must be 0 to 20: got {}", n);
  if (n == 0) return digamma(g, x);
  if (n == 1) return in_double(g, trigamma, x);
  const auto order = static_cast<double>(n);
  const double scale = (n % 2 != 0 ? 1 : -1) * std::tgamma(order + 1);
  return in_double(g, [&](Expr e) { return zeta(Expr(order + 1).beside(e), e) * scale; }, x);
}

}  // namespace coregrad::ops
