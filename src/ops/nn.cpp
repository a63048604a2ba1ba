#include "ops/nn.h"

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/indexing.h"
#include "ops/linalg.h"
#include "ops/math.h"
#include "ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace coregrad::ops {
namespace {

Dims trailing_dims(const Graph& g, NodeId x, int64_t count, std::string_view operation) {
  const int64_t rank = g.rank(x);
  if (count < 1 || count > rank)
    raise<ShapeError>("{}: 1 to {} dimensions can be normalised: got {} for {}", operation, rank,
                      count, describe(g, x));
  Dims dims(static_cast<size_t>(count));
  std::iota(dims.begin(), dims.end(), rank - count);
  return dims;
}

void require_float(const Graph& g, NodeId x, std::string_view operation) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("{}: the input must be floating: got {}", operation, describe(g, x));
}

// A vector of channels in the place of x's dimension 1.
NodeId per_channel(Graph& g, NodeId x, NodeId vector, std::string_view operation) {
  if (g.rank(x) < 2 || g.rank(vector) != 1 || g.shape(vector)[0] != g.shape(x)[1])
    raise<ShapeError>("{}: there must be one value per channel (dimension 1): got {} for {}",
                      operation, describe(g, vector), describe(g, x));
  Dims shape(g.shape(x).size() - 1, 1);
  shape[0] = g.shape(x)[1];
  return reshape(g, vector, shape);
}

NodeId scale_and_shift(Graph& g, NodeId y, std::optional<NodeId> weight,
                       std::optional<NodeId> bias) {
  if (weight) y = mul(g, y, *weight);
  return bias ? add(g, y, *bias) : y;
}

std::optional<NodeId> channel_parameter(Graph& g, NodeId x, std::optional<NodeId> vector,
                                        std::string_view operation) {
  if (!vector) return std::nullopt;
  return per_channel(g, x, *vector, operation);
}

void require_trailing(const Graph& g, NodeId x, const Dims& dims, std::optional<NodeId> parameter,
                      std::string_view operation) {
  if (parameter && !same_shape(g.shape(*parameter), g.shape(x).last(dims.size())))
    raise<ShapeError>("{}: weight and bias must have the normalised shape: got {} for {}",
                      operation, describe(g, *parameter), describe(g, x));
}

}  // namespace

// The corrected two-pass algorithm (Chan, Golub, LeVeque 1983): a mean is off by what its sum was
// rounded by, which is much for values that are nearly equal. What is left of the mean, found in
// the pass that adds the squares, takes it off again; its own derivative is 0.
Normalized normalize(Graph& g, NodeId x, SymInts dims, double eps) {
  const NodeId rough = mean(g, x, dims, true);
  const NodeId deviation = sub(g, x, rough);
  const NodeId rest = detach(g, mean(g, deviation, dims, true));
  const NodeId variance =
      maximum(g, sub(g, mean(g, square(g, deviation), dims, true), square(g, rest)),
              number_like(g, rest, 0));
  const NodeId rstd = unary(g, Op::Rsqrt, shifted(g, variance, eps));
  return {mul(g, sub(g, deviation, rest), rstd), add(g, rough, rest), variance, rstd};
}

NodeId layer_norm(Graph& g, NodeId x, int64_t count, std::optional<NodeId> weight,
                  std::optional<NodeId> bias, double eps) {
  require_float(g, x, "layer_norm");
  const Dims dims = trailing_dims(g, x, count, "layer_norm");
  require_trailing(g, x, dims, weight, "layer_norm");
  require_trailing(g, x, dims, bias, "layer_norm");
  return scale_and_shift(g, normalize(g, x, dims, eps).y, weight, bias);
}

NodeId rms_norm(Graph& g, NodeId x, int64_t count, std::optional<NodeId> weight, double eps) {
  require_float(g, x, "rms_norm");
  const Dims dims = trailing_dims(g, x, count, "rms_norm");
  require_trailing(g, x, dims, weight, "rms_norm");
  const NodeId squares = mean(g, square(g, x), dims, true);
  return scale_and_shift(g, mul(g, x, unary(g, Op::Rsqrt, shifted(g, squares, eps))), weight, {});
}

NodeId group_norm(Graph& g, NodeId x, int64_t groups, std::optional<NodeId> weight,
                  std::optional<NodeId> bias, double eps) {
  require_float(g, x, "group_norm");
  const Dims shape = shape_of(g, x);
  if (shape.size() < 2 || groups < 1 || shape[1] % groups != 0)
    raise<ShapeError>("group_norm: the channels must be divisible by the groups: got {} for {}",
                      groups, describe(g, x));
  Dims grouped = shape;
  grouped[1] = groups;
  grouped.insert(grouped.begin() + 2, shape[1] / groups);
  const NodeId y =
      layer_norm(g, reshape(g, x, grouped), static_cast<int64_t>(grouped.size()) - 2, {}, {}, eps);
  return scale_and_shift(g, reshape(g, y, shape), channel_parameter(g, x, weight, "group_norm"),
                         channel_parameter(g, x, bias, "group_norm"));
}

