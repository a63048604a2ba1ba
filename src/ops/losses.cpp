#include "ops/losses.h"

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/math.h"
#include "ops/reduce.h"

namespace coregrad::ops {
namespace {

NodeId reduced(Graph& g, NodeId x, Reduction reduction) {
  switch (reduction) {
    case Reduction::None:
      return x;
    case Reduction::Mean:
      return mean(g, x);
    case Reduction::Sum:
      return sum(g, x);
  }
  COREGRAD_UNREACHABLE("a reduction outside the enumeration");
}

// Broadcasting is nearly always a mistake here.
void require_one_shape(const Graph& g, NodeId input, NodeId target, std::string_view operation) {
  if (!same_shape(g.shape(input), g.shape(target)))
    raise<ShapeError>("{}: input and target must have one shape: got {} and {}", operation,
                      describe(g, input), describe(g, target));
}

NodeId difference(Graph& g, NodeId input, NodeId target, std::string_view operation) {
  require_one_shape(g, input, target, operation);
  return sub(g, input, target);
}

// Where classes are: dimension 1, or 0 of a single sample.
int64_t class_dim(const Graph& g, NodeId scores, std::string_view operation) {
  if (g.rank(scores) < 1)
    raise<ShapeError>("{}: there must be a class dimension: got {}", operation,
                      describe(g, scores));
  return g.rank(scores) == 1 ? 0 : 1;
}

// weight[C] in the place of the class dimension.
NodeId class_weight(Graph& g, NodeId scores, NodeId weight, int64_t dim,
                    std::string_view operation) {
  const Shape shape = g.shape(scores);
  const auto d = static_cast<size_t>(dim);
  if (g.rank(weight) != 1 || g.shape(weight)[0] != shape[d])
    raise<ShapeError>("{}: there must be one weight per class ({}): got {}", operation, shape[d],
                      describe(g, weight));
  Dims along(shape.size() - d, 1);
  along[0] = shape[d];
  return reshape(g, weight, along);
}

// What belongs to the target's class of each sample, picked along the class dimension.
struct Picked {
  NodeId log_probability;  ///< 0 for ignored targets
  NodeId weight;           ///< of the class; 0 for ignored targets
  NodeId is_counted;       ///< bool
  NodeId index;            ///< with the class dimension (extent 1), ignored targets made 0
};

Picked pick(Graph& g, NodeId log_probabilities, NodeId target, int64_t dim,
            const ClassOptions& options, std::string_view operation) {
  Dims expected = shape_of(g, log_probabilities);
  expected.erase(expected.begin() + dim);
  if (!is_integer(g.dtype(target)))
    raise<DTypeError>("{}: class indices must be int64 or int32: got {}", operation,
                      describe(g, target));
  if (!same_shape(g.shape(target), expected))
    raise<ShapeError>("{}: targets must have the scores' shape without the classes: got {} for {}",
                      operation, describe(g, target), describe(g, log_probabilities));
  const NodeId classes = cast(g, target, DType::Int64);
  const NodeId ignored = literal(g, Scalar::of_int(DType::Int64, options.ignore_index));
  const NodeId is_counted = compare(g, Op::Ne, classes, ignored);
  const NodeId safe = select(g, is_counted, classes, literal(g, Scalar::of_int(DType::Int64, 0)));
  const NodeId index = unsqueeze(g, safe, dim);
  const NodeId zero = number_like(g, log_probabilities, 0);
  const auto picked = [&](NodeId values) {
    return select(g, is_counted, squeeze(g, gather(g, values, dim, index), {{dim}}), zero);
  };
  NodeId weight = cast(g, is_counted, g.dtype(log_probabilities));
  if (options.weight) {
    const NodeId by_class = class_weight(g, log_probabilities, *options.weight, dim, operation);
    weight = picked(broadcast_to(g, cast(g, by_class, g.dtype(log_probabilities)),
                                 shape_of(g, log_probabilities)));
  }
  return {picked(log_probabilities), weight, is_counted, index};
}

NodeId weighted_mean(Graph& g, NodeId loss, NodeId weight, Reduction reduction) {
  return reduction == Reduction::Mean ? div(g, sum(g, loss), sum(g, weight))
                                      : reduced(g, loss, reduction);
}

NodeId probability_cross_entropy(Graph& g, NodeId log_probabilities, NodeId target, int64_t dim,
                                 const ClassOptions& options) {
  const SymInt classes = g.shape(log_probabilities)[dim];
  if (options.label_smoothing > 0) {
    const NodeId kept = scaled(g, target, 1 - options.label_smoothing);
    target = add(g, kept, number_like(g, kept, options.label_smoothing / classes));
  }
  NodeId terms = mul(g, log_probabilities, target);
  if (options.weight)
    terms = mul(g, terms, class_weight(g, terms, *options.weight, dim, "cross_entropy"));
  const NodeId loss = neg(g, sum(g, terms, {{dim}}));
  if (options.reduction != Reduction::Mean) return reduced(g, loss, options.reduction);
  // The mean is over samples, whatever the weights.
  return div(g, sum(g, loss), size_like(g, loss, g.numel(loss)));
}

}  // namespace

NodeId mse_loss(Graph& g, NodeId input, NodeId target, Reduction reduction) {
  return reduced(g, square(g, difference(g, input, target, "mse_loss")), reduction);
}

NodeId l1_loss(Graph& g, NodeId input, NodeId target, Reduction reduction) {
  return reduced(g, abs(g, difference(g, input, target, "l1_loss")), reduction);
}

namespace {

/// 0 in place of a difference that is too large to be squared: an infinite one would have 0 times
/// infinity for a slope.
NodeId unless_far(Graph& g, NodeId is_far, NodeId difference) {
  return select(g, is_far, number_like(g, difference, 0), difference);
}

}  // namespace

NodeId huber_loss(Graph& g, NodeId input, NodeId target, Reduction reduction, double delta) {
  if (!(delta > 0)) raise<ValueError>("huber_loss: delta must be positive: got {}", delta);
  const NodeId d = difference(g, input, target, "huber_loss"), size = abs(g, d);
  const NodeId linear = scaled(g, sub(g, size, number_like(g, d, delta / 2)), delta);
  const NodeId is_far = compare(g, Op::Lt, number_like(g, d, delta), size);
  const NodeId squared = scaled(g, square(g, unless_far(g, is_far, d)), 0.5);
  return reduced(g, select(g, is_far, linear, squared), reduction);
}

NodeId smooth_l1_loss(Graph& g, NodeId input, NodeId target, Reduction reduction, double beta) {
  if (!(beta >= 0)) raise<ValueError>("smooth_l1_loss: beta must not be negative: got {}", beta);
  const NodeId d = difference(g, input, target, "smooth_l1_loss"), size = abs(g, d);
  if (beta == 0) return reduced(g, size, reduction);
  const NodeId linear = sub(g, size, number_like(g, d, beta / 2));
  const NodeId is_far = compare(g, Op::Le, number_like(g, d, beta), size);
  const NodeId squared = scaled(g, square(g, unless_far(g, is_far, d)), 0.5 / beta);
  return reduced(g, select(g, is_far, linear, squared), reduction);
}

std::pair<NodeId, NodeId> nll_loss_with_weight(Graph& g, NodeId log_probabilities, NodeId target,
                                               const ClassOptions& options) {
  const int64_t dim = class_dim(g, log_probabilities, "nll_loss");
  const Picked p = pick(g, log_probabilities, target, dim, options, "nll_loss");
  const NodeId loss = neg(g, mul(g, p.log_probability, p.weight));
  return {weighted_mean(g, loss, p.weight, options.reduction), sum(g, p.weight)};
}

NodeId nll_loss(Graph& g, NodeId log_probabilities, NodeId target, const ClassOptions& options) {
  return nll_loss_with_weight(g, log_probabilities, target, options).first;
}

NodeId cross_entropy(Graph& g, NodeId scores, NodeId target, const ClassOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
    raise<ValueError>("cross_entropy: label_smoothing must lie in [0, 1]: got {}",
                      options.label_smoothing);
  const int64_t dim = class_dim(g, scores, "cross_entropy");
  const NodeId log_probabilities = log_softmax(g, scores, dim);
  if (is_float(g.dtype(target)) && same_shape(g.shape(target), g.shape(scores)))
    return probability_cross_entropy(g, log_probabilities, target, dim, options);
  if (options.label_smoothing == 0) {
    // nll_loss would name itself in its errors.
    const Picked p = pick(g, log_probabilities, target, dim, options, "cross_entropy");
    return weighted_mean(g, neg(g, mul(g, p.log_probability, p.weight)), p.weight,
                         options.reduction);
  }
  const Picked p = pick(g, log_probabilities, target, dim, options, "cross_entropy");
  const SymInt classes = g.shape(scores)[dim];
  NodeId spread = log_probabilities;
  if (options.weight)
    spread = mul(g, spread, class_weight(g, spread, *options.weight, dim, "cross_entropy"));
  const NodeId zero = number_like(g, spread, 0);
  const NodeId smooth = select(g, p.is_counted, neg(g, sum(g, spread, {{dim}})), zero);
  const NodeId sharp = neg(g, mul(g, p.log_probability, p.weight));
  const NodeId loss = add(g, scaled(g, sharp, 1 - options.label_smoothing),
                          scaled(g, smooth, options.label_smoothing / classes));
  return weighted_mean(g, loss, p.weight, options.reduction);
}

NodeId binary_cross_entropy(Graph& g, NodeId input, NodeId target, std::optional<NodeId> weight,
                            Reduction reduction) {
  require_one_shape(g, input, target, "binary_cross_entropy");
  // Logarithms end at -100, and the slope (x - t) / (x (1 - x)) at a denominator of 1e-12.
  constexpr double kLeast = 1e-12;
  const auto limited = [](Expr x) { return maximum(x, -100); };
  const Expr x(g, input), t(g, target), fixed(g, detach(g, input));
  const Expr is_steep = fixed * (1 - fixed) < kLeast;
  const Expr inner = where(is_steep, fixed, x);
  const Expr line = (x - fixed) * ((fixed - t) * (1 / kLeast));  // 0, with the slope there
  Expr loss = (t - 1) * limited(log1p(-inner)) - t * limited(log(inner)) + where(is_steep, line, 0);
  if (weight) loss = loss * Expr(g, *weight);
  return reduced(g, loss.node, reduction);
}

NodeId binary_cross_entropy_with_logits(Graph& g, NodeId input, NodeId target,
                                        std::optional<NodeId> weight,
                                        std::optional<NodeId> pos_weight, Reduction reduction) {
  require_one_shape(g, input, target, "binary_cross_entropy_with_logits");
  // (1 - t) x + (1 + (w - 1) t) softplus(-x)
  const NodeId one = number_like(g, input, 1);
  NodeId tail = neg(g, logsigmoid(g, input));
  if (pos_weight) tail = mul(g, tail, add(g, one, mul(g, sub(g, *pos_weight, one), target)));
  NodeId loss = add(g, mul(g, sub(g, one, target), input), tail);
  if (weight) loss = mul(g, loss, *weight);
  return reduced(g, loss, reduction);
}

NodeId kl_div(Graph& g, NodeId input, NodeId target, bool log_target, Reduction reduction,
              bool batch_mean) {
  require_one_shape(g, input, target, "kl_div");
  const NodeId loss = log_target ? mul(g, exp(g, target), sub(g, target, input))
                                 : sub(g, xlogy(g, target, target), mul(g, target, input));
  if (!batch_mean) return reduced(g, loss, reduction);
  if (g.rank(loss) == 0) raise<ShapeError>("kl_div: batch_mean needs a batch dimension");
  return div(g, sum(g, loss), size_like(g, loss, g.shape(loss)[0]));
}

}  // namespace coregrad::ops
