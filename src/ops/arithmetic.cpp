// Arithmetic beside the primitives: signs, powers of two and ten, whole numbers.

#include "base/error.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace coregrad::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// 1 / -0 is -infinity: tells the sign of zeros.
Expr is_negative(Expr x) { return (x < 0) | ((x == 0) & (reciprocal(x) < 0)); }

void require_whole(const Graph& g, NodeId x, std::string_view operation) {
  if (category_of(g.dtype(x)) != Category::Integer)
    raise<DTypeError>("{}: operands must be integers: got {}", operation, describe(g, x));
}

// Of the longest chain of remainders: neighbours among Fibonacci's numbers.
int euclid_steps(DType dtype) { return info(dtype).integer_bits <= 31 ? 46 : 92; }

// Euclid's algorithm, by remainders; a sign may be left.
Expr common_divisor(Expr x, Expr y) {
  for (int step = euclid_steps(x.graph->dtype(x.node)); step > 0; --step) {
    const Expr is_done = y == 0, rest = where(is_done, 0, fmod(x, y));
    x = where(is_done, x, y);
    y = rest;
  }
  return abs(x);
}

// The larger one times a root, so that nothing overflows.
Expr hypot(Expr x, Expr y) {
  x = abs(x);
  y = abs(y);
  const Expr large = maximum(x, y), small = minimum(x, y);
  const Expr ratio = small / where(large > 0, large, 1);
  const Expr is_infinite = (x == kInfinity) | (y == kInfinity);
  return where(is_infinite, kInfinity, large * sqrt(ratio * ratio + 1));
}

}  // namespace

NodeId hypot(Graph& g, NodeId a, NodeId b) {
  a = to_float(g, a);
  b = to_float(g, b);
  const auto formula = [](Expr x, Expr y) { return hypot(x, y); };
  return cast(g, in_double(g, formula, cast(g, a, DType::Float64), b), result_type(g, a, b));
}

NodeId round(Graph& g, NodeId x, int64_t decimals) {
  if (decimals == 0 || !is_float(g.dtype(x))) return unary(g, Op::Round, x);
  const double ten = std::pow(10.0, std::abs(static_cast<double>(decimals)));
  const Expr e(g, x);
  return (decimals > 0 ? round(e * ten) / ten : round(e / ten) * ten).node;
}

NodeId signbit(Graph& g, NodeId x) {
  if (g.dtype(x) == DType::Bool) return full(g, g.shape(x), Scalar::of_int(DType::Bool, 0));
  const Expr e(g, x);
  return (is_float(g.dtype(x)) ? is_negative(e) : e < 0).node;
}

NodeId angle(Graph& g, NodeId x) {
  const Expr e(g, x);
  return where(e != e, e, where(e < 0, Expr(std::numbers::pi).beside(e), 0)).node;
}

NodeId copysign(Graph& g, NodeId x, NodeId sign) {
  const Expr size = abs(Expr(g, x));
  return where(is_negative(Expr(g, sign)), -size, size).node;
}

// Of equals the first wins, and gets the gradient, as in PyTorch.
NodeId fmax(Graph& g, NodeId a, NodeId b) {
  const Expr x(g, a), y(g, b);
  return where((x >= y) | (y != y), x, y).node;
}
NodeId fmin(Graph& g, NodeId a, NodeId b) {
  const Expr x(g, a), y(g, b);
  return where((x <= y) | (y != y), x, y).node;
}

NodeId ldexp(Graph& g, NodeId x, NodeId exponent) {
  // The power has the exponent's own floating dtype, as in x * 2.0 ** exponent.
  const Expr e(g, to_float(g, exponent));
  return (Expr(g, x) * pow(2, e)).node;
}

NodeId gcd(Graph& g, NodeId a, NodeId b) {
  require_whole(g, a, "gcd");
  return common_divisor({g, a}, {g, b}).node;
}

NodeId lcm(Graph& g, NodeId a, NodeId b) {
  require_whole(g, a, "lcm");
  const Expr x(g, a), y(g, b);
  return abs(x / common_divisor(x, y) * y).node;
}

}  // namespace coregrad::ops
