// Library ops and external operations read dense memory: an input with other strides gets a dense
// copy in front of them. A reshape to the shape it has already stands for the copy.

#include "compile/pipeline.h"
#include "kernel/index_expr.h"

#include <algorithm>

namespace coregrad {

NodeId dense_operands(Graph& into, const Graph& from, NodeId node,
                      std::span<const NodeId> operands) {
  const Family family = family_of(from[node].op);
  std::vector<NodeId> dense(operands.begin(), operands.end());
  if (family == Family::Scan || family == Family::Library || family == Family::External)
    for (NodeId& o : dense) {
      if (into[o].op != Op::Input) continue;
      const std::vector<SymInt> shape(into.shape(o).begin(), into.shape(o).end());
      if (std::ranges::equal(into.attrs(o).subspan(1), contiguous_strides(shape))) continue;
      o = into.intern(Op::Reshape, into.dtype(o), shape, {{o}});
    }
  return into.intern(from[node].op, from.dtype(node), from.shape(node), dense, from.attrs(node),
                     from[node].literal);
}

}  // namespace coregrad
