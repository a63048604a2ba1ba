#pragma once
// A graph as text and as DOT.

#include "ir/graph.h"

#include <span>
#include <string>

namespace coregrad {

/// One line: `%4 = add f32[2,3] %1 %2`, then attributes in braces and the origin after `#`.
std::string node_text(const Graph& graph, NodeId node);
/// One line a live node, in order, and a last line `return %4 ..` with the roots.
std::string to_text(const Graph& graph, std::span<const NodeId> roots);
/// Graphviz source; `cluster_of` (optional, by node index; -1 none) groups nodes into boxes.
std::string to_dot(const Graph& graph, std::span<const NodeId> roots,
                   std::span<const int32_t> cluster_of = {});
/// "f32[2,3]".
std::string type_text(DType dtype, Shape shape);

}  // namespace coregrad
