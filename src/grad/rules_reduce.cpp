// Rules of the reductions and scans. Products stay right where elements are zero: nothing is
// divided.

#include "grad/rules.h"
#include "ops/operators.h"

#include <algorithm>
#include <numeric>

namespace coregrad::grad {
namespace {

using Dims = std::vector<SymInt>;

void sum_rule(Backward& b) {
  b.give(0,
         broadcast_back(b.graph, b.gradient, b.graph.attrs(b.node), b.graph.shape(b.operand(0))));
}

/// Equal extremes share the gradient evenly, as in PyTorch's amax. A NaN equals nothing, so its
/// count is 0 and the slopes are 0 / 0: nobody knows which element won.
void extreme_rule(Backward& b) {
  Graph& g = b.graph;
  const NodeId x = b.operand(0);
  const SymInts dims = g.attrs(b.node);
  const Shape shape = g.shape(x);
  const NodeId is_best = ops::compare(g, Op::Eq, x, broadcast_back(g, b.node, dims, shape));
  const NodeId count = ops::reduce(g, Op::Sum, ops::cast(g, is_best, g.dtype(x)), dims);
  const NodeId share = broadcast_back(g, ops::div(g, b.gradient, count), dims, shape);
  const NodeId nothing = broadcast_back(g, ops::div(g, number(g, count, 0), count), dims, shape);
  b.give(0, ops::select(g, is_best, share, nothing));
}

/// x moved by one place along dim (towards the end, or the start), with ones coming in.
NodeId shifted(Graph& graph, NodeId x, int64_t dim, bool to_end) {
  const SymInt extent = graph.shape(x)[dim];
  const NodeId rest = ops::narrow(graph, x, dim, to_end ? 0 : 1, to_end ? extent - 1 : extent);
  const Dims none(static_cast<size_t>(graph.rank(x)), 0);
  Dims one = none;
  one[dim] = 1;
  return ops::pad(graph, rest, to_end ? one : none, to_end ? none : one, none,
                  Scalar::of_float(graph.dtype(x), 1));
}

NodeId flipped(Graph& graph, NodeId x, int64_t dim) {
  const SymInt dims[] = {dim};
  return ops::flip(graph, x, dims);
}

/// Each element's slope is the product of all others: of those before it times of those after it.
void prod_rule(Backward& b) {
  Graph& g = b.graph;
  const NodeId x = b.operand(0);
  const SymInts dims = g.attrs(b.node);
  const Dims shape = shape_of(g, x);
  const int64_t rank = g.rank(x);
  if (g.numel(x) == 0) return;

  // Several dimensions become one, at the end.
  Dims order, flat;
  SymInt extent = 1;
  for (int64_t d = 0; d < rank; ++d)
    if (!std::ranges::binary_search(dims, d)) {
      order.push_back(d);
      flat.push_back(shape[d]);
    }
  for (const int64_t d : dims) {
    order.push_back(d);
    extent *= shape[d];
  }
  const auto last = static_cast<int64_t>(flat.size());
  flat.push_back(extent);
  const NodeId moved = ops::permute(g, x, order);
  const NodeId rows = ops::reshape(g, moved, flat);
  NodeId slope = number(g, x, 1);
  if (extent > 1) {
    const NodeId before = shifted(g, ops::scan(g, Op::CumProd, rows, last), last, true);
    const NodeId after = flipped(
        g, shifted(g, ops::scan(g, Op::CumProd, flipped(g, rows, last), last), last, true), last);
    slope = ops::mul(g, before, after);
  }
  const SymInt summed[] = {last};
  const NodeId each = ops::mul(g, broadcast_back(g, b.gradient, summed, flat), slope);
  Dims inverse(order.size());
  for (size_t d = 0; d < order.size(); ++d) inverse[order[d]] = static_cast<int64_t>(d);
  b.give(0, ops::permute(g, ops::reshape(g, each, shape_of(g, moved)), inverse));
}

void cumsum_rule(Backward& b) {
  const int64_t dim = b.graph.attr(b.node, 0);
  const NodeId sums = ops::scan(b.graph, Op::CumSum, flipped(b.graph, b.gradient, dim), dim);
  b.give(0, flipped(b.graph, sums, dim));
}

/// With y[i] = x[0] .. x[i], the slope of x[k] is (x[0] .. x[k-1]) * s[k] where s satisfies
/// s[k] = g[k] + x[k+1] * s[k+1]. That recurrence is solved by doubling: after t steps s[k] covers
/// 2^t elements and a[k] is the product that carries what comes after them.
void cumprod_rule(Backward& b) {
  Graph& g = b.graph;
  const NodeId x = b.operand(0);
  const int64_t dim = g.attr(b.node, 0);
  const int64_t extent = g.shape(x)[dim];
  if (g.numel(x) == 0) return;
  const auto ahead = [&](NodeId value, int64_t by) {
    Dims low(static_cast<size_t>(g.rank(value)), 0), high = low;
    high[dim] = by;
    return ops::pad(g, ops::narrow(g, value, dim, by, extent), low, high, low,
                    Scalar::of_float(g.dtype(value), 0));
  };
  NodeId s = b.gradient;
  if (extent > 1) {
    NodeId a = ahead(x, 1);
    for (int64_t step = 1; step < extent; step *= 2) {
      s = ops::add(g, s, ops::mul(g, a, ahead(s, step)));
      if (2 * step < extent) a = ops::mul(g, a, ahead(a, step));
    }
    s = ops::mul(g, s, shifted(g, b.node, dim, true));
  }
  b.give(0, s);
}

constexpr RuleRow kRows[] = {
    {Op::Sum, sum_rule},           {Op::Prod, prod_rule},     {Op::ReduceMax, extreme_rule},
    {Op::ReduceMin, extreme_rule}, {Op::CumSum, cumsum_rule}, {Op::CumProd, cumprod_rule},
};

}  // namespace

std::span<const RuleRow> reduce_rules() { return kRows; }

}  // namespace coregrad::grad
