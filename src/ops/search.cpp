// Searches in sorted sequences, and histograms.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <algorithm>

namespace coregrad::ops {

// PyTorch's own bisection, step by step, so that NaN ends up where it does there.
NodeId searchsorted(Graph& g, NodeId sequences, NodeId values, bool right) {
  const Dims shape = shape_of(g, values), rows = shape_of(g, sequences);
  const bool is_one = rows.size() == 1;
  const bool fits = !rows.empty() && rows.size() == shape.size() &&
                    std::equal(rows.begin(), rows.end() - 1, shape.begin());
  if (!is_one && !fits)
    raise<ShapeError>("searchsorted: all but the last extents must be equal: got {} in {}",
                      describe(g, values), describe(g, sequences));
  if (g.numel(values) == 0 || g.numel(sequences) == 0)
    return full(g, shape, Scalar::of_int(DType::Int64, 0));
  const SymInt flat[] = {-1};
  const Expr wanted(g, is_one ? reshape(g, values, flat) : values);
  const Scalar zero = Scalar::of_int(DType::Int64, 0);
  Expr start(g, full(g, g.shape(wanted.node), zero)), end = start + rows.back();
  for (SymInt left = rows.back(); left > 0; left /= 2) {
    const Expr going = start < end, middle = start + (end - start) / 2;
    const NodeId probe = where(going, middle, 0).node;
    const Expr found(g, gather(g, sequences, g.rank(probe) - 1, probe));
    const Expr stops = right ? wanted < found : wanted <= found;
    start = where(going & !stops, middle + 1, start);
    end = where(going & stops, middle, end);
  }
  return reshape(g, start.node, shape);
}

NodeId bucketize(Graph& g, NodeId x, NodeId boundaries, bool right) {
  if (g.rank(boundaries) != 1)
    raise<ShapeError>("bucketize: boundaries must have one dimension: got {}",
                      describe(g, boundaries));
  return searchsorted(g, boundaries, x, right);
}

NodeId histc(Graph& g, NodeId x, int64_t bins, double min, double max) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("histc: the operand must be floating; cast it first: got {}", describe(g, x));
  if (bins <= 0) raise<ValueError>("histc: bins must be positive: got {}", bins);
  if (min > max) raise<ValueError>("histc: min must not exceed max: got {} and {}", min, max);
  const Scalar zero = Scalar::of(g.dtype(x), 0);
  const SymInt extents[] = {bins + 1};
  const NodeId none = full(g, extents, zero);
  if (g.numel(x) == 0) return narrow(g, none, 0, 0, bins);
  const SymInt row[] = {-1};
  const Expr values(g, reshape(g, x, row));
  Expr low = Expr(min).beside(values), high = Expr(max).beside(values);
  if (min == max) {  // those of the elements; of equal ones the range around them
    low = {g, reduce(g, Op::ReduceMin, values.node, {{0}}, true)};
    high = {g, reduce(g, Op::ReduceMax, values.node, {{0}}, true)};
    const Expr is_one = low == high;
    low = where(is_one, low - 1, low);
    high = where(is_one, high + 1, high);
  }
  const Expr inside = (values >= low) & (values <= high);
  const Expr place = (values - low) / (high - low) * static_cast<double>(bins);
  const Expr whole(g, cast(g, where(inside, place, 0).node, DType::Int64));
  const auto last = static_cast<double>(bins - 1);
  // What lies outside is counted in a bin of its own.
  const Expr bin = where(inside, at_most(whole, last), static_cast<double>(bins));
  const NodeId ones = full(g, g.shape(values.node), Scalar::of(g.dtype(x), 1));
  return narrow(g, scatter(g, none, 0, bin.node, ones, ScatterMode::Add), 0, 0, bins);
}

}  // namespace coregrad::ops
