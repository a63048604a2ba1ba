#pragma once
// Which nodes share a kernel: row groups by demand.
//
// Some nodes are *roots*: they are stored, or reduced, or expensive and shared; everything between
// roots is computed inside whichever kernel reads it. Every fusable root starts as its own kernel
// over its own domain; kernels merge along reads and between siblings while one parallel domain
// fits all their reductions. Contracts take an elementwise kernel that reads their result as
// epilogue.
//
// Start reading at plan_fusion in fusion.cpp; the merge rules stand in fusion_merge.cpp.

#include "ir/graph.h"
#include "ir/node_map.h"
#include "kernel/index_expr.h"

#include <cstdint>
#include <span>
#include <vector>

namespace coregrad {

enum class FusionAxisKind : uint8_t {
  Free,  ///< not yet decided: the kernel holds elementwise roots only
  Parallel,
  Loop,
};

struct FusionAxis {
  SymInt extent;
  FusionAxisKind kind;
};

/// A node that a kernel computes. Its domain is its shape; a reduction's is its operand's shape.
struct FusionRoot {
  NodeId node;
  std::vector<int> axes;  ///< kernel axis of each domain dimension; -1 where the extent is 1
  /// The root is part number `part` of this Concat and is stored in its place there.
  NodeId concat;
  int64_t part = 0;
};

enum class UnitKind : uint8_t { Loop, Contract, Library };

/// What becomes one step.
struct FusionUnit {
  UnitKind kind = UnitKind::Loop;
  std::vector<FusionAxis> axes;   ///< Loop, and a contract's epilogue (the output dimensions)
  std::vector<FusionRoot> roots;  ///< Loop and epilogue; without an epilogue a contract has none
  NodeId node;                    ///< Contract and Library: the node
  std::vector<NodeId> results;    ///< Library: every live result (an external op may have several)
  bool is_fixed() const;
};

/// An element of a root or buffer that a root's computation reads, over the root's domain axes
/// (axis d of the index expressions is domain dimension d).
struct FusionRead {
  NodeId node;
  std::vector<IndexExpr> index;
};

/// A root whose memory is a part of a Concat's: it is computed in its place and never copied there.
struct Placement {
  NodeId concat;              ///< invalid: the node has memory of its own
  int64_t part = 0;           ///< operand number
  SymInt start = 0;           ///< along the Concat's dimension
  bool is_whole_part = true;  ///< false: the part is another shape of the node, both dense
};

/// Calls f(node) for a node and every Concat whose memory it is computed into.
template <class F>
void for_each_memory(const NodeMap<Placement>& placed, NodeId node, F&& f) {
  for (; node.is_valid(); node = placed[node].concat) f(node);
}

struct FusionPlan {
  std::vector<FusionUnit> units;  ///< in an order in which they can run
  NodeMap<bool> is_root;          ///< has its own value or memory
  NodeMap<bool> is_stored;        ///< needs memory (inputs excluded)
  NodeMap<Placement> placed;
  /// Somebody takes the memory for row-major (a contract, a placed part of it).
  NodeMap<bool> needs_dense;
  bool is_unmerged = false;  ///< merging went wrong, so each root has its own kernel
};

struct FusionOptions {
  bool merge = true;       ///< false: one kernel a node that is no view, and no epilogues
  int64_t max_cone = 160;  ///< nodes computed inside one root before a cut
};

/// The library ops' and externals' operands and contract operands' bases become roots; `outputs`
/// too.
FusionPlan plan_fusion(const Graph& graph, std::span<const NodeId> outputs,
                       const FusionOptions& options);

/// True for nodes that are computed by loop kernels; false for leaves in memory, contracts, library
/// ops.
bool is_fusable(const Graph& graph, NodeId node);
/// The shape a root's loops run over.
Shape domain_of(const Graph& graph, NodeId root);
/// For a reduction root: which domain dimensions are reduced. Otherwise all false.
std::vector<bool> reduced_dims(const Graph& graph, NodeId root);
/// Everything the computation of `root` reads, given the roots. `as_copy`: the root's own value is
/// read (it lies in memory already) instead of computed.
std::vector<FusionRead> collect_reads(const Graph& graph, NodeId root, const NodeMap<bool>& is_root,
                                      bool as_copy, IndexContext& context);
/// The axis number if the expression is that axis alone; -1 otherwise.
int plain_axis(const IndexContext& context, const IndexExpr& e);

}  // namespace coregrad
