// Unary, binary, comparison, select and cast: dtype rules, broadcasting, folding and identities.
//
// An identity is applied only where it is exact for every value, NaN, infinities and signed zeros
// included (NaN payloads aside). Where PyTorch itself defines an operation by a simpler one (pow by
// small exponents) its definition is taken.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/fold.h"
#include "ops/primitives.h"

#include <cmath>
#include <optional>
#include <utility>

namespace coregrad::ops {
namespace {

std::optional<double> float_constant(const Graph& graph, NodeId x) {
  const std::optional<Scalar> value = constant_value(graph, x);
  if (!value || !is_float(value->dtype)) return std::nullopt;
  return value->f;
}

std::optional<int64_t> integer_constant(const Graph& graph, NodeId x) {
  const std::optional<Scalar> value = constant_value(graph, x);
  if (!value || is_float(value->dtype)) return std::nullopt;
  return value->i;
}

// Small sets of operations that never give -0, so that adding +0 to them changes nothing.
bool is_never_negative_zero(const Graph& graph, NodeId x) {
  while (is_index_map(graph[x].op) && graph[x].op != Op::Pad) x = graph.operand(x, 0);
  const Op op = graph[x].op;
  if (op == Op::Literal) return !(graph.literal(x).f == 0 && std::signbit(graph.literal(x).f));
  if (op == Op::Cast) return !is_float(graph.dtype(graph.operand(x, 0)));
  if (op == Op::Mul) return graph.operand(x, 0) == graph.operand(x, 1);
  return op == Op::Abs || op == Op::Exp || op == Op::Exp2 || op == Op::Cosh || op == Op::Random;
}

bool is_integral_valued(const Graph& graph, NodeId x) {
  const Op op = graph[x].op;
  return op == Op::Floor || op == Op::Ceil || op == Op::Round || op == Op::Trunc ||
         op == Op::Sign || (op == Op::Cast && !is_float(graph.dtype(graph.operand(x, 0))));
}

bool is_rounding(Op op) {
  return op == Op::Floor || op == Op::Ceil || op == Op::Round || op == Op::Trunc;
}

NodeId same_as(Graph& graph, NodeId like, double value) {
  const Dims shape = shape_of(graph, like);
  return full(graph, shape, Scalar::of(graph.dtype(like), value));
}

NodeId make_like(Graph& graph, Op op, DType dtype, std::initializer_list<NodeId> operands) {
  // Interned lists are stable, so the shape's span survives the new node.
  return make(graph, op, dtype, graph.shape(*operands.begin()),
              {operands.begin(), operands.size()});
}

void order_commutative(const Graph& graph, Op op, NodeId& a, NodeId& b) {
  if (!is_commutative(op)) return;
  const bool a_last = constant_value(graph, a).has_value(),
             b_last = constant_value(graph, b).has_value();
  if (a_last != b_last ? a_last : b < a) std::swap(a, b);
}

// The operands of a Unary, Binary or Compare op after promotion and broadcasting.
void unify(Graph& graph, Op op, NodeId& a, NodeId& b, DType dtype) {
  a = cast(graph, a, dtype);
  b = cast(graph, b, dtype);
  if (graph[a].shape == graph[b].shape) return;
  const Dims shape = broadcast_shapes(graph.shape(a), graph.shape(b), name_of(op));
  a = broadcast_to(graph, a, shape);
  b = broadcast_to(graph, b, shape);
}

// Rules for bool and integers; an invalid id where none applies.
NodeId simplify_integer(Graph& graph, Op op, NodeId a, NodeId b) {
  const bool is_bool = graph.dtype(a) == DType::Bool;
  const std::optional<int64_t> c = integer_constant(graph, b);
  const int64_t ones = is_bool ? 1 : -1;
  if (op == Op::And) {
    if (a == b || c == ones) return a;
    if (c == 0) return b;
  } else if (op == Op::Or) {
    if (a == b || c == 0) return a;
    if (c == ones) return b;
  } else if (op == Op::Xor) {
    if (a == b) return same_as(graph, a, 0);
    if (c == 0) return a;
    if (c == ones) return unary(graph, Op::Not, a);
  } else if (op == Op::Max || op == Op::Min) {
    if (a == b) return a;
  } else if (op == Op::Sub) {
    if (a == b) return same_as(graph, a, 0);
    if (c) return binary(graph, Op::Add, a, unary(graph, Op::Neg, b));
    if (integer_constant(graph, a) == 0) return unary(graph, Op::Neg, b);
  } else if (op == Op::Add || op == Op::Mul) {
    if (op == Op::Mul && c == 0) return b;
    if (c == (op == Op::Add ? 0 : 1)) return a;
    // Wrapping arithmetic is associative: constants of a chain meet.
    if (c && graph[a].op == op && constant_value(graph, graph.operand(a, 1))) {
      const NodeId inner = graph.operand(a, 0);
      return binary(graph, op, inner, binary(graph, op, graph.operand(a, 1), b));
    }
  } else if (op == Op::Div) {
    if (c == 1) return a;
  } else if (op == Op::Rem) {
    if (c == 1 || c == -1) return same_as(graph, a, 0);
  } else if (op == Op::Shl || op == Op::Shr) {
    if (c == 0) return a;
  } else if (op == Op::Pow) {
    if (c == 0) return same_as(graph, a, 1);
    if (c == 1) return a;
    if (c == 2) return binary(graph, Op::Mul, a, a);
    if (c == 3) return binary(graph, Op::Mul, binary(graph, Op::Mul, a, a), a);
  }
  return {};
}

NodeId simplify_float_power(Graph& graph, NodeId a, double exponent) {
  if (exponent == 1) return a;
  if (exponent == 2) return binary(graph, Op::Mul, a, a);
  if (exponent == 3) return binary(graph, Op::Mul, binary(graph, Op::Mul, a, a), a);
  if (exponent == 0.5) return unary(graph, Op::Sqrt, a);
  if (exponent == -0.5) return unary(graph, Op::Rsqrt, a);
  if (exponent == -1) return unary(graph, Op::Reciprocal, a);
  if (exponent == -2) {
    // Not 1 / (a * a): the slope of that is NaN where a is 0 or infinite.
    const NodeId inverse = unary(graph, Op::Reciprocal, a);
    return binary(graph, Op::Mul, inverse, inverse);
  }
  return {};
}

NodeId simplify_float(Graph& graph, Op op, NodeId a, NodeId b) {
  const std::optional<double> c = float_constant(graph, b);
  const bool a_negated = graph[a].op == Op::Neg, b_negated = graph[b].op == Op::Neg;
  const auto inside = [&](NodeId x) { return graph.operand(x, 0); };
  if (op == Op::Add) {
    if (c == 0.0 && (std::signbit(*c) || is_never_negative_zero(graph, a))) return a;
    if (b_negated) return binary(graph, Op::Sub, a, inside(b));
    if (a_negated && !c) return binary(graph, Op::Sub, b, inside(a));
  } else if (op == Op::Sub) {
    if (c) return binary(graph, Op::Add, a, unary(graph, Op::Neg, b));
    if (b_negated) return binary(graph, Op::Add, a, inside(b));
    const std::optional<double> from = float_constant(graph, a);
    if (from == 0.0 && std::signbit(*from)) return unary(graph, Op::Neg, b);
  } else if (op == Op::Mul || op == Op::Div) {
    if (c == 1.0) return a;
    if (c == -1.0) return unary(graph, Op::Neg, a);
    if (a_negated && (b_negated || c)) {
      const NodeId other = b_negated ? inside(b) : unary(graph, Op::Neg, b);
      return binary(graph, op, inside(a), other);
    }
  } else if (op == Op::Max || op == Op::Min) {
    if (a == b) return a;
    if (c && std::isinf(*c) && std::signbit(*c) == (op == Op::Max)) return a;
  } else if (op == Op::Pow) {
    if (c) return simplify_float_power(graph, a, *c);
  }
  return {};
}

void require_binary_dtype(const Graph& graph, Op op, NodeId a, NodeId b, DType dtype) {
  const char* rule = nullptr;
  if (dtype == DType::Bool && (op == Op::Sub || op == Op::Div || op == Op::Rem || op == Op::Pow))
    rule = "bool is not a number; cast it first";
  if (is_float(dtype) && (op == Op::And || op == Op::Or || op == Op::Xor))
    rule = "the operands must be bool or integers";
  if (!is_integer(dtype) && (op == Op::Shl || op == Op::Shr))
    rule = "the operands must be integers";
  if (rule)
    raise<DTypeError>("{}: {}: got {} and {}", name_of(op), rule, describe(graph, a),
                      describe(graph, b));
}

// Bool arithmetic is logic: one spelling for it.
Op bool_operation(Op op) {
  if (op == Op::Add || op == Op::Max) return Op::Or;
  if (op == Op::Mul || op == Op::Min) return Op::And;
  return op;
}

NodeId simplify_unary(Graph& graph, Op op, NodeId x) {
  const Node& inner = graph[x];
  const NodeId below = inner.num_operands > 0 ? graph.operand(x, 0) : NodeId{};
  if (op == Op::Neg || op == Op::Not) {
    if (inner.op == op) return below;
  }
  if (op == Op::Abs) {
    if (inner.op == Op::Abs || inner.op == Op::Exp || inner.op == Op::Exp2) return x;
    if (inner.op == Op::Neg) return unary(graph, Op::Abs, below);
  }
  // Not detach of detach: the inner one may be what a gradient is asked for.
  if (op == Op::Sign && inner.op == op) return x;
  if (is_rounding(op) && is_integral_valued(graph, x)) return x;
  if (op == Op::Not && family_of(inner.op) == Family::Compare) {
    const NodeId other = graph.operand(x, 1);
    if (inner.op == Op::Eq) return compare(graph, Op::Ne, below, other);
    if (inner.op == Op::Ne) return compare(graph, Op::Eq, below, other);
    // not (a < b) is b <= a only without NaN.
    if (!is_float(graph.dtype(below)))
      return compare(graph, inner.op == Op::Lt ? Op::Le : Op::Lt, other, below);
  }
  return {};
}

// Integers and bool under these stay as they are; under every other unary op but Neg, Abs, Sign and
// Not they become float32.
bool keeps_dtype(Op op) {
  return is_rounding(op) || op == Op::Neg || op == Op::Abs || op == Op::Sign || op == Op::Not ||
         op == Op::Detach;
}

}  // namespace

DType result_type(const Graph& graph, std::span<const NodeId> operands) {
  std::optional<DType> with_dims, without;
  for (const NodeId operand : operands) {
    std::optional<DType>& dtype = graph.rank(operand) == 0 ? without : with_dims;
    dtype = dtype ? promote(*dtype, graph.dtype(operand)) : graph.dtype(operand);
  }
  COREGRAD_CHECK(with_dims || without);
  const bool decides = !with_dims || (without && category_of(*without) > category_of(*with_dims));
  return decides ? *without : *with_dims;
}

NodeId unary(Graph& graph, Op op, NodeId x) {
  require_family(op, Family::Unary, "unary");
  const DType dtype = graph.dtype(x);
  if (op == Op::Not && is_float(dtype))
    raise<DTypeError>("not: the operand must be bool or an integer: got {}", describe(graph, x));
  if (op == Op::Neg && dtype == DType::Bool)
    raise<DTypeError>("neg: bool is not a number; cast it first: got {}", describe(graph, x));
  if (!is_float(dtype)) {
    if (!keeps_dtype(op)) return unary(graph, op, cast(graph, x, DType::Float32));
    if (is_rounding(op)) return x;
    // What has no gradient needs no detaching.
    if (op == Op::Detach || (dtype == DType::Bool && op != Op::Not)) return x;
  }
  if (is_only_stored(dtype) && op != Op::Detach)
    return cast(graph, unary(graph, op, cast(graph, x, compute_dtype(dtype))), dtype);
  if (const std::optional<Scalar> value = constant_value(graph, x))
    return full(graph, graph.shape(x), fold_unary(op, *value));
  if (const NodeId simpler = simplify_unary(graph, op, x); simpler.is_valid()) return simpler;
  return make_like(graph, op, dtype, {x});
}

NodeId binary(Graph& graph, Op op, NodeId a, NodeId b) {
  require_family(op, Family::Binary, "binary");
  DType dtype = result_type(graph, a, b);
  require_binary_dtype(graph, op, a, b, dtype);
  if (op == Op::Atan2 && !is_float(dtype)) dtype = DType::Float32;
  if (is_only_stored(dtype)) {
    a = cast(graph, a, compute_dtype(dtype));
    b = cast(graph, b, compute_dtype(dtype));
    return cast(graph, binary(graph, op, a, b), dtype);
  }
  unify(graph, op, a, b, dtype);
  if (dtype == DType::Bool) op = bool_operation(op);
  order_commutative(graph, op, a, b);
  const std::optional<Scalar> right = constant_value(graph, b);
  if (right)
    if (const std::optional<Scalar> left = constant_value(graph, a))
      return full(graph, graph.shape(a), fold_binary(op, *left, *right));
  const NodeId simpler =
      is_float(dtype) ? simplify_float(graph, op, a, b) : simplify_integer(graph, op, a, b);
  if (simpler.is_valid()) return simpler;
  return make_like(graph, op, dtype, {a, b});
}

NodeId compare(Graph& graph, Op op, NodeId a, NodeId b) {
  require_family(op, Family::Compare, "compare");
  const DType dtype = compute_dtype(result_type(graph, a, b));
  unify(graph, op, a, b, dtype);
  order_commutative(graph, op, a, b);
  const std::optional<Scalar> left = constant_value(graph, a), right = constant_value(graph, b);
  if (left && right)
    return full(graph, graph.shape(a),
                Scalar::of_int(DType::Bool, fold_compare(op, *left, *right)));
  if (a == b && (op == Op::Lt || !is_float(dtype))) {
    const bool holds = op == Op::Eq || op == Op::Le;
    return full(graph, graph.shape(a), Scalar::of_int(DType::Bool, holds));
  }
  if (dtype == DType::Bool && right && (op == Op::Eq || op == Op::Ne))
    return (right->i != 0) == (op == Op::Eq) ? a : unary(graph, Op::Not, a);
  return make_like(graph, op, DType::Bool, {a, b});
}

NodeId select(Graph& graph, NodeId condition, NodeId a, NodeId b) {
  if (graph.dtype(condition) != DType::Bool)
    raise<DTypeError>("select: the condition must be bool: got {}", describe(graph, condition));
  const DType dtype = result_type(graph, a, b);
  a = cast(graph, a, dtype);
  b = cast(graph, b, dtype);
  if (graph[a].shape != graph[b].shape || graph[a].shape != graph[condition].shape) {
    const Dims shape =
        broadcast_shapes(graph.shape(condition),
                         broadcast_shapes(graph.shape(a), graph.shape(b), "select"), "select");
    condition = broadcast_to(graph, condition, shape);
    a = broadcast_to(graph, a, shape);
    b = broadcast_to(graph, b, shape);
  }
  if (const std::optional<Scalar> value = constant_value(graph, condition)) return value->i ? a : b;
  if (a == b) return a;
  if (graph[condition].op == Op::Not) return select(graph, graph.operand(condition, 0), b, a);
  if (dtype == DType::Bool) {
    const std::optional<int64_t> yes = integer_constant(graph, a), no = integer_constant(graph, b);
    if (yes && no) return *yes ? condition : unary(graph, Op::Not, condition);
  }
  return make_like(graph, Op::Select, dtype, {condition, a, b});
}

NodeId cast(Graph& graph, NodeId x, DType dtype) {
  const DType from = graph.dtype(x);
  if (from == dtype) return x;
  if (const std::optional<Scalar> value = constant_value(graph, x))
    return full(graph, graph.shape(x), fold_cast(*value, dtype));
  // What is only stored comes from what it is computed in, and narrow floats go there, as in
  // PyTorch.
  if (is_only_stored(dtype) && from != compute_dtype(dtype))
    return cast(graph, cast(graph, x, compute_dtype(dtype)), dtype);
  if (is_narrow(from) && dtype != DType::Float32)
    return cast(graph, cast(graph, x, DType::Float32), dtype);
  if (graph[x].op == Op::Cast) {
    // A first cast that keeps every value needs no place of its own.
    const NodeId below = graph.operand(x, 0);
    const DType first = graph.dtype(below);
    if (first == dtype && is_only_stored(first)) return below;
    if (!is_narrow(first) && !is_only_stored(dtype) && is_exact_cast(first, from))
      return cast(graph, below, dtype);
  }
  return make_like(graph, Op::Cast, dtype, {x});
}

}  // namespace coregrad::ops
