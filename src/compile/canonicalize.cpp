// Rebuilds each node through the checked constructors, which fold literals and cheap identities.
// Detach has done its work when gradients are graph, and goes.

#include "compile/pipeline.h"
#include "ops/primitives.h"

namespace coregrad {

NodeId canonicalize(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  if (from[node].op == Op::Detach) return operands[0];
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
