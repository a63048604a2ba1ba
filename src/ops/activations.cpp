// Activations. Where PyTorch's derivative at a kink is 0, what is there is detached: choosing the
// limit instead would turn -0 into +0.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/math.h"

#include <cmath>
#include <numbers>

namespace coregrad::ops {
namespace {

NodeId less(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Lt, a, b); }
NodeId at_most(Graph& g, NodeId a, NodeId b) { return compare(g, Op::Le, a, b); }
NodeId divided(Graph& g, NodeId x, double divisor) { return div(g, x, number_like(g, x, divisor)); }
/// x, of slope 0 where `flat` is true.
NodeId without_slope(Graph& g, NodeId flat, NodeId x) { return select(g, flat, detach(g, x), x); }

}  // namespace

NodeId relu(Graph& g, NodeId x) {
  const NodeId zero = number_like(g, x, 0);
  return clamp(g, without_slope(g, at_most(g, x, zero), x), zero, {});
}

NodeId relu6(Graph& g, NodeId x) { return hardtanh(g, x, 0, 6); }

NodeId prelu(Graph& g, NodeId x, NodeId slope) {
  return select(g, less(g, number_like(g, x, 0), x), x, mul(g, x, slope));
}

NodeId leaky_relu(Graph& g, NodeId x, double negative_slope) {
  return prelu(g, x, number_like(g, x, negative_slope));
}

NodeId elu(Graph& g, NodeId x, double alpha, double scale, double input_scale) {
  const NodeId zero = number_like(g, x, 0), is_positive = less(g, zero, x);
  const NodeId below = scaled(g, select(g, is_positive, zero, x), input_scale);
  return select(g, is_positive, scaled(g, x, scale), scaled(g, expm1(g, below), alpha * scale));
}

NodeId selu(Graph& g, NodeId x) {
  return elu(g, x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1);
}

NodeId celu(Graph& g, NodeId x, double alpha) {
  if (alpha == 0) raise<ValueError>("celu: alpha must not be 0");
  return elu(g, x, alpha, 1, 1 / alpha);
}

NodeId hardtanh(Graph& g, NodeId x, double min_val, double max_val) {
  if (min_val > max_val)
    raise<ValueError>("hardtanh: min_val must not exceed max_val: got {} and {}", min_val, max_val);
  const NodeId low = number_like(g, x, min_val), high = number_like(g, x, max_val);
  const NodeId flat = binary(g, Op::Or, at_most(g, x, low), at_most(g, high, x));
  return clamp(g, without_slope(g, flat, x), low, high);
}

// Clamped before 3 is added: what is next to 3 would be 6 when it is rounded, where the slope is 0.
// At NaN it is 0 too.
NodeId hardsigmoid(Graph& g, NodeId x) {
  const NodeId low = number_like(g, x, -3), high = number_like(g, x, 3);
  const NodeId steep = binary(g, Op::And, less(g, low, x), less(g, x, high));
  const NodeId clamped = clamp(g, without_slope(g, logical_not(g, steep), x), low, high);
  return divided(g, shifted(g, clamped, 3), 6);
}

NodeId hardswish(Graph& g, NodeId x) {
  return divided(g, mul(g, x, shifted(g, hardtanh(g, x, -3, 3), 3)), 6);
}

NodeId softsign(Graph& g, NodeId x) {
  const NodeId is_negative = less(g, x, number_like(g, x, 0));
  return div(g, x, shifted(g, select(g, is_negative, neg(g, x), x), 1));
}

NodeId softplus(Graph& g, NodeId x, double beta, double threshold) {
  const NodeId y = scaled(g, x, beta);
  const NodeId smooth = divided(g, log1pexp(g, y), beta);
  if (std::isinf(threshold) && threshold > 0) return smooth;
  return select(g, less(g, number_like(g, y, threshold), y), x, smooth);
}

NodeId logsigmoid(Graph& g, NodeId x) { return neg(g, log1pexp(g, neg(g, x))); }

NodeId silu(Graph& g, NodeId x) { return mul(g, x, sigmoid(g, x)); }

NodeId mish(Graph& g, NodeId x) { return mul(g, x, tanh(g, softplus(g, x))); }

NodeId gelu(Graph& g, NodeId x, std::string_view approximate) {
  const NodeId half = scaled(g, x, 0.5);
  if (approximate == "none")
    return mul(g, half, shifted(g, erf(g, scaled(g, x, 1 / std::numbers::sqrt2)), 1));
  if (approximate != "tanh")
    raise<ValueError>("gelu: approximate must be 'none' or 'tanh', got '{}'", approximate);
  constexpr double kSlope = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // sqrt(2 / pi)
  const NodeId cubic = shifted(g, scaled(g, square(g, x), 0.044715), 1);
  return mul(g, half, shifted(g, tanh(g, scaled(g, mul(g, x, cubic), kSlope)), 1));
}

NodeId glu(Graph& g, NodeId x, int64_t dim) {
  const int64_t d = normalize_dim(dim, g.rank(x), "glu");
  const SymInt extent = g.shape(x)[d];
  if (extent % 2 != 0)
    raise<ShapeError>("glu: the extent of dimension {} must be even: got {}", dim, describe(g, x));
  const NodeId value = narrow(g, x, d, 0, extent / 2), gate = narrow(g, x, d, extent / 2, extent);
  return mul(g, value, sigmoid(g, gate));
}

}  // namespace coregrad::ops
