#pragma once
// Sizes of the reductions of ops/operators.def. `dims` empty: all.

#include "ops/operators.h"
#include "ops/primitives.h"

namespace coregrad::ops {

/// Number of elements that a reduction over `dims` combines.
int64_t reduced_count(const Graph& graph, NodeId x, std::span<const int64_t> dims);

}  // namespace coregrad::ops
