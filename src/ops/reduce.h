#pragma once
// Sizes of the reductions of ops/operators.def. `dims` empty: all.

#include "ops/operators.h"
#include "ops/primitives.h"

namespace coregrad::ops {

/// Number of elements that a reduction over `dims` combines.
SymInt reduced_count(const Graph& graph, NodeId x, SymInts dims);

}  // namespace coregrad::ops
