// Gauss's elimination with LAPACK's row exchanges, and what follows from it: solutions, inverses
// and determinants. Pivots are numbers of rows, from 0 here and from 1 in results.

#include "base/error.h"
#include "ops/indexing.h"
#include "ops/matrices.h"

#include <algorithm>

namespace coregrad::ops {
namespace {

// Divides a column of zeros, whose pivot is 0 too. It is small, so that the slope of a determinant
// is that of a matrix next to the singular one, and a power of two, so that it cancels there.
constexpr double kNextToNothing = 0x1p-60;

struct Elimination {
  Expr lu;      ///< L without its diagonal of ones, and U
  Expr pivots;  ///< int64[.., k, 1]: the row that each step exchanged with its own
  Expr failed;  ///< see first_failure: a zero pivot
};

// A row a step: the one of those left whose element in the step's column is the largest.
Elimination eliminated(Expr a) {
  Graph& g = *a.graph;
  const int64_t m = row_count(a), n = column_count(a), steps = std::min(m, n);
  const SymInt rows[] = {-2};
  std::vector<Expr> done, pivots;
  Expr failed = 0;
  for (int64_t j = 0; j < steps; ++j) {
    const NodeId sizes = abs(take_columns(a, j, j + 1)).node;
    const Expr pivot(g, reduce(g, Op::ArgMax, sizes, rows, true));
    pivots.push_back(pivot + static_cast<double>(j));
    Expr top = a;
    if (j < m - 1) {
      const Expr is_pivot = row_numbers(a) == pivot;
      top = sum_of_rows(where(is_pivot, a, 0));
      a = take_rows(where(is_pivot, take_rows(a, 0, 1), a), 1, m - j);
    }
    done.push_back(top);
    const Expr head = take_columns(top, j, j + 1), is_zero = head == 0;
    failed = first_failure(failed, is_zero, j);
    if (j == m - 1) break;
    // L's elements stay in the columns of their steps: they are exchanged with their rows.
    const Expr factor = take_columns(a, j, j + 1) / where(is_zero, kNextToNothing, head);
    const Expr column = column_numbers(a), step = static_cast<double>(j);
    a = where(column > step, a - factor * top, where(column == step, factor, a));
  }
  if (m > steps) done.push_back(a);
  return {stacked(done), stacked(pivots), failed};
}

// Row j and another one, a node [.., 1, 1], exchanged.
Expr exchanged(const Expr& x, int64_t j, const Expr& other) {
  const Expr number = row_numbers(x), is_other = number == other;
  const Expr taken = sum_of_rows(where(is_other, x, 0));
  const Expr given = where(is_other, take_rows(x, j, j + 1), x);
  return where(number == static_cast<double>(j), taken, given);
}

// The exchanges of an elimination done to other rows, or undone. That of the last row is none.
Expr exchange(Expr x, const Expr& pivots, bool backwards = false) {
  const int64_t count = std::min(row_count(pivots), row_count(x) - 1);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = backwards ? count - 1 - i : i;
    x = exchanged(x, j, take_rows(pivots, j, j + 1));
  }
  return x;
}

// x with a @ x = y, or a.T @ x = y, all of one batch.
Expr solved(const Expr& lu, const Expr& pivots, Expr y, bool adjoint) {
  if (adjoint) {
    y = solve_triangle(transposed(lu), y, false);
    y = solve_triangle(transposed(lu), y, true, true);
    return exchange(y, pivots, true);
  }
  y = solve_triangle(lu, exchange(y, pivots), false, true);
  return solve_triangle(lu, y, true);
}

// The same for factors and right sides that broadcast.
Expr solved_each(const Expr& lu, const Expr& pivots, const Expr& y, bool adjoint,
                 std::string_view operation) {
  Graph& g = *lu.graph;
  if (row_count(y) != row_count(lu))
    raise<ShapeError>("{}: extents do not fit: got {} and {}", operation, describe(g, lu.node),
                      describe(g, y.node));
  const Dims batch = broadcast_shapes(batch_of(lu), batch_of(y), operation);
  const Expr wide = with_batch(y, batch);
  if (g.numel(wide.node) == 0) return wide;
  return solved(with_batch(lu, batch), with_batch(pivots, batch), wide, adjoint);
}

NodeId pivot_result(const Expr& pivots) {
  Dims shape = batch_of(pivots);
  shape.push_back(row_count(pivots));
  return cast(reshaped(pivots, shape) + 1, DType::Int32).node;
}

// Results of lu_factor as operands.
Expr checked_pivots(Graph& g, NodeId pivots, const Expr& lu, std::string_view operation) {
  Dims shape = batch_of(lu);
  shape.push_back(std::min(row_count(lu), column_count(lu)));
  if (!is_integer(g.dtype(pivots)))
    raise<DTypeError>("{}: pivots must be integers: got {}", operation, describe(g, pivots));
  if (!same_shape(g.shape(pivots), shape))
    raise<ShapeError>("{}: pivots must be {} for these factors: got {}", operation,
                      shape_text(shape), describe(g, pivots));
  return cast(Expr(g, unsqueeze(g, pivots, -1)), DType::Int64) - 1;
}

Expr lower_factor(const Expr& lu) {
  const int64_t m = row_count(lu), k = std::min(m, column_count(lu));
  const Expr below(*lu.graph, tril(*lu.graph, take_columns(lu, 0, k).node, -1));
  return below + identity(lu, m, k);
}
Expr upper_factor(const Expr& lu) {
  const int64_t k = std::min(row_count(lu), column_count(lu));
  return {*lu.graph, triu(*lu.graph, take_rows(lu, 0, k).node, 0)};
}
// p with a = p @ l @ u.
Expr permutation(const Expr& lu, const Expr& pivots) {
  const int64_t m = row_count(lu);
  return exchange(with_batch(identity(lu, m, m), batch_of(lu)), pivots, true);
}

Expr diagonal_of(const Expr& x) { return {*x.graph, diagonal(*x.graph, x.node, 0, -2, -1)}; }

// Over the last dimension.
Expr reduced(Op op, const Expr& x) {
  const SymInt last[] = {-1};
  return {*x.graph, reduce(*x.graph, op, x.node, last)};
}

// -1 for an odd number of exchanges, else 1.
Expr sign_of(const Expr& pivots, DType dtype) {
  const Expr moved = cast(pivots != row_numbers(pivots), DType::Int64);
  const Expr odd = fmod(sum_of_rows(moved), 2);
  return 1 - cast(reshaped(odd, batch_of(pivots)), dtype) * 2;
}

// That of no rows is 1.
NodeId ones(const Expr& a) {
  return full(*a.graph, batch_of(a), Scalar::of(a.graph->dtype(a.node), 1));
}

}  // namespace

