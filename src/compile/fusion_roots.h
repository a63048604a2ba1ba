#pragma once
// Which nodes have a value or memory of their own, and where parts of concatenations lie. Internal
// to fusion.

#include "compile/fusion.h"

#include <span>

namespace coregrad {

struct FusionRoots {
  NodeMap<bool> is_root;
  NodeMap<int64_t> cone;  ///< nodes between it and the roots below, at most
  NodeMap<Placement> placed;
  NodeMap<bool> needs_dense;
};

FusionRoots choose_roots(const Graph& graph, std::span<const NodeId> outputs,
                         const FusionOptions& options);

/// Whether a Concat has two parts, whose elements alternate in row-major memory.
bool parts_alternate(const Graph& graph, NodeId concat);

}  // namespace coregrad
