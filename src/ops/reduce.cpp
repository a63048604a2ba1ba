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

// The maximum that softmax and its kin subtract. Their value does not depend on it, so neither does
// the gradient.
NodeId stable_shift(Graph& g, NodeId x, SymInts dims) {
  return detach(g, reduce(g, Op::ReduceMax, x, dims, true));
}

// A root or power, whose slope at 0 is infinite, with 0 as its slope there, PyTorch's choice, and
// `value`.
template <class Function>
NodeId flat_at_zero(Graph& g, NodeId x, Function f, double value = 0) {
  const NodeId is_zero = compare(g, Op::Eq, x, number_like(g, x, 0));
  const NodeId safe = select(g, is_zero, number_like(g, x, 1), x);
  return select(g, is_zero, number_like(g, x, value), f(safe));
}

// The dimensions to reduce; those of a scalar are none.
SymInts of_scalar(const Graph& g, NodeId x, SymInts dims) {
  const bool is_one = dims.size() == 1 && is_scalar_dim(g, x, dims[0]);
  return is_one ? SymInts() : dims;
}

NodeId accumulated(Graph& g, Op op, NodeId x, int64_t dim, std::optional<DType> dtype) {
  if (dtype) x = cast(g, x, *dtype);
  if (is_scalar_dim(g, x, dim)) return x;
  const NodeId result = scan(g, op, x, dim);
  return dtype ? cast(g, result, *dtype) : result;
}

NodeId arg(Graph& g, Op op, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  if (dim && is_scalar_dim(g, x, *dim)) dim.reset();
  if (dim) return reduce(g, op, x, {{*dim}}, keepdim);
  const SymInt flat[] = {g.numel(x)};
  const NodeId position = reduce(g, op, reshape(g, x, flat), {{0}});
  return keepdim ? reshape(g, position, Dims(g.shape(x).size(), 1)) : position;
}

}  // namespace

SymInt reduced_count(const Graph& g, NodeId x, SymInts dims) {
  SymInt n = 1;
  for (int64_t d : normalize_dims(of_scalar(g, x, dims), g.rank(x), "reduce"))
    n = checked_mul(n, g.shape(x)[d], "reduce");
  return n;
}

NodeId sum(Graph& g, NodeId x, SymInts dims, bool keepdim, std::optional<DType> dtype) {
  if (!dtype) return reduce(g, Op::Sum, x, of_scalar(g, x, dims), keepdim);
  return cast(g, reduce(g, Op::Sum, cast(g, x, *dtype), of_scalar(g, x, dims), keepdim), *dtype);
}
NodeId prod(Graph& g, NodeId x, SymInts dims, bool keepdim, std::optional<DType> dtype) {
  if (!dtype) return reduce(g, Op::Prod, x, of_scalar(g, x, dims), keepdim);
  return cast(g, reduce(g, Op::Prod, cast(g, x, *dtype), of_scalar(g, x, dims), keepdim), *dtype);
}
NodeId amax(Graph& g, NodeId x, SymInts dims, bool keepdim) {
  return reduce(g, Op::ReduceMax, x, of_scalar(g, x, dims), keepdim);
}
NodeId amin(Graph& g, NodeId x, SymInts dims, bool keepdim) {
  return reduce(g, Op::ReduceMin, x, of_scalar(g, x, dims), keepdim);
}

NodeId mean(Graph& g, NodeId x, SymInts dims, bool keepdim, std::optional<DType> dtype) {
  if (dtype) x = cast(g, x, *dtype);
  require_float(g, x, "mean");
  return div(g, sum(g, x, dims, keepdim), size_like(g, x, reduced_count(g, x, dims)));
}

NodeId var(Graph& g, NodeId x, SymInts dims, double correction, bool keepdim) {
  require_float(g, x, "var");
  const NodeId wide = cast(g, x, DType::Float64);
  const NodeId deviation = sub(g, wide, mean(g, wide, dims, true));
  const NodeId squares = sum(g, square(g, deviation), dims, keepdim);
  const NodeId left = shifted(g, size_like(g, wide, reduced_count(g, x, dims)), -correction);
  const NodeId variance = div(g, squares, maximum(g, left, number_like(g, wide, 0)));
  return cast(g, variance, g.dtype(x));
}

NodeId std(Graph& g, NodeId x, SymInts dims, double correction, bool keepdim) {
  require_float(g, x, "std");
  const NodeId variance = var(g, cast(g, x, DType::Float64), dims, correction, keepdim);
  return cast(g, flat_at_zero(g, variance, [&](NodeId v) { return sqrt(g, v); }), g.dtype(x));
}

std::pair<NodeId, NodeId> var_mean(Graph& g, NodeId x, SymInts dims, double correction,
                                   bool keepdim) {
  const NodeId variance = var(g, x, dims, correction, keepdim);
  return {variance, cast(g, mean(g, cast(g, x, DType::Float64), dims, keepdim), g.dtype(x))};
}
std::pair<NodeId, NodeId> std_mean(Graph& g, NodeId x, SymInts dims, double correction,
                                   bool keepdim) {
  const NodeId deviation = std(g, x, dims, correction, keepdim);
  return {deviation, cast(g, mean(g, cast(g, x, DType::Float64), dims, keepdim), g.dtype(x))};
}

