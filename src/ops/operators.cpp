#include "ops/operators.h"

#include "ops/primitives.h"

namespace coregrad::ops {

#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc)
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  NodeId name(Graph& graph, NodeId input) { return unary(graph, Op::primitive, input); }
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY

void apply_rule(Graph& graph, DTypeRule rule, std::span<NodeId* const> operands) {
  if (rule == DTypeRule::AsIs || rule == DTypeRule::Move || operands.empty()) return;
  // Operands without dimensions count where there are no others, or by a higher category.
  std::optional<DType> with_dims, without;
  for (const NodeId* operand : operands) {
    std::optional<DType>& dtype = graph.rank(*operand) == 0 ? without : with_dims;
    dtype = dtype ? promote(*dtype, graph.dtype(*operand)) : graph.dtype(*operand);
  }
  const bool decides = !with_dims || (without && category_of(*without) > category_of(*with_dims));
  DType dtype = decides ? *without : *with_dims;
  if (rule == DTypeRule::Real && !is_float(dtype)) dtype = DType::Float32;
  for (NodeId* operand : operands) *operand = cast(graph, *operand, dtype);
}

}  // namespace coregrad::ops
