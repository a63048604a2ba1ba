#pragma once
// Beside the reductions of ops/operators.def: what has several results, and sizes. `dims` empty:
// all.

#include "ops/operators.h"
#include "ops/primitives.h"

namespace coregrad::ops {

/// Variance and mean.
std::pair<NodeId, NodeId> var_mean(Graph& graph, NodeId x, std::span<const int64_t> dims,
                                   double correction, bool keepdim);

/// Number of elements that a reduction over `dims` combines.
int64_t reduced_count(const Graph& graph, NodeId x, std::span<const int64_t> dims);

}  // namespace coregrad::ops
