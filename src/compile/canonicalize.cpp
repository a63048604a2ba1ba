// Rebuilds each node through the checked constructors, which fold literals and cheap identities.
// Detach has done its work when gradients are graph, and goes. So has a sum or product of nothing,
// which is a constant; loops without iterations over joined axes have no index arithmetic.

#include "compile/pipeline.h"
#include "ops/primitives.h"

namespace coregrad {

NodeId canonicalize(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  if (from[node].op == Op::Detach) return operands[0];
  const Op op = from[node].op;
  if ((op == Op::Sum || op == Op::Prod) && from.numel(from.operand(node, 0)) == 0)
    return ops::full(into, from.shape(node), ops::reduction_identity(op, from.dtype(node)));
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
