#pragma once
// What a pending computation looks like, without where it stands: the key of the plan cache.
//
// Nodes are numbered in the order of a depth-first walk from the roots, and inputs in the order in
// which the walk meets them. Two iterations of a loop have equal structures although their nodes
// and data differ, so the second one finds the first one's plan.

#include "ir/graph.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace coregrad {

struct Structure {
  std::vector<int64_t> key;     ///< a full description: equal keys mean equal computations
  std::vector<int64_t> inputs;  ///< data ids, in the order of the structure's inputs
  std::vector<NodeId> nodes;    ///< by number; void once the session's lock was let go

  uint64_t hash() const;
};

/// Data id of a node whose value is at hand though it is no Input; nothing for others.
using KnownValue = std::function<std::optional<int64_t>(NodeId)>;

/// Where a data id's bytes are: inputs over the same bytes (aliases) become one input.
using Identity = std::function<const void*(int64_t data_id)>;

/// Gradients that may be asked for later; part of the structure, because they decide what is kept.
struct GradientNeeds {
  std::vector<NodeId> roots;                       ///< of which
  std::function<bool(NodeId input)> is_reachable;  ///< where they may flow to, among the inputs
};

/// The structure of what `roots` need. The walk stops at inputs and at nodes with known values.
Structure extract_structure(const Graph& graph, std::span<const NodeId> roots,
                            const KnownValue& known, const Identity& identity,
                            const GradientNeeds& needs = {});

/// One node of a key, as places in it.
struct KeyNode {
  Op op;
  DType dtype;
  size_t literal;  ///< where Node::literal stands
  size_t shape, rank;
  size_t attrs, num_attrs;
  size_t operands, num_operands;
};

/// Reads a key from its start: its nodes, then its lists of node numbers.
class KeyReader {
 public:
  explicit KeyReader(std::span<const int64_t> key) : key_(key), num_nodes_(key[at_++]) {}

  int64_t num_nodes() const { return num_nodes_; }
  KeyNode next_node();
  std::span<const int64_t> next_list();

 private:
  size_t skip_list(size_t& size);

  std::span<const int64_t> key_;
  size_t at_ = 0;
  int64_t num_nodes_;
};

/// Calls `visit(place)` for each size in a node's shape and attributes. What is no size there
/// (dimensions, labels, numbers of inputs) says what is computed.
void for_each_size(std::span<const int64_t> key, const KeyNode& node,
                   const std::function<void(size_t)>& visit);

/// What becomes of some places of a key where a graph is made of it.
struct KeyMeaning {
  /// The size that stands at a place; null: the number there.
  std::function<SymInt(size_t place)> size = nullptr;
  /// The input that a literal is; nothing where it is one.
  std::function<std::optional<int64_t>(size_t place)> literal_input = nullptr;
};

/// The graph that a key describes, its inputs numbered from 0, and its roots in order.
struct StandaloneGraph {
  Graph graph;
  std::vector<NodeId> nodes;  ///< by number; equal where aliases became one
  std::vector<NodeId> roots;
  std::vector<NodeId> differentiated, targets;  ///< of GradientNeeds
};
StandaloneGraph rebuild_structure(std::span<const int64_t> key, const KeyMeaning& meaning = {});

}  // namespace coregrad
