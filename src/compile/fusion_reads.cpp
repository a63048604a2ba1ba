// What a root's computation reads, and the facts of nodes that fusion rests on.

#include "base/checked.h"
#include "compile/fusion.h"
#include "compile/view_map.h"

#include <algorithm>
#include <set>

namespace coregrad {

bool is_fusable(const Graph& graph, NodeId node) {
  switch (family_of(graph[node].op)) {
    case Family::Leaf:
      return graph[node].op != Op::Input;
    case Family::Random:
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
    case Family::Reduce:
    case Family::Gather:
      return true;
    case Family::View:
      return graph[node].op != Op::Concat;
    case Family::Contract:
    case Family::Scatter:
    case Family::Scan:
    case Family::Library:
    case Family::External:
      return false;
  }
  COREGRAD_UNREACHABLE("family");
}

Shape domain_of(const Graph& graph, NodeId root) {
  return graph.shape(is_reduce(graph[root].op) ? graph.operand(root, 0) : root);
}

std::vector<bool> reduced_dims(const Graph& graph, NodeId root) {
  std::vector<bool> reduced(domain_of(graph, root).size(), false);
  if (is_reduce(graph[root].op))
    for (int64_t d : graph.attrs(root)) reduced[d] = true;
  return reduced;
}

int plain_axis(const IndexContext& context, const IndexExpr& e) {
  if (e.constant != 0 || e.terms.size() != 1 || e.terms[0].factor != 1) return -1;
  const Atom& atom = context.atom(e.terms[0].atom);
  return atom.kind == AtomKind::Axis ? atom.id : -1;
}

std::vector<FusionRead> collect_reads(const Graph& graph, NodeId root, const NodeMap<bool>& is_root,
                                      bool as_copy, IndexContext& context) {
  using Place = std::pair<NodeId, std::vector<IndexExpr>>;
  std::vector<FusionRead> reads;
  std::set<Place> seen;
  std::vector<Place> stack;
  const auto push = [&](NodeId node, std::vector<IndexExpr> index) {
    Place place(node, std::move(index));
    if (seen.insert(place).second) stack.push_back(std::move(place));
  };
  // Operands of a node at a place; a gathered dimension is a run-time value (numbered by its node).
  const auto expand = [&](NodeId node, const std::vector<IndexExpr>& index) {
    const Op op = graph[node].op;
    if (is_index_map(op)) {
      std::vector<IndexBound> bounds;
      push(graph.operand(node, 0), map_through_view(context, graph, node, index, bounds));
    } else if (op == Op::Gather) {
      push(graph.operand(node, 1), index);
      std::vector<IndexExpr> source = index;
      const auto dim = static_cast<size_t>(graph.attr(node, 0));
      const SymInt extent = graph.shape(graph.operand(node, 0))[dim];
      source[dim] = context.value(static_cast<int>(node.value), {0, max(extent - 1, 0)});
      push(graph.operand(node, 0), std::move(source));
    } else if (op == Op::Random) {
      push(graph.operand(node, 0), {});
    } else {
      for (NodeId o : graph.operands(node)) push(o, index);
    }
  };

  const Shape domain = as_copy ? graph.shape(root) : domain_of(graph, root);
  std::vector<IndexExpr> index(domain.size());
  for (size_t d = 0; d < domain.size(); ++d)
    index[d] = context.axis(static_cast<int>(d), domain[d]);
  if (as_copy) return {{root, std::move(index)}};
  if (is_reduce(graph[root].op)) {
    push(graph.operand(root, 0), index);
  } else {
    expand(root, index);
  }
  while (!stack.empty()) {
    Place place = std::move(stack.back());
    stack.pop_back();
    if (is_root[place.first] || graph[place.first].op == Op::Input)
      reads.push_back({place.first, std::move(place.second)});
    else
      expand(place.first, place.second);
  }
  return reads;
}

}  // namespace coregrad
