// Distances: norms of differences.

#include "base/error.h"
#include "ops/expression.h"

namespace coregrad::ops {

NodeId dist(Graph& g, NodeId a, NodeId b, double p) { return norm(g, sub(g, a, b), p, {}, false); }

NodeId cdist(Graph& g, NodeId a, NodeId b, double p) {
  if (p < 0) raise<ValueError>("cdist: p must not be negative: got {}", p);
  if (g.rank(a) < 2 || g.rank(b) < 2 || g.shape(a).back() != g.shape(b).back())
    raise<ShapeError>("cdist: rows must have one extent: got {} and {}", describe(g, a),
                      describe(g, b));
  const NodeId differences = sub(g, unsqueeze(g, a, -2), unsqueeze(g, b, -3));
  const SymInt last[] = {-1};
  // The distance of rows without elements is 0, the largest element of none is none.
  if (g.shape(a).back() == 0) return sum(g, differences, last, false, std::nullopt);
  return norm(g, differences, p, last, false);
}

NodeId pdist(Graph& g, NodeId x, double p) {
  if (g.rank(x) != 2)
    raise<ShapeError>("pdist: the input must be a matrix: got {}", describe(g, x));
  if (p < 0) raise<ValueError>("pdist: p must not be negative: got {}", p);
  const SymInt n = g.shape(x)[0];
  const SymInt last[] = {-1};
  // Pairs i < j come row by row; those of the rows before i are n i - i (i + 1) / 2 in number.
  const Expr rows(g, iota(g, DType::Int64, n)), pairs(g, iota(g, DType::Int64, n * (n - 1) / 2));
  const auto before = [n](Expr i) { return i * n - i * (i + 1) / 2; };
  const Expr i = Expr(g, searchsorted(g, before(rows).node, pairs.node, true)) - 1;
  const Expr j = pairs - before(i) + i + 1;
  const auto rows_at = [&](Expr index) { return index_select(g, x, 0, index.node); };
  const NodeId differences = sub(g, rows_at(i), rows_at(j));
  if (g.shape(x)[1] == 0) return sum(g, differences, last, false, std::nullopt);
  return norm(g, differences, p, last, false);
}

}  // namespace coregrad::ops
