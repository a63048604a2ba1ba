#include "ops/matrices.h"

#include "base/error.h"
#include "ops/indexing.h"

#include <algorithm>

namespace coregrad::ops {
namespace {

// Rows or columns of what is unrolled: the number of nodes grows with them.
constexpr int64_t kLargest = 16;

NodeId joined(const std::vector<Expr>& parts, int64_t dim) {
  std::vector<NodeId> nodes;
  for (const Expr& part : parts) nodes.push_back(part.node);
  return concat(*parts[0].graph, nodes, dim);
}

}  // namespace

int64_t row_count(const Expr& x) { return x.graph->shape(x.node)[x.graph->rank(x.node) - 2]; }
int64_t column_count(const Expr& x) { return x.graph->shape(x.node).back(); }

Dims batch_of(const Expr& x) {
  Dims shape = shape_of(*x.graph, x.node);
  shape.resize(shape.size() - 2);
  return shape;
}

Expr checked_right_side(Graph& g, NodeId x, std::string_view operation) {
  if (g.rank(x) < 2)
    raise<ShapeError>("{}: matrices must have two dimensions: got {}", operation, describe(g, x));
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("{}: the operand must be floating; cast it first: got {}", operation,
                      describe(g, x));
  return {g, x};
}

Expr checked_matrix(Graph& g, NodeId x, std::string_view operation) {
  const Expr matrix = checked_right_side(g, x, operation);
  const Shape shape = g.shape(x);
  if (shape[shape.size() - 2] > kLargest || shape.back() > kLargest)
    raise<UnsupportedError>("{}: matrices of more than {} rows or columns are not taken: got {}",
                            operation, kLargest, describe(g, x));
  return matrix;
}

Expr checked_square(Graph& g, NodeId x, std::string_view operation) {
  const Expr matrix = checked_matrix(g, x, operation);
  if (row_count(matrix) != column_count(matrix))
    raise<ShapeError>("{}: matrices must be square: got {}", operation, describe(g, x));
  return matrix;
}

Expr take_rows(const Expr& x, int64_t start, int64_t stop) {
  return {*x.graph, narrow(*x.graph, x.node, -2, start, stop)};
}
Expr take_columns(const Expr& x, int64_t start, int64_t stop) {
  return {*x.graph, narrow(*x.graph, x.node, -1, start, stop)};
}
Expr transposed(const Expr& x) { return {*x.graph, transpose(*x.graph, x.node, -2, -1)}; }

Expr stacked(const std::vector<Expr>& parts) { return {*parts[0].graph, joined(parts, -2)}; }
Expr side_by_side(const std::vector<Expr>& parts) { return {*parts[0].graph, joined(parts, -1)}; }

Expr row_numbers(const Expr& x) {
  Graph& g = *x.graph;
  return {g, unsqueeze(g, iota(g, DType::Int64, row_count(x)), 1)};
}
Expr column_numbers(const Expr& x) {
  Graph& g = *x.graph;
  return {g, unsqueeze(g, iota(g, DType::Int64, column_count(x)), 0)};
}

Expr sum_of_rows(const Expr& x) {
  const SymInt rows[] = {-2};
  return {*x.graph, reduce(*x.graph, Op::Sum, x.node, rows, true)};
}

Expr identity(const Expr& like, int64_t rows, int64_t columns) {
  return {*like.graph, eye(*like.graph, like.graph->dtype(like.node), rows, columns)};
}

Expr zeros(const Expr& like, const Dims& batch, int64_t rows, int64_t columns) {
  Dims shape = batch;
  shape.insert(shape.end(), {rows, columns});
  return {*like.graph, full(*like.graph, shape, Scalar::of(like.graph->dtype(like.node), 0))};
}

Expr cast(const Expr& x, DType dtype) { return {*x.graph, cast(*x.graph, x.node, dtype)}; }
Expr reshaped(const Expr& x, const Dims& shape) {
  return {*x.graph, reshape(*x.graph, x.node, shape)};
}

Expr with_batch(const Expr& x, const Dims& batch) {
  Dims shape = batch;
  shape.insert(shape.end(), {row_count(x), column_count(x)});
  return {*x.graph, broadcast_to(*x.graph, x.node, shape)};
}

Expr first_failure(const Expr& before, const Expr& fails, int64_t step) {
  const Expr number = cast(fails, DType::Int64) * static_cast<double>(step + 1);
  return before.graph ? where(before == 0, number, before) : number;
}

NodeId failure_result(const Expr& failed) {
  return cast(reshaped(failed, batch_of(failed)), DType::Int32).node;
}

}  // namespace coregrad::ops
