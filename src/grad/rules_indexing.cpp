// Rules of gather and scatter.

#include "grad/rules.h"

namespace coregrad::grad {
namespace {

void gather_rule(Backward& b) {
  Graph& g = b.graph;
  b.give(0, ops::scatter(g, zeros_like(g, b.operand(0)), g.attr(b.node, 0), b.operand(1),
                         b.gradient, ScatterMode::Add));
}

/// True for each value that is still in the result of a Set: of several with one place the last.
NodeId survives(Graph& g, NodeId x, int64_t dim, NodeId index) {
  const NodeId numbers =
      ops::reshape(g, ops::iota(g, DType::Int64, g.numel(index)), g.shape(index));
  const NodeId none = ops::full(g, g.shape(x), Scalar::of_int(DType::Int64, 0));
  const NodeId last = ops::scatter(g, none, dim, index, numbers, ScatterMode::Set);
  return ops::compare(g, Op::Eq, ops::gather(g, last, dim, index), numbers);
}

/// Elements that equal the extreme share its gradient evenly, as in PyTorch. A NaN equals nothing,
/// so its count is 0 and the slopes are 0 / 0: nobody knows which element won.
void scattered_extreme_rule(Backward& b) {
  Graph& g = b.graph;
  const int64_t dim = g.attr(b.node, 0);
  const NodeId x = b.operand(0), index = b.operand(1), values = b.operand(2);
  const NodeId best = ops::gather(g, b.node, dim, index);
  const NodeId x_wins = ops::compare(g, Op::Eq, x, b.node);
  const NodeId value_wins = ops::compare(g, Op::Eq, values, best);
  const DType dtype = g.dtype(x);
  const NodeId count = ops::scatter(g, ops::cast(g, x_wins, dtype), dim, index,
                                    ops::cast(g, value_wins, dtype), ScatterMode::Add);
  const NodeId share = ops::binary(g, Op::Div, b.gradient, count);
  const NodeId nothing = ops::binary(g, Op::Div, number(g, count, 0), count);
  if (b.wants(0)) b.give(0, ops::select(g, x_wins, share, nothing));
  if (b.wants(2))
    b.give(2, ops::select(g, value_wins, ops::gather(g, share, dim, index),
                          ops::gather(g, nothing, dim, index)));
}

/// Each factor's slope is the product of all others: of those that are not zero, where no other one
/// is.
void scattered_product_rule(Backward& b) {
  Graph& g = b.graph;
  const int64_t dim = g.attr(b.node, 0);
  const NodeId x = b.operand(0), index = b.operand(1), values = b.operand(2);
  const NodeId zero = number(g, x, 0), one = number(g, x, 1);
  const auto is_zero = [&](NodeId v) { return ops::compare(g, Op::Eq, v, zero); };
  const auto others = [&](NodeId v) { return ops::select(g, is_zero(v), one, v); };
  const auto counted = [&](NodeId v) { return ops::cast(g, is_zero(v), g.dtype(x)); };
  const NodeId product = ops::scatter(g, others(x), dim, index, others(values), ScatterMode::Mul);
  const NodeId zeros = ops::scatter(g, counted(x), dim, index, counted(values), ScatterMode::Add);
  const NodeId alone = ops::mul(g, b.gradient, ops::select(g, is_zero(zeros), product, zero));
  const NodeId one_zero = ops::compare(g, Op::Eq, zeros, one);
  const NodeId beside_it = ops::mul(g, b.gradient, ops::select(g, one_zero, product, zero));
  const auto slope = [&](NodeId v, NodeId if_not, NodeId if_zero) {
    return ops::select(g, is_zero(v), if_zero, ops::binary(g, Op::Div, if_not, others(v)));
  };
  if (b.wants(0)) b.give(0, slope(x, alone, beside_it));
  if (b.wants(2))
    b.give(2,
           slope(values, ops::gather(g, alone, dim, index), ops::gather(g, beside_it, dim, index)));
}

void scatter_rule(Backward& b) {
  Graph& g = b.graph;
  const int64_t dim = g.attr(b.node, 0);
  const auto mode = static_cast<ScatterMode>(g.attr(b.node, 1).number());
  if (mode == ScatterMode::Max || mode == ScatterMode::Min) return scattered_extreme_rule(b);
  if (mode == ScatterMode::Mul) return scattered_product_rule(b);
  const bool sets = mode == ScatterMode::Set;
  const NodeId index = b.operand(1);
  if (b.wants(0)) {
    const NodeId kept = sets ? ops::scatter(g, b.gradient, dim, index, zeros_like(g, b.operand(2)),
                                            ScatterMode::Set)
                             : b.gradient;
    b.give(0, kept);
  }
  if (b.wants(2)) {
    const NodeId reached = ops::gather(g, b.gradient, dim, index);
    const NodeId zero = number(g, reached, 0);
    b.give(2,
           sets ? ops::select(g, survives(g, b.operand(0), dim, index), reached, zero) : reached);
  }
}

constexpr RuleRow kRows[] = {{Op::Gather, gather_rule}, {Op::Scatter, scatter_rule}};

}  // namespace

std::span<const RuleRow> indexing_rules() { return kRows; }

}  // namespace coregrad::grad