std::vector<NodeId> lu_factor_ex(Graph& g, NodeId A) {
  const Expr a = checked_matrix(g, A, "lu_factor");
  if (g.numel(A) == 0) {
    const Dims batch = batch_of(a);
    Dims pivots = batch;
    pivots.push_back(std::min(row_count(a), column_count(a)));
    const Scalar zero = Scalar::of_int(DType::Int32, 0);
    return {A, full(g, pivots, zero), full(g, batch, zero)};
  }
  const Elimination e = eliminated(a);
  return {e.lu.node, pivot_result(e.pivots), failure_result(e.failed)};
}

std::pair<NodeId, NodeId> lu_factor(Graph& g, NodeId A) {
  const std::vector<NodeId> results = lu_factor_ex(g, A);
  return {results[0], results[1]};
}

std::vector<NodeId> lu(Graph& g, NodeId A) {
  const Expr a = checked_matrix(g, A, "lu");
  if (g.numel(A) == 0) {
    const int64_t m = row_count(a);
    return {with_batch(identity(a, m, m), batch_of(a)).node, lower_factor(a).node,
            upper_factor(a).node};
  }
  const Elimination e = eliminated(a);
  return {permutation(e.lu, e.pivots).node, lower_factor(e.lu).node, upper_factor(e.lu).node};
}