BatchNorm batch_norm_train(Graph& g, NodeId x, std::optional<NodeId> weight,
                           std::optional<NodeId> bias, double eps) {
  require_float(g, x, "batch_norm");
  if (g.rank(x) < 2)
    raise<ShapeError>("batch_norm: the input must be [N,C,..]: got {}", describe(g, x));
  Dims dims;
  for (int64_t d = 0; d < g.rank(x); ++d)
    if (d != 1) dims.push_back(d);
  const SymInt count = reduced_count(g, x, dims);
  if (count < 2)
    raise<ValueError>("batch_norm: training needs more than one value per channel: got {}",
                      describe(g, x));
  const Normalized own = normalize(g, x, dims, eps);
  const NodeId y = scale_and_shift(g, own.y, channel_parameter(g, x, weight, "batch_norm"),
                                   channel_parameter(g, x, bias, "batch_norm"));
  return {y, squeeze(g, own.mean, dims), squeeze(g, own.variance, dims), count};
}

NodeId batch_norm_eval(Graph& g, NodeId x, NodeId average, NodeId variance,
                       std::optional<NodeId> weight, std::optional<NodeId> bias, double eps) {
  require_float(g, x, "batch_norm");
  NodeId scale = unary(g, Op::Rsqrt, shifted(g, variance, eps));
  if (weight) scale = mul(g, scale, *weight);
  const NodeId centered = sub(g, x, per_channel(g, x, average, "batch_norm"));
  return scale_and_shift(g, centered, per_channel(g, x, scale, "batch_norm"),
                         channel_parameter(g, x, bias, "batch_norm"));
}

std::pair<NodeId, NodeId> updated_statistics(Graph& g, const BatchNorm& batch, NodeId average,
                                             NodeId variance, double momentum) {
  const SymInt n = batch.count;
  const NodeId correction =
      div(g, size_like(g, batch.variance, n), size_like(g, batch.variance, n - 1));
  const auto moved = [&](NodeId running, NodeId now) {
    return add(g, scaled(g, running, 1 - momentum), scaled(g, detach(g, now), momentum));
  };
  return {moved(average, batch.mean), moved(variance, mul(g, batch.variance, correction))};
}

std::pair<NodeId, NodeId> dropout_with_mask(Graph& g, NodeId x, double p, const Draw& draw) {
  if (!(p >= 0 && p <= 1))
    raise<ValueError>("dropout: the probability must lie in [0, 1]: got {}", p);
  x = to_float(g, x);
  const Dims shape = shape_of(g, x);
  if (p == 0 || p == 1) {
    const NodeId mask = full(g, shape, Scalar::of_int(DType::Bool, p == 0));
    return {p == 0 ? x : mul(g, x, number_like(g, x, 0)), mask};
  }
  // Uniform numbers of float32 are fine enough for a mask of any dtype.
  const NodeId number = uniform(g, draw, DType::Float32, shape);
  const NodeId is_kept = compare(g, Op::Le, number_like(g, number, p), number);
  return {select(g, is_kept, scaled(g, x, 1 / (1 - p)), number_like(g, x, 0)), is_kept};
}

NodeId dropout(Graph& g, NodeId x, double p, NodeId seed, int64_t stream) {
  return dropout_with_mask(g, x, p, {seed, stream}).first;
}

namespace {

SymInt heads_of(const Graph& g, NodeId x) { return g.shape(x)[g.shape(x).size() - 3]; }

void check_attention(const Graph& g, NodeId query, NodeId key, const AttentionOptions& options) {
  if (g.rank(query) < 2 || g.rank(key) < 2)
    raise<ShapeError>("attention: operands must be [.., length, width]: got {} and {}",
                      describe(g, query), describe(g, key));
  if (options.is_causal && options.mask)
    raise<ValueError>("attention: is_causal and a mask exclude each other");
  if (!options.grouped_heads) return;
  if (g.rank(query) < 3 || g.rank(key) < 3)
    raise<ShapeError>("attention: grouped heads need a head dimension: got {}", describe(g, query));
  if (heads_of(g, key) == 0 || heads_of(g, query) % heads_of(g, key) != 0)
    raise<ShapeError>("attention: the query's heads must be a multiple: got {} and {}",
                      describe(g, query), describe(g, key));
}

// Rows of the heads that share a head of the keys, below each other: keys are not repeated.
NodeId stacked(Graph& g, NodeId x, NodeId key, const AttentionOptions& options) {
  if (!options.grouped_heads) return x;
  Dims shape = shape_of(g, x);
  const size_t head = shape.size() - 3;
  const SymInt heads = heads_of(g, key);
  shape[head + 1] *= shape[head] / heads;
  shape[head] = heads;
  return reshape(g, x, shape);
}

// What products are multiplied by.
Expr scale_of(Graph& g, NodeId query, const AttentionOptions& options) {
  if (options.scale) return *options.scale;
  const SymInt width = max(g.shape(query).back(), 1);
  if (width.is_number()) return 1 / std::sqrt(static_cast<double>(width.number()));
  const NodeId root = sqrt(g, cast(g, size(g, width), DType::Float64));
  return {g, cast(g, reciprocal(g, root), g.dtype(query))};
}

// stacked(), undone for a result of a query.
NodeId unstacked(Graph& g, NodeId x, NodeId query, const AttentionOptions& options) {
  if (!options.grouped_heads) return x;
  Dims shape = shape_of(g, query);
  shape.back() = g.shape(x).back();
  return reshape(g, x, shape);
}

}  // namespace

