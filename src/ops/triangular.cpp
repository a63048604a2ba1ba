// Equations with triangular matrices, and Cholesky's factors of positive definite ones.

#include "base/error.h"
#include "ops/matrices.h"

namespace coregrad::ops {
namespace {

struct Factor {
  Expr lower;
  Expr failed;  ///< see first_failure
};

// Of the lower triangle of matrices, a column a step.
Factor factored(Expr a) {
  const int64_t n = row_count(a);
  const auto rank = static_cast<size_t>(a.graph->rank(a.node));
  std::vector<Expr> columns;
  Expr failed = 0;
  for (int64_t j = 0; j < n; ++j) {
    const Expr head = take_columns(take_rows(a, 0, 1), 0, 1);
    failed = first_failure(failed, !(head > 0), j);
    const Expr column = take_columns(a, 0, 1) / sqrt(head);
    const Dims none(rank, 0);
    Dims above = none;
    above[rank - 2] = j;
    const Scalar zero = Scalar::of(a.graph->dtype(a.node), 0);
    columns.emplace_back(*a.graph, pad(*a.graph, column.node, above, none, none, zero));
    if (j == n - 1) break;
    const Expr rest = take_rows(column, 1, n - j);
    a = take_columns(take_rows(a, 1, n - j), 1, n - j) - rest * transposed(rest);
  }
  return {side_by_side(columns), failed};
}

// The matrices, of which one triangle is read, with slopes that are symmetric, as PyTorch's are:
// the other triangle's elements come with the factor 0 and without their infinities.
Expr with_symmetric_slope(const Expr& a) {
  Graph& g = *a.graph;
  if (g[a.node].op == Op::Detach) return a;
  const Expr difference = transposed(a) - a;
  const Expr finite = where({g, isfinite(g, difference.node)}, difference, 0);
  return a + (finite - Expr(g, detach(g, finite.node))) * 0.5;
}

}  // namespace

Expr solve_triangle(const Expr& a, Expr y, bool upper, bool unit) {
  const int64_t n = row_count(a);
  std::vector<Expr> solved(static_cast<size_t>(n), y);
  for (int64_t step = 0; step < n; ++step) {
    const int64_t j = upper ? n - 1 - step : step;
    // Of y the rows are left whose unknown is not solved.
    const int64_t left = n - step, at = upper ? left - 1 : 0;
    Expr x = take_rows(y, at, at + 1);
    if (!unit) x = x / take_columns(take_rows(a, j, j + 1), j, j + 1);
    solved[j] = x;
    if (left == 1) break;
    const Expr rows = upper ? take_rows(a, 0, j) : take_rows(a, j + 1, n);
    y = take_rows(y, upper ? 0 : 1, upper ? at : left) - take_columns(rows, j, j + 1) * x;
  }
  return stacked(solved);
}

NodeId solve_triangular(Graph& g, NodeId A, NodeId B, bool upper, bool left, bool unitriangular) {
  Expr a = checked_square(g, A, "solve_triangular");
  Expr y = checked_right_side(g, B, "solve_triangular");
  if (!left) {  // x @ a = y
    a = transposed(a);
    y = transposed(y);
    upper = !upper;
  }
  const int64_t n = row_count(a);
  if (row_count(y) != n)
    raise<ShapeError>("solve_triangular: extents do not fit: got {} and {}", describe(g, A),
                      describe(g, B));
  const Dims batch = broadcast_shapes(batch_of(a), batch_of(y), "solve_triangular");
  a = with_batch(a, batch);
  y = with_batch(y, batch);
  const Expr x = g.numel(y.node) == 0 ? y : solve_triangle(a, y, upper, unitriangular);
  return left ? x.node : transposed(x).node;
}

std::pair<NodeId, NodeId> cholesky_ex(Graph& g, NodeId A, bool upper) {
  Expr a = checked_square(g, A, "cholesky");
  if (g.numel(A) == 0) return {A, full(g, batch_of(a), Scalar::of_int(DType::Int32, 0))};
  a = with_symmetric_slope(a);
  if (upper) a = transposed(a);
  const Factor factor = factored(a);
  return {upper ? transposed(factor.lower).node : factor.lower.node, failure_result(factor.failed)};
}

NodeId cholesky(Graph& g, NodeId A, bool upper) { return cholesky_ex(g, A, upper).first; }

NodeId cholesky_solve(Graph& g, NodeId B, NodeId L, bool upper) {
  Expr factor = checked_square(g, L, "cholesky_solve");
  Expr y = checked_right_side(g, B, "cholesky_solve");
  if (upper) factor = transposed(factor);
  if (row_count(y) != row_count(factor))
    raise<ShapeError>("cholesky_solve: rows of both must be as many: got {} and {}", describe(g, B),
                      describe(g, L));
  const Dims batch = broadcast_shapes(batch_of(factor), batch_of(y), "cholesky_solve");
  factor = with_batch(factor, batch);
  y = with_batch(y, batch);
  if (g.numel(y.node) == 0) return y.node;
  y = solve_triangle(factor, y, false);
  return solve_triangle(transposed(factor), y, true).node;
}

NodeId cholesky_inverse(Graph& g, NodeId L, bool upper) {
  const Expr factor = checked_square(g, L, "cholesky_inverse");
  const int64_t n = row_count(factor);
  return cholesky_solve(g, identity(factor, n, n).node, L, upper);
}

}  // namespace coregrad::ops
