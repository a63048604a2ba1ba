// What the order of a dimension's elements tells: medians and modes, and running extremes.
//
// Of equal elements PyTorch names any; here it is the first, for modes the last. NaN is the
// largest.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <limits>
#include <utility>
#include <vector>

namespace coregrad::ops {
namespace {

using Pair = std::pair<NodeId, NodeId>;

// The values and their positions, whose dimension may go.
Pair kept(Graph& g, Pair found, int64_t dim, bool keepdim) {
  if (keepdim) return found;
  return {squeeze(g, found.first, {{dim}}), squeeze(g, found.second, {{dim}})};
}

// The element of x at a place, a node with the dimension kept, of the sorted order.
Pair at_place(Graph& g, NodeId x, int64_t dim, NodeId order, NodeId place) {
  const NodeId index = gather(g, order, dim, place);
  return {gather(g, x, dim, index), index};
}

// A dimension with elements; of no rows nothing is wanted.
int64_t require_elements(const Graph& g, NodeId x, int64_t dim, std::string_view operation) {
  dim = normalize_dim(dim, g.rank(x), operation);
  if (g.shape(x)[dim] == 0)
    raise<ShapeError>("{}: the dimension must have elements: got {}", operation, describe(g, x));
  return dim;
}

Pair median_in(Graph& g, NodeId x, int64_t dim, bool keepdim, bool ignores_nan) {
  const std::string_view operation = ignores_nan ? "nanmedian" : "median";
  if (is_scalar_dim(g, x, dim)) return {x, whole(g, 0)};
  dim = require_elements(g, x, dim, operation);
  const SymInt extent = g.shape(x)[dim], middle = (extent - 1) / 2;
  const NodeId order = argsort(g, x, dim, false);
  if (!is_float(g.dtype(x))) {
    const NodeId index = narrow(g, order, dim, middle, middle + 1);
    return kept(g, {gather(g, x, dim, index), index}, dim, keepdim);
  }
  const NodeId count = cast(g, compare(g, Op::Ne, x, x), DType::Int64);
  const Expr nan(g, reduce(g, Op::Sum, count, {{dim}}, true));
  const Expr half(g, binary(g, Op::Div, maximum(Expr(extent - 1) - nan, 0).node, whole(g, 2)));
  const Expr place = ignores_nan ? half : where(nan > 0, Expr(extent) - nan, middle);
  return kept(g, at_place(g, x, dim, order, place.node), dim, keepdim);
}

// Of all elements as one row; of none NaN.
NodeId median_of_all(Graph& g, NodeId x, bool ignores_nan) {
  if (g.numel(x) == 0 && is_float(g.dtype(x)))
    return literal(g, g.dtype(x), std::numeric_limits<double>::quiet_NaN());
  const SymInt row[] = {-1};
  return median_in(g, reshape(g, x, row), 0, false, ignores_nan).first;
}

// Each place joined with all before it, by doubling; `values` have one shape.
// join(earlier, later) must be associative.
template <class Join>
std::vector<NodeId> joined_before(Graph& g, std::vector<NodeId> values, int64_t dim, Join join) {
  const SymInt extent = g.shape(values[0])[dim];
  for (int64_t step = 1; step < extent; step *= 2) {
    std::vector<NodeId> earlier, later;
    for (const NodeId v : values) {
      earlier.push_back(narrow(g, v, dim, 0, extent - step));
      later.push_back(narrow(g, v, dim, step, extent));
    }
    const std::vector<NodeId> joined = join(earlier, later);
    for (size_t i = 0; i < values.size(); ++i) {
      const NodeId parts[] = {narrow(g, values[i], dim, 0, step), joined[i]};
      values[i] = concat(g, parts, dim);
    }
  }
  return values;
}

Pair extremes_so_far(Graph& g, NodeId x, int64_t dim, bool is_max) {
  const std::string_view operation = is_max ? "cummax" : "cummin";
  const Scalar zero = Scalar::of_int(DType::Int64, 0);
  if (g.numel(x) == 0 || is_scalar_dim(g, x, dim)) return {x, full(g, shape_of(g, x), zero)};
  dim = normalize_dim(dim, g.rank(x), operation);
  const auto join = [&](const std::vector<NodeId>& earlier, const std::vector<NodeId>& later) {
    const Expr old(g, earlier[0]), next(g, later[0]);
    Expr wins = is_max ? next >= old : next <= old;
    if (is_float(g.dtype(x))) wins = (next != next) | ((old == old) & wins);
    std::vector<NodeId> winners;
    for (size_t i = 0; i < earlier.size(); ++i)
      winners.push_back(select(g, wins.node, later[i], earlier[i]));
    return winners;
  };
  // Truth values are compared as numbers.
  const NodeId numbers = g.dtype(x) == DType::Bool ? cast(g, x, DType::Int32) : x;
  const std::vector<NodeId> best = joined_before(g, {numbers, places_along(g, x, dim)}, dim, join);
  return {cast(g, best[0], g.dtype(x)), best[1]};
}

}  // namespace

NodeId logcumsumexp(Graph& g, NodeId x, int64_t dim) {
  if (is_scalar_dim(g, x, dim)) return x;
  dim = normalize_dim(dim, g.rank(x), "logcumsumexp");
  const auto join = [&](const std::vector<NodeId>& earlier, const std::vector<NodeId>& later) {
    return std::vector{logaddexp(g, earlier[0], later[0])};
  };
  const NodeId total = joined_before(g, {cast(g, x, DType::Float64)}, dim, join)[0];
  return cast(g, total, g.dtype(x));
}

std::pair<NodeId, NodeId> kthvalue(Graph& g, NodeId x, SymInt k, int64_t dim, bool keepdim) {
  const bool is_scalar = is_scalar_dim(g, x, dim);
  const int64_t at = is_scalar ? 0 : normalize_dim(dim, g.rank(x), "kthvalue");
  const SymInt extent = is_scalar ? SymInt(1) : g.shape(x)[at];
  if (k < 1 || k > extent)
    raise<IndexError>("kthvalue: k must lie in [1, {}]: got {} for {}", extent, k, describe(g, x));
  if (is_scalar) return {x, whole(g, 0)};
  const NodeId index = narrow(g, argsort(g, x, at, false), at, k - 1, k);
  return kept(g, {gather(g, x, at, index), index}, at, keepdim);
}

std::pair<NodeId, NodeId> median(Graph& g, NodeId x, int64_t dim, bool keepdim) {
  return median_in(g, x, dim, keepdim, false);
}
std::pair<NodeId, NodeId> nanmedian(Graph& g, NodeId x, int64_t dim, bool keepdim) {
  return median_in(g, x, dim, keepdim, true);
}
NodeId median(Graph& g, NodeId x) { return median_of_all(g, x, false); }
NodeId nanmedian(Graph& g, NodeId x) { return median_of_all(g, x, true); }

std::pair<NodeId, NodeId> mode(Graph& g, NodeId x, int64_t dim, bool keepdim) {
  if (is_scalar_dim(g, x, dim)) return {x, whole(g, 0)};
  dim = require_elements(g, x, dim, "mode");
  const SymInt extent = g.shape(x)[dim];
  const NodeId order = argsort(g, x, dim, false), values = gather(g, x, dim, order);
  const NodeId place = places_along(g, x, dim);
  Dims one = shape_of(g, x);
  one[dim] = 1;
  NodeId ends = full(g, one, Scalar::of_int(DType::Bool, true)), start = place;
  if (extent > 1) {
    const NodeId before = narrow(g, values, dim, 0, extent - 1);
    const NodeId changes = compare(g, Op::Ne, before, narrow(g, values, dim, 1, extent));
    const NodeId starts = concat(g, {{ends, changes}}, dim);
    ends = concat(g, {{changes, ends}}, dim);
    const auto later_start = [&](const std::vector<NodeId>& a, const std::vector<NodeId>& b) {
      return std::vector{maximum(g, a[0], b[0])};
    };
    start = joined_before(g, {select(g, starts, place, whole(g, 0))}, dim, later_start)[0];
  }
  // The first of the longest runs has the smallest value.
  const NodeId length = select(g, ends, sub(g, place, start), whole(g, -1));
  const NodeId longest = reduce(g, Op::ArgMax, length, {{dim}}, true);
  return kept(g, at_place(g, x, dim, order, longest), dim, keepdim);
}

std::pair<NodeId, NodeId> cummax(Graph& g, NodeId x, int64_t dim) {
  return extremes_so_far(g, x, dim, true);
}
std::pair<NodeId, NodeId> cummin(Graph& g, NodeId x, int64_t dim) {
  return extremes_so_far(g, x, dim, false);
}

}  // namespace coregrad::ops
