#pragma once
// Elementwise composites with PyTorch's meanings; written with primitives only.
//
// Functions of real numbers take integers and bool too and compute those in float32. Branches that
// are not taken are kept finite, so that their gradients do not turn into NaN.

#include "ops/primitives.h"

#include <optional>

namespace coregrad::ops {

/// A literal of x's dtype; folds with what it meets.
NodeId number_like(Graph& graph, NodeId x, double value);
/// x as it is when floating, else as float32.
NodeId to_float(Graph& graph, NodeId x);

// Arithmetic
/// a / b; two integers or bools divide as float32.
NodeId true_divide(Graph& graph, NodeId a, NodeId b);
/// Quotient rounded towards minus infinity.
NodeId floor_divide(Graph& graph, NodeId a, NodeId b);
/// Remainder with the sign of the divisor (Python's %).
NodeId remainder(Graph& graph, NodeId a, NodeId b);
/// Remainder with the sign of the dividend (C's fmod).
NodeId fmod(Graph& graph, NodeId a, NodeId b);
NodeId square(Graph& graph, NodeId x);
NodeId hypot(Graph& graph, NodeId a, NodeId b);
/// start + weight * (end - start), in the form that is exact at both ends.
NodeId lerp(Graph& graph, NodeId start, NodeId end, NodeId weight);
/// x limited to [low, high]; NaN stays, and the gradient is 1 on the bounds. Bounds broadcast.
NodeId clamp(Graph& graph, NodeId x, std::optional<NodeId> low, std::optional<NodeId> high);
NodeId clamp(Graph& graph, NodeId x, double low, double high);
/// a where the condition (any dtype: not 0) holds, else b.
NodeId where(Graph& graph, NodeId condition, NodeId a, NodeId b);

// Tests, bool results
NodeId greater(Graph& graph, NodeId a, NodeId b);
NodeId greater_equal(Graph& graph, NodeId a, NodeId b);
NodeId is_nan(Graph& graph, NodeId x);
NodeId is_inf(Graph& graph, NodeId x);
NodeId is_finite(Graph& graph, NodeId x);
NodeId logical_not(Graph& graph, NodeId x);
NodeId logical_and(Graph& graph, NodeId a, NodeId b);
NodeId logical_or(Graph& graph, NodeId a, NodeId b);
NodeId logical_xor(Graph& graph, NodeId a, NodeId b);

// Functions
/// log(exp(a) + exp(b)) without overflow.
NodeId logaddexp(Graph& graph, NodeId a, NodeId b);
/// x * log(y), 0 where x is 0 (and y is not NaN).
NodeId xlogy(Graph& graph, NodeId x, NodeId y);
NodeId logit(Graph& graph, NodeId x);
NodeId asinh(Graph& graph, NodeId x);
NodeId acosh(Graph& graph, NodeId x);
NodeId atanh(Graph& graph, NodeId x);
/// 1 - erf(x), with a small relative error where that cancels.
NodeId erfc(Graph& graph, NodeId x);
/// x with NaN and infinities replaced (infinities by the largest finite values when not given).
NodeId nan_to_num(Graph& graph, NodeId x, double nan, std::optional<double> positive,
                  std::optional<double> negative);

// Activations
NodeId sigmoid(Graph& graph, NodeId x);
NodeId log_sigmoid(Graph& graph, NodeId x);
NodeId relu(Graph& graph, NodeId x);
NodeId relu6(Graph& graph, NodeId x);
NodeId leaky_relu(Graph& graph, NodeId x, double slope);
/// `slope` broadcasts to x.
NodeId prelu(Graph& graph, NodeId x, NodeId slope);
NodeId elu(Graph& graph, NodeId x, double alpha);
NodeId selu(Graph& graph, NodeId x);
NodeId celu(Graph& graph, NodeId x, double alpha);
/// x / 2 * (1 + erf(x / sqrt 2)).
NodeId gelu(Graph& graph, NodeId x);
/// The tanh approximation.
NodeId gelu_tanh(Graph& graph, NodeId x);
NodeId silu(Graph& graph, NodeId x);
NodeId mish(Graph& graph, NodeId x);
/// log(1 + exp(beta x)) / beta; x itself where beta x > threshold.
NodeId softplus(Graph& graph, NodeId x, double beta = 1, double threshold = 20);
NodeId softsign(Graph& graph, NodeId x);
NodeId hardtanh(Graph& graph, NodeId x, double low, double high);
NodeId hardsigmoid(Graph& graph, NodeId x);
NodeId hardswish(Graph& graph, NodeId x);

}  // namespace coregrad::ops
