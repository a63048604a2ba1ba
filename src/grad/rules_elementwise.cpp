// Rules of the unary, binary, select and cast operations. In each, g is the gradient of the result,
// y the result and x (or a, b) the operands.

#include "grad/rules.h"
#include "ops/operators.h"

#include <numbers>

namespace coregrad::grad {
namespace {

using namespace ops;

/// The value of a constant that was expanded or reshaped.
std::optional<double> constant_value(const Graph& graph, NodeId x) {
  while (graph[x].op == Op::Expand || graph[x].op == Op::Reshape) x = graph.operand(x, 0);
  if (!graph.is_literal(x)) return std::nullopt;
  return graph.literal(x).as_double();
}

/// A unary rule from the factor that multiplies g.
template <NodeId (*factor)(Graph&, NodeId x, NodeId y)>
void scaled(Backward& b) {
  b.give(0, mul(b.graph, b.gradient, factor(b.graph, b.operand(0), b.node)));
}

NodeId square(Graph& g, NodeId x) { return mul(g, x, x); }
NodeId one_minus_square(Graph& g, NodeId x) { return sub(g, number(g, x, 1), square(g, x)); }
NodeId one_plus_square(Graph& g, NodeId x) { return add(g, square(g, x), number(g, x, 1)); }
NodeId times(Graph& g, NodeId x, double factor) { return mul(g, x, number(g, x, factor)); }

/// The derivative is zero wherever it exists (floor, sign and their like).
void flat(Backward&) {}

void neg_rule(Backward& b) { b.give(0, neg(b.graph, b.gradient)); }

NodeId abs_factor(Graph& g, NodeId x, NodeId) { return unary(g, Op::Sign, x); }
NodeId exp_factor(Graph&, NodeId, NodeId y) { return y; }
NodeId exp2_factor(Graph& g, NodeId, NodeId y) { return times(g, y, std::numbers::ln2); }
// Not y + 1, which cancels.
NodeId expm1_factor(Graph& g, NodeId x, NodeId) { return exp(g, x); }
NodeId rsqrt_factor(Graph& g, NodeId, NodeId y) { return times(g, mul(g, square(g, y), y), -0.5); }
NodeId reciprocal_factor(Graph& g, NodeId, NodeId y) { return neg(g, square(g, y)); }
NodeId sin_factor(Graph& g, NodeId x, NodeId) { return unary(g, Op::Cos, x); }
NodeId cos_factor(Graph& g, NodeId x, NodeId) { return neg(g, unary(g, Op::Sin, x)); }
NodeId tan_factor(Graph& g, NodeId, NodeId y) { return one_plus_square(g, y); }
NodeId asin_factor(Graph& g, NodeId x, NodeId) {
  return unary(g, Op::Rsqrt, one_minus_square(g, x));
}
NodeId acos_factor(Graph& g, NodeId x, NodeId y) { return neg(g, asin_factor(g, x, y)); }
NodeId sinh_factor(Graph& g, NodeId x, NodeId) { return unary(g, Op::Cosh, x); }
NodeId cosh_factor(Graph& g, NodeId x, NodeId) { return unary(g, Op::Sinh, x); }
NodeId tanh_factor(Graph& g, NodeId, NodeId y) { return one_minus_square(g, y); }
NodeId sigmoid_factor(Graph& g, NodeId, NodeId y) { return mul(g, y, sub(g, number(g, y, 1), y)); }
NodeId log1pexp_factor(Graph& g, NodeId x, NodeId) { return sigmoid(g, x); }
NodeId erf_factor(Graph& g, NodeId x, NodeId) {
  return times(g, exp(g, neg(g, square(g, x))), 2 * std::numbers::inv_sqrtpi);
}

// Logarithms, sqrt and atan divide, which rounds once where a reciprocal would round twice.
template <NodeId (*divisor)(Graph&, NodeId x, NodeId y)>
void divided(Backward& b) {
  b.give(0, div(b.graph, b.gradient, divisor(b.graph, b.operand(0), b.node)));
}

NodeId log_divisor(Graph&, NodeId x, NodeId) { return x; }
NodeId log2_divisor(Graph& g, NodeId x, NodeId) { return times(g, x, std::numbers::ln2); }
NodeId log10_divisor(Graph& g, NodeId x, NodeId) { return times(g, x, std::numbers::ln10); }
NodeId log1p_divisor(Graph& g, NodeId x, NodeId) { return add(g, x, number(g, x, 1)); }
NodeId sqrt_divisor(Graph& g, NodeId, NodeId y) { return times(g, y, 2); }
NodeId atan_divisor(Graph& g, NodeId x, NodeId) { return one_plus_square(g, x); }

void add_rule(Backward& b) {
  if (b.wants(0)) b.give(0, b.gradient);
  if (b.wants(1)) b.give(1, b.gradient);
}

void sub_rule(Backward& b) {
  if (b.wants(0)) b.give(0, b.gradient);
  if (b.wants(1)) b.give(1, neg(b.graph, b.gradient));
}

void mul_rule(Backward& b) {
  if (b.operand(0) == b.operand(1)) {  // one product instead of the sum of two
    b.give(0, times(b.graph, mul(b.graph, b.gradient, b.operand(0)), 2));
    return;
  }
  if (b.wants(0)) b.give(0, mul(b.graph, b.gradient, b.operand(1)));
  if (b.wants(1)) b.give(1, mul(b.graph, b.gradient, b.operand(0)));
}

void div_rule(Backward& b) {
  Graph& g = b.graph;
  if (b.wants(0)) b.give(0, div(g, b.gradient, b.operand(1)));
  // Not g / b times the result, though the two slopes could share it: that overflows for a tiny b.
  if (b.wants(1)) b.give(1, neg(g, mul(g, b.gradient, div(g, b.node, b.operand(1)))));
}

/// fmod(a, b) = a - trunc(a / b) * b.
void rem_rule(Backward& b) {
  Graph& g = b.graph;
  if (b.wants(0)) b.give(0, b.gradient);
  if (b.wants(1)) {
    const NodeId quotient = unary(g, Op::Trunc, div(g, b.operand(0), b.operand(1)));
    b.give(1, neg(g, mul(g, b.gradient, quotient)));
  }
}

/// d/da is 0 where b = 0, and d/db is 0 where a = 0 and b >= 0, as in PyTorch.
void pow_rule(Backward& b) {
  Graph& g = b.graph;
  const NodeId base = b.operand(0), exponent = b.operand(1);
  const NodeId zero = number(g, base, 0);
  if (b.wants(0)) {
    const std::optional<double> constant = constant_value(g, exponent);
    const NodeId lower = binary(g, Op::Pow, base, sub(g, exponent, number(g, exponent, 1)));
    const NodeId slope = mul(g, b.gradient, mul(g, exponent, lower));
    if (!constant)
      b.give(0, select(g, compare(g, Op::Eq, exponent, zero), zero, slope));
    else if (*constant != 0)
      b.give(0, slope);
  }
  if (b.wants(1)) {
    const NodeId at_zero =
        binary(g, Op::And, compare(g, Op::Eq, base, zero), compare(g, Op::Le, zero, exponent));
    // The logarithm's argument is made harmless where it is not used: 0 * inf would be NaN in a
    // second derivative.
    const NodeId safe = select(g, at_zero, number(g, base, 1), base);
    const NodeId slope = mul(g, b.gradient, mul(g, b.node, log(g, safe)));
    b.give(1, select(g, at_zero, zero, slope));
  }
}

/// Equal operands share the gradient.
void extreme_rule(Backward& b) {
  Graph& g = b.graph;
  const bool is_max = g[b.node].op == Op::Max;
  const NodeId zero = number(g, b.node, 0);
  const NodeId half = times(g, b.gradient, 0.5);
  const NodeId equal = compare(g, Op::Eq, b.operand(0), b.operand(1));
  for (size_t i : {size_t{0}, size_t{1}}) {
    if (!b.wants(i)) continue;
    const NodeId mine = b.operand(i), other = b.operand(1 - i);
    const NodeId loses = is_max ? compare(g, Op::Lt, mine, other) : compare(g, Op::Lt, other, mine);
    b.give(i, select(g, loses, zero, select(g, equal, half, b.gradient)));
  }
}

/// The slopes are x and -y over x^2 + y^2, and 0 in the origin, as in PyTorch. Very large and very
/// small pairs are scaled by a power of two first, or the squares would overflow or vanish.
void atan2_rule(Backward& b) {
  Graph& g = b.graph;
  const bool is_single = g.dtype(b.node) == DType::Float32;
  const double large = is_single ? 0x1p50 : 0x1p400, factor = large * large;
  NodeId y = b.operand(0), x = b.operand(1);
  const auto constant = [&](double value) { return number(g, b.node, value); };
  const NodeId size = maximum(g, unary(g, Op::Abs, x), unary(g, Op::Abs, y));
  const NodeId scale = select(
      g, compare(g, Op::Lt, size, constant(1 / large)), constant(factor),
      select(g, compare(g, Op::Lt, constant(large), size), constant(1 / factor), constant(1)));
  y = mul(g, y, scale);
  x = mul(g, x, scale);
  const NodeId is_origin = compare(g, Op::Eq, size, constant(0));
  const NodeId norm = select(g, is_origin, constant(1), add(g, square(g, x), square(g, y)));
  const NodeId gradient = mul(g, b.gradient, scale);
  if (b.wants(0)) b.give(0, mul(g, gradient, div(g, x, norm)));
  if (b.wants(1)) b.give(1, neg(g, mul(g, gradient, div(g, y, norm))));
}

void select_rule(Backward& b) {
  Graph& g = b.graph;
  const NodeId zero = number(g, b.node, 0);
  if (b.wants(1)) b.give(1, select(g, b.operand(0), b.gradient, zero));
  if (b.wants(2)) b.give(2, select(g, b.operand(0), zero, b.gradient));
}

void cast_rule(Backward& b) { b.give(0, cast(b.graph, b.gradient, b.graph.dtype(b.operand(0)))); }

constexpr RuleRow kRows[] = {
    {Op::Neg, neg_rule},
    {Op::Abs, scaled<abs_factor>},
    {Op::Sign, flat},
    {Op::Exp, scaled<exp_factor>},
    {Op::Exp2, scaled<exp2_factor>},
    {Op::Expm1, scaled<expm1_factor>},
    {Op::Log, divided<log_divisor>},
    {Op::Log2, divided<log2_divisor>},
    {Op::Log10, divided<log10_divisor>},
    {Op::Log1p, divided<log1p_divisor>},
    {Op::Sqrt, divided<sqrt_divisor>},
    {Op::Rsqrt, scaled<rsqrt_factor>},
    {Op::Reciprocal, scaled<reciprocal_factor>},
    {Op::Sin, scaled<sin_factor>},
    {Op::Cos, scaled<cos_factor>},
    {Op::Tan, scaled<tan_factor>},
    {Op::Asin, scaled<asin_factor>},
    {Op::Acos, scaled<acos_factor>},
    {Op::Atan, divided<atan_divisor>},
    {Op::Sinh, scaled<sinh_factor>},
    {Op::Cosh, scaled<cosh_factor>},
    {Op::Tanh, scaled<tanh_factor>},
    {Op::Sigmoid, scaled<sigmoid_factor>},
    {Op::Log1pExp, scaled<log1pexp_factor>},
    {Op::Erf, scaled<erf_factor>},
    {Op::Floor, flat},
    {Op::Ceil, flat},
    {Op::Round, flat},
    {Op::Trunc, flat},
    {Op::Add, add_rule},
    {Op::Sub, sub_rule},
    {Op::Mul, mul_rule},
    {Op::Div, div_rule},
    {Op::Rem, rem_rule},
    {Op::Pow, pow_rule},
    {Op::Max, extreme_rule},
    {Op::Min, extreme_rule},
    {Op::Atan2, atan2_rule},
    {Op::Select, select_rule},
    {Op::Cast, cast_rule},
};

}  // namespace

std::span<const RuleRow> elementwise_rules() { return kRows; }

}  // namespace coregrad::grad