std::vector<NodeId> lu_unpack(Graph& g, NodeId LU, NodeId pivots, bool unpack_data,
                              bool unpack_pivots) {
  const Expr lu = checked_matrix(g, LU, "lu_unpack");
  const Expr rows = checked_pivots(g, pivots, lu, "lu_unpack");
  const SymInt none[] = {0};
  const NodeId nothing = full(g, none, Scalar::of(g.dtype(LU), 0));
  return {unpack_pivots ? permutation(lu, rows).node : nothing,
          unpack_data ? lower_factor(lu).node : nothing,
          unpack_data ? upper_factor(lu).node : nothing};
}

NodeId lu_solve(Graph& g, NodeId LU, NodeId pivots, NodeId B, bool left, bool adjoint) {
  const DType dtype = result_type(g, LU, B);
  const Expr lu = checked_square(g, cast(g, LU, dtype), "lu_solve");
  const Expr y = checked_right_side(g, cast(g, B, dtype), "lu_solve");
  const Expr rows = checked_pivots(g, pivots, lu, "lu_solve");
  if (left) return solved_each(lu, rows, y, adjoint, "lu_solve").node;
  return transposed(solved_each(lu, rows, transposed(y), !adjoint, "lu_solve")).node;
}

NodeId solve(Graph& g, NodeId A, NodeId B, bool left) {
  const Expr a = checked_square(g, A, "solve");
  const Shape shape = g.shape(A);
  const bool is_vector =
      g.rank(B) == 1 || (g.rank(B) > 0 && same_shape(g.shape(B), shape.first(shape.size() - 1)));
  Expr y = checked_right_side(g, is_vector ? unsqueeze(g, B, -1) : B, "solve");
  if (!left) y = transposed(y);
  // There is nothing to eliminate, and nothing to solve.
  const bool is_empty = g.numel(A) == 0 || g.numel(y.node) == 0;
  const Elimination e = is_empty ? Elimination{a, take_columns(a, 0, 0), 0} : eliminated(a);
  Expr x = solved_each(e.lu, e.pivots, y, !left, "solve");
  if (!left) x = transposed(x);
  return is_vector ? squeeze(g, x.node, {{g.rank(x.node) - 1}}) : x.node;
}

NodeId inv(Graph& g, NodeId A) {
  const Expr a = checked_square(g, A, "inv");
  const int64_t n = row_count(a);
  return solve(g, A, with_batch(identity(a, n, n), batch_of(a)).node, true);
}

NodeId det(Graph& g, NodeId A) {
  const Expr a = checked_square(g, A, "det");
  if (g.numel(A) == 0) return ones(a);
  const Elimination e = eliminated(a);
  const Expr pivots = diagonal_of(e.lu);
  const Expr moved = pivots + where(pivots == 0, kNextToNothing, Expr(0).beside(pivots));
  const Expr product = reduced(Op::Prod, moved) * sign_of(e.pivots, g.dtype(A));
  // A singular matrix has determinant 0, and the slope of the product.
  const Expr nothing = product - Expr(g, detach(g, product.node));
  return where(reshaped(e.failed, batch_of(a)) == 0, product, nothing).node;
}

std::pair<NodeId, NodeId> slogdet(Graph& g, NodeId A) {
  const Expr a = checked_square(g, A, "slogdet");
  if (g.numel(A) == 0) return {ones(a), full(g, batch_of(a), Scalar::of(g.dtype(A), 0))};
  const Elimination e = eliminated(a);
  const Expr pivots = diagonal_of(e.lu);
  const Expr signs = reduced(Op::Prod, sign(pivots)) * sign_of(e.pivots, g.dtype(A));
  return {signs.node, reduced(Op::Sum, log(abs(pivots))).node};
}

}  // namespace coregrad::ops
