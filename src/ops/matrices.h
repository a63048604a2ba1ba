#pragma once
// Matrices, which stand in the last two dimensions, for formulas that go through them row by row
// or column by column: each step is a few elementwise nodes over the whole batch.

#include "ops/detail.h"
#include "ops/expression.h"

#include <string_view>
#include <vector>

namespace coregrad::ops {

int64_t row_count(const Expr& x);
int64_t column_count(const Expr& x);
/// The leading dimensions.
Dims batch_of(const Expr& x);

/// Floating matrices that are not too large to be unrolled; errors name the operation.
Expr checked_matrix(Graph& graph, NodeId x, std::string_view operation);
/// The same, square.
Expr checked_square(Graph& graph, NodeId x, std::string_view operation);
/// Any number of rows or columns: what stands on the right of an equation.
Expr checked_right_side(Graph& graph, NodeId x, std::string_view operation);

// Parts; ranges are half open
Expr take_rows(const Expr& x, int64_t start, int64_t stop);
Expr take_columns(const Expr& x, int64_t start, int64_t stop);
Expr transposed(const Expr& x);
/// Parts below each other.
Expr stacked(const std::vector<Expr>& parts);
Expr side_by_side(const std::vector<Expr>& parts);

/// int64[rows, 1] and int64[1, columns], from 0.
Expr row_numbers(const Expr& x);
Expr column_numbers(const Expr& x);
/// [.., 1, columns]
Expr sum_of_rows(const Expr& x);
/// Ones on the diagonal of [rows, columns].
Expr identity(const Expr& like, int64_t rows, int64_t columns);
Expr zeros(const Expr& like, const Dims& batch, int64_t rows, int64_t columns);

Expr cast(const Expr& x, DType dtype);
Expr reshaped(const Expr& x, const Dims& shape);
/// x with these leading dimensions in place of its own.
Expr with_batch(const Expr& x, const Dims& batch);

/// The number of the first step that failed, from 1, or 0 for none: int64[.., 1, 1]. `before` is
/// that of earlier steps, a number if there are none.
Expr first_failure(const Expr& before, const Expr& fails, int64_t step);
/// Such a number without the last two dimensions, as int32.
NodeId failure_result(const Expr& failed);

/// x with a @ x = y for triangular matrices a of y's batch; what lies beyond the triangle, and the
/// diagonal where it is `unit`, are not read.
Expr solve_triangle(const Expr& a, Expr y, bool upper, bool unit = false);

}  // namespace coregrad::ops
