#pragma once
// Elementwise composites that are not operators of their own (ops/operators.def), with PyTorch's
// meanings; written with primitives only.
//
// Functions of real numbers take integers and bool too and compute those in float32. Branches that
// are not taken are kept finite, so that their gradients do not turn into NaN.

#include "ops/operators.h"
#include "ops/primitives.h"

namespace coregrad::ops {

/// A literal of x's dtype; folds with what it meets.
NodeId number_like(Graph& graph, NodeId x, double value);
/// A size in x's dtype.
NodeId size_like(Graph& graph, NodeId x, SymInt n);
/// x times a number.
NodeId scaled(Graph& graph, NodeId x, double factor);
/// x plus a number.
NodeId shifted(Graph& graph, NodeId x, double offset);
/// x as it is when floating, else as float32.
NodeId to_float(Graph& graph, NodeId x);

/// x limited to [low, high], as the operator does it.
NodeId clamp(Graph& graph, NodeId x, double low, double high);
/// `slope`, which broadcasts to x, times x where x is not positive.
NodeId prelu(Graph& graph, NodeId x, NodeId slope);

}  // namespace coregrad::ops
