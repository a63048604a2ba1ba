#include "ops/operators.h"

#include "ops/primitives.h"

namespace coregrad::ops {

#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc)
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  NodeId name(Graph& graph, NodeId input) { return unary(graph, Op::primitive, input); }
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)
#include "ops/operators.def"

void apply_rule(Graph& graph, DTypeRule rule, std::span<NodeId* const> operands) {
  if (rule == DTypeRule::AsIs || rule == DTypeRule::Move || operands.empty()) return;
  std::vector<NodeId> nodes;
  for (const NodeId* operand : operands) nodes.push_back(*operand);
  DType dtype = result_type(graph, nodes);
  if (rule == DTypeRule::Real && !is_float(dtype)) dtype = DType::Float32;
  for (NodeId* operand : operands) *operand = cast(graph, *operand, dtype);
}

}  // namespace coregrad::ops