NodeId norm(Graph& g, NodeId x, double p, SymInts dims, bool keepdim) {
  require_float(g, x, "norm");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (p == 0) {  // how many are not 0, NaN included: a step, whose slope is 0
    const NodeId counted =
        select(g, compare(g, Op::Ne, x, x), number_like(g, x, 1), abs(g, sign(g, x)));
    return sum(g, counted, dims, keepdim);
  }
  // Squares and powers of a single element might overflow.
  if (g.numel(x) > 0 && reduced_count(g, x, dims) == 1) p = kInfinity;
  const NodeId magnitude = abs(g, x);
  if (p == kInfinity) return amax(g, magnitude, dims, keepdim);
  if (p == -kInfinity) return amin(g, magnitude, dims, keepdim);
  if (p == 1) return sum(g, magnitude, dims, keepdim);
  if (p == 2)
    return flat_at_zero(g, sum(g, square(g, x), dims, keepdim),
                        [&](NodeId total) { return sqrt(g, total); });
  const auto power = [&](NodeId t, double exponent) {
    return binary(g, Op::Pow, t, number_like(g, x, exponent));
  };
  const auto raised = [&](NodeId t) { return power(t, p); };
  const auto rooted = [&](NodeId t) { return power(t, 1 / p); };
  // A power below 0 makes zeros infinite, and the norm 0.
  if (p < 0) return rooted(sum(g, flat_at_zero(g, magnitude, raised, kInfinity), dims, keepdim));
  const NodeId powers = p < 1 ? flat_at_zero(g, magnitude, raised) : raised(magnitude);
  return flat_at_zero(g, sum(g, powers, dims, keepdim), rooted);
}

NodeId any(Graph& g, NodeId x, SymInts dims, bool keepdim) {
  if (reduced_count(g, x, dims) == 0)
    return cast(g, sum(g, cast(g, x, DType::Int64), dims, keepdim), DType::Bool);
  return amax(g, cast(g, x, DType::Bool), dims, keepdim);
}

NodeId all(Graph& g, NodeId x, SymInts dims, bool keepdim) {
  if (reduced_count(g, x, dims) == 0)
    return cast(g, prod(g, cast(g, x, DType::Int64), dims, keepdim), DType::Bool);
  return amin(g, cast(g, x, DType::Bool), dims, keepdim);
}

NodeId count_nonzero(Graph& g, NodeId x, SymInts dims) {
  return sum(g, cast(g, x, DType::Bool), dims);
}

NodeId argmax(Graph& g, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  return arg(g, Op::ArgMax, x, dim, keepdim);
}
NodeId argmin(Graph& g, NodeId x, std::optional<int64_t> dim, bool keepdim) {
  return arg(g, Op::ArgMin, x, dim, keepdim);
}

NodeId logsumexp(Graph& g, NodeId x, SymInts dims, bool keepdim) {
  dims = of_scalar(g, x, dims);
  if (g.numel(x) == 0)  // there is no maximum to subtract
    return log(g, sum(g, x, dims, keepdim));
  const NodeId greatest = stable_shift(g, x, dims);
  // inf - inf would be NaN.
  const NodeId shift = select(g, isinf(g, greatest), number_like(g, x, 0), greatest);
  const NodeId kept = add(g, log(g, sum(g, exp(g, sub(g, x, shift)), dims, true)), shift);
  return keepdim ? kept : squeeze(g, kept, normalize_dims(dims, g.rank(x), "logsumexp"));
}

NodeId softmax(Graph& g, NodeId x, int64_t dim, std::optional<DType> dtype) {
  if (dtype) x = cast(g, x, *dtype);
  if (is_scalar_dim(g, x, dim)) return exp(g, sub(g, x, x));
  const SymInt dims[] = {normalize_dim(dim, g.rank(x), "softmax")};
  if (g.numel(x) == 0) return x;
  const NodeId weights = exp(g, sub(g, x, stable_shift(g, x, dims)));
  return div(g, weights, sum(g, weights, dims, true));
}

NodeId log_softmax(Graph& g, NodeId x, int64_t dim, std::optional<DType> dtype) {
  if (dtype) x = cast(g, x, *dtype);
  if (is_scalar_dim(g, x, dim)) return sub(g, x, x);
  const SymInt dims[] = {normalize_dim(dim, g.rank(x), "log_softmax")};
  if (g.numel(x) == 0) return x;
  const NodeId shifted = sub(g, x, stable_shift(g, x, dims));
  return sub(g, shifted, log(g, sum(g, exp(g, shifted), dims, true)));
}

NodeId cumsum(Graph& g, NodeId x, int64_t dim, std::optional<DType> dtype) {
  return accumulated(g, Op::CumSum, x, dim, dtype);
}
NodeId cumprod(Graph& g, NodeId x, int64_t dim, std::optional<DType> dtype) {
  return accumulated(g, Op::CumProd, x, dim, dtype);
}

}  // namespace coregrad::ops
