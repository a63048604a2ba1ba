#include "ops/random.h"

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace coregrad::ops {
namespace {

Expr uniform64(Graph& g, const Draw& draw, Shape shape) {
  return {g, random(g, draw.seed, DType::Float64, shape, draw.stream)};
}

Expr normal64(Graph& g, const Draw& draw, Shape shape) {
  return {g, standard_normal(g, draw, DType::Float64, shape)};
}

}  // namespace

NodeId uniform(Graph& g, const Draw& draw, DType dtype, Shape shape, double low, double high) {
  const Expr u(g, random(g, draw.seed, dtype, shape, draw.stream));
  return (u * (high - low) + low).node;
}

NodeId bernoulli(Graph& g, const Draw& draw, Shape shape, NodeId p) {
  return compare(g, Op::Lt, random(g, draw.seed, DType::Float32, shape, draw.stream), p);
}

NodeId standard_normal(Graph& g, const Draw& draw, DType dtype, Shape shape) {
  // Box and Muller's transform; 1 - u lies in (0, 1], where the logarithm is finite.
  const DType work = compute_dtype(dtype);
  const Expr u(g, random(g, draw.seed, work, shape, draw.stream));
  const Expr turn(g, random(g, draw.seed, work, shape, draw.stream + 1));
  const Expr radius = sqrt(log(1 - u) * -2);
  return cast(g, (radius * cos(turn * (2 * std::numbers::pi))).node, dtype);
}

NodeId whole_numbers(Graph& g, const Draw& draw, Shape shape, int64_t low, SymInt high) {
  const Expr span = high.is_number()
                        ? Expr(static_cast<double>(high.number()) - static_cast<double>(low))
                        : Expr(high - low);
  const Expr scaled = uniform64(g, draw, shape) * span;
  return add(g, cast(g, scaled.node, DType::Int64), literal(g, Scalar::of_int(DType::Int64, low)));
}

NodeId permutation(Graph& g, const Draw& draw, SymInt n) {
  const SymInt shape[] = {n};
  if (n == 0) return full(g, shape, Scalar::of_int(DType::Int64, 0));
  return argsort(g, uniform64(g, draw, shape).node, 0, false);
}

NodeId multinomial(Graph& g, const Draw& draw, NodeId x, SymInt count, bool replacement) {
  if (g.rank(x) < 1 || g.rank(x) > 2 || g.numel(x) == 0)
    raise<ShapeError>("multinomial: the weights must be [n] or [rows, n] and not empty: got {}",
                      describe(g, x));
  const int64_t dim = g.rank(x) - 1;
  const SymInt extent = g.shape(x)[dim];
  if (count < 1 || (!replacement && count > extent))
    raise<ValueError>("multinomial: {} samples cannot be taken from {} without replacement", count,
                      extent);
  const Expr weights = wide(g, x);
  const Expr ends(g, scan(g, Op::CumSum, weights.node, dim));
  const Expr total(g, narrow(g, ends.node, dim, extent - 1, extent));
  Dims shape = shape_of(g, x);
  const NodeId places = places_along(g, x, dim);
  Expr chosen(0);
  if (replacement) {
    shape[dim] = count;
    const Expr wanted = uniform64(g, draw, shape) * total;
    chosen = minimum(Expr(g, searchsorted(g, ends.node, wanted.node, true)), extent - 1);
  } else {  // the order in which events of these rates come
    const Expr time = -log(1 - uniform64(g, draw, shape)) / weights;
    chosen = {g, narrow(g, argsort(g, time.node, dim, false), dim, 0, count)};
    shape[dim] = count;
  }
  const Expr least(g, reduce(g, Op::ReduceMin, weights.node, {{dim}}, true));
  const Expr is_right =
      (least >= 0) & (total > 0) & (total < std::numeric_limits<double>::infinity());
  const Expr spread(g, broadcast_to(g, is_right.node, shape));
  return gather(g, places, dim, where(spread, chosen, extent).node);
}

NodeId normal(Graph& g, const Draw& draw, Shape shape, NodeId mean, NodeId deviation) {
  return (normal64(g, draw, shape) * wide(g, deviation) + wide(g, mean)).node;
}

NodeId log_normal(Graph& g, const Draw& draw, Shape shape, double mean, double deviation) {
  return exp(normal64(g, draw, shape) * deviation + mean).node;
}

NodeId exponential(Graph& g, const Draw& draw, Shape shape, double rate) {
  if (!(rate > 0)) raise<ValueError>("exponential: the rate must be positive: got {}", rate);
  return (log(1 - uniform64(g, draw, shape)) * (-1 / rate)).node;
}

NodeId cauchy(Graph& g, const Draw& draw, Shape shape, double median, double sigma) {
  return (tan((uniform64(g, draw, shape) - 0.5) * std::numbers::pi) * sigma + median).node;
}

NodeId geometric(Graph& g, const Draw& draw, Shape shape, double p) {
  if (!(p > 0 && p < 1)) raise<ValueError>("geometric: p must lie between 0 and 1: got {}", p);
  return maximum(ceil(log(1 - uniform64(g, draw, shape)) / std::log1p(-p)), 1).node;
}

}  // namespace coregrad::ops
