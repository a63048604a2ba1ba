#pragma once
// Elementwise composites that are not operators of their own (ops/operators.def), with PyTorch's
// meanings; written with primitives only.
//
// Functions of real numbers take integers and bool too and compute those in float32. Branches that
// are not taken are kept finite, so that their gradients do not turn into NaN.

#include "ops/operators.h"
#include "ops/primitives.h"

#include <optional>

namespace coregrad::ops {

/// A literal of x's dtype; folds with what it meets.
NodeId number_like(Graph& graph, NodeId x, double value);
/// x times a number.
NodeId scaled(Graph& graph, NodeId x, double factor);
/// x plus a number.
NodeId shifted(Graph& graph, NodeId x, double offset);
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
NodeId logical_and(Graph& graph, NodeId a, NodeId b);
NodeId logical_or(Graph& graph, NodeId a, NodeId b);
NodeId logical_xor(Graph& graph, NodeId a, NodeId b);

// Functions
/// log(exp(a) + exp(b)) without overflow.
NodeId logaddexp(Graph& graph, NodeId a, NodeId b);
/// x * log(y), 0 where x is 0 (and y is not NaN).
NodeId xlogy(Graph& graph, NodeId x, NodeId y);
/// x with NaN and infinities replaced (infinities by the largest finite values when not given).
NodeId nan_to_num(Graph& graph, NodeId x, double nan, std::optional<double> positive,
                  std::optional<double> negative);

/// `slope`, which broadcasts to x, times x where x is not positive.
NodeId prelu(Graph& graph, NodeId x, NodeId slope);

}  // namespace coregrad::ops
