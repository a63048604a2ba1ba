// Error functions and the normal distribution's, in float64: rational functions after the Cephes
// library (S. Moshier), as PyTorch has them.

#include "ops/expression.h"

#include <cmath>
#include <numbers>

namespace coregrad::ops {
namespace {

using std::numbers::pi;

// exp(x * x) * erfc(x) = P(x) / Q(x) for x up to 8, and beyond P(1 / x) / (x * Q(1 / x)).
constexpr double kMiddleP[] = {
    2.46196981473530512524e-10, 0.564189564831068821977, 7.46321056442269912687,
    48.6371970985681366614,     196.520832956077098242,  526.445194995477358631,
    934.528527171957607540,     1027.55188689515710272,  557.535335369399327526};
constexpr double kMiddleQ[] = {1.0,
                               13.2281951154744992508,
                               86.7072140885989742329,
                               354.937778887819891062,
                               975.708501743205489753,
                               1823.90916687909736289,
                               2246.33760818710981792,
                               1656.66309194161350182,
                               557.535340817727675546};
constexpr double kTailP[] = {2.97886665372100240670, 7.40974269950448939160,
                             6.16021097993053585195, 5.01905042251180477414,
                             1.27536670759978104416, 0.564189583547755073984};
constexpr double kTailQ[] = {3.36907645100081516050,
                             9.60896809063285878198,
                             17.0814450747565897222,
                             12.0489539808096656605,
                             9.39603524938001434673,
                             2.26052863220117276590,
                             1.0};

// exp(x * x) * erfc(x) for x >= 1.
Expr scaled_tail(Expr x) {
  // Powers of 1 / x do not overflow.
  const Expr inverse = reciprocal(at_least(x, 8));
  const Expr tail = polynomial(inverse, kTailP) * inverse / polynomial(inverse, kTailQ);
  return where(x < 8, quotient(at_most(at_least(x, 1), 8), kMiddleP, kMiddleQ), tail);
}

Expr erfc(Expr x) {
  const Expr size = at_most(abs(x), 30);  // where it has long been 0
  const Expr tail = exp(-(size * size)) * scaled_tail(size);
  return where(size >= 1, where(x < 0, 2 - tail, tail), 1 - erf(x));
}

Expr erfcx(Expr x) {
  const Expr size = abs(x), low = at_most(x, 1);
  const Expr growth = exp(low * low), tail = scaled_tail(size);
  const Expr centre = growth * (1 - erf(at_least(low, -1)));
  return where(size < 1, centre, where(x < 0, growth * 2 - tail, tail));
}

Expr log_ndtr(Expr x) {
  const Expr t = x * std::sqrt(0.5), low = at_most(t, 0);
  // What is added to the square vanishes beside it long before erfcx is 0.
  const Expr tail = log(erfcx(at_most(-low, 1e150)) / 2) - low * low;
  return where(x < -1, tail, log1p(erfc(at_least(t, -1)) * -0.5));
}

Expr erfinv(Expr y) {
  static constexpr double kCentreP[] = {-0.140543331, 0.914624893, -1.645349621, 0.886226899};
  static constexpr double kCentreQ[] = {0.012229801, -0.329097515, 1.442710462, -2.118377725, 1};
  static constexpr double kEdgeP[] = {1.641345311, 3.429567803, -1.624906493, -1.970840454};
  static constexpr double kEdgeQ[] = {1.637067800, 3.543889200, 1};
  // At 1 and -1 it and its slope are infinite, as this logarithm is.
  const Expr is_end = abs(y) == 1, end = with_sign_of(y, -log(1 - abs(y)));
  y = where(is_end, 0, y);
  const Expr centre = y * quotient(y * y, kCentreP, kCentreQ);
  const Expr size = abs(y), root = sqrt(-log((1 - size) / 2));
  const Expr edge = sign(y) * polynomial(root, kEdgeP) / polynomial(root, kEdgeQ);
  Expr x = where(size <= 0.7, centre, edge);
  for (int step = 0; step < 2; ++step)  // Newton's
    x = x - (erf(x) - y) / (exp(-(x * x)) * (2 / std::sqrt(pi)));
  return where(is_end, end, x);
}

constexpr double kNdtriP0[] = {-59.96335010141079, 98.00107541859997, -56.67628574690703,
                               13.931260938727968, -1.2391658386738125};
constexpr double kNdtriQ0[] = {1.0,
                               1.9544885833814176,
                               4.676279128988815,
                               86.36024213908905,
                               -225.46268785411937,
                               200.26021238006066,
                               -82.03722561683334,
                               15.90562251262117,
                               -1.1833162112133};
constexpr double kNdtriP1[] = {4.0554489230596245,  31.525109459989388,   57.16281922464213,
                               44.08050738932008,   14.684956192885803,   2.1866330685079025,
                               -0.1402560791713545, -0.03504246268278482, -0.0008574567851546854};
constexpr double kNdtriQ1[] = {1.0,
                               15.779988325646675,
                               45.39076351288792,
                               41.3172038254672,
                               15.04253856929075,
                               2.504649462083094,
                               -0.14218292285478779,
                               -0.03808064076915783,
                               -0.0009332594808954574};
constexpr double kNdtriP2[] = {
    3.2377489177694603,     6.915228890689842,      3.9388102529247444,
    1.3330346081580755,     0.20148538954917908,    0.012371663481782003,
    0.00030158155350823543, 2.6580697468673755e-06, 6.239745391849833e-09};
constexpr double kNdtriQ2[] = {1.0,
                               6.02427039364742,
                               3.6798356385616087,
                               1.3770209948908132,
                               0.21623699359449663,
                               0.013420400608854318,
                               0.00032801446468212774,
                               2.8924786474538068e-06,
                               6.790194080099813e-09};

Expr ndtri(Expr y) {
  // At 0 and 1 it and its slope are infinite, as these logarithms are.
  const Expr at_zero = log(y), at_one = -log(1 - y), is_zero = y == 0, is_one = y == 1;
  y = where(is_zero | is_one, 0.5, y);
  const Expr upper = y > 1 - std::exp(-2);
  const Expr p = where(upper, 1 - y, y);
  const Expr centred = p - 0.5, square = centred * centred;
  const Expr ratio = quotient(square, kNdtriP0, kNdtriQ0);
  const Expr centre = (centred + centred * (square * ratio)) * std::sqrt(2 * pi);
  const Expr root = sqrt(log(p) * -2), inverse = reciprocal(root);
  const Expr near = quotient(inverse, kNdtriP1, kNdtriQ1);
  const Expr far = quotient(inverse, kNdtriP2, kNdtriQ2);
  const Expr tail = root - log(root) / root - inverse * where(root < 8, near, far);
  const Expr value = where(p > std::exp(-2), centre, where(upper, tail, -tail));
  return where(is_zero, at_zero, where(is_one, at_one, value));
}

}  // namespace

NodeId erfc(Graph& g, NodeId x) { return in_double(g, erfc, x); }
NodeId erfcx(Graph& g, NodeId x) { return in_double(g, erfcx, x); }
NodeId log_ndtr(Graph& g, NodeId x) { return in_double(g, log_ndtr, x); }
NodeId erfinv(Graph& g, NodeId x) { return in_double(g, erfinv, x); }
NodeId ndtri(Graph& g, NodeId x) { return in_double(g, ndtri, x); }

}  // namespace coregrad::ops