NodeId attention_scores(Graph& g, NodeId query, NodeId key, const AttentionOptions& options) {
  check_attention(g, query, key, options);
  const NodeId products = matmul(g, stacked(g, query, key, options), transpose(g, key, -2, -1));
  const NodeId scores =
      unstacked(g, (Expr(g, products) * scale_of(g, query, options)).node, query, options);
  if (!options.is_causal && !options.mask) return scores;
  if (options.mask && g.dtype(*options.mask) != DType::Bool)
    return add(g, scores, cast(g, *options.mask, g.dtype(scores)));
  const Shape shape = g.shape(scores);
  const NodeId takes_part =
      options.mask ? *options.mask : lower_mask(g, shape[shape.size() - 2], shape.back());
  return select(g, takes_part, scores,
                number_like(g, scores, -std::numeric_limits<double>::infinity()));
}

std::pair<NodeId, NodeId> attention_with_logsumexp(Graph& g, NodeId query, NodeId key, NodeId value,
                                                   const AttentionOptions& options) {
  if (g.rank(value) < 2)
    raise<ShapeError>("attention: operands must be [.., length, width]: got {}",
                      describe(g, value));
  const NodeId scores = attention_scores(g, query, key, options);
  NodeId weights = scores;
  Dims rows = shape_of(g, scores);
  rows.pop_back();
  NodeId logsumexp = full(g, rows, Scalar::of(g.dtype(scores), 0));
  if (g.numel(scores) > 0) {
    const SymInt last[] = {-1};
    const Expr s(g, scores);
    const Expr top(g, detach(g, reduce(g, Op::ReduceMax, scores, last, true)));
    // A row in which nothing takes part gives zeros instead of 0 / 0, and 0 as logarithm.
    const Expr is_dead = top == -std::numeric_limits<double>::infinity();
    const Expr powers = exp(s - where(is_dead, 0, top));
    const Expr total = where(is_dead, 1, Expr(g, sum(g, powers.node, last, true)));
    weights = (powers / total).node;
    logsumexp = squeeze(g, where(is_dead, 0, log(total) + top).node, last);
  }
  if (options.dropout > 0) {
    if (!options.seed) raise<ValueError>("attention: dropout needs a seed");
    weights = dropout(g, weights, options.dropout, *options.seed, options.stream);
  }
  const NodeId out = matmul(g, stacked(g, weights, key, options), value);
  return {unstacked(g, out, query, options), logsumexp};
}

std::array<NodeId, 3> attention_backward(Graph& g, NodeId grad, NodeId query, NodeId key,
                                         NodeId value, NodeId out, NodeId logsumexp,
                                         const AttentionOptions& options) {
  const auto rows = [&](NodeId x) { return stacked(g, x, key, options); };
  const auto turned = [&](NodeId x) { return transpose(g, x, -2, -1); };
  const SymInt last[] = {-1};
  const NodeId scores = attention_scores(g, query, key, options);
  const Expr p =
      exp(Expr(g, scores) - Expr(g, unsqueeze(g, cast(g, logsumexp, g.dtype(scores)), -1)));
  const Expr grad_p(g, unstacked(g, matmul(g, rows(grad), turned(value)), scores, options));
  const Expr delta(g, reduce(g, Op::Sum, mul(g, grad, out), last, true));
  const NodeId grad_scores = rows((p * (grad_p - delta) * scale_of(g, query, options)).node);
  return {unstacked(g, matmul(g, grad_scores, key), query, options),
          matmul(g, turned(grad_scores), rows(query)), matmul(g, turned(rows(p.node)), rows(grad))};
}

NodeId scaled_dot_product_attention(Graph& g, NodeId query, NodeId key, NodeId value,
                                    const AttentionOptions& options) {
  return attention_with_logsumexp(g, query, key, value, options).first;
}

}  // namespace coregrad::ops
