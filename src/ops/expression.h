#pragma once
// Formulas as they stand on paper: `x * x + 1` for add(g, mul(g, x, x), number_like(g, x, 1)). A
// number takes the dtype of the node that it meets; comparisons give bool nodes.

#include "ops/math.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <concepts>
#include <span>

namespace coregrad::ops {

/// A node of a graph, or a number or size that becomes a node beside one.
struct Expr {
  Graph* graph = nullptr;  ///< null for a number
  NodeId node;
  double number = 0;
  SymInt size = 0;  ///< counts where it is a symbol's

  Expr(Graph& g, NodeId id) : graph(&g), node(id) {}
  Expr(double value) : number(value) {}  // NOLINT: meant to convert
  template <std::integral T>
  Expr(T value) : number(static_cast<double>(value)) {}  // NOLINT: meant to convert
  Expr(SymInt n)                                         // NOLINT: meant to convert
      : number(n.is_number() ? static_cast<double>(n.number()) : 0), size(n) {}

  /// A number as a literal of the other's dtype.
  Expr beside(const Expr& other) const {
    if (graph) return *this;
    Graph& g = *other.graph;
    return {g,
            size.is_number() ? number_like(g, other.node, number) : size_like(g, other.node, size)};
  }
};

/// A function of two nodes, or of a node and a number.
template <class Make>
Expr combined(Expr a, Expr b, Make make) {
  a = a.beside(b);
  b = b.beside(a);
  return {*a.graph, make(*a.graph, a.node, b.node)};
}
inline Expr combined(Op op, Expr a, Expr b) {
  return combined(a, b, [op](Graph& g, NodeId x, NodeId y) { return binary(g, op, x, y); });
}
inline Expr compared(Op op, Expr a, Expr b) {
  return combined(a, b, [op](Graph& g, NodeId x, NodeId y) { return compare(g, op, x, y); });
}

inline Expr operator+(Expr a, Expr b) { return combined(Op::Add, a, b); }
inline Expr operator-(Expr a, Expr b) { return combined(Op::Sub, a, b); }
inline Expr operator*(Expr a, Expr b) { return combined(Op::Mul, a, b); }
inline Expr operator/(Expr a, Expr b) { return combined(Op::Div, a, b); }
inline Expr operator<(Expr a, Expr b) { return compared(Op::Lt, a, b); }
inline Expr operator>(Expr a, Expr b) { return compared(Op::Lt, b, a); }
inline Expr operator<=(Expr a, Expr b) { return compared(Op::Le, a, b); }
inline Expr operator>=(Expr a, Expr b) { return compared(Op::Le, b, a); }
inline Expr operator==(Expr a, Expr b) { return compared(Op::Eq, a, b); }
inline Expr operator!=(Expr a, Expr b) { return compared(Op::Ne, a, b); }
inline Expr operator&(Expr a, Expr b) { return combined(Op::And, a, b); }
inline Expr operator|(Expr a, Expr b) { return combined(Op::Or, a, b); }
inline Expr operator!(Expr a) { return {*a.graph, unary(*a.graph, Op::Not, a.node)}; }
inline Expr operator-(Expr a) { return {*a.graph, neg(*a.graph, a.node)}; }

inline Expr pow(Expr base, Expr exponent) { return combined(Op::Pow, base, exponent); }
inline Expr maximum(Expr a, Expr b) { return combined(Op::Max, a, b); }
inline Expr minimum(Expr a, Expr b) { return combined(Op::Min, a, b); }
/// Remainder with the sign of the dividend.
inline Expr fmod(Expr a, Expr b) { return combined(Op::Rem, a, b); }

// exp(x), log(x), ..: the primitives of one operand.
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc)
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  inline Expr name(Expr x) { return {*x.graph, name(*x.graph, x.node)}; }
#include "ops/operators.def"
inline Expr round(Expr x) { return {*x.graph, round(*x.graph, x.node)}; }

/// a where the condition holds, b elsewhere.
inline Expr where(Expr condition, Expr a, Expr b) {
  return combined(a, b,
                  [&](Graph& g, NodeId x, NodeId y) { return select(g, condition.node, x, y); });
}

// Limits as choices: where they are exceeded nothing passes into the gradient, not even NaN.
inline Expr at_least(Expr x, double limit) { return where(x < limit, limit, x); }
inline Expr at_most(Expr x, double limit) { return where(x > limit, limit, x); }
/// |x| with slope 1 at 0, for functions that are smooth there.
inline Expr smooth_abs(Expr x) { return where(x < 0, -x, x); }
/// `value` of |x| for an odd function of x.
inline Expr with_sign_of(Expr x, Expr value) { return where(x < 0, -value, value); }

/// Horner's rule, the coefficient of the highest power first.
inline Expr polynomial(Expr x, std::span<const double> coefficients) {
  Expr total = Expr(coefficients[0]).beside(x);
  for (const double c : coefficients.subspan(1)) total = total * x + c;
  return total;
}
inline Expr quotient(Expr x, std::span<const double> top, std::span<const double> bottom) {
  return polynomial(x, top) / polynomial(x, bottom);
}

/// In float64.
inline Expr wide(Graph& g, NodeId x) { return {g, cast(g, x, DType::Float64)}; }

/// A formula of operands as float64, whose value is rounded once to the dtype of the first.
template <class Formula, class... Operands>
NodeId in_double(Graph& g, Formula formula, NodeId first, Operands... rest) {
  return cast(g, formula(wide(g, first), wide(g, rest)...).node, g.dtype(first));
}
// Picks the formula among functions of its name.
inline NodeId in_double(Graph& g, Expr (*formula)(Expr), NodeId x) {
  return in_double<Expr (*)(Expr)>(g, formula, x);
}

}  // namespace coregrad::ops
