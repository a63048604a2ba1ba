#pragma once
// What a pending computation looks like, without where it stands: the key of the plan cache.
//
// Nodes are numbered in the order of a depth-first walk from the roots, and inputs in the order in
// which the walk meets them. Two iterations of a loop have equal structures although their nodes
// and data differ, so the second one finds the first one's plan.

#include "ir/graph.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace coregrad {

struct Structure {
  std::vector<int64_t> key;     ///< a full description: equal keys mean equal computations
  std::vector<int64_t> inputs;  ///< data ids, in the order of the structure's inputs
  std::vector<NodeId> nodes;    ///< by number; void once the session's lock was let go

  uint64_t hash() const;
};

/// Data id of a node whose value is at hand though it is no Input; nothing for others.
using KnownValue = std::function<std::optional<int64_t>(NodeId)>;

/// Where a data id's bytes are: inputs over the same bytes (aliases) become one input.
using Identity = std::function<const void*(int64_t data_id)>;

/// Gradients that may be asked for later; part of the structure, because they decide what is kept.
struct GradientNeeds {
  std::vector<NodeId> roots;                       ///< of which
  std::function<bool(NodeId input)> is_reachable;  ///< where they may flow to, among the inputs
};

/// The structure of what `roots` need. The walk stops at inputs and at nodes with known values.
Structure extract_structure(const Graph& graph, std::span<const NodeId> roots,
                            const KnownValue& known, const Identity& identity,
                            const GradientNeeds& needs = {});

/// The graph that a key describes, its inputs numbered from 0, and its roots in order.
struct StandaloneGraph {
  Graph graph;
  std::vector<NodeId> nodes;  ///< by number; equal where aliases became one
  std::vector<NodeId> roots;
  std::vector<NodeId> differentiated, targets;  ///< of GradientNeeds
};
StandaloneGraph rebuild_structure(std::span<const int64_t> key);

}  // namespace coregrad
