#pragma once
// Reverse-mode differentiation as a graph transformation: the gradient is more graph.

#include "ir/graph.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

/// What one backward traversal did; also logged at debug level.
struct GradientStats {
  int64_t nodes_reachable = 0;  ///< nodes between the targets and the outputs
  int64_t nodes_visited = 0;    ///< each once, after all its uses
  int64_t edges_followed = 0;   ///< contributions added up
  int64_t shared_nodes = 0;     ///< nodes with more than one contribution
  int64_t max_ready = 0;        ///< most nodes ready at one time
  int64_t nodes_made = 0;       ///< gradient nodes that were not there before
  std::string to_text() const;
};

/// An unreachable target is an error by default; Zeros gives zeros instead, Invalid an invalid id.
enum class Unreachable { Error, Zeros, Invalid };

/// Gradients of sum_k <seeds[k], outputs[k]> with respect to each target, as nodes of the same
/// graph. Seeds may be empty when every output is a scalar (rank 0 or one element): then they are
/// ones. Throws AutogradError, before anything is built, when an output is not floating, a seed's
/// shape or dtype differs from its output's, a target is not floating, or a target cannot be
/// reached; the message names the operation that stops the gradient.
std::vector<NodeId> gradients(Graph& graph, std::span<const NodeId> outputs,
                              std::span<const NodeId> seeds, std::span<const NodeId> targets,
                              Unreachable unreachable = Unreachable::Error,
                              GradientStats* stats = nullptr);

}  // namespace coregrad
