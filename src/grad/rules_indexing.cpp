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

void scatter_rule(Backward& b) {
  Graph& g = b.graph;
  const int64_t dim = g.attr(b.node, 0);
  const bool sets = static_cast<ScatterMode>(g.attr(b.node, 1)) == ScatterMode::Set;
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
