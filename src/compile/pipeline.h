#pragma once
// The graph passes and their runner.

#include "ir/graph.h"

#include <span>
#include <string_view>
#include <vector>

namespace coregrad {

/// One pass: the new form of one node. Called for live nodes in order; `operands` are already new.
using RewriteFunction = NodeId (*)(Graph& into, const Graph& from, NodeId node,
                                   std::span<const NodeId> operands);

struct Pass {
  std::string_view name;
  RewriteFunction rewrite;
  bool required;  ///< the steps after the passes rely on it
};

/// A graph with the nodes that matter.
struct GraphWithOutputs {
  Graph graph;
  std::vector<NodeId> outputs;
};

/// Runs the passes of pipeline.cpp in order over the live part of `graph`. Each is timed, can be
/// switched off by name (COREGRAD_DISABLE_PASSES), is verified, and is printed at COREGRAD_DEBUG=3
/// when it changed something.
GraphWithOutputs run_passes(const Graph& graph, std::span<const NodeId> outputs, bool optimize);

/// The passes, in order.
std::span<const Pass> pipeline();

// The passes, one file each.
NodeId canonicalize(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands);
NodeId dense_operands(Graph& into, const Graph& from, NodeId node,
                      std::span<const NodeId> operands);
NodeId phase_rows(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands);
NodeId split_reduction(Graph& into, const Graph& from, NodeId node,
                       std::span<const NodeId> operands);
NodeId sum_taps(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands);
NodeId unroll_windows(Graph& into, const Graph& from, NodeId node,
                      std::span<const NodeId> operands);

}  // namespace coregrad
