#include "grad/rules.h"

#include <algorithm>
#include <array>

namespace coregrad::grad {

Rule rule_for(Op op) {
  static const std::array<Rule, kNumOps> table = [] {
    std::array<Rule, kNumOps> rules{};
    for (const std::span<const RuleRow> rows :
         {elementwise_rules(), view_rules(), reduce_rules(), indexing_rules(), contract_rules()})
      for (const RuleRow& row : rows) {
        COREGRAD_CHECK(rules[static_cast<size_t>(row.op)] == nullptr);
        rules[static_cast<size_t>(row.op)] = row.rule;
      }
    return rules;
  }();
  return table[static_cast<size_t>(op)];
}

std::string refusal(const Graph& graph, NodeId node) {
  const Op op = graph[node].op;
  if (op == Op::External)
    return "an external operation has no gradient rule; differentiate it where it was recorded";
  if (op == Op::Iterate) return "an iteration has no gradient rule yet: give its gradient as one";
  return {};
}

NodeId zeros_like(Graph& graph, NodeId node) {
  return ops::full(graph, graph.shape(node), Scalar::of_float(graph.dtype(node), 0));
}

std::vector<SymInt> shape_of(const Graph& graph, NodeId node) {
  const Shape shape = graph.shape(node);
  return {shape.begin(), shape.end()};
}

NodeId broadcast_back(Graph& graph, NodeId x, SymInts dims, Shape shape) {
  std::vector<SymInt> kept(shape.begin(), shape.end());
  for (const int64_t d : dims) kept[d] = 1;
  return ops::broadcast_to(graph, ops::reshape(graph, x, kept), shape);
}

}  // namespace coregrad::grad
