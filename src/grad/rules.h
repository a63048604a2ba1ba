#pragma once
// Internal to differentiation: one rule a primitive. A rule reads a node and the gradient of its
// result, builds the contributions to its operands' gradients with the checked builders (so that
// they can be differentiated again), and hands them over.

#include "base/error.h"
#include "ir/graph.h"
#include "ops/primitives.h"

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace coregrad::grad {

/// What a rule works with. Node ids only: spans into the graph do not survive new nodes.
class Backward {
 public:
  Backward(Graph& graph, NodeId node, NodeId gradient, std::span<const char> wanted)
      : graph(graph), node(node), gradient(gradient), wanted_(wanted) {}

  Graph& graph;
  const NodeId node;      ///< the forward node
  const NodeId gradient;  ///< of its result; same shape and dtype

  NodeId operand(size_t i) const { return graph.operand(node, i); }
  /// True when some target lies behind operand i; other contributions need not be built.
  bool wants(size_t i) const { return wanted_[operand(i).value] != 0; }
  /// Adds a contribution to the gradient of operand i. Giving nothing means zero.
  void give(size_t i, NodeId contribution) { given_.emplace_back(i, contribution); }
  std::span<const std::pair<size_t, NodeId>> given() const { return given_; }

 private:
  std::span<const char> wanted_;
  std::vector<std::pair<size_t, NodeId>> given_;
};

using Rule = void (*)(Backward& b);

struct RuleRow {
  Op op;
  Rule rule;
};

/// The rows of each family.
std::span<const RuleRow> elementwise_rules();
std::span<const RuleRow> view_rules();
std::span<const RuleRow> reduce_rules();
std::span<const RuleRow> indexing_rules();
std::span<const RuleRow> contract_rules();

/// The primitive's rule; null where a floating result has none (leaves, random, external).
Rule rule_for(Op op);

/// Why this node cannot be differentiated although its op has a rule; empty if it can.
std::string refusal(const Graph& graph, NodeId node);

// What several rules need.

/// A scalar of the node's dtype, for use as the other operand of a broadcasting builder.
inline NodeId number(Graph& graph, NodeId like, double value) {
  return ops::literal(graph, graph.dtype(like), value);
}
/// Zeros of the node's shape and dtype.
NodeId zeros_like(Graph& graph, NodeId node);
/// A copy of the node's shape.
std::vector<SymInt> shape_of(const Graph& graph, NodeId node);
/// x with extents of 1 inserted at `dims` (sorted), then broadcast to `shape`.
NodeId broadcast_back(Graph& graph, NodeId x, SymInts dims, Shape shape);

}  // namespace coregrad::grad
