#include "tensor/kept_values.h"

#include "base/error.h"
#include "grad/gradient.h"
#include "ops/primitives.h"

#include <algorithm>

namespace coregrad {
namespace {

/// Steps of their own: computing them twice costs more than keeping their results.
bool is_dear(Op op) {
  switch (family_of(op)) {
    case Family::Reduce:
    case Family::Contract:
    case Family::Scatter:
    case Family::Scan:
    case Family::Library:
    case Family::External:
      return true;
    case Family::Leaf:
    case Family::Random:
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
    case Family::View:
    case Family::Gather:
      return false;
  }
  COREGRAD_UNREACHABLE("family");
}

/// What lies in memory below views of one operand.
NodeId base_of(const Graph& graph, NodeId node) {
  while (family_of(graph[node].op) == Family::View && graph[node].num_operands == 1)
    node = graph.operands(node)[0];
  return node;
}

/// Marks, below `size`, dear nodes and what products read.
std::vector<bool> mark_stored(const Graph& graph, uint32_t size, const std::vector<bool>& live) {
  std::vector<bool> stored(size, false);
  for (uint32_t i = 0; i < size; ++i) {
    if (!live[i]) continue;
    const Op op = graph[{i}].op;
    stored[i] = stored[i] || is_dear(op);
    if (op != Op::Contract) continue;
    for (NodeId operand : graph.operands({i})) {
      const NodeId base = base_of(graph, operand);
      stored[base.value] = graph[base].num_operands > 0;
    }
  }
  return stored;
}

/// Gradients with respect to the targets; none where one does not exist.
std::vector<NodeId> gradients_of(StandaloneGraph& c) {
  std::vector<NodeId> seeds;
  auto input = static_cast<int64_t>(c.nodes.size());
  for (NodeId root : c.differentiated) {
    const Shape shape = c.graph.shape(root);
    seeds.push_back(ops::input(c.graph, input++, c.graph.dtype(root), shape));
  }
  try {
    return gradients(c.graph, c.differentiated, seeds, c.targets, Unreachable::Invalid);
  } catch (const AutogradError&) {
    return {};
  }
}

}  // namespace

std::vector<int64_t> values_to_keep(StandaloneGraph& c) {
  if (c.differentiated.empty() || c.targets.empty()) return {};
  const uint32_t size = c.graph.size();
  const std::vector<bool> forward = mark_live(c.graph, c.roots);
  std::vector<NodeId> results = gradients_of(c);
  std::erase_if(results, [](NodeId n) { return !n.is_valid(); });
  if (results.empty()) return {};

  std::vector<bool> wanted(size, false);
  for (NodeId n : results)
    if (n.value < size) wanted[n.value] = true;
  const std::vector<bool> backward = mark_live(c.graph, results);
  for (uint32_t i = size; i < c.graph.size(); ++i)
    if (backward[i])
      for (NodeId o : c.graph.operands({i}))
        if (o.value < size) wanted[o.value] = true;
  for (uint32_t i = 0; i < size; ++i) wanted[i] = wanted[i] && forward[i];

  const std::vector<bool> stored = mark_stored(c.graph, size, forward);
  std::vector<bool> is_root(size, false), kept(size, false);
  for (NodeId root : c.roots) is_root[root.value] = true;
  for (uint32_t i = size; i-- > 0;) {
    if (!wanted[i] || is_root[i]) continue;
    if (stored[i])
      kept[i] = true;
    else
      for (NodeId o : c.graph.operands({i})) wanted[o.value] = true;
  }
  std::vector<int64_t> numbers;
  for (size_t number = 0; number < c.nodes.size(); ++number) {
    const uint32_t node = c.nodes[number].value;
    if (kept[node]) numbers.push_back(static_cast<int64_t>(number));
    kept[node] = false;
  }
  return numbers;
}

}  // namespace coregrad
