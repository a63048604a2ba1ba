#pragma once
// Where an element of a view lies in its operand: index expressions through the view primitives.

#include "ir/graph.h"
#include "kernel/index_expr.h"

#include <span>
#include <vector>

namespace coregrad {

/// low <= index < high.
struct IndexBound {
  IndexExpr index;
  Range bounds;
  auto operator<=>(const IndexBound& other) const {
    if (auto c = index <=> other.index; c != 0) return c;
    if (auto c = SymInt::order(bounds.low, other.bounds.low); c != 0) return c;
    return SymInt::order(bounds.high, other.bounds.high);
  }
  bool operator==(const IndexBound& other) const { return (*this <=> other) == 0; }
};

/// For element `index` of `view` (an index-map primitive): its operand's index. Conditions under
/// which the element exists (it is the fill of a Pad otherwise) are appended to `bounds`.
std::vector<IndexExpr> map_through_view(IndexContext& context, const Graph& graph, NodeId view,
                                        std::span<const IndexExpr> index,
                                        std::vector<IndexBound>& bounds);

/// A node seen as a strided window of a base node's dense memory.
struct StridedView {
  NodeId base;
  std::vector<SymInt> strides;  ///< one per dimension of the view, in elements
  SymInt offset = 0;
};

/// The first node below `node`'s index-map views at which the chain can no longer be written with
/// strides (or that is no view). With no views: the node itself, densely strided. Input nodes keep
/// their strides. With `through_casts`, casts whose results would take more memory are passed as
/// well: the base's elements cast to the node's dtype are the node's.
StridedView strided_view(const Graph& graph, NodeId node, bool through_casts = false);

/// The memory that a contract, library op or external reads, one entry per operand. Contracts
/// (which cast what they read) and the index and values of a scatter are read through views; the
/// rest must lie dense. An operand that is one repeated literal and need not lie in memory at all
/// (a scatter's base) has an invalid base.
std::vector<StridedView> memory_operands(const Graph& graph, NodeId node);

/// Strides of the memory that holds a node: an Input's own, row-major otherwise.
std::vector<SymInt> memory_strides(const Graph& graph, NodeId node);

}  // namespace coregrad
