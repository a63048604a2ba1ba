// Rebuilds each node through the checked constructors, which fold literals and cheap identities.

#include "compile/pipeline.h"
#include "ops/primitives.h"

namespace coregrad {

NodeId canonicalize(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
