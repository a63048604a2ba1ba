#include "ops/reduce.h"

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/math.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace coregrad::ops {
namespace {

void require_float(const Graph& g, NodeId x, std::string_view operation) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("{}: the operand must be floating; cast it first: got {}", operation,
                      describe(g, x));
}

// A scalar has one position along dimension 0 or -1, as in PyTorch.
bool is_scalar_dim(const Graph& g, NodeId x, int64_t dim) {
  return g.rank(x) == 0 && (dim == 0 || dim == -1);
}

// The maximum that softmax and its kin subtract. Their value does not depend on it, so neither does
// the gradient.
NodeId stable_shift(Graph& g, NodeId x, std::span<const int64_t> dims) {
  return detach(g, reduce(g, Op::ReduceMax, x, dims, true));
}

NodeId arg(Graph& g, Op op, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  if (dim && is_scalar_dim(g, x, *dim)) dim.reset();
  if (dim) return reduce(g, op, x, {{*dim}}, keepdim);
  const int64_t flat[] = {g.numel(x)};
  const NodeId position = reduce(g, op, reshape(g, x, flat), {{0}});
  return keepdim ? reshape(g, position, Dims(g.shape(x).size(), 1)) : position;
}

}  // namespace

int64_t reduced_count(const Graph& g, NodeId x, std::span<const int64_t> dims) {
  int64_t n = 1;
  for (int64_t d : normalize_dims(dims, g.rank(x), "reduce"))
    n = checked_mul(n, g.shape(x)[static_cast<size_t>(d)], "reduce");
  return n;
}

NodeId sum(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  return reduce(g, Op::Sum, x, dims, keepdim);
}
NodeId prod(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  return reduce(g, Op::Prod, x, dims, keepdim);
}
NodeId amax(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  return reduce(g, Op::ReduceMax, x, dims, keepdim);
}
NodeId amin(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  return reduce(g, Op::ReduceMin, x, dims, keepdim);
}

NodeId mean(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  require_float(g, x, "mean");
  const auto n = static_cast<double>(reduced_count(g, x, dims));
  return div(g, sum(g, x, dims, keepdim), number_like(g, x, n));
}

NodeId var(Graph& g, NodeId x, std::span<const int64_t> dims, double correction, bool keepdim) {
  require_float(g, x, "var");
  const auto n = static_cast<double>(reduced_count(g, x, dims));
  const NodeId deviation = sub(g, x, mean(g, x, dims, true));
  return div(g, sum(g, square(g, deviation), dims, keepdim),
             number_like(g, x, std::max(0.0, n - correction)));
}

NodeId std_dev(Graph& g, NodeId x, std::span<const int64_t> dims, double correction, bool keepdim) {
  return sqrt(g, var(g, x, dims, correction, keepdim));
}

NodeId norm(Graph& g, NodeId x, double p, std::span<const int64_t> dims, bool keepdim) {
  require_float(g, x, "norm");
  if (p == 0)
    return sum(g, cast(g, compare(g, Op::Ne, x, number_like(g, x, 0)), g.dtype(x)), dims, keepdim);
  if (p == 2) return sqrt(g, sum(g, square(g, x), dims, keepdim));
  const NodeId magnitude = unary(g, Op::Abs, x);
  if (p == std::numeric_limits<double>::infinity()) return amax(g, magnitude, dims, keepdim);
  if (p == -std::numeric_limits<double>::infinity()) return amin(g, magnitude, dims, keepdim);
  if (p == 1) return sum(g, magnitude, dims, keepdim);
  const NodeId total = sum(g, binary(g, Op::Pow, magnitude, number_like(g, x, p)), dims, keepdim);
  return binary(g, Op::Pow, total, number_like(g, x, 1 / p));
}

NodeId any(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  if (reduced_count(g, x, dims) == 0)
    return cast(g, sum(g, cast(g, x, DType::Int64), dims, keepdim), DType::Bool);
  return amax(g, cast(g, x, DType::Bool), dims, keepdim);
}

NodeId all(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  if (reduced_count(g, x, dims) == 0)
    return cast(g, prod(g, cast(g, x, DType::Int64), dims, keepdim), DType::Bool);
  return amin(g, cast(g, x, DType::Bool), dims, keepdim);
}

NodeId count_nonzero(Graph& g, NodeId x, std::span<const int64_t> dims) {
  return sum(g, cast(g, x, DType::Bool), dims);
}

NodeId argmax(Graph& g, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  return arg(g, Op::ArgMax, x, dim, keepdim);
}
NodeId argmin(Graph& g, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  return arg(g, Op::ArgMin, x, dim, keepdim);
}

NodeId logsumexp(Graph& g, NodeId x, std::span<const int64_t> dims, bool keepdim) {
  x = to_float(g, x);
  const NodeId greatest = stable_shift(g, x, dims);
  // inf - inf would be NaN.
  const NodeId shift = select(g, isinf(g, greatest), number_like(g, x, 0), greatest);
  const NodeId kept = add(g, log(g, sum(g, exp(g, sub(g, x, shift)), dims, true)), shift);
  return keepdim ? kept : squeeze(g, kept, normalize_dims(dims, g.rank(x), "logsumexp"));
}

NodeId softmax(Graph& g, NodeId x, int64_t dim) {
  x = to_float(g, x);
  if (is_scalar_dim(g, x, dim)) return exp(g, sub(g, x, x));
  const int64_t dims[] = {normalize_dim(dim, g.rank(x), "softmax")};
  if (g.numel(x) == 0) return x;
  const NodeId weights = exp(g, sub(g, x, stable_shift(g, x, dims)));
  return div(g, weights, sum(g, weights, dims, true));
}

NodeId log_softmax(Graph& g, NodeId x, int64_t dim) {
  x = to_float(g, x);
  if (is_scalar_dim(g, x, dim)) return sub(g, x, x);
  const int64_t dims[] = {normalize_dim(dim, g.rank(x), "log_softmax")};
  if (g.numel(x) == 0) return x;
  const NodeId shifted = sub(g, x, stable_shift(g, x, dims));
  return sub(g, shifted, log(g, sum(g, exp(g, shifted), dims, true)));
}

NodeId cumsum(Graph& g, NodeId x, int64_t dim) { return scan(g, Op::CumSum, x, dim); }
NodeId cumprod(Graph& g, NodeId x, int64_t dim) { return scan(g, Op::CumProd, x, dim); }

}  // namespace coregrad::ops
