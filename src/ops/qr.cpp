// Orthogonal factors by Householder's reflections, with LAPACK's signs: 1 - t * v @ v.T, where v is
// 0 above the step's row and 1 in it. `packed` has R, and the rest of the vectors below it.

#include "base/error.h"
#include "ops/matrices.h"

#include <algorithm>

namespace coregrad::ops {
namespace {

struct Reflections {
  Expr packed;
  Expr factors;  ///< t of each step: [.., k, 1]
};

Expr reflected(const Expr& x, const Expr& vector, const Expr& factor) {
  return x - vector * (factor * sum_of_rows(vector * x));
}

// A column a step.
Reflections reflections(Expr a) {
  const int64_t m = row_count(a), n = column_count(a), steps = std::min(m, n);
  const Expr number = row_numbers(a);
  std::vector<Expr> packed, factors;
  for (int64_t j = 0; j < steps; ++j) {
    const Expr step = static_cast<double>(j);
    const Expr column = take_columns(a, j, j + 1), head = take_rows(column, j, j + 1);
    const Expr below = where(number > step, column, 0), rest = sum_of_rows(below * below);
    const Expr is_done = rest == 0;  // a column of zeros below its head stays
    const Expr size = sqrt(head * head + rest);
    const Expr value = where(is_done, head, where(head < 0, size, -size));
    const Expr vector = below / where(is_done, 1, head - value);
    const Expr above = where(number < step, column, 0);
    packed.push_back(where(number == step, value, above + vector));
    factors.push_back(where(is_done, 0, (value - head) / where(is_done, 1, value)));
    a = reflected(a, where(number == step, 1, vector), factors.back());
  }
  if (n > steps) packed.push_back(take_columns(a, steps, n));
  return {side_by_side(packed), stacked(factors)};
}

// The product of all reflections, or of those backwards, with x.
Expr all_reflected(const Expr& packed, const Expr& factors, Expr x, bool backwards) {
  const Expr number = row_numbers(packed);
  const int64_t count = row_count(factors);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = backwards ? count - 1 - i : i;
    const Expr step = static_cast<double>(j);
    const Expr below = where(number > step, take_columns(packed, j, j + 1), 0);
    x = reflected(x, where(number == step, 1, below), take_rows(factors, j, j + 1));
  }
  return x;
}

// The first columns of the product.
Expr orthogonal(const Expr& packed, const Expr& factors, int64_t columns) {
  const Expr start = identity(packed, row_count(packed), columns);
  return all_reflected(packed, factors, with_batch(start, batch_of(packed)), true);
}

// Factors as operands.
Expr checked_factors(Graph& g, NodeId tau, const Expr& packed, std::string_view operation) {
  Dims shape = batch_of(packed);
  const int64_t count = g.rank(tau) > 0 ? g.shape(tau).back() : SymInt(0);
  shape.push_back(count);
  if (!same_shape(g.shape(tau), shape) || count > std::min(row_count(packed), column_count(packed)))
    raise<ShapeError>("{}: there must be a factor for each reflection: got {} for {}", operation,
                      describe(g, tau), describe(g, packed.node));
  return {g, unsqueeze(g, tau, -1)};
}

}  // namespace

std::pair<NodeId, NodeId> qr(Graph& g, NodeId A, std::string_view mode) {
  if (mode != "reduced" && mode != "complete" && mode != "r")
    raise<ValueError>("qr: the mode must be 'reduced', 'complete' or 'r', got '{}'", mode);
  const Expr a = checked_matrix(g, A, "qr");
  const Dims batch = batch_of(a);
  const int64_t m = row_count(a), n = column_count(a);
  const int64_t k = mode == "complete" ? m : std::min(m, n);
  const SymInt none[] = {0};
  const NodeId nothing = full(g, none, Scalar::of(g.dtype(A), 0));
  if (g.numel(A) == 0)
    return {mode == "r" ? nothing : with_batch(identity(a, m, k), batch).node,
            zeros(a, batch, k, n).node};
  const Reflections steps = reflections(a);
  return {mode == "r" ? nothing : orthogonal(steps.packed, steps.factors, k).node,
          triu(g, take_rows(steps.packed, 0, k).node, 0)};
}

std::pair<NodeId, NodeId> geqrf(Graph& g, NodeId A) {
  const Expr a = checked_matrix(g, A, "geqrf");
  Dims shape = batch_of(a);
  shape.push_back(std::min(row_count(a), column_count(a)));
  if (g.numel(A) == 0) return {A, full(g, shape, Scalar::of(g.dtype(A), 0))};
  const Reflections steps = reflections(a);
  return {steps.packed.node, reshaped(steps.factors, shape).node};
}

NodeId householder_product(Graph& g, NodeId A, NodeId tau) {
  const Expr packed = checked_matrix(g, A, "householder_product");
  if (row_count(packed) < column_count(packed))
    raise<ShapeError>("householder_product: there must not be more columns than rows: got {}",
                      describe(g, A));
  const Expr factors = checked_factors(g, tau, packed, "householder_product");
  if (g.numel(A) == 0) return A;
  return orthogonal(packed, factors, column_count(packed)).node;
}

NodeId ormqr(Graph& g, NodeId A, NodeId tau, NodeId other, bool left, bool turned) {
  const Expr packed = checked_matrix(g, A, "ormqr");
  const Expr factors = checked_factors(g, tau, packed, "ormqr");
  Expr x = checked_right_side(g, other, "ormqr");
  if (!left) x = transposed(x);
  if (row_count(x) != row_count(packed) || batch_of(x) != batch_of(packed))
    raise<ShapeError>("ormqr: extents do not fit: got {} and {}", describe(g, A),
                      describe(g, other));
  if (g.numel(other) == 0) return other;
  x = all_reflected(packed, factors, x, turned != left);
  return left ? x.node : transposed(x).node;
}

}  // namespace coregrad::ops
